"""Keys come from a private file or the environment, and nothing shows them."""

from __future__ import annotations

import base64
import copy
import hashlib
import hmac
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from datagate.errors import DatagateError, KeyringError
from datagate.model.values import ValueType
from datagate.stores.keyring import Keyring

KEY = bytes(range(200, 232))
OTHER = hashlib.sha512(b"other").digest()
BASE64 = base64.b64encode(KEY).decode()

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a keyring file that only its owner reads."""

    def written(content: str) -> Path:
        path = tmp_path / "keyring.yaml"
        path.touch(mode=0o600)
        path.write_text(content, encoding="utf-8")
        return path

    return written


def mac(keyring: Keyring, name: str, message: bytes) -> bytes:
    """HMAC-SHA-256 as the masks compute it."""
    inner, outer = keyring.hmac_pads(name)
    return hashlib.sha256(outer + hashlib.sha256(inner + message).digest()).digest()


@pytest.mark.parametrize("length", [32, 33, 63, 64, 65, 131, 500])
def test_pads_make_hmac(length: int) -> None:
    """The two padded keys give HMAC-SHA-256 for keys of every length, also of more than one block."""
    key = bytes(place % 251 for place in range(length))
    keyring = Keyring({"default": key})
    for message in (b"", b"ann@bank.example", b"x" * 1000):
        assert mac(keyring, "default", message) == hmac.digest(key, message, "sha256")
    assert [len(pad) for pad in keyring.hmac_pads("default")] == [64, 64]


def test_rfc_4231() -> None:
    """Test case 6 of RFC 4231, a key of 131 bytes."""
    message = b"Test Using Larger Than Block-Size Key - Hash Key First"
    expected = "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
    assert mac(Keyring({"rfc": b"\xaa" * 131}), "rfc", message).hex() == expected


@pytest.mark.parametrize(
    "text", [BASE64, f"base64:{BASE64}", KEY.hex(), f"hex:{KEY.hex().upper()}", f"'{BASE64}'", "0" * 62 + "11"]
)
def test_spellings_of_a_key(write: Write, text: str) -> None:
    """A key is base64 or hex, with or without saying so; one of digits only is no number."""
    expected = bytes(31) + b"\x11" if text.startswith("000") else KEY
    keyring = Keyring.from_file(write(f"default: {text}\n"))
    assert keyring.hmac_pads("default") == Keyring({"default": expected}).hmac_pads("default")


def test_json_file(write: Write) -> None:
    """A JSON mapping is a keyring file too."""
    keyring = Keyring.from_file(write(json.dumps({"default": BASE64, "iban-2026": OTHER.hex()}, indent=2)))
    assert keyring.names == ("default", "iban-2026")
    assert mac(keyring, "iban-2026", b"x") == hmac.digest(OTHER, b"x", "sha256")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o610, 0o602, 0o666])
def test_others_may_not_read_the_file(write: Write, mode: int) -> None:
    """A file on which others than its owner have any right is refused, saying how to mend that; 0600 passes."""
    path = write(f"default: {BASE64}")
    path.chmod(mode)
    with pytest.raises(KeyringError, match=r"others than its owner have rights.*chmod 600"):
        Keyring.from_file(path)
    path.chmod(0o600)
    assert Keyring.from_file(path).names == ("default",)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_the_file_belongs_to_us_or_root(write: Write) -> None:
    """A file that another OS user owns is refused."""
    path = write(f"default: {BASE64}")
    os.chown(path, 12345, -1)
    with pytest.raises(KeyringError, match="belongs to another OS user"):
        Keyring.from_file(path)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("", "no mapping"),
        ("- " + BASE64, "no mapping"),
        (BASE64, "no mapping"),
        (f"default: [{BASE64}]", "1:1: this is not a name and a key"),
        (f"a: {BASE64}\ndefault: {BASE64}\ndefault: {BASE64}", "3:1: the key 'default' is given twice"),
        (f"default: {BASE64}\n\tother: {{{BASE64}", "this is not YAML"),
        (f"a.b: {BASE64}", "'a.b' is no name for a key"),
        (f"'': {BASE64}", "no name for a key"),
        ("default: " + base64.b64encode(KEY[:31]).decode(), "has 31 bytes"),
        ("default: hex:" + KEY.hex()[:-1], "neither hex nor base64"),
        ("default: base64:" + BASE64[:-1], "neither hex nor base64"),
        ("default: rot13:" + BASE64, "neither hex nor base64"),
        ("default: pass-phrase, which is no key", "neither hex nor base64"),
        ("default: äöü" + BASE64, "neither hex nor base64"),
        ("default:", "has 0 bytes"),
    ],
)
def test_wrong_files(write: Write, content: str, what: str) -> None:
    """A wrong file is refused, saying what is wrong and where; the message shows no key."""
    with pytest.raises(KeyringError, match=what) as caught:
        Keyring.from_file(write(content))
    shown = f"{caught.value} {caught.value.__cause__}"
    assert BASE64[:12] not in shown
    assert KEY.hex()[:12] not in shown
    assert "pass-phrase" not in shown


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    """No file, or something else than a file, is an error of ours."""
    with pytest.raises(KeyringError, match="cannot be read: No such file"):
        Keyring.from_file(tmp_path / "absent")
    with pytest.raises(KeyringError, match="cannot be read"):
        Keyring.from_file(tmp_path)
    with pytest.raises(KeyringError, match="no ordinary file"):
        Keyring.from_file("/dev/null")


def test_environment(write: Write) -> None:
    """The environment names a file, or holds keys, or both; a key given twice is refused; nothing gives no keys."""
    path = write(f"default: {BASE64}")
    assert Keyring.from_environment({}).names == ()
    assert Keyring.from_environment({"DATAGATE_KEYRING": str(path)}).names == ("default",)
    both = Keyring.from_environment({"DATAGATE_KEYRING": str(path), "DATAGATE_KEY_IBAN_2026": OTHER.hex(), "PATH": "/"})
    assert both.names == ("default", "iban_2026")
    assert mac(both, "iban_2026", b"x") == hmac.digest(OTHER, b"x", "sha256")
    with pytest.raises(KeyringError, match="'default' is given twice, last by DATAGATE_KEY_DEFAULT"):
        Keyring.from_environment({"DATAGATE_KEYRING": str(path), "DATAGATE_KEY_DEFAULT": OTHER.hex()})
    with pytest.raises(KeyringError, match="given twice"):
        Keyring.from_environment({"DATAGATE_KEY_A": BASE64, "DATAGATE_KEY_a": BASE64})
    with pytest.raises(KeyringError, match="neither hex nor base64") as caught:
        Keyring.from_environment({"DATAGATE_KEY_A": "hunter2!"})
    assert "hunter2" not in str(caught.value)


def test_missing_key_says_how_to_mend_it() -> None:
    """A key that is not there is named, with the places where it could be put."""
    with pytest.raises(KeyringError, match=r"the key 'iban'.*DATAGATE_KEYRING names, or set DATAGATE_KEY_IBAN$"):
        Keyring({"default": KEY}).hmac_pads("iban")
    with pytest.raises(KeyringError, match=r"the key 'iban-2026'.*DATAGATE_KEYRING names$"):
        Keyring({"default": KEY}).hmac_pads("iban-2026")


def test_bindings() -> None:
    """The values of the bindings that a mask's SQL names are bytea; other names are refused."""
    keyring = Keyring({"default": KEY})
    inner, outer = (keyring.binding(f"key.default.{pad}") for pad in ("inner", "outer"))
    assert (inner.value, outer.value) == keyring.hmac_pads("default")
    assert inner.type is ValueType.BYTEA
    for name in ("key.default", "key.default.middle", "principal.regions", "key.a.b.inner"):
        with pytest.raises(KeyringError, match="names no key"):
            keyring.binding(name)
    with pytest.raises(KeyringError, match="needs the key 'other'"):
        keyring.binding("key.other.inner")


def test_nothing_shows_the_keys() -> None:
    """Neither repr nor str shows a key; a keyring is neither pickled nor copied; its errors are of our tree."""
    keyring = Keyring({"default": KEY})
    assert repr(keyring) == str(keyring) == "<Keyring of default>"
    assert repr(Keyring({})) == "<Keyring of no keys>"
    for spread in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(KeyringError, match="not copied or pickled"):
            spread(keyring)
    assert not hasattr(keyring, "__dict__")
    assert issubclass(KeyringError, DatagateError)


def test_ephemeral() -> None:
    """The demo's keys come from the source of randomness it is given."""
    asked: list[int] = []

    def random_bytes(length: int) -> bytes:
        asked.append(length)
        return bytes([len(asked)]) * length

    keyring = Keyring.ephemeral(random_bytes, names=("default", "other"))
    assert asked == [32, 32]
    assert mac(keyring, "other", b"x") == hmac.digest(b"\x02" * 32, b"x", "sha256")
    assert Keyring.ephemeral(os.urandom).names == ("default",)
