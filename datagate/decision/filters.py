"""Row filters are built so that equal meaning gives equal shape in common cases.

All laws here are about truth alone (NULL is false), since a filter is only ever asked whether it is true.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from datagate.model.decision import FALSE, TRUE, AllOf, AnyOf, ConsentLive, Decision, Filter, RefersTo, Where
from datagate.model.names import Purpose


def implies(strong: Filter, weak: Filter) -> bool:
    """Whether ``weak`` is provably true wherever ``strong`` is; False where it cannot be told.

    Two predicates are one where their text and bindings are, whichever rule they stand in.

    >>> implies(FALSE, TRUE), implies(TRUE, FALSE)
    (True, False)
    """
    if strong is weak or strong == weak:
        return True
    if isinstance(weak, AllOf):
        return all(implies(strong, part) for part in weak.parts)
    if isinstance(strong, AnyOf):
        return all(implies(part, weak) for part in strong.parts)
    if isinstance(weak, AnyOf) and any(implies(strong, part) for part in weak.parts):
        return True
    if isinstance(strong, AllOf):
        return any(implies(part, weak) for part in strong.parts)
    if isinstance(strong, Where) and isinstance(weak, Where):
        return strong.predicate.text == weak.predicate.text and strong.bindings == weak.bindings
    if isinstance(strong, ConsentLive) and isinstance(weak, ConsentLive):
        narrower = set(weak.tags) <= set(strong.tags) and set(weak.recipients) <= set(strong.recipients)
        return narrower and _same_answer(strong, weak)
    if isinstance(strong, RefersTo) and isinstance(weak, RefersTo):
        same_row = strong.relation == weak.relation and strong.on == weak.on
        return same_row and implies(strong.filter, weak.filter)
    return False


def all_of(*parts: Filter) -> Filter:
    """The conjunction: flat, without parts that another part implies."""
    kept: list[Filter] = []
    for part in parts:
        for conjunct in _conjuncts(part):
            if isinstance(conjunct, ConsentLive):
                conjunct, kept = _as_one(conjunct, kept)
            if any(implies(other, conjunct) for other in kept):
                continue
            kept = [other for other in kept if not implies(conjunct, other)]
            kept.append(conjunct)
    return kept[0] if len(kept) == 1 else AllOf(tuple(kept))


def any_of(*parts: Filter) -> Filter:
    """The disjunction: flat, without parts that imply another, with what all parts share set before it.

    Sharing matters: an engine can run ``(a OR b) AND consent`` as a semi-join, ``a AND consent OR b AND consent``
    it cannot.
    """
    kept: list[Filter] = []
    for part in parts:
        for disjunct in part.parts if isinstance(part, AnyOf) else (part,):
            if any(implies(disjunct, other) for other in kept):
                continue
            kept = [other for other in kept if not implies(other, disjunct)]
            kept.append(disjunct)
    if len(kept) == 1:
        return kept[0]
    # A part of one conjunct that all others share would have taken them in above.
    shareable = bool(kept) and all(isinstance(part, AllOf) for part in kept)
    shared = [conjunct for conjunct in _conjuncts(kept[0]) if _in_every(conjunct, kept)] if shareable else []
    if not shared:
        return AnyOf(tuple(kept))
    rest = (all_of(*(own for own in _conjuncts(part) if not _alike_any(own, shared))) for part in kept)
    return all_of(*shared, any_of(*rest))


def binding_names(condition: Filter) -> Iterator[str]:
    """The names of all bindings that a filter needs, in order, repeats included."""
    match condition:
        case Where():
            for _, name in condition.bindings:
                yield name
        case RefersTo():
            yield from binding_names(condition.filter)
        case AllOf() | AnyOf():
            for part in condition.parts:
                yield from binding_names(part)
        case ConsentLive():
            yield from condition.recipients


def consent_purposes(decision: Decision) -> Iterator[Purpose]:
    """The purposes whose consents a decision's filters read, repeats included."""
    yield from _purposes(decision.filter)
    for column in decision.columns:
        for case in column.cases:
            yield from _purposes(case.when)
    for write in decision.writes:
        yield from _purposes(write.when)


def _purposes(condition: Filter) -> Iterator[Purpose]:
    match condition:
        case ConsentLive():
            yield from condition.purposes
        case RefersTo():
            yield from _purposes(condition.filter)
        case AllOf() | AnyOf():
            for part in condition.parts:
                yield from _purposes(part)
        case Where():
            return


def _same_answer(one: ConsentLive, other: ConsentLive) -> bool:
    return (one.column, one.purposes) == (other.column, other.purposes)


def _as_one(consent: ConsentLive, others: list[Filter]) -> tuple[ConsentLive, list[Filter]]:
    """The consent with those that ask about the same answer in it, and the rest: one look-up says all of them."""
    rest: list[Filter] = []
    for other in others:
        if isinstance(other, ConsentLive) and _same_answer(consent, other):
            tags = tuple(sorted({*consent.tags, *other.tags}))
            recipients = tuple(sorted({*consent.recipients, *other.recipients}))
            consent = replace(consent, tags=tags, recipients=recipients)
        else:
            rest.append(other)
    return consent, rest


def _conjuncts(condition: Filter) -> tuple[Filter, ...]:
    return condition.parts if isinstance(condition, AllOf) else (condition,)


def _alike_any(condition: Filter, others: list[Filter]) -> bool:
    return any(implies(condition, other) and implies(other, condition) for other in others)


def _in_every(conjunct: Filter, parts: list[Filter]) -> bool:
    return all(_alike_any(conjunct, list(_conjuncts(part))) for part in parts)


__all__ = ["FALSE", "TRUE", "all_of", "any_of", "binding_names", "consent_purposes", "implies"]
