"""Server errors become datagate's, and lose whatever could show a hidden name or value.

PostgreSQL quotes values in its messages (``invalid input syntax for type integer: "…"``), in DETAIL
(``Key (ssn)=(…) already exists``) and in CONTEXT, and the text that it speaks of is the rewritten one. So only the
primary message may pass, only for SQLSTATEs where it speaks of the statement and not of rows, and only if each of its
words is either the server's fixed wording or stands in the caller's own text. All else is replaced (PostgreSQL
appendix A lists the codes).

Two signs tell the statement's own faults from those of rows and of functions: what the server finds while it reads the
text has a position and no CONTEXT; what a function, a trigger or a parameter caused has a CONTEXT. Where the caller's
guess at a hidden name or value stands in his text, the one would confirm it and so is withheld, the other repeats him.

A frontend that has psycopg's errors calls :func:`from_server`; one that has the fields of an ErrorResponse calls
:func:`tell`, or :func:`from_fields` for an error to raise.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import psycopg
from psycopg.errors import CancellationTimeout, ConnectionTimeout, Diagnostic, PipelineAborted
from psycopg.pq import DiagnosticField

from datagate import errors

RIGHTS_CHANGED = "DG001"
CANCELLED = "57014"

_BY_STATE: dict[str, type[errors.Error]] = {
    RIGHTS_CHANGED: errors.RightsChanged,
    "42601": errors.StatementSyntaxError,
    "42P01": errors.UndefinedRelation,
    "42703": errors.UndefinedColumn,
    "42501": errors.Refused,
}

_BY_CLASS: tuple[tuple[type[psycopg.Error], type[errors.Error]], ...] = (
    (psycopg.DataError, errors.DataError),
    (psycopg.IntegrityError, errors.IntegrityError),
    (psycopg.InternalError, errors.InternalError),
    (psycopg.NotSupportedError, errors.NotSupportedError),
    (psycopg.ProgrammingError, errors.ProgrammingError),
    (psycopg.OperationalError, errors.OperationalError),
    (psycopg.DatabaseError, errors.DatabaseError),
    (psycopg.InterfaceError, errors.InterfaceError),
)

# Messages that speak of the statement's shape: names and types, never the content of a row.
_ABOUT_THE_STATEMENT = frozenset(
    {
        "0A000",  # feature not supported: "FOR UPDATE is not allowed with GROUP BY clause"
        "34000",  # cursor does not exist
        "42601",  # syntax error
        "42611",  # column definition
        "42622",  # name too long
        "42701",  # duplicate column
        "42702",  # ambiguous column
        "42703",  # undefined column
        "42704",  # undefined object
        "42725",  # ambiguous function
        "42803",  # grouping
        "42804",  # datatype mismatch
        "42809",  # wrong object type
        "42830",  # foreign key definition
        "42846",  # cannot coerce
        "42883",  # undefined function or operator
        "428C9",  # generated always
        "42P01",  # undefined table
        "42P02",  # undefined parameter
        "42P03",  # duplicate cursor
        "42P08",  # ambiguous parameter
        "42P09",  # ambiguous alias
        "42P10",  # ORDER BY position
        "42P12",  # duplicate alias
        "42P18",  # indeterminate type
        "42P19",  # recursion
        "42P20",  # windowing
        "42P21",  # collation mismatch
        "42P22",  # indeterminate collation
        "26000",  # prepared statement does not exist
        "3B001",  # savepoint does not exist
    }
)

# Messages that quote a value: the caller's own where the server met it while it read the text, else a row's.
_QUOTES_A_LITERAL = frozenset({"22003", "22007", "22008", "22009", "22P02", "22023", "2201B"})

# Messages that are one fixed sentence; the data may decide whether they come, but not what they say.
_FIXED_SENTENCE = frozenset(
    {
        "21000",  # more than one row returned by a subquery used as an expression
        "22003",  # "integer out of range"; the form that quotes the number does not pass the wording
        "22012",  # division by zero
        "25001",
        "25006",  # cannot execute … in a read-only transaction
        "25P01",
        "25P02",  # current transaction is aborted
        "25P03",
        "40001",
        "40P01",
        "53200",
        "53300",
        "54001",
        "54011",
        "54023",
        "55P03",
        "57014",  # canceling statement due to …
        "57P01",
        "57P02",
        "57P03",
        "57P05",
    }
)

_NEUTRAL = {
    "21000": "a subquery gives more rows than may stand there, or a row would be changed twice",
    "22001": "a string is too long for its type",
    "22003": "a number is out of range for its type",
    "22007": "a text is no valid date or time",
    "22008": "a date or time is out of range",
    "22011": "a substring cannot have that length",
    "22012": "a division by zero",
    "22021": "a text has bytes that are no character",
    "22023": "an argument has a value that it may not have",
    "2201B": "a regular expression is not valid",
    "2202E": "array subscripts or dimensions do not fit",
    "22P02": "a text is no valid value of the type that it is converted to",
    "42601": "the statement has a syntax error",
    "23502": "a column that may not be null would be null",
    "23503": "a foreign key would point to no row",
    "23505": "a unique key would occur twice",
    "23514": "a check constraint would be violated, or no partition would take the row",
    "23P01": "an exclusion constraint would be violated",
    "42501": "the database role of the gate may not do this; its owner can grant it",
    "08": "the connection to the server failed; connect again",
    "0A": "the server does not support this statement",
    "21": "a subquery gives more rows than may stand there",
    "22": "a value cannot be processed",
    "23": "a constraint would be violated",
    "25": "the transaction is in the wrong state for this statement; roll back",
    "26": "there is no such prepared statement",
    "28": "the server refused the login",
    "34": "there is no such cursor",
    "3B": "there is no such savepoint",
    "40": "the server rolled the transaction back; run it again",
    "42": "the statement is wrong, or names something that does not exist",
    "44": "the new row is outside of what may be written",
    "53": "the server is short of resources; try again later",
    "54": "the statement exceeds a limit of the server",
    "55": "something that the statement needs is in use, or not in the right state",
    "57": "the server cancelled the statement, or is shutting down",
    "58": "the server met a system error",
    "P0": "a function raised an error",
    "XX": "the server met an internal error",
}
_NEUTRAL_REST = "the server could not run the statement"
_LOST = "the connection to the server is closed or was lost; connect again"

# The server's fixed wording, in English; in any other language nothing passes, which is safe.
_WORDING = frozenset(
    """
    a aggregate aggregates alias all allowed already ambiguous an and appear argument arguments as at be because been
    before between block boolean by call calls can canceling cannot cast clause collation column columns command
    commands common concurrent connections contain could cross-database current cursor database deadlock deadlocks
    delete dependencies detected determine different does due each either empty end entry error exceeded execute exist
    exists expression expressions false for from full function functions given group grouping has have held idle if
    ignored implicit in indeterminate initial input insert integer into invalid is item items join key label left limit
    list lists lock match matched memory merge missing more most multiple must name named no non not nothing null number
    numbers obtain of on one only operation operator or order out outer over parameter parameters part positional
    possible procedure query range read read-only record recursive reference references relation request required
    result return returned returning returns right row rows run running savepoint schema select serialize set shared
    should shutdown side specified stack statement subquery such supported syntax table tables target term terminating
    than that the there this timeout to too transaction transactions true type types undefined union unique unknown
    unsafe until update updates usage use used user using value values view volatile when where which window with
    within without write zero administrator aborted accept accepting adding already-prepared attribute condition
    conflict count cte depth division distinct except having intersect nested option prepared progress share sort string
    bigint bit bytea character char cidr date daterange double inet int4range int8range interval json jsonb jsonpath
    macaddr money name numeric numrange oid point precision real smallint text time timestamp timestamptz tsquery
    tsrange tstzrange tsvector uuid varchar varying xid xml zone anyarray position anyelement anycompatible
    regclass regtype
    """.split()
)
_WORD = re.compile(r"[\w$]+")
_DOTTED = re.compile(r"[\w$]+(?:\.[\w$]+)+")
_QUOTED = re.compile(r'"([^"]*)"')


@dataclass(frozen=True, slots=True)
class Said:
    """What the server said, as far as it matters.

    ``message``: the primary one. ``at_text``: whether it came with a position in the text that was sent (field P).
    ``within``: whether it came with a CONTEXT or an internal query (fields W, q).
    """

    sqlstate: str
    message: str
    at_text: bool
    within: bool


@dataclass(frozen=True, slots=True)
class Told:
    """What the caller is told: a message, and the position in the caller's own text, counted from one."""

    message: str
    position: int | None


