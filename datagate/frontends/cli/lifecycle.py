"""What happened to entitlements, consents and mandates, and the commands that their lives need beside grant and end.

The commands hang on the groups of `datagate.frontends.cli.state`; ``datagate caller`` is a group of its own.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from datagate.errors import StateError
from datagate.frontends.cli.options import At, By, Format, FormatOption, OptionalDsn, State, Why, instant, store
from datagate.frontends.cli.results import JsonText, print_records
from datagate.frontends.cli.state import consent, entitle, mandate
from datagate.model.facts import Mandate
from datagate.stores.consent_record import from_records, to_record
from datagate.stores.encoding import encode
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
