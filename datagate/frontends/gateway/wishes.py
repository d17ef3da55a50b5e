"""The settings that say who is calling, as PostgreSQL keeps settings: by transaction and savepoint (manual, SET).

What is SET in a transaction that is rolled back was never set; what is SET LOCAL ends with its transaction. RESET goes
back to what the client asked for at its start.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from datagate.backends.postgres.engine import parse_tree
from datagate.errors import DatagateError


@dataclass(frozen=True, slots=True)
class Standing:
    """The values that count now, and those that are left when the transaction commits."""

    now: Mapping[str, str]
    lasting: Mapping[str, str]


class Wishes:
    """One session's.

    Args:
        start: What the client asked for at its start.
    """

    def __init__(self, start: Mapping[str, str]) -> None:
        self._start = MappingProxyType(dict(start))
        self._committed = self.standing = Standing(self._start, self._start)
        self._savepoints: list[tuple[str, Standing]] = []

    @property
    def now(self) -> Mapping[str, str]:
        """The values that count."""
        return self.standing.now

    @property
    def uncommitted(self) -> bool:
        """Whether the end of the transaction may bring other values."""
        return self.standing is not self._committed

    @property
    def changed(self) -> bool:
        """Whether RESET ALL would bring other values."""
        return self.standing.now != self._start or self.standing.lasting != self._start

    def with_value(self, name: str, value: str | None) -> Mapping[str, str]:
        """The values with one of them set; None: to what it was at the start."""
        return _with(self.standing.now, name, self._start.get(name, "") if value is None else value)

    def set(self, name: str, value: str | None, *, local: bool) -> None:
        """SET, or SET LOCAL; None: RESET."""
        plain = self._start.get(name, "") if value is None else value
        lasting = self.standing.lasting
        self.standing = Standing(
            _with(self.standing.now, name, plain), lasting if local else _with(lasting, name, plain)
        )

    def reset(self) -> None:
        """RESET ALL."""
        self.standing = Standing(self._start, self._start)

    def follow(self, tag: bytes, asked: str) -> None:
        """A statement about the transaction was done: its tag, and its text.

        Savepoints are noted from the first SET of a transaction on: any other was there before it.
        """
        if not self.uncommitted:
            return
        kind, name = _read(asked)
        if kind == "TRANS_STMT_SAVEPOINT":
            self._savepoints.append((name, self.standing))
        elif kind in ("TRANS_STMT_RELEASE", "TRANS_STMT_ROLLBACK_TO"):
            self._end(name, back=kind != "TRANS_STMT_RELEASE")
        elif tag == b"COMMIT":
            self.commit()
        elif tag == b"ROLLBACK":
            self.roll_back()

    def _end(self, name: str, *, back: bool) -> None:
        """Leave a savepoint, and all that came after it; or go back to it, and keep it."""
        places = [place for place, (each, _) in enumerate(self._savepoints) if each == name]
        if back:
            self.standing = self._savepoints[places[-1]][1] if places else self._committed
        del self._savepoints[places[-1] + back if places else 0 :]

    def commit(self) -> None:
        """The transaction is committed."""
        if self.standing.now is not self.standing.lasting:
            self.standing = Standing(self.standing.lasting, self.standing.lasting)
        self._committed = self.standing
        self._savepoints.clear()

    def roll_back(self) -> None:
        """The transaction is rolled back."""
        self.standing = self._committed
        self._savepoints.clear()


def _with(values: Mapping[str, str], name: str, value: str) -> Mapping[str, str]:
    return MappingProxyType({**values, name: value})


def _read(asked: str) -> tuple[str, str]:
    """What a statement about the transaction does, and the savepoint that it names."""
    try:
        ((node, body),) = parse_tree(asked)["stmts"][0]["stmt"].items()
    except DatagateError:
        return "", ""
    return (body["kind"], body.get("savepoint_name", "")) if node == "TransactionStmt" else ("", "")
