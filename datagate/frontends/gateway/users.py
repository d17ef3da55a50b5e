"""The gateway's own store of who may log in: names with SCRAM verifiers, never passwords, in a file of JSON.

The file is read again when it changes, so that a lock counts for the next login.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from datagate.errors import StateError
from datagate.frontends.gateway.protocol.scram import Verifier
from datagate.model.caller import ActorKind

_KEYS = frozenset({"verifier", "purposes", "kind", "locked", "certificate", "asserts"})


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """Who may log in, and what they may say of themselves.

    Args:
        name: The principal's id.
        verifier: Of the password; None where there is none, so that only a certificate helps.
        purposes: What they may use data for; the first is what they use it for unless they say otherwise.
        kind: What connects.
        locked: Whether nothing logs in under this name.
        certificate: Whether a client certificate in this name is enough.
        asserts: Users in whose name this service may connect, without a mandate; they are what it says they are.
    """

    name: str
    verifier: Verifier | None
    purposes: tuple[str, ...]
    kind: ActorKind = ActorKind.PERSON
    locked: bool = False
    certificate: bool = False
    asserts: tuple[str, ...] = ()


class UserFile:
    """The users in one file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: tuple[int, int, int] | None = None
        self._users: Mapping[str, User] = MappingProxyType({})

    def find(self, name: str) -> User | None:
        """The user of a name, or None.

        Raises:
            StateError: The file cannot be read, or does not hold users.
        """
        return self.all().get(name)

    def all(self) -> Mapping[str, User]:
        """All users by name; StateError as in :meth:`find`."""
        try:
            status = self._path.stat()
            stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
            if stamp != self._stamp:
                self._users = _read(self._path)
                self._stamp = stamp
        except OSError as error:
            raise StateError(f"the users file {self._path} cannot be read: {error.strerror}") from None
        return self._users

    def put(self, user: User) -> None:
        """Add a user, or replace the one of that name; the file changes as a whole or not at all."""
        users = dict(self.all()) if self._path.exists() else {}
        users[user.name] = user
        _write(self._path, users)

    def lock(self, name: str, *, locked: bool) -> None:
        """Lock a user out, or let him in again.

        Raises:
            StateError: There is none of that name.
        """
        user = self.find(name)
        if user is None:
            raise StateError(f"there is no user {name!r} in {self._path}")
        self.put(replace(user, locked=locked))


def _read(path: Path) -> Mapping[str, User]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except ValueError:
        raise StateError(f"the users file {path} is not JSON") from None
    if not isinstance(found, dict):
        raise StateError(f"the users file {path} must hold an object of users by name")
    return MappingProxyType({name: _user(path, name, entry) for name, entry in found.items()})


def _user(path: Path, name: str, entry: object) -> User:
    if not isinstance(entry, dict) or not entry.keys() <= _KEYS or not name:
        raise StateError(f"{path}: user {name!r} may have: {', '.join(sorted(_KEYS))}")
    purposes, asserts = entry.get("purposes", []), entry.get("asserts", [])
    flags = [entry.get("locked", False), entry.get("certificate", False)]
    if not all(isinstance(each, list) and all(isinstance(one, str) for one in each) for each in (purposes, asserts)):
        raise StateError(f"{path}: purposes and asserts of user {name!r} are lists of names")
    if not all(isinstance(flag, bool) for flag in flags):
        raise StateError(f"{path}: locked and certificate of user {name!r} are true or false")
    try:
        verifier = Verifier.read(entry["verifier"]) if entry.get("verifier") is not None else None
        kind = ActorKind(entry.get("kind", "person"))
    except (ValueError, TypeError) as error:
        raise StateError(f"{path}: user {name!r}: {error}") from None
    return User(
        name=name,
        verifier=verifier,
        purposes=tuple(purposes),
        kind=kind,
        locked=flags[0],
        certificate=flags[1],
        asserts=tuple(asserts),
    )


def _write(path: Path, users: Mapping[str, User]) -> None:
    entries = {
        name: {
            "verifier": str(user.verifier) if user.verifier is not None else None,
            "purposes": list(user.purposes),
            "kind": user.kind.value,
            "locked": user.locked,
            "certificate": user.certificate,
            "asserts": list(user.asserts),
        }
        for name, user in sorted(users.items())
    }
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            json.dump(entries, out, indent=1)
            out.write("\n")
            out.flush()
            os.fsync(out.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
