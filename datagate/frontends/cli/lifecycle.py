"""What happened to entitlements, consents and mandates, and the commands that their lives need beside grant and end.

The commands hang on the groups of `datagate.frontends.cli.state`; ``datagate caller`` is a group of its own.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from datagate.errors import StateError
from datagate.frontends.cli.options import At, By, Format, FormatOption, OptionalDsn, State, Why, instant, store
from datagate.frontends.cli.results import JsonText, Names, print_records, printable
from datagate.frontends.cli.state import consent, entitle, mandate
from datagate.model.facts import Mandate
from datagate.stores.consent_record import from_records, to_record
from datagate.stores.encoding import encode, encode_parameters
from datagate.stores.records import Consent, Entitlement, Fact

caller = typer.Typer(no_args_is_help=True, help="Show what is known of principals and actors.")

Party = Annotated[str, typer.Argument(metavar="ID", help="A principal or an actor.")]
MandateId = Annotated[str, typer.Argument(metavar="ID")]

_ABOUT = ("recorded_at", "recorded_by", "why", "change")


@entitle.command("history")
def entitlement_history(
    principal: Annotated[str | None, typer.Argument(metavar="[PRINCIPAL]", show_default=False)] = None,
    dsn: OptionalDsn = None,
    state: State = None,
    format_: FormatOption = Format.TABLE,
) -> None:
    """Show everything that was recorded of entitlements: who, when, why, and what took its place."""
    with store(dsn, state) as found:
        facts = found.entitlement_history(principal)
    names, cells = ("principal", "kind", "name", "value", "valid_from", "valid_until"), _entitlement_cells
    _print_facts(facts, lambda each: (each.principal, each.kind, each.name), names, cells, format_)


@consent.command("history")
def consent_history(
    data_subject: Annotated[str | None, typer.Argument(metavar="[DATA-SUBJECT]", show_default=False)] = None,
    purpose: Annotated[str | None, typer.Option("--purpose", metavar="PURPOSE")] = None,
    dsn: OptionalDsn = None,
    state: State = None,
    format_: FormatOption = Format.TABLE,
) -> None:
    """Show everything that data subjects answered: when it was recorded, by whom and why."""
    with store(dsn, state) as found:
        facts = found.consent_history(data_subject, purpose)
    names = ("data_subject", "purpose", "answer", "valid_from", "valid_until", "categories", "recipients", "evidence")
    _print_facts(facts, lambda each: (each.data_subject, each.purpose), names, _consent_cells, format_)


@consent.command("export")
def export_consents(
    controller: Annotated[str, typer.Option("--controller", metavar="ID", help="Who keeps the records.")],
    data_subject: Annotated[str | None, typer.Argument(metavar="[DATA-SUBJECT]", show_default=False)] = None,
    purpose: Annotated[str | None, typer.Option("--purpose", metavar="PURPOSE")] = None,
    dsn: OptionalDsn = None,
    state: State = None,
    at: At = None,
) -> None:
    """Print answers as JSON consent records in the shape of ISO/IEC TS 27560."""
    with store(dsn, state) as found:
        answers = found.list_consents(data_subject, purpose, at=instant(at, "--at"))
    records = [to_record(answer, controller=controller) for answer in answers]
    print(json.dumps(records, indent=2, ensure_ascii=False))


@consent.command("import")
def import_consents(
    path: Annotated[str, typer.Argument(metavar="FILE", help="A JSON array of consent records; - is standard input.")],
    dsn: OptionalDsn = None,
    state: State = None,
    by: By = None,
    why: Why = None,
) -> None:
    """Record the answers of JSON consent records in the shape of ISO/IEC TS 27560: all of them, or none."""
    try:
        text = sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
        records = json.loads(text)
    except OSError as error:
        raise StateError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise StateError(f"{path} is not JSON: {error}") from None
    answers = from_records(records)
    with store(dsn, state) as found:
        found.record_consents(answers, by=by, why=why)
    print(f"{len(answers)} answers recorded")


@mandate.command("history")
def mandate_history(
    mandate_id: Annotated[str | None, typer.Argument(metavar="[ID]", show_default=False)] = None,
    principal: Annotated[str | None, typer.Option("--principal", metavar="ID", help="Of this principal.")] = None,
    dsn: OptionalDsn = None,
    state: State = None,
    format_: FormatOption = Format.TABLE,
) -> None:
    """Show everything that was recorded of mandates: issued, suspended, resumed, revoked, by whom and why."""
    with store(dsn, state) as found:
        facts = found.mandate_history(mandate_id, principal=principal)
    names = ("id", "principal", "holder", "scope", "valid_from", "valid_until", "suspended_at", "revoked_at")
    _print_facts(facts, lambda each: each.id, names, _mandate_cells, format_)


@mandate.command("suspend")
def suspend(
    mandate_id: MandateId, dsn: OptionalDsn = None, state: State = None, by: By = None, why: Why = None
) -> None:
    """Let a mandate rest, and all that hang below it, until it is resumed."""
    with store(dsn, state) as found:
        found.suspend_mandate(mandate_id, by=by, why=why)


@mandate.command("resume")
def resume(mandate_id: MandateId, dsn: OptionalDsn = None, state: State = None, by: By = None, why: Why = None) -> None:
    """End a mandate's suspension."""
    with store(dsn, state) as found:
        found.resume_mandate(mandate_id, by=by, why=why)


