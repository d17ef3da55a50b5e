"""Statements that are no plain queries: those that carry one, and those about the session."""

from __future__ import annotations

from collections.abc import Callable

from datagate.backends.postgres.literals import with_literals
from datagate.backends.postgres.prepared import Prepared
from datagate.backends.postgres.statements import (
    EXPLAIN_ANALYZE,
    ReadStatement,
    StatementKind,
    needed,
    word_of,
)
from datagate.backends.postgres.wrappers import CopiedTable, Wrapper, WrapperKind, put_together
from datagate.errors import UnsupportedConstruct
from datagate.gate.admitted import Admitted, Explained
from datagate.gate.kept import Kept
from datagate.gate.rights import Rights
from datagate.sql.inventory import undefined_relation

Explain = Callable[[str], Explained]
"""Takes a query's text down the road."""

_EXPLAINED = (
    "SELECT * FROM datagate.explained($1::pg_catalog.text, $2::pg_catalog.text[], $3::pg_catalog.text,"
    ' $4::pg_catalog.bool) AS "QUERY PLAN"'
)


def explain_wrapper(wrapper: Wrapper, rights: Rights, kept: Kept, explain: Explain) -> Explained:
    """What is sent for a statement with a query inside."""
    inner = _copied(wrapper.table, rights) if wrapper.table is not None else wrapper.inner
    explained = explain(inner)
    admitted = explained.admitted
    if wrapper.kind is WrapperKind.PREPARE:
        kept.prepare(wrapper.name, Prepared(wrapper.inner, wrapper.types))
        return _as(explained, put_together(_untyped(wrapper), "SELECT"), ())
    if wrapper.takes_parameters:
        if wrapper.kind is not WrapperKind.DECLARE:
            # A cursor is noted by the session, with what each FETCH from it is held to.
            kept.temporary[wrapper.name] = rights.caller
        return _as(explained, put_together(wrapper, admitted.text), admitted.parameters, admitted)
    if admitted.caller_parameters:
        raise UnsupportedConstruct(f"{wrapper.kind.value} with parameters; write the values into the query")
    first = admitted.caller_parameters + 1
    text = with_literals(admitted.text, first, dict(enumerate(admitted.parameters, first)))
    if wrapper.kind is WrapperKind.EXPLAIN:
        return _as(explained, _EXPLAINED, _plan_parameters(wrapper, rights, explained, text))
    return _as(explained, put_together(wrapper, text), (), copies=True)


def session_statement(text: str, statement: ReadStatement, rights: Rights, kept: Kept) -> Explained:
    """What is sent for a statement about the session; UnsupportedConstruct for one that would have to be granted."""
    if statement.needs is not None and not rights.may_run(statement.needs):
        raise needed(statement.needs, word_of(text))
    if any(name not in kept.temporary for name in statement.dropped):
        raise UnsupportedConstruct("DROP TABLE is not passed on, but for temporary tables of this session")
    kept.forget(statement)
    sent = statement.canonical
    if statement.dropped:
        sent = "DROP TABLE " + ", ".join(f'pg_temp."{name}"' for name in statement.dropped)
    return Explained(Admitted(StatementKind.SESSION, sent, (), 0, frozenset()), (), (), "session")


def _as(
    explained: Explained,
    text: str,
    parameters: tuple[object, ...],
    inner: Admitted | None = None,
    *,
    copies: bool = False,
) -> Explained:
    admitted = Admitted(
        StatementKind.WRAPPER,
        text,
        parameters,
        inner.caller_parameters if inner is not None else 0,
        inner.assumptions if inner is not None else frozenset(),
        copies=copies,
        consents=explained.admitted.consents,
    )
    return Explained(admitted, explained.bindings, explained.decisions, explained.rendering)


def _untyped(wrapper: Wrapper) -> Wrapper:
    """PREPARE without its types: what the server keeps under the name is empty, EXECUTE never reaches it."""
    ((node, body),) = wrapper.tree.items()
    tree = {node: {field: value for field, value in body.items() if field != "argtypes"}}
    return Wrapper(wrapper.kind, wrapper.inner, wrapper.name, tree)


def _copied(table: CopiedTable, rights: Rights) -> str:
    """The query that COPY of a table means: its visible columns that are not generated, of its own rows."""
    catalog = rights.shared.catalog
    name = catalog.resolve(table.schema, table.name)
    relation = catalog.relations[name] if name is not None else None
    visible = rights.visible_columns(relation) if relation is not None else frozenset()
    if relation is None or not visible:
        raise undefined_relation(table.schema, table.name)
    plain = [column.name for column in relation.columns if column.name in visible and not column.generated]
    columns = ", ".join(_quoted(column) for column in (plain if table.columns is None else table.columns))
    source = f"{_quoted(relation.name.schema)}.{_quoted(relation.name.name)}"
    return f"SELECT {columns} FROM ONLY {source}"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _plan_parameters(wrapper: Wrapper, rights: Rights, explained: Explained, text: str) -> tuple[object, ...]:
    """The query, the relations that may be named in its plan, the format, and whether it runs."""
    if not rights.shared.state_within:
        raise UnsupportedConstruct("EXPLAIN needs the schema datagate in the same database; run `datagate init` there")
    wanted = wrapper.options.get("format", "text")
    if wanted not in ("text", "json"):
        raise UnsupportedConstruct(f"EXPLAIN in format {wanted}; text and json are carried")
    analyze = wrapper.options.get("analyze", "off") in ("on", "true", "1")
    if analyze and not rights.may_run(EXPLAIN_ANALYZE):
        raise needed(EXPLAIN_ANALYZE, "EXPLAIN ANALYZE")
    named = tuple(str(decision.relation) for decision in explained.decisions)
    return (text, named, wanted, analyze)
