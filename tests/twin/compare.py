"""Whether two answers are the same: rows as multisets, column names, types; or the same error."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import psycopg
from psycopg import RawCursor

from datagate.errors import Error

Row = tuple[str | None, ...]
RECORD = "record"
FLOATS = frozenset({"real", "double precision"})


@dataclass(frozen=True, slots=True)
class Answered:
    """Rows as the server's own text, and (name, type) of each column."""

    columns: tuple[tuple[str, str], ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Failed:
    """An error by its SQLSTATE. ``refused``: by the gate, before anything was sent."""

    sqlstate: str
    message: str
    refused: bool = False


Outcome = Answered | Failed


def answer_of(connection: psycopg.Connection[Any], text: str, parameters: Sequence[object] = ()) -> Outcome:
    """Run a statement with ``$n`` parameters; a failed one leaves no trace in an open transaction."""
    cursor = RawCursor(connection)
    try:
        with connection.transaction():
            cursor.execute(text.encode(), parameters or None)
            return _answered(connection, cursor)
    except psycopg.Error as error:
        return Failed(error.sqlstate or "", str(error))


def _answered(connection: psycopg.Connection[Any], cursor: RawCursor[Any]) -> Outcome:
    result = cursor.pgresult
    assert result is not None
    columns = []
    for place in range(result.nfields):
        name = result.fname(place)
        assert name is not None
        columns.append((name.decode(), _type_name(connection, result.ftype(place))))
    rows = []
    for row in range(result.ntuples):
        values = (result.get_value(row, place) for place in range(result.nfields))
        rows.append(tuple(None if value is None else value.decode() for value in values))
    return Answered(tuple(columns), tuple(rows))


def _type_name(connection: psycopg.Connection[Any], oid: int) -> str:
    """A type's name, since the oids of user-defined types differ; composites are records: a row is a row."""
    found = connection.execute(
        "SELECT CASE WHEN typtype = 'c' THEN 'record' WHEN typelem <> 0 AND EXISTS ("
        " SELECT FROM pg_catalog.pg_type e WHERE e.oid = t.typelem AND e.typtype = 'c' AND t.typcategory = 'A')"
        " THEN 'record[]' ELSE pg_catalog.format_type(oid, NULL) END FROM pg_catalog.pg_type t WHERE oid = %s",
        (oid,),
    ).fetchone()
    assert found is not None
    return str(found[0])


def same_answer(real: Outcome, twin: Outcome, *, ordered: bool = False) -> bool:
    """Whether both succeeded with the same columns and rows, or failed with the same SQLSTATE."""
    if isinstance(real, Failed) or isinstance(twin, Failed):
        return isinstance(real, Failed) and isinstance(twin, Failed) and real.sqlstate == twin.sqlstate
    if real.columns != twin.columns or len(real.rows) != len(twin.rows):
        return False
    floating = [place for place, (_, kind) in enumerate(real.columns) if kind in FLOATS]
    if not floating:
        return real.rows == twin.rows if ordered else Counter(real.rows) == Counter(twin.rows)
    return _near(real.rows, twin.rows, floating, ordered=ordered)


def _near(real: Sequence[Row], twin: Sequence[Row], floating: Sequence[int], *, ordered: bool) -> bool:
    """Equality where floats may differ in the last digits: the order in which they are added up is the planner's."""

    def key(row: Row) -> tuple[tuple[object, ...], ...]:
        exact = tuple((value is None, value or "") for place, value in enumerate(row) if place not in floating)
        floats = tuple((row[place] is None, float(row[place] or 0)) for place in floating)
        return (exact, tuple((null, "nan" if math.isnan(v) else "", 0 if math.isnan(v) else v) for null, v in floats))

    pairs = zip(real, twin, strict=True) if ordered else zip(sorted(real, key=key), sorted(twin, key=key), strict=True)
    return all(
        _close(mine, theirs) if place in floating else mine == theirs
        for one, other in pairs
        for place, (mine, theirs) in enumerate(zip(one, other, strict=True))
    )


def _close(one: str | None, other: str | None) -> bool:
    if one is None or other is None:
        return one is other
    return one == other or math.isclose(float(one), float(other), rel_tol=1e-9, abs_tol=1e-12)


class Session(Protocol):
    """The part of a gate session that the comparison needs."""

    def admit(self, text: str) -> Any:
        """Rewrite a statement for the session's caller, or raise one of datagate's errors."""
        ...


def gated(session: Session, real: psycopg.Connection[Any], text: str, parameters: Sequence[object] = ()) -> Outcome:
    """What the caller gets through the gate: the admitted text, run on the real database."""
    try:
        admitted = session.admit(text)
    except Error as error:
        return Failed(error.sqlstate, error.message, refused=True)
    # Arrays are tuples in datagate, lists in psycopg.
    policy_values = [list(value) if isinstance(value, tuple) else value for value in admitted.parameters]
    return answer_of(real, admitted.text, (*parameters, *policy_values))


def check_statement(
    session: Session,
    real: psycopg.Connection[Any],
    twin: psycopg.Connection[Any],
    text: str,
    parameters: Sequence[object] = (),
    *,
    ordered: bool = False,
) -> Outcome:
    """Hold a statement to the twin: through the gate on the real database, and as it stands on the twin.

    Returns:
        The answer, for tests that look at it further.

    Raises:
        AssertionError: the two differ; it shows both.
    """
    through_gate = gated(session, real, text, parameters)
    on_twin = answer_of(twin, text, parameters)
    same = same_answer(through_gate, on_twin, ordered=ordered) or both_missing(twin, through_gate, on_twin)
    if not same:
        raise AssertionError(difference(text, through_gate, on_twin))
    return through_gate


_MISSING = re.compile(r'relation "([^"]+)" does not exist')


def both_missing(twin: psycopg.Connection[Any], real: Outcome, on_twin: Outcome) -> bool:
    """Whether a statement names both a relation and a column that are not there, and each side tells one of them.

    PostgreSQL tells what it comes by first, the gate looks at all relations before the text is sent; so it must be true
    that the relation of which the gate speaks is not on the twin.
    """
    if not (isinstance(real, Failed) and isinstance(on_twin, Failed)):
        return False
    named = _MISSING.search(real.message)
    if not real.refused or on_twin.sqlstate != "42703" or named is None:
        return False
    schema, _, name = named[1].rpartition(".")
    found = twin.execute(
        "SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE c.relname = %s AND n.nspname = coalesce(nullif(%s, ''), n.nspname))",
        (name, schema),
    ).fetchone()
    return found == (False,)


def difference(text: str, real: Outcome, twin: Outcome) -> str:
    """What to read when two answers differ."""
    return f"{text}\n--- through the gate\n{_shown(real, twin)}\n--- on the twin\n{_shown(twin, real)}"


def _shown(one: Outcome, other: Outcome) -> str:
    if isinstance(one, Failed):
        return f"error {one.sqlstate}: {one.message}"
    lines = [f"{len(one.rows)} rows of {', '.join(f'{name} {kind}' for name, kind in one.columns)}"]
    extra = Counter(one.rows) - Counter(other.rows if isinstance(other, Answered) else ())
    lines += [f"only here: {row}" for row in list(extra)[:10]]
    return "\n".join(lines)
