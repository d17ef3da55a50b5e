"""The keys of keyed masks: from a file that only its owner reads, or from the environment; never from a policy.

A keyring file is YAML or JSON, one key per name::

    default: base64:q83vASNFZ4mrze8BI0VniavN7wEjRWeJq83vASNFZ4k=
    old: hex:00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff

Without a prefix, an even number of hex digits is hex, and all else base64. No message and no repr shows a key.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import yaml

from datagate.errors import KeyringError
from datagate.model.values import TypedValue, ValueType

FILE_VARIABLE = "DATAGATE_KEYRING"
KEY_VARIABLE_PREFIX = "DATAGATE_KEY_"
SHORTEST_KEY = 32
DEFAULT_KEY = "default"

_BLOCK = 64  # of SHA-256, in bytes
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_HEX = re.compile(r"(?:[0-9A-Fa-f]{2})+")
_BINDING = re.compile(r"key\.(?P<name>[^.]+)\.(?P<pad>inner|outer)")


class Keyring:
    """Keys by name, each at least 32 bytes long.

    Raises:
        KeyringError: A name has other characters than letters, digits, ``_`` and ``-``, or a key is too short.
    """

    __slots__ = ("_pads",)

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        self._pads: Mapping[str, tuple[bytes, bytes]] = MappingProxyType(
            {_checked_name(name): _pads(name, key) for name, key in keys.items()}
        )

    @classmethod
    def from_file(cls, path: Path | str) -> Keyring:
        """Read a keyring file.

        Raises:
            KeyringError: The file cannot be read, others than its owner may read it, or it is not a mapping of names
                to keys.
        """
        return cls(_read_file(Path(path)))

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Keyring:
        """Read the file that ``DATAGATE_KEYRING`` names, and ``DATAGATE_KEY_<NAME>`` as the key of the lower-case name.

        Neither being set gives an empty keyring: policies without keyed masks need none.

        Raises:
            KeyringError: As `from_file`; or one key is given twice.
        """
        path = environment.get(FILE_VARIABLE)
        keys = dict(_read_file(Path(path))) if path else {}
        for variable in sorted(environment):
            if not variable.startswith(KEY_VARIABLE_PREFIX):
                continue
            name = variable.removeprefix(KEY_VARIABLE_PREFIX).lower()
            if name in keys:
                raise KeyringError(f"the key {name!r} is given twice, last by {variable}; remove one of the two")
            keys[name] = _decode(name, environment[variable])
        return cls(keys)

    @classmethod
    def ephemeral(cls, random_bytes: Callable[[int], bytes], names: tuple[str, ...] = (DEFAULT_KEY,)) -> Keyring:
        """Keys that end with the process, for the demo: ``Keyring.ephemeral(secrets.token_bytes)``."""
        return cls({name: random_bytes(SHORTEST_KEY) for name in names})

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the keys, sorted."""
        return tuple(sorted(self._pads))

    def hmac_pads(self, name: str) -> tuple[bytes, bytes]:
        """The inner and outer padded key of HMAC-SHA-256 (RFC 2104), 64 bytes each.

        Raises:
            KeyringError: There is no key of that name.
        """
        try:
            return self._pads[name]
        except KeyError:
            # Only lower-case names without a hyphen have a variable.
            variable = f", or set {KEY_VARIABLE_PREFIX}{name.upper()}" if re.fullmatch("[a-z0-9_]+", name) else ""
            raise KeyringError(
                f"a mask needs the key {name!r}, which the keyring does not hold; "
                f"add 32 or more random bytes in base64 to the file that {FILE_VARIABLE} names{variable}"
            ) from None

    def binding(self, name: str) -> TypedValue:
        """The value of a binding that a mask's SQL names: ``key.<name>.inner`` or ``key.<name>.outer``.

        Raises:
            KeyringError: There is no key of that name, or no binding is named so.
        """
        found = _BINDING.fullmatch(name)
        if found is None:
            raise KeyringError(
                f"{name!r} names no key; the bindings of a key are key.<name>.inner and key.<name>.outer"
            )
        inner, outer = self.hmac_pads(found["name"])
        return TypedValue(ValueType.BYTEA, inner if found["pad"] == "inner" else outer)

    def __repr__(self) -> str:
        return f"<Keyring of {', '.join(self.names) or 'no keys'}>"

    def __reduce__(self) -> str | tuple[object, ...]:
        raise KeyringError("a keyring is not copied or pickled, since that would spread its keys; read it again")


