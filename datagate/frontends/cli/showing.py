"""What one principal, or one data subject, has at an instant: ``datagate entitle show``, ``consent show`` and ``tree``.

The commands hang on the groups of `datagate.frontends.cli.state`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

import typer

from datagate.errors import StateError
from datagate.frontends.cli.lifecycle import validity
from datagate.frontends.cli.options import At, Format, FormatOption, OptionalDsn, State, Words, instant, store, words
from datagate.frontends.cli.results import JsonText, Names, print_records, printable
from datagate.frontends.cli.state import DataSubject, PrincipalId, consent, entitle
from datagate.model.names import Purpose
from datagate.model.policy import PurposeTree
from datagate.stores.encoding import encode
from datagate.stores.records import Consent

__all__ = ["consent", "entitle"]

_IN_FORCE = "in force"


@entitle.command("show")
def show_entitlements(
    principal: PrincipalId,
    dsn: OptionalDsn = None,
    state: State = None,
    at: At = None,
    format_: FormatOption = Format.TABLE,
) -> None:
    """Show a principal's roles and attributes, and which are in force."""
    past = instant(at, "--at")
    with store(dsn, state) as found:
        granted = found.list_entitlements(principal, at=past)
        when = past or found.now()
    if not granted:
        raise StateError(f"{principal} has no roles and no attributes")
    records = [
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
    print_records(("what", "name", "value", "valid_from", "valid_until", "state"), records, format_)


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
            validity(each.valid_from, each.valid_until, when),
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


def _answers(
    data_subject: str, dsn: str | None, state: str | None, at: str | None
) -> tuple[Mapping[str, Consent], datetime]:
    past = instant(at, "--at")
    with store(dsn, state) as found:
        return {each.purpose: each for each in found.list_consents(data_subject, at=past)}, past or found.now()


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
        if answer is not None and validity(answer.valid_from, answer.valid_until, when) == _IN_FORCE:
            return ("yes" if answer.granted else "no") + _limits(answer), each
    return "no answer", None


def _limits(answer: Consent) -> str:
    told: list[tuple[str, Sequence[str] | None]] = [("for", answer.categories), ("to", answer.recipients)]
    return "".join(f" {word} {', '.join(names)}" for word, names in told if names is not None)