def from_server(error: psycopg.Error, asked: str) -> errors.Error:
    """Translate one of psycopg's errors.

    Args:
        error: What psycopg raised; nothing of it is kept.
        asked: The caller's own text, in engine style.
    """
    state = error.sqlstate
    kind = _kind(type(error), state)
    if state is not None:
        return _told(kind, _said(error.diag, state), asked)
    if isinstance(error, psycopg.OperationalError) and not _own_words(error):
        return kind(_LOST)
    if error.pgresult is not None:
        # libpq made this result itself when the connection broke; its text quotes the last message.
        return errors.OperationalError(_LOST)
    return kind(str(error))


def from_fields(said: Said, asked: str) -> errors.Error:
    """Translate what the server said, where no error of psycopg's tells it; nothing of it is kept."""
    try:
        theirs: type[psycopg.Error] = psycopg.errors.lookup(said.sqlstate)
    except KeyError:
        theirs = psycopg.DatabaseError
    return _told(_kind(theirs, said.sqlstate), said, asked)


def _told(kind: type[errors.Error], said: Said, asked: str) -> errors.Error:
    if said.sqlstate == RIGHTS_CHANGED:
        return kind("the caller's rights changed while the transaction was open; roll back and run it again")
    told = tell(said, asked)
    return kind(told.message, sqlstate=said.sqlstate, position=told.position)


