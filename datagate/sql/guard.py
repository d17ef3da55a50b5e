"""Puts guards in the place of base references: never touches the caller's WHERE, never edits SQL as text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlglot import exp

from datagate.errors import UnsupportedConstruct
from datagate.model.fragment import Binding, Fragment
from datagate.model.guard import Guard
from datagate.sql.dialect import generate
from datagate.sql.dialect.nodes import GuardText
from datagate.sql.inventory import Reference
from datagate.sql.views import alias_of


@dataclass(frozen=True, slots=True)
class Fence:
    """The guard must not be merged with the query around it; ``conjuncts`` are copied inside so that indexes work.

    ``blind``: nor may the planner try the caller's conditions on what it keeps of the relation's values.
    """

    conjuncts: tuple[exp.Expression, ...]
    blind: bool = False


class Numbering:
    """Gives each binding its parameter number, after the caller's own parameters."""

    def __init__(self, caller_parameters: int, spell: Callable[[Binding, int], str]) -> None:
        self._first = caller_parameters + 1
        self._spell = spell
        self._numbers: dict[Binding, int] = {}

    @property
    def bindings(self) -> tuple[Binding, ...]:
        """The bindings in the order of their numbers."""
        return tuple(self._numbers)

    def text(self, fragment: Fragment) -> str:
        """The fragment as engine text."""
        return fragment.render(lambda binding: self._spell(binding, self._number(binding)))

    def _number(self, binding: Binding) -> int:
        return self._numbers.setdefault(binding, self._first + len(self._numbers))


def place_guards(
    references: Sequence[Reference],
    guards: Mapping[int, Guard],
    fences: Mapping[Reference, Fence],
    numbering: Numbering,
) -> None:
    """Replace each reference's table node, in place, by its guard (``guards`` by the relation's oid)."""
    for reference in references:
        table = reference.table
        sample = table.args.get("sample")
        body = guards[reference.relation.oid].body(
            only=bool(table.args.get("only")), sample=generate(sample) if sample is not None else ""
        )
        text = numbering.text(body)
        alias = alias_of(reference)
        fence = fences.get(reference)
        if fence is not None:
            text = _fenced(text, alias, fence, len(guards[reference.relation.oid].columns))
        table.replace(exp.Subquery(this=GuardText(this=text), alias=alias))


def _fenced(text: str, alias: exp.TableAlias, fence: Fence, columns: int) -> str:
    """``OFFSET 0`` keeps PostgreSQL's planner from pulling the subquery up or pushing conditions into it.

    While it plans, it looks through that for statistics all the same, but not through a UNION.
    """
    name = generate(alias.this)
    conjuncts = " AND ".join(f"({generate(conjunct)})" for conjunct in fence.conjuncts)
    where = f" WHERE {conjuncts}" if conjuncts else ""
    union = blindfold(columns) if fence.blind else ""
    return f"SELECT * FROM ({text}) AS {name}{where}{union} OFFSET 0"


def blindfold(columns: int) -> str:
    """What follows a SELECT of that many columns to keep the planner from its statistics: no row more."""
    return f" UNION ALL SELECT {', '.join(['NULL'] * columns)} WHERE false"


def unqualify_columns(nodes: Iterable[exp.Expr], references: Sequence[Reference]) -> frozenset[int]:
    """Spell ``bank.customers.email`` as ``customers.email``: a derived table has no schema.

    Gives the identities of the column nodes so changed.

    Raises UnsupportedConstruct where two relations of the same name, from different schemas, stand unaliased.
    """
    unaliased = [reference for reference in references if reference.table.args.get("alias") is None]
    count = Counter(name for name in {reference.relation.name for reference in unaliased})
    names = Counter(name.name for name in count)
    changed = set()
    for column in nodes:
        if not isinstance(column, exp.Column):
            continue
        schema = column.args.get("db")
        if schema is None:
            continue
        table = column.args["table"].name
        if names[table] != 1 or not any((name.schema, name.name) == (schema.name, table) for name in count):
            raise UnsupportedConstruct(
                f"a column named with its schema ({schema.name}.{table}); give the table an alias"
            )
        column.set("db", None)
        column.set("catalog", None)
        changed.add(id(column))
    return frozenset(changed)
