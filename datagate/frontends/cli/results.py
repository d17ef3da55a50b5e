"""Rows as the server spells them, as a table, as CSV and as JSON."""

from __future__ import annotations

import csv
import json
import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self, TextIO

import psycopg
from psycopg import pq
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from datagate.errors import ProgrammingError
from datagate.frontends.cli.options import Format

_ROWS_AT_ONCE = 1000
_UNLIMITED = 100_000

_oid = psycopg.adapters.types
_NUMBERS = frozenset(_oid[name].oid for name in ("int2", "int4", "int8", "float4", "float8", "numeric", "oid"))
_JSON = frozenset(_oid[name].oid for name in ("json", "jsonb"))
_BOOL = _oid["bool"].oid


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a result, with the OID of its type."""

    name: str
    type: int


@dataclass(frozen=True, slots=True)
class Result:
    """A statement's answer: columns and rows in the server's own text (None: NULL); no columns: no rows at all."""

    columns: tuple[Column, ...]
    rows: Sequence[tuple[str | None, ...]]
    status: str


def result_of(cursor: psycopg.Cursor[Any]) -> Result:
    """What the cursor holds.

    The text is the server's: it is exact for every type, also for those that Python has no like of.
    """
    found = cursor.pgresult
    if found is None or found.status != pq.ExecStatus.TUPLES_OK:
        return Result((), (), cursor.statusmessage or "")
    columns = tuple(Column((found.fname(index) or b"").decode(), found.ftype(index)) for index in range(found.nfields))
    rows = [
        tuple(None if (cell := found.get_value(row, index)) is None else cell.decode() for index in range(len(columns)))
        for row in range(found.ntuples)
    ]
    return Result(columns, rows, cursor.statusmessage or "")


def print_result(result: Result, format_: Format, out: TextIO | None = None) -> None:
    """Print a statement's answer on standard output."""
    out = out or sys.stdout
    if not result.columns:
        if format_ is Format.TABLE:
            print(result.status, file=out)
    elif format_ is Format.CSV:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow([column.name for column in result.columns])
        writer.writerows(result.rows)
    elif format_ is Format.JSON:
        out.writelines(_json_lines(result))
    else:
        _print_table(result, out)


class JsonText(str):
    """A text that is JSON: in JSON it stands as the value that it is."""

    __slots__ = ()


class Names(tuple[str, ...]):
    """Names, sorted: a list in JSON, and with commas between them elsewhere."""

    __slots__ = ()

    def __new__(cls, names: Iterable[str]) -> Self:
        """The names in their order."""
        return super().__new__(cls, sorted(names))

    def __str__(self) -> str:
        return ", ".join(self)


def print_records(names: Sequence[str], records: Iterable[Sequence[object]], format_: Format) -> None:
    """Print records of our own: text; in JSON numbers, lists and values as such, and instants in ISO 8601."""
    if format_ is Format.JSON:
        pairs = [
            ", ".join(f"{json.dumps(name)}: {_own_json(value)}" for name, value in zip(names, record, strict=True))
            for record in records
        ]
        print("[\n" + ",\n".join(f"  {{{each}}}" for each in pairs) + "\n]" if pairs else "[]")
        return
    rows = [tuple(None if value is None else str(value) for value in record) for record in records]
    columns = tuple(Column(name, 0) for name in names)
    print_result(Result(columns, rows, ""), format_)


def _own_json(value: object) -> str:
    if isinstance(value, JsonText):
        return str(value)
    if isinstance(value, datetime):
        value = value.isoformat()
    plain = value if value is None or isinstance(value, bool | int | Names) else str(value)
    return json.dumps(plain, ensure_ascii=False)


def printable(text: str) -> str:
    """The text without characters that a terminal would obey."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def cell(text: str | None) -> Text:
    """A cell of a table on a terminal."""
    return Text("NULL", style="dim italic") if text is None else Text(printable(text))


def _print_table(result: Result, out: TextIO) -> None:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in result.columns:
        justify: Any = "right" if column.type in _NUMBERS else "left"
        table.add_column(Text(printable(column.name)), justify=justify, overflow="fold")
    for row in result.rows:
        table.add_row(*map(cell, row))
    # Without a terminal there is no width to keep within.
    console = Console(file=out, width=None if out.isatty() else _UNLIMITED)
    console.print(table)
    console.print(Text(f"({len(result.rows)} {'row' if len(result.rows) == 1 else 'rows'})", style="dim"))


def _json_lines(result: Result) -> Iterator[str]:
    names = [column.name for column in result.columns]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ProgrammingError(
            f"two columns are called {twice!r}, and an object has one; give them aliases, or use csv"
        )
    separator = "[\n"
    for row in result.rows:
        pairs = (
            f"{json.dumps(column.name)}: {_json(column, value)}"
            for column, value in zip(result.columns, row, strict=True)
        )
        yield f"{separator}  {{{', '.join(pairs)}}}"
        separator = ",\n"
    yield "[]\n" if separator == "[\n" else "\n]\n"


def _json(column: Column, text: str | None) -> str:
    """The value in JSON; numbers keep every digit."""
    if text is None:
        return "null"
    if column.type == _BOOL:
        return "true" if text == "t" else "false"
    if column.type in _JSON or (column.type in _NUMBERS and math.isfinite(float(text))):
        return text
    return json.dumps(text, ensure_ascii=False)