def from_revoking() -> errors.Error:
    """What the caller reads of a statement that the gate cancelled."""
    return errors.RightsChanged(
        "the statement was cancelled: the caller's rights, or consents that it needs, changed while it ran;"
        " roll back and run it again",
        sqlstate=CANCELLED,
    )


def from_connecting(error: psycopg.Error) -> errors.Error:
    """Translate what failed before there was a session, hence before anything hidden could be read."""
    return _kind(type(error), error.sqlstate)(str(error), sqlstate=error.sqlstate)


def quiet_notice(diagnostic: Diagnostic, asked: str) -> Diagnostic:
    """A notice with nothing in it but severity, SQLSTATE and a safe message."""
    state = diagnostic.sqlstate or "00000"
    said = _said(diagnostic, state)
    message = notice(said, asked)
    fields = {
        DiagnosticField.SEVERITY: diagnostic.severity,
        DiagnosticField.SEVERITY_NONLOCALIZED: diagnostic.severity_nonlocalized,
        DiagnosticField.SQLSTATE: state,
        DiagnosticField.MESSAGE_PRIMARY: message,
    }
    return Diagnostic({key: None if text is None else text.encode() for key, text in fields.items()}, "utf-8")


def notice(said: Said, asked: str) -> str:
    """What the caller may read of a notice."""
    if _tells_nothing_new(said, asked):
        return said.message
    return f"a notice from the server (SQLSTATE {said.sqlstate})"


def _kind(raised: type[psycopg.Error], state: str | None) -> type[errors.Error]:
    if state in _BY_STATE:
        return _BY_STATE[state]
    for theirs, ours in _BY_CLASS:
        if issubclass(raised, theirs):
            return ours
    return errors.DatabaseError


def _own_words(error: psycopg.Error) -> bool:
    """Whether psycopg itself wrote the message, so that nothing of the server's is in it."""
    return isinstance(error, PipelineAborted | ConnectionTimeout | CancellationTimeout)


def _said(diagnostic: Diagnostic, state: str) -> Said:
    return Said(
        sqlstate=state,
        message=diagnostic.message_primary or "",
        at_text=diagnostic.statement_position is not None,
        within=diagnostic.context is not None or diagnostic.internal_query is not None,
    )


def tell(said: Said, asked: str) -> Told:
    """What the caller may be told of a server's error.

    Args:
        said: What the server said.
        asked: The caller's own text, in engine style.
    """
    if _tells_nothing_new(said, asked):
        return Told(said.message, _position(said.message, asked) if said.at_text else None)
    neutral = _NEUTRAL.get(said.sqlstate) or _NEUTRAL.get(said.sqlstate[:2], _NEUTRAL_REST)
    withheld = "the server's own words are withheld, since they may quote hidden values"
    return Told(f"{neutral} (SQLSTATE {said.sqlstate}; {withheld})", None)


def _position(message: str, asked: str) -> int | None:
    """Where the caller wrote what the message names, if it names one thing and he wrote it once.

    The server's own position is one of the rewritten text.
    """
    named = {*_QUOTED.findall(message), *_DOTTED.findall(_QUOTED.sub(" ", message))} - {""}
    if len(named) != 1:
        return None
    (name,) = named
    found = [match.start() for match in re.finditer(rf"(?<![\w$]){re.escape(name)}(?![\w$])", asked, re.IGNORECASE)]
    return found[0] + 1 if len(found) == 1 else None


def _tells_nothing_new(said: Said, asked: str) -> bool:
    """Whether the message consists of the server's fixed wording and, at most, words of the caller's own text."""
    state = said.sqlstate
    if not said.message:
        return False
    repeats = state in _ABOUT_THE_STATEMENT or (state in _QUOTES_A_LITERAL and said.at_text)
    known = frozenset(_WORD.findall(asked.lower())) if repeats and not said.within else frozenset()
    if not known and state not in _FIXED_SENTENCE:
        return False
    message = said.message.lower()
    named = [word for name in _QUOTED.findall(message) + _DOTTED.findall(message) for word in _WORD.findall(name)]
    rest = _WORD.findall(_DOTTED.sub(" ", _QUOTED.sub(" ", message)))
    return known.issuperset(named) and all(word in known or word in _WORDING for word in rest)