def _checked_name(name: str) -> str:
    if _NAME.fullmatch(name) is None:
        raise KeyringError(f"{name!r} is no name for a key; use letters, digits, _ and -, and begin with a letter or _")
    return name


def _pads(name: str, key: bytes) -> tuple[bytes, bytes]:
    if len(key) < SHORTEST_KEY:
        raise KeyringError(f"the key {name!r} has {len(key)} bytes; make one of {SHORTEST_KEY} or more random bytes")
    block = (hashlib.sha256(key).digest() if len(key) > _BLOCK else key).ljust(_BLOCK, b"\0")
    return bytes(byte ^ 0x36 for byte in block), bytes(byte ^ 0x5C for byte in block)


def _read_file(path: Path) -> Mapping[str, bytes]:
    """The keys in a file; its rights are looked at on the open file, so that it cannot be exchanged in between."""
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            _check_rights(path, status)
            content = file.read()
    except OSError as error:
        raise KeyringError(f"the keyring file {path} cannot be read: {error.strerror}; check its path") from error
    return {name: _decode(name, text) for name, text in _entries(path, content).items()}


def _check_rights(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise KeyringError(f"the keyring {path} is no ordinary file; give the path of one")
    if os.name == "posix" and status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise KeyringError(f"others than its owner have rights on the keyring file {path}; run: chmod 600 {path}")
    if os.name == "posix" and status.st_uid not in {os.geteuid(), 0}:
        raise KeyringError(f"the keyring file {path} belongs to another OS user; own it, or let root own it")


def _entries(path: Path, content: bytes) -> Mapping[str, str]:
    """Names and their texts as they stand: a key of digits is no number. Messages do not quote the file."""
    try:
        node = yaml.compose(content.decode(), Loader=yaml.SafeLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f":{mark.line + 1}:{mark.column + 1}" if mark is not None else ""
        raise KeyringError(f"{path}{place}: this is not YAML; write one line per key, name: base64") from None
    if not isinstance(node, yaml.MappingNode):
        raise KeyringError(f"{path}: this is no mapping of names to keys; write one line per key, name: base64")
    entries: dict[str, str] = {}
    for key, value in node.value:
        place = f"{path}:{key.start_mark.line + 1}:{key.start_mark.column + 1}"
        if not isinstance(key, yaml.ScalarNode) or not isinstance(value, yaml.ScalarNode):
            raise KeyringError(f"{place}: this is not a name and a key; write name: base64")
        if key.value in entries:
            raise KeyringError(f"{place}: the key {key.value!r} is given twice; remove one of the two")
        entries[_checked_name(key.value)] = value.value
    return entries


def _decode(name: str, text: str) -> bytes:
    """A key's bytes from its text."""
    encoding, colon, rest = text.strip().partition(":")
    if not colon:
        encoding, rest = ("hex" if _HEX.fullmatch(encoding) else "base64"), encoding
    try:
        if encoding == "hex":
            return bytes.fromhex(rest)
        if encoding == "base64":
            return base64.b64decode("".join(rest.split()), validate=True)
    except (ValueError, binascii.Error):
        pass
    raise KeyringError(
        f"the key {name!r} is neither hex nor base64; make one with: python -c "
        '"import secrets, base64; print(base64.b64encode(secrets.token_bytes(32)).decode())"'
    )
