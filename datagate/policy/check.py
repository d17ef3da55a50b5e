"""Policies against the real catalog: relations and columns, the types that masks give, the functions in predicates."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from itertools import combinations
from typing import Protocol

from datagate.errors import Problem
from datagate.model.catalog import Catalog, Relation, RelationKind
from datagate.model.mask import Mask, MaskKind
from datagate.model.policy import Effect, PolicySet, Predicate, PurposeTree, RelationPolicy, Rule, Scope
from datagate.model.source import SourceRef
from datagate.policy.predicate import PredicateReader
from datagate.policy.report import suggestion


class MaskTypes(Protocol):
    """Says which SQL type a mask gives on an engine."""

    def result_type(self, mask: Mask, column_type: str) -> str:
        """The type of the masked value; ValueError, saying why, if the mask does not fit the type."""
        ...


def check_catalog(policies: PolicySet, catalog: Catalog) -> list[Problem]:
    """Relations and columns that policies name and the database lacks, and columns that are new in the database."""
    problems: list[Problem] = []
    for policy in policies.relations.values():
        relation = catalog.relations.get(policy.relation)
        if relation is None or relation.kind is RelationKind.SEQUENCE:
            known = [str(name) for name in catalog.relations if name.schema == policy.relation.schema]
            near = suggestion(str(policy.relation), known, "there")
            problems.append(Problem(policy.source, f"the database has no relation {policy.relation}; {near}"))
            continue
        own = [column for column, _ in policy.columns]
        there = [column.name for column in relation.columns]
        for column in own:
            if column not in there:
                near = suggestion(column, [name for name in there if name not in own] or there, "there")
                what = f"the database has no column {column!r} in {policy.relation}; {near}"
                problems.append(Problem(policy.source, what))
        for column in there:
            if column not in own:
                what = f"column {column!r} of {policy.relation} has no tag; add it under columns"
                problems.append(Problem(policy.source, what))
    return sorted(problems)


def check_types(policies: PolicySet, catalog: Catalog, masks: MaskTypes) -> list[Problem]:
    """Masks that do not fit their column's type, and rules that could show one caller two types of a column."""
    problems: dict[Problem, None] = {}
    for policy in policies.relations.values():
        relation = catalog.relations.get(policy.relation)
        if relation is not None:
            checker = _TypeChecker(policies, policy, relation, masks)
            problems.update(dict.fromkeys(checker.problems()))
    return sorted(problems)


class _TypeChecker:
    """Follows each column of one relation through the rules that can meet in one decision."""

    def __init__(self, policies: PolicySet, policy: RelationPolicy, relation: Relation, masks: MaskTypes) -> None:
        self._policies = policies
        self._policy = policy
        self._relation = relation
        self._masks = masks

    def problems(self) -> Iterator[Problem]:
        for column, _ in self._policy.columns:
            found = self._relation.column(column)
            if found is not None:
                yield from self._column(column, found.base_type)

    def _column(self, column: str, raw: str) -> Iterator[Problem]:
        tree = self._policies.purposes
        shown: list[tuple[Rule, str]] = []
        for rule in self._policy.rules:
            if rule.effect is Effect.PERMIT and column in rule.show:
                given = yield from self._applied(column, rule.mask(column), raw)
                if given is not None:
                    shown.append((rule, given))
        for (first, one), (second, other) in combinations(shown, 2):
            if one != other and can_meet(first, second, tree):
                place = second.mask(column)
                yield Problem(
                    place.source if place else second.source,
                    f"{self._policy.relation}.{column} would be {other} here and {one} by {first.name} "
                    f"({first.source}) for one caller; use masks of one type, or part the rules by purpose",
                )
        narrowing = [rule for rule in self._policy.rules if rule.effect is Effect.RESTRICT and rule.mask(column)]
        if any(scope.intersect_actor and self._policy.relation in scope.relations for scope in self._scopes()):
            # The actor's own permits narrow the principal's, as restricts do.
            narrowing = [*(rule for rule, _ in shown if rule.mask(column)), *narrowing]
        for permit, given in shown:
            met = [rule for rule in narrowing if rule is not permit and can_meet(permit, rule, tree)]
            for rule in met:
                after = yield from self._applied(column, rule.mask(column), given)
                for later in met[met.index(rule) + 1 :]:
                    if after is not None and can_meet(rule, later, tree):
                        yield from self._applied(column, later.mask(column), after)

    def _scopes(self) -> Iterable[Scope]:
        return self._policies.scopes.values()

    def _applied(self, column: str, mask: Mask | None, given: str) -> Generator[Problem, None, str | None]:
        """The type after a mask, as the generator's value; None, with the problem yielded, if it does not fit."""
        if mask is None or mask.kind is MaskKind.HIDE:
            return given
        try:
            return self._masks.result_type(mask, given)
        except ValueError as error:
            what = f"{self._policy.relation}.{column} is {given}: {error}"
            yield Problem(mask.source, what)
            return None


def can_meet(first: Rule, second: Rule, purposes: PurposeTree) -> bool:
    """Whether two rules can be in play for one caller.

    A principal may have any roles, so ``to`` parts nothing; a caller has one purpose, one kind of actor and one
    mandate.
    """
    if first.purposes and second.purposes:
        lineages = (frozenset(purposes.chain(purpose)) for purpose in purposes.parents)
        if not any(lineage & first.purposes and lineage & second.purposes for lineage in lineages):
            return False
    one, other = first.when, second.when
    if one.actor_kinds is not None and other.actor_kinds is not None and not one.actor_kinds & other.actor_kinds:
        return False
    if one.scopes is not None and other.scopes is not None and not one.scopes & other.scopes:
        return False
    return _delegated(first) is None or _delegated(second) is None or _delegated(first) is _delegated(second)


def _delegated(rule: Rule) -> bool | None:
    return True if rule.when.scopes is not None else rule.when.delegated


def check_functions(policies: PolicySet, catalog: Catalog, reader: PredicateReader) -> list[Problem]:
    """Functions in predicates and sql masks that are neither the engine's pure ones nor known to the database."""
    problems: dict[Problem, None] = {}
    for text, source in _expressions(policies):
        for function in reader.read(text).functions:
            schema, _, name = function.rpartition(".")
            if schema in {"", "pg_catalog"}:
                if name not in catalog.functions:
                    what = f"function {name!r} is not a pure built-in one; {suggestion(name, catalog.functions)}"
                    problems[Problem(source, what)] = None
            elif name not in catalog.user_functions:
                what = f"the database has no function {function!r}; {suggestion(name, catalog.user_functions)}"
                problems[Problem(source, what)] = None
    return sorted(problems)


def _expressions(policies: PolicySet) -> Iterator[tuple[str, SourceRef]]:
    for policy in policies.relations.values():
        for rule in policy.rules:
            if isinstance(rule.rows, Predicate):
                yield rule.rows.text, rule.rows.source
            for _, mask in rule.masks:
                expression = mask.option("expression")
                if isinstance(expression, str):
                    yield expression, mask.source
    for scope in policies.scopes.values():
        for part in scope.relations.values():
            if part.rows is not None:
                yield part.rows.text, part.rows.source
