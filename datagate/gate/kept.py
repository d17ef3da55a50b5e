"""What one session keeps between statements: prepared queries, open cursors, temporary tables."""

from __future__ import annotations

from dataclasses import dataclass, field

from datagate.backends.postgres.prepared import Prepared
from datagate.backends.postgres.statements import ReadStatement
from datagate.errors import ProgrammingError, UndefinedRelation
from datagate.gate.watched import Pledge
from datagate.model.caller import Caller
from datagate.sql.inventory import undefined_relation


@dataclass(slots=True)
class Kept:
    """The things by name; the server's own stand behind each.

    ``past``: what cursors that were closed or opened anew stood for before, should the server have failed to do so.
    ``temporary``: tables, by whom they were made: they hold the rows that this caller saw.
    """

    prepared: dict[str, Prepared] = field(default_factory=dict)
    cursors: dict[str, Pledge] = field(default_factory=dict)
    past: dict[str, Pledge] = field(default_factory=dict)
    temporary: dict[str, Caller] = field(default_factory=dict)

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

    def tables(self, caller: Caller) -> frozenset[str]:
        """The temporary tables that exist for a caller."""
        return frozenset(name for name, maker in self.temporary.items() if maker == caller)

    def told(self, error: UndefinedRelation) -> UndefinedRelation:
        """The error, or a clearer one where what is missing is a temporary table that the session made otherwise."""
        for name in self.temporary:
            if error.message in (undefined_relation(None, name).message, undefined_relation("pg_temp", name).message):
                made = f'temporary table "{name}" holds what was seen for another purpose or under another mandate'
                clearer = UndefinedRelation(f"{made}; SET that again to read it, or DROP it")
                clearer.audit_reason = error.audit_reason
                return clearer
        return error

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
        for dropped in statement.dropped:
            self.temporary.pop(dropped, None)
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
