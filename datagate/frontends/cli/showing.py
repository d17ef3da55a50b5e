"""What somebody has at an instant: the commands ``show`` and ``tree`` of entitlements, consents, mandates and callers.

They hang on the groups of `datagate.frontends.cli.state` and `datagate.frontends.cli.lifecycle`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated, Any

import typer

from datagate.errors import StateError
from datagate.frontends.cli.lifecycle import MandateId, Party, caller
from datagate.frontends.cli.options import At, Format, FormatOption, OptionalDsn, State, Words, instant, store, words
from datagate.frontends.cli.results import JsonText, Names, print_records, printable
from datagate.frontends.cli.state import DataSubject, PrincipalId, consent, entitle, mandate
from datagate.model.facts import Mandate
from datagate.model.names import Purpose
from datagate.model.policy import PurposeTree
from datagate.stores import StateStore
from datagate.stores.encoding import encode, encode_parameters
from datagate.stores.records import Consent, Entitlement

_Opened = tuple[StateStore, datetime | None, datetime]

__all__ = ["caller", "consent", "entitle", "mandate"]

_IN_FORCE = "in force"
_LINES = ("what", "name", "value", "valid_from", "valid_until", "state")


@entitle.command("show")
def show_entitlements(
    principal: PrincipalId,
    dsn: OptionalDsn = None,
    state: State = None,
    at: At = None,
    format_: FormatOption = Format.TABLE,
) -> None:
    """Show a principal's roles and attributes, and which are in force."""
    with _store(dsn, state, at) as (found, past, when):
        granted = found.list_entitlements(principal, at=past)
    if not granted:
        raise StateError(f"{principal} has no roles and no attributes")
    print_records(_LINES, [_line(each, when) for each in granted], format_)


@consent.command("show")
def show_consents(
    data_subject: DataSubject,
    dsn: OptionalDsn = None,
    state: State = None,
    at: At = None,
    format_: FormatOption = Format.TABLE,
) -> None:
    """Show a data subject's answers, and which are in force."""
    answers, when = _answers(data_subject, dsn, state, at)
    if not answers:
        raise StateError(f"{data_subject} has answered nothing")
    records = [
        (
            purpose,
            "yes" if each.granted else "no",
            each.valid_from,
            each.valid_until,
            None if each.categories is None else Names(each.categories),
            None if each.recipients is None else Names(each.recipients),
            each.evidence,
            _validity(each.valid_from, each.valid_until, when),
        )
        for purpose, each in answers.items()
    ]
    names = ("purpose", "answer", "valid_from", "valid_until", "categories", "recipients", "evidence", "state")
    print_records(names, records, format_)


@consent.command("tree")
def consent_tree(
    data_subject: DataSubject,
    policies: Words = None,
    dsn: OptionalDsn = None,
    state: State = None,
    at: At = None,
    format_: FormatOption = Format.TABLE,
) -> None:
    """Show the purposes of the policies, and what a data subject's answers mean for each: the nearest one counts."""
    known = words(policies)
    if known is None:
        raise typer.BadParameter("the purposes stand in the policies: say where they are", param_hint="--policies")
    answers, when = _answers(data_subject, dsn, state, at)
    lines = [
        (len(known.purposes.chain(purpose)) - 1, purpose, *_meaning(known.purposes, purpose, answers, when))
        for purpose in _in_order(known.purposes, None)
    ]
    if format_ is not Format.TABLE:
        print_records(("depth", "purpose", "answer", "from"), lines, format_)
        return
    for depth, purpose, answer, source in lines:
        inherited = f", by the answer for {source}" if source not in (None, purpose) else ""
        print(f"{'  ' * depth}{printable(purpose)}  {answer}{printable(inherited)}")


@mandate.command("show")
def show_mandate(
    mandate_id: MandateId,
    dsn: OptionalDsn = None,
    state: State = None,
    at: At = None,
    format_: FormatOption = Format.TABLE,
) -> None:
    """Show one mandate, and whether it and the chain that it hangs from are in force."""
    with _store(dsn, state, at) as (found, past, when):
        known = {each.id: each for each in found.list_mandates(at=past)}
        uses = found.uses_of(mandate_id)
    wanted = next((each for each in known.values() if each.id == mandate_id), None)
    if wanted is None:
        raise StateError(f"there is no mandate {mandate_id}")
    lines: list[tuple[str, object]] = [
        ("id", wanted.id),
        ("principal", wanted.principal),
        ("holder", wanted.holder),
        ("scope", wanted.scope),
        ("parameters", JsonText(encode_parameters(wanted.parameters))),
        ("purposes", Names(wanted.purposes)),
        ("actor_kinds", Names(kind.value for kind in wanted.actor_kinds)),
        ("valid_from", wanted.valid_from),
        ("valid_until", wanted.valid_until),
        ("suspended_at", wanted.suspended_at),
        ("revoked_at", wanted.revoked_at),
        ("parent", wanted.parent),
        ("sub_delegable", wanted.sub_delegable),
        ("uses", None if wanted.max_uses is None else f"{uses} of {wanted.max_uses}"),
        ("state", _standing(wanted, known, when)),
    ]
    print_records(("what", "value"), lines, format_)


