"""What one user may use of the gateway, and how long things may take; without sockets.

Counts are for each process. A budget for a minute fills up again by the second; who has used it up is refused until
some of it is back, and told so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields

from datagate.errors import OperationalError, ProgrammingError

_SETTLED_BY = 64 * 1024
_MINUTE = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits of one process; times in seconds.

    Args:
        clients: Clients that may be connected.
        connections_per_user: Those of one user.
        statements_per_minute: What one user may run.
        rows_per_minute: What one user may fetch; what is more ends the session.
        bytes_per_minute: The same; what is more ends the statement.
        statement_seconds: How long a statement may run, reading its result included.
        idle_seconds: How long a session may say nothing.
        idle_in_transaction_seconds: The same within a transaction, which holds a connection to the server.
        login_seconds: How long a login may take, from the first byte on.
        queue_seconds: How long a statement may wait for a connection to the server.
    """

    clients: int = 10_000
    connections_per_user: int = 2_000
    statements_per_minute: int = 3_000_000
    rows_per_minute: int = 1_000_000_000
    bytes_per_minute: int = 64 << 30
    statement_seconds: float = 3_600.0
    idle_seconds: float = 28_800.0
    idle_in_transaction_seconds: float = 600.0
    login_seconds: float = 30.0
    queue_seconds: float = 30.0

    @classmethod
    def read(cls, settings: Mapping[str, str]) -> Limits:
        """Limits by their names, with dashes or underscores.

        Raises:
            ProgrammingError: There is no limit of a name, or a value that is no positive number.
        """
        kinds: dict[str, type[int] | type[float]] = {
            each.name: int if each.type == "int" else float for each in fields(cls)
        }
        given: dict[str, float] = {}
        for name, text in settings.items():
            kind = kinds.get(name.replace("-", "_"))
            if kind is None:
                known = ", ".join(sorted(each.replace("_", "-") for each in kinds))
                raise ProgrammingError(f"there is no limit {name!r}; there are {known}")
            try:
                value = kind(text)
            except ValueError:
                value = kind(0)
            if not 0 < value < float("inf"):
                raise ProgrammingError(f"limit {name} must be a positive {'number' if kind is float else 'integer'}")
            given[name.replace("-", "_")] = value
        return cls(**given)  # type: ignore[arg-type] # each has its field's type by now

    @property
    def counts_rows(self) -> bool:
        """Whether rows are counted as they pass; the default is for nobody to reach, and not worth that."""
        return self.rows_per_minute < Limits().rows_per_minute

    @property
    def tick(self) -> float:
        """How often to look at the clock, so that no time-out is late by more than a quarter."""
        shortest = min(self.statement_seconds, self.idle_seconds, self.idle_in_transaction_seconds)
        return min(max(shortest / 4, 0.05), 5.0)


class Budget:
    """So much for a minute.

    Args:
        limit: How much.
        clock: Seconds that only grow.
    """

    __slots__ = ("_at", "_clock", "_left", "_rate", "limit")

    def __init__(self, limit: float, clock: Callable[[], float]) -> None:
        self.limit = limit
        self._clock = clock
        self._rate = limit / _MINUTE
        self._left = limit
        self._at = clock()

    @property
    def left(self) -> float:
        """What may be used now; less than nothing where too much was used."""
        self.use(0)
        return self._left

    def use(self, amount: float) -> bool:
        """Use some of it; whether there was so much."""
        now = self._clock()
        left = self._left + (now - self._at) * self._rate
        if left > self.limit:
            left = self.limit
        self._at, self._left = now, left - amount
        return left >= amount


class Allowance:
    """What one user has, on all of its connections.

    ``short``: whether rows or bytes were used up when they were last counted.

    Args:
        limits: See there.
        clock: Seconds that only grow.
    """

    def __init__(self, limits: Limits, clock: Callable[[], float]) -> None:
        self.limits = limits
        self.connections = 0
        self.short = False
        self.statements = Budget(limits.statements_per_minute, clock)
        self.rows = Budget(limits.rows_per_minute, clock)
        self.bytes = Budget(limits.bytes_per_minute, clock)


class Allowances:
    """The allowances of all users that are connected, or have not got back all that they used.

    Args:
        limits: See there.
        clock: Seconds that only grow.
    """

    def __init__(self, limits: Limits, clock: Callable[[], float]) -> None:
        self._limits = limits
        self._clock = clock
        self._by_user: dict[str, Allowance] = {}

    def enter(self, user: str) -> Allowance:
        """One more connection of a user.

        Raises:
            OperationalError: There are enough (53300).
        """
        found = self._by_user.get(user)
        if found is None:
            self._forget_the_idle()
            found = self._by_user[user] = Allowance(self._limits, self._clock)
        if found.connections >= self._limits.connections_per_user:
            raise OperationalError(
                f'too many connections for user "{user}": {self._limits.connections_per_user} are allowed',
                sqlstate="53300",
            )
        found.connections += 1
        return found

    def _forget_the_idle(self) -> None:
        """Those who have used nothing lately have all of it again."""
        if len(self._by_user) >= self._limits.clients:
            full = {
                user: each
                for user, each in self._by_user.items()
                if each.connections or any(one.left < one.limit for one in (each.statements, each.rows, each.bytes))
            }
            self._by_user = full


class Meter:
    """What one connection uses of its user's allowance."""

    __slots__ = ("_allowance", "_settles_by", "_unsettled")

    def __init__(self, allowance: Allowance) -> None:
        self._allowance = allowance
        self._settles_by = min(_SETTLED_BY, int(allowance.bytes.limit) >> 10)
        self._unsettled = 0

    def refusal(self) -> OperationalError | None:
        """Why the next statement may not begin; where it may, it is counted."""
        allowance = self._allowance
        if allowance.statements.use(1) and not allowance.short:
            return None
        return self._refusal(allowance)

    def _refusal(self, allowance: Allowance) -> OperationalError | None:
        if allowance.statements.left < 0:
            allowance.statements.use(-1)
            return exceeded("statements", allowance.statements)
        for what, budget in (("rows", allowance.rows), ("bytes", allowance.bytes)):
            if budget.left < 1:
                return exceeded(what, budget)
        allowance.short = False
        return None

    def passed(self, size: int) -> OperationalError | None:
        """So many bytes went to the client; why the statement has to end, where that was too much."""
        self._unsettled += size
        if self._unsettled <= self._settles_by or self._settle():
            return None
        return exceeded("bytes", self._allowance.bytes)

    def row(self) -> OperationalError | None:
        """A row is about to go to the client; why it may not."""
        allowance = self._allowance
        passes = allowance.rows.use(1)
        allowance.short = allowance.short or allowance.rows.left < 1
        return None if passes else exceeded("rows", allowance.rows)

    def leave(self) -> None:
        """The connection is gone."""
        self._settle()
        self._allowance.connections -= 1

    def _settle(self) -> bool:
        size, self._unsettled = self._unsettled, 0
        allowance = self._allowance
        enough = allowance.bytes.use(size)
        allowance.short = allowance.short or allowance.bytes.left < 1
        return enough


def exceeded(what: str, budget: Budget) -> OperationalError:
    """A budget is used up."""
    seconds = max(1, round((1 - min(budget.left, 0)) * _MINUTE / budget.limit))
    return OperationalError(
        f"limit of {budget.limit:g} {what} per minute is reached; try again in {seconds} s", sqlstate="53400"
    )
