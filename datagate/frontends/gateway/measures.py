"""What the gateway counts, for Prometheus; no literal and no caller's text is in it."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from datagate.errors import DatagateError
from datagate.frontends.gateway.pool import Pool
from datagate.model.decision import DenyReason

_SECONDS = (0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0)


class Measures:
    """The counters of one worker."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        # ``repeated`` is counted for each statement, and told when somebody asks: a counter takes a lock.
        self._admitted = Counter(
            "datagate_statements", "Statements that the gate let through", ["known"], registry=self.registry
        )
        self._refused = Counter(
            "datagate_refusals", "Refusals by SQLSTATE and reason", ["sqlstate", "reason"], registry=self.registry
        )
        self._rewriting = Histogram(
            "datagate_admission_seconds",
            "Time to decide on and rewrite what was not known yet",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._logins = Counter("datagate_logins", "Logins by outcome", ["outcome"], registry=self.registry)
        self._ended = Counter(
            "datagate_ended",
            "Statements and sessions that a limit or the server ended",
            ["sqlstate"],
            registry=self.registry,
        )
        self.changed = Counter(
            "datagate_rights_changed", "Statements that met a change of rights", registry=self.registry
        )
        self._revoking = Histogram(
            "datagate_revocation_seconds",
            "From when the end of rights was heard of to the end of a statement that ran under them",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._known = self._admitted.labels("yes")
        self.repeated = 0
        self._new = self._admitted.labels("no")

    def admitted(self, seconds: float | None) -> None:
        """A statement passed; ``seconds``: how long it took where it was not known yet."""
        if seconds is None:
            self.repeated += 1
        else:
            self._new.inc()
            self._rewriting.observe(seconds)

    def revoked(self, seconds: float) -> None:
        """A running statement was ended, since its rights had ended."""
        self._revoking.observe(seconds)

    def refused(self, error: DatagateError) -> None:
        """A statement was refused."""
        self._refused.labels(error.sqlstate, _reason(error)).inc()

    def login(self, *, admitted: bool) -> None:
        """Somebody got in, or did not."""
        self._logins.labels("admitted" if admitted else "refused").inc()

    def ended(self, sqlstate: str) -> None:
        """A statement or session was ended."""
        self._ended.labels(sqlstate).inc()

    def watch(self, pool: Pool, clients: Callable[[], int]) -> None:
        """Show the state of a pool, and how many clients are connected."""
        for name, tells, value in (
            ("pool_open", "Connections to the server", lambda: pool.size),
            ("pool_idle", "Connections that nobody has", lambda: pool.idle),
            ("pool_queued", "Who waits for a connection", lambda: pool.queued),
            ("pool_failures", "Attempts in a row in which no server answered", lambda: pool.failures),
            ("clients", "Clients that are connected", clients),
        ):
            Gauge(f"datagate_{name}", tells, registry=self.registry).set_function(value)

    def text(self) -> bytes:
        """All of it in Prometheus' text format."""
        repeated, self.repeated = self.repeated, 0
        self._known.inc(repeated)
        return generate_latest(self.registry)


_REASONS = frozenset(reason.value for reason in DenyReason)


def _reason(error: DatagateError) -> str:
    """The decision's reason, where one refused; else the kind of error. Never anything that a caller wrote."""
    told = (error.audit_reason or "").split(": ")
    return next((part for part in told[:2] if part in _REASONS), type(error).__name__)
