"""``datagate audit``: verify the chain, follow it, search it, and ask who met a person's rows.

Where it is: a file of JSON lines, or with ``--table`` the table in a database. The key that signs it comes from
DATAGATE_AUDIT_KEY: ``hmac:HEX``, or ``ed25519-public:HEX``.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from datagate.audit.chain import Link
from datagate.audit.ocsf import ocsf
from datagate.audit.reading import Event, Search, events, met
from datagate.audit.signing import Ed25519Verifier, HmacKey, Verifier
from datagate.audit.tables import lines_of_table, verify_table
from datagate.audit.verify import Line, lines_of, verify_files
from datagate.errors import AuditUnavailable, KeyringError
from datagate.frontends.cli.options import Format as RowFormat
from datagate.frontends.cli.options import ValidFrom, ValidUntil, instant
from datagate.frontends.cli.results import print_records

KEY_VARIABLE = "DATAGATE_AUDIT_KEY"
_PAUSE = 0.2

audit = typer.Typer(name="audit", help="Verify, follow and search what was recorded.", no_args_is_help=True)

File = Annotated[
    Path | None, typer.Option("--file", envvar="DATAGATE_AUDIT", metavar="FILE", help="The file of JSON lines.")
]
TableDsn = Annotated[
    str | None, typer.Option("--table", metavar="DSN", help="The database whose table datagate.audit is meant.")
]


class Format(Enum):
    """How events are printed."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    OCSF = "ocsf"


FormatOption = Annotated[
    Format, typer.Option("--format", "-f", help="As rows, as JSON lines, or as OCSF Datastore Activity (6005).")
]


@audit.command("verify")
def verify(
    file: File = None,
    table: TableDsn = None,
    expect: Annotated[
        str | None,
        typer.Option(metavar="SEQ:HASH", help="An end that was printed before, kept elsewhere; it must be there."),
    ] = None,
) -> None:
    """Find any change, gap, other order or cut; exits 1 where there is one.

    What cannot be found without a copy of an earlier end (--expect): that all files, head included, were put back to
    what they were then. Without the key, also a chain that was made anew.
    """
    key, seen = _key(), _link(expect)
    verdict = verify_table(table, key, seen) if table is not None else verify_files(_file(file), key, seen)
    for finding in verdict.findings:
        print(finding)
    signed = f"signed by {key.name}" if key is not None else f"signatures not looked at ({KEY_VARIABLE} is not set)"
    print(f"{verdict.entries} entries, {verdict.checkpoints} checkpoints, {verdict.unfinished} unfinished; {signed}")
    print(f"end {verdict.end.seq}:{verdict.end.hash}")
    if not verdict.intact:
        raise typer.Exit(1)


@audit.command("search")
def search(
    file: File = None,
    table: TableDsn = None,
    principal: Annotated[str | None, typer.Option(metavar="ID", help="In whose name.")] = None,
    actor: Annotated[str | None, typer.Option(metavar="ID", help="Who was really connected.")] = None,
    mandate: Annotated[str | None, typer.Option(metavar="ID", help="Under which mandate.")] = None,
    purpose: Annotated[str | None, typer.Option(metavar="PURPOSE", help="For what.")] = None,
    relation: Annotated[str | None, typer.Option(metavar="SCHEMA.NAME", help="On which relation.")] = None,
    outcome: Annotated[str | None, typer.Option(metavar="permitted|refused", help="How it was decided.")] = None,
    fingerprint: Annotated[str | None, typer.Option(metavar="HEX", help="Which statement.")] = None,
    since: ValidFrom = None,
    until: ValidUntil = None,
    format_: FormatOption = Format.TABLE,
) -> None:
    """Print the statements that are like that."""
    wanted = Search(
        principal, actor, mandate, purpose, relation, outcome, fingerprint, instant(since, "--from"),
        instant(until, "--until"),
    )  # fmt: skip
    _print([each for each in events(_lines(file, table)) if wanted.matches(each)], format_)