@mandate.command("show")
def show_mandate(
    mandate_id: MandateId,
    dsn: OptionalDsn = None,
    state: State = None,
    at: At = None,
    format_: FormatOption = Format.TABLE,
) -> None:
    """Show one mandate, and whether it and the chain that it hangs from are in force."""
    with store(dsn, state) as found:
        known = {each.id: each for each in found.list_mandates(at=instant(at, "--at"))}
        when = instant(at, "--at") or found.now()
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
def tree(
    principal: Annotated[str | None, typer.Option("--principal", metavar="ID", help="Of this principal.")] = None,
    dsn: OptionalDsn = None,
    state: State = None,
    at: At = None,
    format_: FormatOption = Format.TABLE,
) -> None:
    """Show mandates with what hangs below them, and which are in force."""
    with store(dsn, state) as found:
        every = found.list_mandates(at=instant(at, "--at"))
        when = instant(at, "--at") or found.now()
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
    past = instant(at, "--at")
    with store(dsn, state) as found:
        granted = found.list_entitlements(party, at=past)
        known = {each.id: each for each in found.list_mandates(at=past)}
        when = past or found.now()
    records: list[tuple[object, ...]] = [
        (
            each.kind.value,
            each.name,
            None if each.value is None else JsonText(encode(each.value)),
            each.valid_from,
            each.valid_until,
            validity(each.valid_from, each.valid_until, when),
        )
        for each in granted
    ]
    for each in known.values():
        if party in (each.principal, each.holder):
            what, other = ("gave", each.holder) if each.principal == party else ("holds", each.principal)
            told = f"{each.scope} {'to' if what == 'gave' else 'of'} {other}"
            records.append((what, each.id, told, each.valid_from, each.valid_until, _standing(each, known, when)))
    print_records(("what", "name", "value", "valid_from", "valid_until", "state"), records, format_)


@caller.command("history")
def caller_history(
    party: Party, dsn: OptionalDsn = None, state: State = None, format_: FormatOption = Format.TABLE
) -> None:
    """Show everything that was recorded of one principal or actor, in the order of time."""
    with store(dsn, state) as found:
        entitled = _changes(found.entitlement_history(party), lambda each: (each.kind, each.name))
        handed = _changes(found.mandate_history(), lambda each: each.id)
    records: list[tuple[Any, ...]] = [
        (fact.recorded_at, fact.recorded_by, fact.why, change, fact.what.kind.value, fact.what.name)
        for fact, change in entitled
    ]
    records += [
        (fact.recorded_at, fact.recorded_by, fact.why, change, "mandate", str(fact.what.id))
        for fact, change in handed
        if party in (fact.what.principal, fact.what.holder)
    ]
    records.sort(key=lambda each: each[0])
    print_records((*_ABOUT, "what", "name"), records, format_)


