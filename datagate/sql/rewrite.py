"""The passes over one statement, in their order: parse, expand views, guard every base reference, render."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from sqlglot import exp

from datagate.model.catalog import Catalog, Relation
from datagate.model.fragment import Binding, Fragment
from datagate.model.guard import Guard, Target, TargetKey, TargetTexts
from datagate.model.lookup import Lookup
from datagate.model.names import RelationName
from datagate.sql.dialect import generate, parse_canonical
from datagate.sql.dialect.nodes import Write
from datagate.sql.freshness import checked, is_limited
from datagate.sql.group_by import extend_group_by
from datagate.sql.guard import Numbering, place_guards, unqualify_columns
from datagate.sql.inventory import Reference
from datagate.sql.knowledge import Assumption
from datagate.sql.leaks import find_fences
from datagate.sql.locks import locked_relations
from datagate.sql.lookups import condition_lookups, find_lookups, held_columns, relations_in_literals
from datagate.sql.narrow import named_columns
from datagate.sql.placing import place_targets
from datagate.sql.targets import Aim, hold_writes
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
    """What the passes ask of the gate: ``sight`` of each relation, the ``guard`` of those that have one.

    ``aim``: what a write is held to. ``lock``: Refused where the caller may not lock rows of a relation.
    ``check``: an OFFSET that raises where the caller's rights are no longer those that were read; None where the gate
    looks for itself before each statement.
    """

    catalog: Catalog
    sight: Sight
    guard: Callable[[Relation], Guard]
    aim: Aim
    lock: Callable[[Relation], None]
    check: Fragment | None = None


@dataclass(frozen=True, slots=True)
class Rewritten:
    """The final text, the bindings of its parameters after the caller's own, and what it was made of.

    ``guards``: the guard body prescribed for each base relation, with the final parameter numbers. ``fenced``:
    relations of which some reference stands behind a fence. ``assumptions``: what must hold of the caller's parameters
    for the text to be leak-safe. ``check``: the check that stands above the query, None where it reads no relation.
    ``targets``: what each write is held to, as texts. ``shows_rows``: False where rows come back that the caller did
    not ask for, which are the rewriting's own.
    """

    text: str
    bindings: tuple[Binding, ...]
    guards: Mapping[RelationName, str]
    fenced: frozenset[RelationName]
    assumptions: frozenset[Assumption]
    check: str | None
    targets: Mapping[TargetKey, TargetTexts] = field(default_factory=dict)
    shows_rows: bool = True


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
    for relation in locked_relations(nodes, references):
        around.lock(relation)
    calls = find_lookups(nodes, engine.lookups)
    named = named_columns(
        nodes, references, frozenset(column for _, lookup in calls for column in held_columns(lookup))
    )
    reads = [reference for reference in references if not reference.written]
    written = {reference.relation.oid for reference in references if reference.written}
    guards = {
        reference.relation.oid: _narrowed(
            around.guard(reference.relation), None if reference.relation.oid in written else named
        )
        for reference in references
    }
    numbering = Numbering(caller_parameters, engine.spell)
    bodies = {reference.relation.name: numbering.text(guards[reference.relation.oid].body()) for reference in reads}
    for _, lookup in calls:
        if lookup.relation not in bodies:
            catalog = _narrowed(around.guard(around.catalog.relations[lookup.relation]), named)
            bodies[lookup.relation] = numbering.text(catalog.body())
    named_views = False
    for relation in relations_in_literals(nodes, around.catalog):
        named_views |= around.sight(relation) is Seen.EXPANDED
        if around.sight(relation) is Seen.GUARDED and relation.name not in bodies:
            # Only named, never read: its guard tells the verifier that it may be named, and binds nothing.
            bodies[relation.name] = Numbering(caller_parameters, engine.spell).text(around.guard(relation).body())
    respelled = unqualify_columns(nodes, references)
    extend_group_by(nodes, reads, guards)
    held = hold_writes(root, references, guards, around.aim)
    asked = not held or not isinstance(root.this, Write) or held[-1].returning
    fences, assumptions = find_fences(root, references, guards, respelled, assuming=assuming)
    place_guards(reads, guards, fences, numbering)
    condition_lookups(calls, bodies)
    check = numbering.text(around.check) if around.check is not None and (bodies or held or named_views) else None
    place_targets(held, fences, numbering, around.check, around.catalog.server_version)
    text = generate(root.this)
    if check is not None and not isinstance(root.this, Write):
        text = checked(text, check, limited=is_limited(root.this))
    return Rewritten(
        text=text,
        bindings=numbering.bindings,
        guards=bodies,
        fenced=frozenset(_names(fences)),
        assumptions=assumptions,
        check=check,
        targets={key: _texts(target, numbering) for one in held for key, target in one.targets.items()},
        shows_rows=asked or root.this.args.get("returning") is None,
    )


def _texts(target: Target, numbering: Numbering) -> TargetTexts:
    def text(fragment: Fragment | None) -> str | None:
        return numbering.text(fragment) if fragment is not None else None

    return TargetTexts(
        guard=numbering.text(target.guard.body()),
        touch=text(target.touch),
        check=text(target.check),
        refusal=numbering.text(target.refusal),
        ahead=target.ahead,
        settled=target.settled,
    )


def _narrowed(guard: Guard, named: frozenset[str] | None) -> Guard:
    return guard if named is None else guard.narrowed(named)


def _names(references: Mapping[Reference, object]) -> set[RelationName]:
    return {reference.relation.name for reference in references}
