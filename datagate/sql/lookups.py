"""Calls that look a catalog object up by its OID: made conditional on the OID being in the caller's sight."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sqlglot import exp

from datagate.model.catalog import Catalog, Relation
from datagate.model.lookup import Lookup
from datagate.model.names import RelationName
from datagate.sql.dialect.nodes import Call, GuardText, RawString, TypeName

_PURE = (exp.Column, exp.Identifier, exp.Literal, exp.Parameter, exp.Cast, TypeName, exp.Paren, exp.Bracket, exp.Null)


def find_lookups(nodes: Iterable[exp.Expr], lookups: Mapping[str, Lookup]) -> list[tuple[exp.Expression, Lookup]]:
    """The calls of such functions, and casts to such types, whose OID is the same when it is computed twice.

    Others are left as they are, and the verifier refuses them.
    """
    found: list[tuple[exp.Expression, Lookup]] = []
    for node in nodes:
        if not isinstance(node, Call | exp.Cast):
            continue
        lookup = _lookup(node, lookups)
        if lookup is None:
            continue
        held = _held(node, lookup)
        if held and all(isinstance(part, _PURE) for expression in held for part in expression.walk()):
            found.append((node, lookup))
    return found


def _lookup(node: exp.Expression, lookups: Mapping[str, Lookup]) -> Lookup | None:
    if isinstance(node, Call):
        return lookups.get(node.name) if node.schema in (None, "pg_catalog") else None
    target = node.args["to"]
    if not isinstance(target, TypeName) or target.args.get("dimensions") or target.schema not in (None, "pg_catalog"):
        return None
    return lookups.get(f"::{target.internal}")


def _oid(node: exp.Expression, lookup: Lookup) -> exp.Expression | None:
    """What is looked up; None where a literal names it."""
    if isinstance(node, Call):
        return node.expressions[lookup.argument] if lookup.argument < len(node.expressions) else None
    inner: exp.Expression = node.this
    return None if isinstance(inner, exp.Literal | exp.Parameter | RawString) else inner


def held_columns(lookup: Lookup) -> tuple[str, ...]:
    """The columns of the catalog that must hold the arguments."""
    return (lookup.column, lookup.also[1]) if lookup.also is not None else (lookup.column,)


def _held(node: exp.Expression, lookup: Lookup) -> list[exp.Expression]:
    """The arguments that the catalog must hold; none where one of them is missing."""
    oid = _oid(node, lookup)
    if oid is None or lookup.also is None:
        return [] if oid is None else [oid]
    place, _ = lookup.also
    return [oid, node.expressions[place]] if place < len(node.expressions) else []


def condition_lookups(calls: list[tuple[exp.Expression, Lookup]], bodies: Mapping[RelationName, str]) -> None:
    """Put each call inside a CASE, in place; ``bodies`` has the guard of each catalog.

    The call stands as ELSE, from which PostgreSQL takes the name of an output column that has none.
    """
    for call, lookup in reversed(calls):
        name = exp.Identifier(this=lookup.relation.name, quoted=True)
        catalog = exp.Subquery(this=GuardText(this=bodies[lookup.relation]), alias=exp.TableAlias(this=name))
        columns = [
            exp.Column(this=exp.Identifier(this=column, quoted=True), table=name.copy())
            for column in held_columns(lookup)
        ]
        query = exp.Select(expressions=columns, from_=exp.From(this=catalog))
        replacement, held = call, _held(call, lookup)
        if not held:
            continue
        tested = [each.copy() for each in held]
        within = exp.In(this=tested[0] if len(tested) == 1 else exp.Tuple(expressions=tested), query=query)
        hidden = exp.Is(this=exp.Paren(this=within), expression=exp.Boolean(this=True), negate=True)
        case = exp.Case(ifs=[exp.If(this=hidden, true=exp.Null())], default=replacement.copy())
        call.replace(case)


def relations_in_literals(nodes: Iterable[exp.Expr], catalog: Catalog) -> list[Relation]:
    """The relations that literals cast to regclass name, where they name one plainly."""
    found = []
    for cast in nodes:
        if not isinstance(cast, exp.Cast):
            continue
        target, literal = cast.to, cast.this
        if not isinstance(target, TypeName) or target.internal != "regclass" or not isinstance(literal, exp.Literal):
            continue
        schema, _, name = str(literal.this).rpartition(".")
        relation = catalog.resolve(schema or None, name)
        if relation is not None:
            found.append(catalog.relations[relation])
    return found
