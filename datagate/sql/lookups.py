"""Calls that look a catalog object up by its OID: made conditional on the OID being in the caller's sight."""

from __future__ import annotations

from collections.abc import Mapping

from sqlglot import exp

from datagate.model.catalog import Catalog, Relation
from datagate.model.lookup import Lookup
from datagate.model.names import RelationName
from datagate.sql.dialect.nodes import Call, GuardText, TypeName

_PURE = (exp.Column, exp.Identifier, exp.Literal, exp.Parameter, exp.Cast, TypeName, exp.Paren, exp.Bracket, exp.Null)


def find_lookups(tree: exp.Expression, lookups: Mapping[str, Lookup]) -> list[tuple[Call, Lookup]]:
    """The calls of such functions, innermost last, whose OID argument is the same when it is computed twice.

    Others are left as they are, and the verifier refuses their function.
    """
    found = []
    for call in tree.find_all(Call):
        lookup = lookups.get(call.name)
        if lookup is None or call.schema not in (None, "pg_catalog") or len(call.expressions) <= lookup.argument:
            continue
        if all(isinstance(node, _PURE) for node in call.expressions[lookup.argument].walk()):
            found.append((call, lookup))
    return found


def condition_lookups(calls: list[tuple[Call, Lookup]], bodies: Mapping[RelationName, str]) -> None:
    """Put each call inside a CASE, in place; ``bodies`` has the guard of each catalog."""
    for call, lookup in reversed(calls):
        name = exp.Identifier(this=lookup.relation.name, quoted=True)
        catalog = exp.Subquery(this=GuardText(this=bodies[lookup.relation]), alias=exp.TableAlias(this=name))
        column = exp.Column(this=exp.Identifier(this=lookup.column, quoted=True), table=name.copy())
        query = exp.Select(expressions=[column], from_=exp.From(this=catalog))
        condition = exp.In(this=call.expressions[lookup.argument].copy(), query=query)
        case = exp.Case(ifs=[exp.If(this=condition, true=call.copy())])
        call.replace(case)


def relations_in_literals(tree: exp.Expression, catalog: Catalog) -> list[Relation]:
    """The relations that literals cast to regclass name, where they name one plainly."""
    found = []
    for cast in tree.find_all(exp.Cast):
        target, literal = cast.to, cast.this
        if not isinstance(target, TypeName) or target.internal != "regclass" or not isinstance(literal, exp.Literal):
            continue
        schema, _, name = str(literal.this).rpartition(".")
        relation = catalog.resolve(schema or None, name)
        if relation is not None:
            found.append(catalog.relations[relation])
    return found