@mandate.command("tree")
def mandate_tree(
    principal: Annotated[str | None, typer.Option("--principal", metavar="ID", help="Of this principal.")] = None,
    dsn: OptionalDsn = None,
    state: State = None,
    at: At = None,
    format_: FormatOption = Format.TABLE,
) -> None:
    """Show mandates with what hangs below them, and which are in force."""
    with _store(dsn, state, at) as (found, past, when):
        every = found.list_mandates(at=past)
    known = {each.id: each for each in every}
    tops = [each for each in every if each.parent not in known and principal in (None, each.principal)]
    lines = [
        (depth, each, _standing(each, known, when))
        for top in tops
        for depth, each in _below(top, every, 0, frozenset())
    ]
    if format_ is not Format.TABLE:
        names = ("depth", "id", "parent", "principal", "holder", "scope", "state")
        records = [
            (depth, each.id, each.parent, each.principal, each.holder, each.scope, standing)
            for depth, each, standing in lines
        ]
        print_records(names, records, format_)
        return
    for depth, each, standing in lines:
        told = f"{each.id}  {each.principal} -> {each.holder}  {each.scope} ({', '.join(sorted(each.purposes))})"
        print(f"{'  ' * depth}{printable(told)}  {standing}")


@caller.command("list")
def list_callers(dsn: OptionalDsn = None, state: State = None, format_: FormatOption = Format.TABLE) -> None:
    """List all principals and actors that the state knows: roles, and mandates given and held."""
    with store(dsn, state) as found:
        granted, handed = found.list_entitlements(), found.list_mandates()
    names = {each.principal for each in granted} | {id_ for each in handed for id_ in (each.principal, each.holder)}
    records = [
        (
            name,
            Names(each.name for each in granted if each.principal == name and each.value is None),
            sum(each.principal == name for each in handed),
            sum(each.holder == name for each in handed),
        )
        for name in sorted(names)
    ]
    print_records(("id", "roles", "mandates_given", "mandates_held"), records, format_)


@caller.command("show")
def show_caller(
    party: Party, dsn: OptionalDsn = None, state: State = None, at: At = None, format_: FormatOption = Format.TABLE
) -> None:
    """Show what one principal or actor has: entitlements, mandates given and held, and whether they are in force."""
    with _store(dsn, state, at) as (found, past, when):
        granted = found.list_entitlements(party, at=past)
        known = {each.id: each for each in found.list_mandates(at=past)}
    records = [_line(each, when) for each in granted]
    for each in known.values():
        if party in (each.principal, each.holder):
            what, other = ("gave", each.holder) if each.principal == party else ("holds", each.principal)
            told = f"{each.scope} {'to' if what == 'gave' else 'of'} {other}"
            records.append((what, each.id, told, each.valid_from, each.valid_until, _standing(each, known, when)))
    print_records(_LINES, records, format_)


@contextmanager
def _store(
    dsn: str | None, state: str | None, at: str | None
) -> Iterator[tuple[StateStore, datetime | None, datetime]]:
    """The state, the past instant that was asked for, and the one at which things are judged to be in force."""
    past = instant(at, "--at")
    with store(dsn, state) as found:
        yield found, past, past or found.now()


def _line(each: Entitlement, when: datetime) -> tuple[object, ...]:
    value = None if each.value is None else JsonText(encode(each.value))
    standing = _validity(each.valid_from, each.valid_until, when)
    return each.kind.value, each.name, value, each.valid_from, each.valid_until, standing


def _answers(
    data_subject: str, dsn: str | None, state: str | None, at: str | None
) -> tuple[Mapping[str, Consent], datetime]:
    with _store(dsn, state, at) as (found, past, when):
        return {each.purpose: each for each in found.list_consents(data_subject, at=past)}, when


def _in_order(tree: PurposeTree, parent: Purpose | None) -> Iterator[Purpose]:
    for purpose in sorted(each for each, above in tree.parents.items() if above == parent):
        yield purpose
        yield from _in_order(tree, purpose)


def _meaning(
    tree: PurposeTree, purpose: Purpose, answers: Mapping[str, Consent], when: datetime
) -> tuple[str, str | None]:
    """The nearest answer that is in force, with its limits, and for which purpose it was given."""
    for each in tree.chain(purpose):
        answer = answers.get(each)
        if answer is not None and _validity(answer.valid_from, answer.valid_until, when) == _IN_FORCE:
            return ("yes" if answer.granted else "no") + _limits(answer), each
    return "no answer", None


def _limits(answer: Consent) -> str:
    told: list[tuple[str, Sequence[str] | None]] = [("for", answer.categories), ("to", answer.recipients)]
    return "".join(f" {word} {', '.join(names)}" for word, names in told if names is not None)


def _below(top: Mandate, every: Sequence[Mandate], depth: int, above: frozenset[str]) -> Iterable[tuple[int, Mandate]]:
    yield depth, top
    # A loop that plain SQL made is shown once.
    for each in every:
        if each.parent == top.id and each.id not in above | {top.id}:
            yield from _below(each, every, depth + 1, above | {top.id})


def _validity(start: datetime, end: datetime | None, when: datetime) -> str:
    """Whether an instant lies before, within or behind the time for which something holds."""
    if when < start:
        return "not yet"
    return "ended" if end is not None and end <= when else _IN_FORCE


def _standing(each: Mandate, known: dict[Any, Mandate], when: datetime) -> str:
    """Whether a mandate is in force: it, and every one above it."""
    own = _own_standing(each, when)
    seen = {each.id}
    step = each
    while own == _IN_FORCE and step.parent is not None:
        above = known.get(step.parent)
        if above is None or above.id in seen:
            return "broken"
        seen.add(above.id)
        if _own_standing(above, when) != _IN_FORCE:
            return f"{_own_standing(above, when)} above, at {above.id}"
        step = above
    return own


def _own_standing(each: Mandate, when: datetime) -> str:
    if each.revoked_at is not None and each.revoked_at <= when:
        return "revoked"
    if each.suspended_at is not None and each.suspended_at <= when:
        return "suspended"
    return _validity(each.valid_from, each.valid_until, when)
