"""What a client prepared and bound: its own names for it, which outlive the connections that it ran on."""

from __future__ import annotations

from dataclasses import dataclass

from datagate.frontends.gateway.local import Local
from datagate.frontends.gateway.protocol import frontend
from datagate.frontends.gateway.sending import Sendable, Types


@dataclass(slots=True)
class Prepared:
    """A client's prepared statement: it outlives the upstream connection that it was first parsed on.

    ``fresh``: it was admitted for this very run, and has not run yet.
    """

    name: bytes
    asked: str
    types: Types
    statement: Sendable | Local
    fresh: bool = True


@dataclass(slots=True)
class Portal:
    """What a client bound: for telling what an Execute or Describe speaks of, and for running it once more."""

    prepared: Prepared
    message: frontend.Bind
    statement: Sendable | Local
    runs: int = 0
