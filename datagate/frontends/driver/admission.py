"""What stands between a caller's statement and the wire: nothing is sent that the gate has not admitted.

Law: psycopg's cursors turn every statement into a query object before they send it. Ours turn only a `Statement` into
one, and a `Statement` is made in `Admission.admit` alone. A method of psycopg's that we forgot fails; it does not leak.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

import psycopg
from psycopg import pq
from psycopg._encodings import conn_encoding
from psycopg._queries import PostgresQuery  # private, and pinned with psycopg's minor version
from psycopg.abc import Buffer, Params, Query

from datagate.audit import Completion, Held
from datagate.backends.postgres.assumptions import Assumption, hold
from datagate.backends.postgres.engine import is_blank
from datagate.backends.postgres.parameters import check_types, encode
from datagate.errors import InternalError, NotSupportedError, ProgrammingError
from datagate.frontends.driver.placeholders import Converted, convert, in_order, read_text

_UTF8 = "utf-8"
_KEPT_STATEMENTS = 512
_KEPT_LENGTH = 4096


class Admitted(Protocol):
    """A statement as the gate lets it through; `datagate.gate.Admitted` is one."""

    @property
    def kind(self) -> Enum:
        """QUERY or SESSION."""

    @property
    def text(self) -> str:
        """Verified SQL: the only text that may be sent."""

    @property
    def parameters(self) -> tuple[object, ...]:
        """Policy values; they come after the caller's own parameters."""

    @property
    def caller_parameters(self) -> int:
        """The highest ``$n`` of the caller's own text."""

    @property
    def shows_rows(self) -> bool:
        """False where the rows that come back are the gate's own."""

    @property
    def copies(self) -> bool:
        """Whether it is COPY … TO STDOUT."""

    @property
    def assumptions(self) -> frozenset[Assumption]:
        """Casts of the caller's parameters that the gate took to succeed whatever the rows."""


class GateSession(Protocol):
    """What the driver needs of the gate for one caller; `datagate.gate.GateSession` is one."""

    def admit(self, text: str, *, assuming: bool = True, ahead: bool = False) -> Admitted:
        """Let a statement through, or raise; not ``assuming`` where an assumption does not hold.

        ``ahead``: `complete` is called however the statement ends, and before any row of it leaves.
        """

    @property
    def recorded(self) -> str | Held | None:
        """What stands for the record of the last statement of this thread or task."""

    @property
    def keeps_keys(self) -> bool:
        """Whether there is any table whose keys the audit keeps."""

    def complete(self, recorded: str | Held | None, completion: Completion) -> None:
        """Record how a statement ended; AuditUnavailable where a statement admitted ahead is not recorded itself."""

    def keyed(self, table: int) -> tuple[str, int] | None:
        """The relation and the column number of its data subject, for a table whose keys the audit keeps."""

    def refresh(self) -> None:
        """Forget facts that were read before the caller's rights changed."""

    def watch(self, flight: Flight) -> None:
        """Have what runs on a connection cancelled when the caller's rights end."""

    def leave(self) -> None:
        """The connection is closed."""

    def opened(self, cursor: str) -> None:
        """Note that a cursor is opened for the statement just admitted."""

    def failed(self) -> None:
        """Note that the server failed a statement."""

    def check_cursor(self, cursor: str) -> object:
        """Refuse to read from a cursor that was opened under rights that are no longer in force."""


class Flight(Protocol):
    """What the gate needs of a connection; `datagate.gate.watched.Flight` is the same."""

    @property
    def under_way(self) -> bool:
        """Whether a statement runs now."""

    @property
    def revoked(self) -> bool:
        """Whether it is being cancelled."""

    def withhold(self) -> None:
        """Hand on no more of it."""

    def revoke(self) -> None:
        """Cancel it, too."""


class Statement:
    """An admitted statement, ready to be sent."""

    __slots__ = (
        "_session",
        "_text",
        "about_session",
        "admitted_text",
        "ascii",
        "assumptions",
        "converted",
        "copies",
        "formats",
        "is_query",
        "policy",
        "prefix",
        "sent",
        "shows_rows",
        "values",
    )

    def __init__(self, text: str, converted: Converted | None, session: GateSession, admitted: Admitted) -> None:
        self._text = text
        self._session = session
        self.prefix = b""
        self.assumptions = admitted.assumptions
        self.admitted_text = admitted.text
        self.converted = converted
        self.is_query = admitted.kind.name == "QUERY"
        self.about_session = admitted.kind.name == "SESSION"
        self.shows_rows = admitted.shows_rows
        self.copies = admitted.copies
        self.policy = admitted.parameters
        self.sent = admitted.text.encode(_UTF8)
        self.ascii = admitted.text.isascii()
        self.values, formats = encode(admitted.parameters)
        self.formats = tuple(map(pq.Format, formats))
        given = len(converted.formats) if converted is not None else 0
        if given != admitted.caller_parameters:
            raise ProgrammingError(
                f"the statement uses {admitted.caller_parameters} numbered parameters and has {given} placeholders; "
                "write %s or %(name)s outside of literals and comments, and $n nowhere",
                sqlstate="42P02",
            )

    def declared(self, prefix: bytes) -> Statement:
        """The same statement as the query of a DECLARE; ``prefix`` ends in ``FOR``."""
        out = copy(self)
        out.prefix = prefix
        out.sent = prefix + self.sent
        out.ascii = self.ascii and prefix.isascii()
        return out

    def without_assuming(self) -> Statement:
        """The same statement, admitted anew for parameters that are not what was assumed of them."""
        admitted = self._session.admit(self._text, assuming=False)
        if admitted.assumptions:
            raise InternalError("the gate assumes what it was told not to; nothing was sent")
        out = Statement(self._text, self.converted, self._session, admitted)
        return out.declared(self.prefix) if self.prefix else out