@audit.command("tail")
def tail(
    file: File = None,
    table: TableDsn = None,
    number: Annotated[int, typer.Option("-n", min=0, help="How many of the last statements.")] = 10,
    follow: Annotated[bool, typer.Option("--follow", "-F", help="Go on with what comes, until interrupted.")] = False,
    format_: FormatOption = Format.TABLE,
) -> None:
    """Print the last statements; with --follow, as JSON lines, also those that come."""
    found = list(events(_lines(file, table)))
    if not follow:
        _print(found[-number:] if number else [], format_)
        return
    shown: Callable[[Event], object] = ocsf if format_ is Format.OCSF else _plain
    known = {each.decision["id"] for each in (found[:-number] if number else found)}
    while True:
        for each in found:
            if each.decision["id"] not in known and (each.result or each.statement["reason"]):
                known.add(each.decision["id"])
                print(json.dumps(shown(each), ensure_ascii=False), flush=True)
        time.sleep(_PAUSE)
        found = list(events(_lines(file, table)))


@audit.command("subject")
def subject(
    data_subject: Annotated[str, typer.Argument(metavar="ID", help="The key of the data subject.")],
    file: File = None,
    table: TableDsn = None,
    format_: Annotated[RowFormat, typer.Option("--format", "-f", help="How rows are printed.")] = RowFormat.TABLE,
) -> None:
    """Who saw or changed this person's rows, as whose delegate, for what purpose.

    "returned": rows of theirs were returned with the key as it is. "within reach": the statement was on a relation
    whose keys are kept (audit: {keys: true} in its policy), and may have met their rows in what it counted, compared,
    changed, or returned without the key: an over-approximation, and nothing is left out of it.
    """
    names = ("time", "how", "relations", "actions", "principal", "actor", "mandate", "purpose", "rows", "id")
    rows = []
    for event, closeness, relations in met(events(_lines(file, table)), data_subject):
        said = event.statement
        delegate = said["actor"] if said["actor"] != said["principal"] else None
        rows.append(
            (
                event.decision["time"], closeness.value, " ".join(relations), " ".join(said["actions"]),
                said["principal"], delegate, said["mandate"], said["purpose"], event.result.get("rows"),
                event.decision["id"],
            )
        )  # fmt: skip
    print_records(names, rows, format_)


def _print(found: Iterable[Event], format_: Format) -> None:
    if format_ in (Format.JSON, Format.OCSF):
        for each in found:
            sys.stdout.write(json.dumps(ocsf(each) if format_ is Format.OCSF else _plain(each)) + "\n")
        return
    names = ("time", "outcome", "principal", "actor", "mandate", "purpose", "relations", "rows", "error", "fingerprint")
    rows = []
    for each in found:
        said, result = each.statement, each.result
        rows.append(
            (
                each.decision["time"], *(said[name] for name in names[1:6]), " ".join(said["relations"]),
                result.get("rows"), result.get("error") or said["reason"], said["fingerprint"],
            )
        )  # fmt: skip
    print_records(names, rows, RowFormat(format_.value))


def _plain(event: Event) -> dict[str, object]:
    return {"id": event.decision["id"], "time": event.decision["time"], **event.statement, **event.result}


def _lines(file: Path | None, table: str | None) -> Iterator[Line]:
    return lines_of_table(table) if table is not None else lines_of(_file(file))


def _file(file: Path | None) -> Path:
    if file is None:
        raise typer.BadParameter("say where the audit is: --file or --table", param_hint="--file")
    if not file.exists():
        raise AuditUnavailable(f"there is no audit file {file}")
    return file


def _key() -> Verifier | None:
    text = os.environ.get(KEY_VARIABLE)
    if not text:
        return None
    kind, _, rest = text.partition(":")
    try:
        if kind == "hmac":
            return HmacKey(bytes.fromhex(rest))
        if kind == "ed25519-public":
            return Ed25519Verifier(bytes.fromhex(rest))
    except ValueError:
        pass
    raise KeyringError(f"{KEY_VARIABLE} is neither hmac:HEX nor ed25519-public:HEX")


def _link(text: str | None) -> Link | None:
    if text is None:
        return None
    seq, _, digest = text.partition(":")
    if not seq.isdigit() or not digest:
        raise typer.BadParameter("an end is written SEQ:HASH, as verify prints it", param_hint="--expect")
    return Link(int(seq), digest)
