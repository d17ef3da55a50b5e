"""The passes over one statement, in their order: parse, expand views, guard every base reference, render."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sqlglot import exp

from datagate.model.catalog import Catalog, Relation
from datagate.model.fragment import Binding, Fragment
from datagate.model.guard import Guard
from datagate.model.lookup import Lookup
from datagate.model.names import RelationName
from datagate.sql.dialect import generate, parse_canonical
from datagate.sql.freshness import checked, is_limited
from datagate.sql.group_by import extend_group_by
from datagate.sql.guard import Numbering, place_guards, unqualify_columns
from datagate.sql.inventory import Reference
from datagate.sql.leakproof import Assumption
from datagate.sql.leaks import find_fences
from datagate.sql.lookups import condition_lookups, find_lookups, held_columns, relations_in_literals
from datagate.sql.narrow import named_columns
from datagate.sql.views import Seen, Sight, expand_views


@dataclass(frozen=True, slots=True)
class Engine:
    """What the passes ask of a backend.

    ``spell``: a binding as the n-th parameter. ``lookups``: functions that look objects up by OID.
    """

    spell: Callable[[Binding, int], str]
    lookups: Mapping[str, Lookup]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the passes ask of the gate: ``sight`` of each relation, and the ``guard`` of those that have one.

    ``check``: an OFFSET that raises where the caller's rights are no longer those that were read; None where the gate
    looks for itself before each statement.
    """

    catalog: Catalog
    sight: Sight
    guard: Callable[[Relation], Guard]
    check: Fragment | None = None


@dataclass(frozen=True, slots=True)
class Rewritten:
    """The final text, the bindings of its parameters after the caller's own, and what it was made of.

    ``guards``: the guard body prescribed for each base relation, with the final parameter numbers. ``fenced``:
    relations of which some reference stands behind a fence. ``assumptions``: what must hold of the caller's parameters
    for the text to be leak-safe. ``check``: the check that stands above the query, None where it reads no relation.
    """

    text: str
    bindings: tuple[Binding, ...]
    guards: Mapping[RelationName, str]
    fenced: frozenset[RelationName]
    assumptions: frozenset[Assumption]
    check: str | None


def rewrite(text: str, caller_parameters: int, engine: Engine, around: Surroundings, *, assuming: bool) -> Rewritten:
    """Rewrite one query, a text that the engine's own parser has read.

    Raises NotCarried where sqlglot does not carry the text, UndefinedRelation and UnsupportedConstruct.
    """
    tree = parse_canonical(text)
    references = expand_views(
        root := exp.Subquery(this=tree),
        around.catalog,
        parse_canonical,
        around.sight,
    )
    nodes = tuple(root.walk())
    calls = find_lookups(nodes, engine.lookups)
    named = named_columns(
        nodes, references, frozenset(column for _, lookup in calls for column in held_columns(lookup))
    )
    guards = {reference.relation.oid: _narrowed(around.guard(reference.relation), named) for reference in references}
    numbering = Numbering(caller_parameters, engine.spell)
    bodies = {
        reference.relation.name: numbering.text(guards[reference.relation.oid].body()) for reference in references
    }
    for _, lookup in calls:
        if lookup.relation not in bodies:
            catalog = _narrowed(around.guard(around.catalog.relations[lookup.relation]), named)
            bodies[lookup.relation] = numbering.text(catalog.body())
    for relation in relations_in_literals(nodes, around.catalog):
        if around.sight(relation) is Seen.GUARDED and relation.name not in bodies:
            # Only named, never read: its guard tells the verifier that it may be named, and binds nothing.
            bodies[relation.name] = Numbering(caller_parameters, engine.spell).text(around.guard(relation).body())
    respelled = unqualify_columns(nodes, references)
    extend_group_by(nodes, references, guards)
    fences, assumptions = find_fences(root, references, guards, respelled, assuming=assuming)
    place_guards(references, guards, fences, numbering)
    condition_lookups(calls, bodies)
    text = generate(root.this)
    check = numbering.text(around.check) if around.check is not None and bodies else None
    return Rewritten(
        text=text if check is None else checked(text, check, limited=is_limited(root.this)),
        bindings=numbering.bindings,
        guards=bodies,
        fenced=frozenset(_names(fences)),
        assumptions=assumptions,
        check=check,
    )


def _narrowed(guard: Guard, named: frozenset[str] | None) -> Guard:
    return guard if named is None else guard.narrowed(named)


def _names(references: Mapping[Reference, object]) -> set[RelationName]:
    return {reference.relation.name for reference in references}
