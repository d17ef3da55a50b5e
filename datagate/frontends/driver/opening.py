"""Which gate a new connection passes through: one that is given and shared, or one opened for it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import psycopg
from psycopg.abc import ConnParam
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from datagate.audit import Sink
from datagate.backends.postgres import faults
from datagate.errors import InterfaceError, ProgrammingError
from datagate.frontends.driver.admission import GateSession
from datagate.frontends.driver.cursors import GatedCursor
from datagate.gate import Gate
from datagate.model.caller import Caller
from datagate.model.policy import PolicySet
from datagate.stores.keyring import Keyring
from datagate.stores.store import StateStore

FRONTEND = "driver"


class Gatekeeper(Protocol):
    """What the driver needs of a gate; `datagate.gate.Gate` is one."""

    @property
    def session_settings(self) -> tuple[tuple[str, str], ...]:
        """What names and literals mean, for every connection to the server."""

    def session(self, caller: Caller, *, frontend: str) -> GateSession:
        """Open the gate for one caller."""


def complete_dsn(dsn: str, parameters: Mapping[str, ConnParam]) -> str:
    """Join a connection string and keyword parameters; text travels as UTF-8 unless they say otherwise.

    Raises:
        ProgrammingError: The string is none of libpq's.
    """
    try:
        merged = conninfo_to_dict(dsn, **parameters)
    except psycopg.Error as error:
        problem = str(error)
    else:
        merged.setdefault("client_encoding", "UTF8")
        return make_conninfo("", **merged)
    raise ProgrammingError(f"connection string: {problem}")


def with_settings(dsn: str, gate: Gatekeeper) -> str:
    """Add the gate's settings to a connection string, as start-up options that come last, so that they prevail.

    Options also prevail over what role and database say (PostgreSQL manual, 19.1.3), and need no statement.
    """
    merged = conninfo_to_dict(dsn)
    options = [str(merged["options"])] if merged.get("options") else []
    for name, value in gate.session_settings:
        escaped = re.sub(r"([\\\s])", r"\\\1", value)
        options.append(f"-c {name}={escaped}")
    return make_conninfo(dsn, options=" ".join(options)) if options else dsn


def choose_gate(
    dsn: str,
    *,
    gate: Gatekeeper | None,
    policies: str | Path | PolicySet | None,
    state: str | StateStore | None = None,
    keyring: Keyring | None = None,
    audit: Sink | None = None,
) -> Gatekeeper:
    """Return the gate that was given, or open one for these policies.

    Raises:
        InterfaceError: Neither or both of ``gate`` and ``policies``; settings next to a gate, which has its own.
        PolicyError: The policies are wrong.
    """
    if gate is not None:
        if any(setting is not None for setting in (policies, state, keyring, audit)):
            raise InterfaceError("policies, state, keyring and audit belong to the gate; pass them to Gate.open")
        return gate
    if policies is None:
        raise InterfaceError("pass policies=… (a directory), or gate=… to share one gate between connections")
    try:
        return Gate.open(dsn, policies=policies, state=state, keyring=keyring, audit=audit)
    except psycopg.Error as error:
        fault = faults.from_connecting(error)
    raise fault


def check_factory(factory: type | None) -> None:
    """Refuse a cursor class that would send statements past the gate.

    Raises:
        InterfaceError: It is no subclass of this driver's cursors.
    """
    if factory is not None and not issubclass(factory, GatedCursor):
        raise InterfaceError(f"cursor_factory must be a subclass of datagate's cursors, not {factory.__qualname__}")
