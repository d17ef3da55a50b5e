"""A gate with one rule, so that the driver can be tested by itself: EU customers only, and no table called secrets."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum

from datagate.audit import Completion, Held
from datagate.errors import Refused
from datagate.model.caller import Caller

_SESSION = re.compile(
    r"\s*(begin|commit|rollback|savepoint|release|set|show|listen|notify|prepare transaction|deallocate|discard)\b",
    re.IGNORECASE,
)
_PARAMETER = re.compile(r"\$(\d+)")
_INTERNAL = {"int": "int4"}
_CAST = re.compile(r"\$(\d+)::(\w+)")
_CUSTOMERS = re.compile(r"(?i:(?<=from ))customers\b( c\b)?")


class StatementKind(Enum):
    QUERY = "query"
    SESSION = "session"


@dataclass(frozen=True, slots=True)
class Assumption:
    parameter: int
    type: str
    once: bool = True


@dataclass(frozen=True, slots=True)
class Admitted:
    kind: StatementKind
    text: str
    parameters: tuple[object, ...]
    caller_parameters: int
    assumptions: frozenset[Assumption] = frozenset()
    shows_rows: bool = True
    copies: bool = False


@dataclass(slots=True)
class StandInSession:
    regions: tuple[str, ...]
    seen: list[str] = field(default_factory=list)
    cursors: list[str] = field(default_factory=list)
    refreshed: int = 0

    def admit(self, text: str, *, assuming: bool = True, ahead: bool = False) -> Admitted:
        assert ahead in (True, False)
        self.seen.append(text)
        if "secrets" in text:
            raise Refused("secrets is not permitted")
        if _SESSION.match(text):
            return Admitted(StatementKind.SESSION, text, (), 0)
        used = max((int(number) for number in _PARAMETER.findall(text)), default=0)
        casts = _CAST.findall(text) if assuming else []
        guard = f"(SELECT * FROM public.customers WHERE region = ANY(${used + 1}::pg_catalog.text[])) AS "
        text, count = _CUSTOMERS.subn(lambda found: guard + ("c" if found[1] else "customers"), text, count=1)
        assumptions = frozenset(Assumption(int(number), _INTERNAL.get(name, name)) for number, name in casts)
        text = text if assuming else f"{text} -- fenced"
        return Admitted(StatementKind.QUERY, text, (self.regions,) if count else (), used, assumptions)

    @property
    def recorded(self) -> str | Held | None:
        return None

    @property
    def keeps_keys(self) -> bool:
        return True

    def complete(self, recorded: str | Held | None, completion: Completion) -> None:
        assert recorded is None
        assert completion.microseconds >= 0

    def keyed(self, table: int) -> tuple[str, int] | None:
        assert table
        return None

    def refresh(self) -> None:
        self.refreshed += 1

    def watch(self, flight: object) -> None:
        """Nothing ends here by itself."""

    def leave(self) -> None:
        """Nothing was watched."""

    def opened(self, cursor: str) -> None:
        self.cursors.append(cursor)

    def failed(self) -> None:
        """Nothing is kept that could be wrong."""

    def check_cursor(self, cursor: str) -> None:
        assert cursor in self.cursors


@dataclass(slots=True)
class StandInGate:
    regions: tuple[str, ...] = ("EU",)
    sessions: list[StandInSession] = field(default_factory=list)

    @property
    def session_settings(self) -> tuple[tuple[str, str], ...]:
        return (("search_path", '"public", "with \\ and space"'), ("transform_null_equals", "off"))

    def session(self, caller: Caller, *, frontend: str) -> StandInSession:
        assert frontend == "driver"
        assert caller.principal
        self.sessions.append(StandInSession(self.regions))
        return self.sessions[-1]

    @property
    def seen(self) -> list[str]:
        return [text for session in self.sessions for text in session.seen]
