"""The one road: parse, inventory, decide, guard, render, verify, audit.

A Gate holds what all callers share; a GateSession is one caller's way through it. Frontends send nothing but the
text of an :class:`Admitted`.
"""

from datagate.backends.postgres.statements import StatementKind
from datagate.gate.admitted import Admitted, Explained, Known
from datagate.gate.footing import Footing, Sight, told
from datagate.gate.opening import Gate, check_against, state_engine
from datagate.gate.recording import Recorded
from datagate.gate.reloading import Reloaded
from datagate.gate.session import GateSession
from datagate.gate.watched import Flight
from datagate.gate.why import Condition, Inquiry, Why, WhyCell, why

__all__ = [
    "Admitted",
    "Condition",
    "Explained",
    "Flight",
    "Footing",
    "Gate",
    "GateSession",
    "Inquiry",
    "Known",
    "Recorded",
    "Reloaded",
    "Sight",
    "StatementKind",
    "Why",
    "WhyCell",
    "check_against",
    "state_engine",
    "told",
    "why",
]
