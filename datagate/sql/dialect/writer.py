"""What every writer needs: the table of writers by node class, which has no default."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sqlglot import exp

from datagate.sql.dialect.cursor import NotCarried

#: Filled by ``generator`` from the modules that write expressions and queries.
WRITERS: dict[type[exp.Expr], Callable[[exp.Expr], str]] = {}


def write(node: exp.Expr) -> str:
    """The text of a node; NotCarried for a class that has no writer."""
    writer = WRITERS.get(node.__class__)
    if writer is None:
        raise NotCarried(f"no text for {node.__class__.__name__}")
    return writer(node)


def many(found: Sequence[exp.Expr]) -> str:
    """The nodes with commas between them."""
    return ", ".join([write(node) for node in found])


def identifier_text(node: exp.Expr) -> str:
    """A name, in quotes where it was or has to be."""
    name: str = node.args["this"]
    if node.args.get("quoted"):
        return '"' + name.replace('"', '""') + '"'
    return name


def names(found: Sequence[exp.Expr]) -> str:
    """The names with dots between them."""
    return ".".join([identifier_text(name) if name.__class__ is exp.Identifier else write(name) for name in found])


def verbatim(node: exp.Expr) -> str:
    """What is kept as text."""
    return str(node.args["this"])
