"""The gateway's own store of who may log in: names with SCRAM verifiers, never passwords, in a file of JSON.

The file is read again when it changes, so that a lock counts for the next login. Beside the users it holds a secret, by
which names that do not exist get what looks like a verifier: always the same, in all processes, after restarts too.
"""

from __future__ import annotations

import json
import os
import secrets
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from datagate.errors import StateError
from datagate.frontends.gateway.protocol.scram import Verifier
from datagate.model.caller import ActorKind

_KEYS = frozenset({"verifier", "purposes", "kind", "locked", "certificates", "asserts"})
_SECRET_BYTES = 32
CERTIFICATE_KINDS = ("cn", "dns", "email", "uri")
"""Which of a certificate's names can stand for a user: the subject's common name, or an alternative name's kind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """Who may log in, and what they may say of themselves.

    Args:
        name: The principal's id.
        verifier: Of the password; None where there is none, so that only a certificate helps.
        purposes: What they may use data for; the first is what they use it for unless they say otherwise.
        kind: What connects.
        locked: Whether nothing logs in under this name.
        certificates: Names of client certificates that are enough: ``cn:ana``, ``email:ana@bank.example``.
    """

    name: str
    verifier: Verifier | None
    purposes: tuple[str, ...]
    kind: ActorKind = ActorKind.PERSON
    locked: bool = False
    certificates: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class _Found:
    """What a file holds."""

    secret: bytes
    users: Mapping[str, User]


class UserFile:
    """The users in one file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: tuple[int, int, int] | None = None
        self._found = _Found(b"", MappingProxyType({}))

    def find(self, name: str) -> User | None:
        """The user of a name, or None.

        Raises:
            StateError: The file cannot be read, or does not hold users.
        """
        return self.all().get(name)

    def all(self) -> Mapping[str, User]:
        """All users by name; StateError as in :meth:`find`."""
        return self._read().users

    def secret(self) -> bytes:
        """What verifiers of names that do not exist are made of; StateError as in :meth:`find`."""
        return self._read().secret

    def _read(self) -> _Found:
        try:
            status = self._path.stat()
            stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
            if stamp != self._stamp:
                self._found = _read(self._path)
                self._stamp = stamp
        except OSError as error:
            raise StateError(f"the users file {self._path} cannot be read: {error.strerror}") from None
        return self._found

    def put(self, user: User) -> None:
        """Add a user, or replace the one of that name; the file changes as a whole or not at all."""
        found = self._read() if self._path.exists() else _Found(secrets.token_bytes(_SECRET_BYTES), {})
        _write(self._path, _Found(found.secret, {**found.users, user.name: user}))

    def lock(self, name: str, *, locked: bool) -> None:
        """Lock a user out, or let him in again.

        Raises:
            StateError: There is none of that name.
        """
        user = self.find(name)
        if user is None:
            raise StateError(f"there is no user {name!r} in {self._path}")
        self.put(replace(user, locked=locked))


def _read(path: Path) -> _Found:
    try:
        found = json.loads(path.read_text("utf-8"))
    except ValueError:
        raise StateError(f"the users file {path} is not JSON") from None
    if not isinstance(found, dict) or found.keys() != {"secret", "users"} or not isinstance(found["users"], dict):
        raise StateError(f'the users file {path} must be {{"secret": …, "users": {{…}}}}; datagate user add makes one')
    try:
        secret = bytes.fromhex(found["secret"])
    except (TypeError, ValueError):
        secret = b""
    if len(secret) < _SECRET_BYTES:
        raise StateError(f"{path}: secret must be {_SECRET_BYTES} bytes in hexadecimal digits")
    users = {name: _user(path, name, entry) for name, entry in found["users"].items()}
    return _Found(secret, MappingProxyType(users))


def _user(path: Path, name: str, entry: object) -> User:
    if not isinstance(entry, dict) or not entry.keys() <= _KEYS or not name:
        raise StateError(f"{path}: user {name!r} may have: {', '.join(sorted(_KEYS))}")
    if entry.get("asserts"):
        raise StateError(
            f"{path}: whom {name!r} may speak for is said by datagate.yaml, under services; take asserts out"
        )
    lists = [entry.get(key, []) for key in ("purposes", "certificates")]
    if not all(isinstance(each, list) and all(isinstance(one, str) for one in each) for each in lists):
        raise StateError(f"{path}: purposes and certificates of user {name!r} are lists of names")
    if not isinstance(entry.get("locked", False), bool):
        raise StateError(f"{path}: locked of user {name!r} is true or false")
    try:
        verifier = Verifier.read(entry["verifier"]) if entry.get("verifier") is not None else None
        kind = ActorKind(entry.get("kind", "person"))
        certificates = frozenset(map(certificate_name, lists[1]))
    except (ValueError, TypeError) as error:
        raise StateError(f"{path}: user {name!r}: {error}") from None
    return User(
        name=name,
        verifier=verifier,
        purposes=tuple(lists[0]),
        kind=kind,
        locked=entry.get("locked", False),
        certificates=certificates,
    )


def certificate_name(text: str) -> str:
    """A certificate's name as it is compared; ValueError where it is none."""
    kind, colon, value = text.partition(":")
    if not colon or kind not in CERTIFICATE_KINDS or not value:
        raise ValueError(
            f"{text!r} is no name of a certificate: write {', '.join(f'{k}:…' for k in CERTIFICATE_KINDS)}"
        )
    return text


def _write(path: Path, found: _Found) -> None:
    entries = {
        name: {
            "verifier": str(user.verifier) if user.verifier is not None else None,
            "purposes": list(user.purposes),
            "kind": user.kind.value,
            "locked": user.locked,
            "certificates": sorted(user.certificates),
        }
        for name, user in sorted(found.users.items())
    }
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            json.dump({"secret": found.secret.hex(), "users": entries}, out, indent=1)
            out.write("\n")
            out.flush()
            os.fsync(out.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
