"""What one session keeps between statements: prepared queries, open cursors, temporary tables."""

from __future__ import annotations

from dataclasses import dataclass, field

from datagate.backends.postgres.prepared import Prepared
from datagate.backends.postgres.statements import ReadStatement
from datagate.errors import ProgrammingError
from datagate.gate.watched import Pledge


@dataclass(slots=True)
class Kept:
    """The things by name; the server's own stand behind each.

    ``past``: what cursors that were closed or opened anew stood for before, should the server have failed to do so.
    """

    prepared: dict[str, Prepared] = field(default_factory=dict)
    cursors: dict[str, Pledge] = field(default_factory=dict)
    past: dict[str, Pledge] = field(default_factory=dict)
    temporary: set[str] = field(default_factory=set)

    def prepare(self, name: str, prepared: Prepared) -> None:
        """Keep a query; ProgrammingError (42P05) where there is one of that name."""
        if name in self.prepared:
            raise ProgrammingError(f'prepared statement "{name}" already exists', sqlstate="42P05")
        self.prepared[name] = prepared

    def execute(self, statement: ReadStatement) -> str:
        """The text that an EXECUTE means; ProgrammingError (26000) where nothing of that name was prepared."""
        name = statement.prepared or ""
        found = self.prepared.get(name)
        if found is None:
            raise ProgrammingError(f'prepared statement "{name}" does not exist', sqlstate="26000")
        return found.with_arguments(name, statement.arguments)

    def open(self, cursor: str, pledge: Pledge) -> None:
        """Note what a cursor's rows are decided by."""
        self._pass(cursor, pledge)
        self.cursors[cursor] = pledge

    def failed(self) -> None:
        """Take no cursor for closed or new that might still be an old one: some statement failed at the server."""
        self.cursors.update(self.past)

    def _pass(self, cursor: str, pledge: Pledge | None) -> None:
        before = self.cursors.get(cursor)
        if before is not None and before != pledge:
            self.past.setdefault(cursor, before)

    def forget(self, statement: ReadStatement) -> None:
        """Follow CLOSE, DEALLOCATE, DROP TABLE and DISCARD."""
        if statement.cursor is not None and not statement.fetches:
            for cursor in [statement.cursor] if statement.cursor else list(self.cursors):
                self._pass(cursor, None)
            _drop(self.cursors, statement.cursor)
        if statement.prepared is not None:
            _drop(self.prepared, statement.prepared)
        self.temporary.difference_update(statement.dropped)
        if statement.discards in ("DISCARD_ALL", "DISCARD_TEMP"):
            self.temporary.clear()
        if statement.discards == "DISCARD_ALL":
            self.prepared.clear()
            for cursor in self.cursors:
                self._pass(cursor, None)
            self.cursors.clear()


def _drop(things: dict[str, Prepared] | dict[str, Pledge], name: str) -> None:
    """One of them, or all where no name is given."""
    if name:
        things.pop(name, None)
    else:
        things.clear()
