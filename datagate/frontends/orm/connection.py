"""The connection of one caller: what it is told to write is looked at before it is sent.

Two looks. Where SQLAlchemy knows the columns (INSERT and UPDATE in its own words, so all that a flush sends), values
are compared as the application gave them. Below that, whatever the statement was made of, the engine's parser says
which parameters may come to stand in a table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Protocol

from sqlalchemy import Connection, CursorResult, Insert, Update
from sqlalchemy.engine.default import DefaultDialect

from datagate.backends.postgres.written import Written, written
from datagate.errors import DatagateError
from datagate.frontends.driver.placeholders import convert
from datagate.frontends.orm.inserting import leave_out
from datagate.frontends.orm.masks import Masks, check_statement, written_from

_KEPT_LENGTH = 8192


class Holder(Protocol):
    """Who holds objects that show masks; a session is one."""

    def masks(self) -> Masks:
        """The masks that they show now."""


class CallerConnection(Connection):
    """SQLAlchemy's connection, which lets no mask be written.

    Attributes:
        holder: finds the session that the connection serves, while there is one.
    """

    holder: Callable[[], Holder | None] | None = None

    def held(self) -> Holder | None:
        """The session that the connection serves."""
        return None if self.holder is None else self.holder()

    def _execute_clauseelement(self, elem: Any, distilled_parameters: Any, execution_options: Any) -> CursorResult[Any]:
        if isinstance(elem, Insert | Update):
            held = self.held()
            if held is not None:
                check_statement(elem, distilled_parameters, held.masks)
            lane = getattr(self.engine, "lane", None)
            # Only the unit of work brings its own cache of compiled statements.
            if lane is not None and "compiled_cache" in execution_options:
                elem, distilled_parameters = leave_out(lane, elem, distilled_parameters)
        return super()._execute_clauseelement(elem, distilled_parameters, execution_options)


class WritesNoMasks(DefaultDialect):
    """What a dialect needs where connections serve sessions that show masks."""

    def do_execute(self, cursor: Any, statement: Any, parameters: Any, context: Any = None) -> None:
        """Execute a statement that writes no mask.

        Raises:
            Refused: it would write one; names the column.
        """
        if context is not None:
            _check(context, statement, [parameters], self.positional)
        super().do_execute(cursor, statement, parameters, context)  # type: ignore[no-untyped-call]

    def do_executemany(self, cursor: Any, statement: Any, parameters: Any, context: Any = None) -> None:
        """The same for many sets of parameters."""
        if context is not None:
            _check(context, statement, parameters, self.positional)
        super().do_executemany(cursor, statement, parameters, context)  # type: ignore[no-untyped-call]


def _check(context: Any, statement: str, rows: Sequence[Any], positional: bool) -> None:
    connection = context.root_connection
    held = connection.held() if isinstance(connection, CallerConnection) else None
    if held is None:
        return
    found = _parameters(statement, positional)
    if not found:
        return
    known = held.masks()
    for key, name, number in found:
        for row in rows:
            value = row[key] if isinstance(row, Mapping) else row[number]
            source = known.source(value)
            if source is not None:
                raise written_from(name, source)


Parameter = tuple[str, str, int]
"""The key of a parameter among those that go by name, its column, its place among those that go by number."""


def _parameters(statement: str, positional: bool) -> tuple[Parameter, ...]:
    if len(statement) <= _KEPT_LENGTH:
        return _kept(statement, positional)
    return tuple(_read(statement, positional))


@lru_cache(maxsize=1024)
def _kept(statement: str, positional: bool) -> tuple[Parameter, ...]:
    return tuple(_read(statement, positional))


def _read(statement: str, positional: bool) -> Iterator[Parameter]:
    if positional:
        numbers: Written = written(statement)
        order: Sequence[str] = ()
    else:
        try:
            converted = convert(statement, _KEPT_LENGTH)
        except DatagateError:
            # It is not sent; the driver says so in its own words.
            return
        numbers, order = written(converted.text), converted.order or ()
    for number, name in numbers:
        yield order[number - 1] if order else "", name, number - 1