def _print_facts(
    facts: Sequence[Fact[Any]],
    key: Callable[[Any], object],
    names: Sequence[str],
    cells: Callable[[Any], tuple[object, ...]],
    format_: Format,
) -> None:
    records = [
        (fact.recorded_at, fact.recorded_by, fact.why, change, *cells(fact.what))
        for fact, change in _changes(facts, key)
    ]
    print_records((*_ABOUT, *names), records, format_)


def _changes(facts: Iterable[Fact[Any]], key: Callable[[Any], object]) -> Iterable[tuple[Fact[Any], str]]:
    """Each fact with what it did to the one before it under the same key."""
    before: dict[object, Fact[Any]] = {}
    for fact in facts:
        last = before.get(key(fact.what))
        before[key(fact.what)] = fact
        yield fact, _change(None if last is None or not last.present else last.what, fact)


def _change(before: object, fact: Fact[Any]) -> str:
    now = fact.what
    if not fact.present:
        return "removed"
    if before is None:
        return "recorded"
    if isinstance(before, Mandate) and isinstance(now, Mandate):
        if before.revoked_at != now.revoked_at:
            return "revoked"
        if before.suspended_at != now.suspended_at:
            return "resumed" if now.suspended_at is None else "suspended"
    if isinstance(before, Consent) and isinstance(now, Consent) and before.granted and not now.granted:
        return "withdrawn"
    return "replaced"


def _entitlement_cells(each: Entitlement) -> tuple[object, ...]:
    value = None if each.value is None else JsonText(encode(each.value))
    return (each.principal, each.kind.value, each.name, value, each.valid_from, each.valid_until)


def _consent_cells(each: Consent) -> tuple[object, ...]:
    limits = [
        None if names is None else JsonText(json.dumps(list(names), ensure_ascii=False))
        for names in (each.categories, each.recipients)
    ]
    answer = "yes" if each.granted else "no"
    return (each.data_subject, each.purpose, answer, each.valid_from, each.valid_until, *limits, each.evidence)


def _mandate_cells(each: Mandate) -> tuple[object, ...]:
    times = (each.valid_from, each.valid_until, each.suspended_at, each.revoked_at)
    return (each.id, each.principal, each.holder, each.scope, *times)


def _below(top: Mandate, every: Sequence[Mandate], depth: int, above: frozenset[str]) -> Iterable[tuple[int, Mandate]]:
    yield depth, top
    # A loop that plain SQL made is shown once.
    for each in every:
        if each.parent == top.id and each.id not in above | {top.id}:
            yield from _below(each, every, depth + 1, above | {top.id})


def validity(start: datetime, end: datetime | None, when: datetime) -> str:
    """Whether an instant lies before, within or behind the time for which something holds."""
    if when < start:
        return "not yet"
    return "ended" if end is not None and end <= when else "in force"


def _standing(each: Mandate, known: dict[Any, Mandate], when: datetime) -> str:
    """Whether a mandate is in force: it, and every one above it."""
    own = _own_standing(each, when)
    seen = {each.id}
    step = each
    while own == "in force" and step.parent is not None:
        above = known.get(step.parent)
        if above is None or above.id in seen:
            return "broken"
        seen.add(above.id)
        if _own_standing(above, when) != "in force":
            return f"{_own_standing(above, when)} above, at {above.id}"
        step = above
    return own


def _own_standing(each: Mandate, when: datetime) -> str:
    if each.revoked_at is not None and each.revoked_at <= when:
        return "revoked"
    if each.suspended_at is not None and each.suspended_at <= when:
        return "suspended"
    return validity(each.valid_from, each.valid_until, when)