class GatedQuery(PostgresQuery):
    """Psycopg's query object for admitted statements: the caller's parameters, then the policy's."""

    __slots__ = ("_statement",)

    def convert(self, query: object, vars: Params | None) -> None:  # noqa: A002 - psycopg's name
        """Take an admitted statement; anything else is refused."""
        if type(query) is not Statement:
            raise InternalError("a statement came to the wire that the gate has not admitted; nothing was sent")
        if not query.ascii and conn_encoding(self._tx.connection) != _UTF8:
            raise NotSupportedError("statements beyond ASCII need client_encoding UTF8 on a datagate connection")
        self._statement = query
        self.query = query.sent
        self.dump(vars)

    def dump(self, vars: Params | None) -> None:  # noqa: A002 - psycopg's name
        """Set the parameters for one execution."""
        statement = self._statement
        own: Sequence[Buffer | None] = ()
        types: tuple[int, ...] = ()
        formats: Sequence[pq.Format] = ()
        if vars is not None and statement.converted is not None:
            converted = statement.converted
            own = self._tx.dump_sequence(in_order(converted, vars), converted.formats)
            types = self._tx.types or ()
            check_types(types)
            formats = self._tx.formats or ()
            if statement.assumptions and not hold(statement.assumptions, types, own):
                statement = self._statement = statement.without_assuming()
                self.query = statement.sent
        elif vars is not None or statement.converted is not None:
            raise InternalError("parameters and placeholders were admitted apart; nothing was sent")
        if statement.values:
            self.params = [*own, *statement.values]
            self.types = types + (0,) * len(statement.values)
            self.formats = [*formats, *statement.formats]
        else:
            self.params, self.types, self.formats = own, types, formats


def _check_characters(text: str) -> None:
    """Refuse what ends a C string early, and what is no character: the server would read another text."""
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise ProgrammingError("the statement holds a NUL or a lone surrogate, which are no text", sqlstate="22021")


def _count(parameters: Params) -> int:
    try:
        return len(parameters)
    except TypeError:
        problem = f"parameters are a sequence or a mapping, not {type(parameters).__qualname__}"
    raise ProgrammingError(problem)


class _Kind(Enum):
    SESSION = "session"


@dataclass(frozen=True, slots=True)
class _Blank:
    """What a text without any statement in it is admitted as; clients send such to see whether the server lives."""

    kind: Enum = _Kind.SESSION
    text: str = ""
    parameters: tuple[object, ...] = ()
    caller_parameters: int = 0
    assumptions: frozenset[Assumption] = frozenset()
    shows_rows: bool = True
    copies: bool = False


_BLANK = _Blank()


class Admission:
    """One connection's way through the gate; keeps what it prepared for sending.

    Attributes:
        asked: The text of the last statement, in engine style, for judging whether an error tells more than it.
    """

    __slots__ = ("_kept", "_session", "asked", "session")

    def __init__(self, session: GateSession) -> None:
        self.session = session
        self._session = session
        self._kept: dict[str, Statement] = {}
        self.asked = ""

    def refresh(self) -> None:
        """Forget facts that were read before the caller's rights changed."""
        self._session.refresh()

    def opened(self, cursor: str) -> None:
        """Note that a cursor is opened for the statement just admitted."""
        self._session.opened(cursor)

    def failed(self) -> None:
        """Note that the server failed a statement."""
        self._session.failed()

    def check_cursor(self, cursor: str) -> None:
        """Refuse to read from a cursor that was opened under rights that are no longer in force."""
        self._session.check_cursor(cursor)

    def admit_numbered(self, text: str, *, assuming: bool = True) -> Admitted:
        """Pass a statement through the gate that is in the engine's own style already, with ``$n``.

        Raises:
            DatagateError: The gate's refusals, and what is wrong with the text.
        """
        _check_characters(text)
        self.asked = text
        return self._session.admit(text, assuming=assuming) if not is_blank(text) else _BLANK

    def admit(
        self,
        query: Query,
        parameters: Params | None,
        connection: psycopg.BaseConnection[object],
        *,
        ahead: bool = False,
    ) -> Statement:
        """Pass a statement through the gate.

        Args:
            query: The caller's text, with psycopg's placeholders unless ``parameters`` is None.
            parameters: As given to ``execute``; their values are not looked at.
            connection: For compositions, which quote names and literals as the connection says.
            ahead: As in `GateSession.admit`.

        Raises:
            DatagateError: The gate's refusals, and what is wrong with text or placeholders.
        """
        text = query if type(query) is str else read_text(query, connection)
        converted = None
        if parameters is not None:
            converted = convert(text, _count(parameters))
            text = converted.text
        kept = self._kept.get(text)
        if kept is None:
            _check_characters(text)
        self.asked = text
        admitted = self._session.admit(text, ahead=ahead) if not is_blank(text) else _BLANK
        if (
            kept is not None
            and kept.converted is converted
            and kept.admitted_text == admitted.text
            and kept.policy == admitted.parameters
            and kept.assumptions == admitted.assumptions
        ):
            return kept
        statement = Statement(text, converted, self._session, admitted)
        if len(text) <= _KEPT_LENGTH:
            if len(self._kept) >= _KEPT_STATEMENTS:
                self._kept.clear()
            self._kept[text] = statement
        return statement
