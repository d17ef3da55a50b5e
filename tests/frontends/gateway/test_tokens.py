"""Tokens at the door: as a password and by OAUTHBEARER, with what they allow to choose and what they do not."""

from __future__ import annotations

import ctypes
import json
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import psycopg_binary
import pytest

from datagate.errors import ProtocolViolation
from datagate.frontends.gateway.login import Tokens
from datagate.frontends.gateway.protocol.oauth import read_bearer, refusal
from datagate.identity import JwksFile, JwksUrl, JwtVerifier
from tests.frontends.gateway.running import Running, make_bank
from tests.identity.issuer import AUDIENCE, ISSUER, STRANGER, claims, published, signed

AS_PASSWORD = "-c datagate.login=token"  # noqa: S105 - an option
TOM = {"sub": "tom", "actor_kind": "person"}
DETAIL = {"type": "datagate_mandate", "mandate": "tax-1"}


@pytest.fixture(scope="module")
def gateway(bank_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A gateway that takes the issuer's tokens."""
    make_bank(bank_dsn)
    folder = tmp_path_factory.mktemp("gateway")
    keys = folder / "keys.json"
    keys.write_bytes(published())
    verifier = JwtVerifier(JwksFile(keys), issuer=ISSUER, audience=AUDIENCE, leeway=timedelta(0))
    with Running(bank_dsn, folder, tokens=Tokens(verifier, ISSUER)) as running:
        yield running


def token(seconds: float = 600, *, key: Any = None, **more: object) -> str:
    """A token from now on."""
    now = datetime.now(UTC)
    given = claims(iat=int(now.timestamp()) - 5, exp=(now + timedelta(seconds=seconds)).timestamp(), **more)
    return signed(given, key=key)


def test_a_token_is_a_login(gateway: Running) -> None:
    """The customer's own token shows her own account; the delegate's, under the mandate that it names, the same."""
    query = "select count(*) from bank.accounts"
    own = token(purpose="self-service")
    with gateway.connect("cora", password=own, options=AS_PASSWORD) as cora:
        seen = cora.execute(query).fetchone()
        assert cora.execute("show datagate.purpose").fetchone() == ("self-service",)
    delegated = token(act=TOM, authorization_details=[DETAIL])
    for name in ("tom", "cora"):
        with gateway.connect(name, password=delegated, options=AS_PASSWORD) as tom:
            assert tom.execute(query).fetchone() == seen != (0,)
            assert tom.execute("show datagate.on_behalf_of").fetchone() == ("cora",)


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("ana", {}),
        ("cora", {"aud": "other"}),
        ("cora", {"key": STRANGER}),
        ("cora", {"seconds": -60}),
        ("cora", {"sub": "rex"}),
    ],
)
def test_what_is_no_login(gateway: Running, name: str, given: dict[str, Any]) -> None:
    """Another's token, one for another audience, of another issuer, or ended: the words of a wrong password."""
    with pytest.raises(psycopg.OperationalError, match=f'password authentication failed for user "{name}"'):
        gateway.connect(name, password=token(**given), options=AS_PASSWORD)


def test_a_refused_token_is_on_record(gateway: Running) -> None:
    """The client reads one sentence; the record has the reason."""
    with pytest.raises(psycopg.OperationalError):
        gateway.connect("cora", password=token(aud="elsewhere"), options=AS_PASSWORD)
    assert gateway.sink.records[-1].reason == "token: meant for ['elsewhere']"


def test_a_locked_name_has_no_token(gateway: Running) -> None:
    """A lock in the gateway's store counts for whoever a token names, as principal or actor."""
    delegated = token(act=TOM, authorization_details=[DETAIL])
    for locked in ("cora", "tom"):
        gateway.users.lock(locked, locked=True)
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            gateway.connect("tom", password=delegated, options=AS_PASSWORD)
        gateway.users.lock(locked, locked=False)
    gateway.connect("tom", password=delegated, options=AS_PASSWORD).close()


@pytest.mark.parametrize(
    "options",
    [
        "-c datagate.purpose=self-service",
        "-c datagate.on_behalf_of=ana -c datagate.mandate=tax-1",
        "-c datagate.mandate=desk-1",
        "-c datagate.end_user=ana",
    ],
)
def test_options_do_not_go_beyond_the_token(gateway: Running, options: str) -> None:
    """What the token does not say cannot be asked for at the start, nor set later; what it says may be repeated."""
    delegated = token(act=TOM, authorization_details=[DETAIL])
    with pytest.raises(psycopg.OperationalError, match=r"not permitted|cannot be chosen"):
        gateway.connect("tom", password=delegated, options=f"{AS_PASSWORD} {options}")
    same = f"{AS_PASSWORD} -c datagate.purpose=tax -c datagate.on_behalf_of=cora -c datagate.mandate=tax-1"
    with gateway.connect("tom", password=delegated, options=same) as tom:
        name, _, value = options.split()[1].partition("=")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            tom.execute(f"set {name} = '{value}'")


def test_a_purpose_is_chosen_among_the_tokens(gateway: Running) -> None:
    """Of the purposes that a token leaves of a mandate one is chosen; where it has several, none is the usual one."""
    several = token(purpose=None, act=TOM, authorization_details=[DETAIL | {"purposes": ["tax", "support"]}])
    with gateway.connect("tom", password=several, options=AS_PASSWORD) as tom:
        assert tom.execute("show datagate.purpose").fetchone() == ("",)
        tom.execute("set datagate.purpose = tax")
        assert tom.execute("select count(*) from bank.accounts").fetchone() != (0,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            tom.execute("set datagate.purpose = advice")


def test_a_session_ends_with_its_token(gateway: Running) -> None:
    """A statement after the token's end is refused, on a connection long since open."""
    ends = datetime.now(UTC) + timedelta(seconds=4)
    short = token(4, purpose="self-service")
    with gateway.connect("cora", password=short, options=AS_PASSWORD) as cora:
        assert cora.execute("select count(*) from bank.accounts").fetchone() != (0,)
        with psycopg.connect(gateway.owner) as owner:
            owner.execute("select pg_sleep_until(%s)", (ends + timedelta(seconds=0.5),))
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="login of this session has ended"):
            cora.execute("select count(*) from bank.accounts")


# OAUTHBEARER, as libpq 18 speaks it.


def bundled() -> Path:
    """The libpq that psycopg's wheel brings: beside the package, or inside of it on macOS."""
    place = Path(psycopg_binary.__file__).parent
    (found,) = [*place.parent.glob("psycopg_binary.libs/libpq-*"), *place.glob(".dylibs/libpq.*")]
    return found


class BearerRequest(ctypes.Structure):
    """PGoauthBearerRequest (PostgreSQL manual, 32.20)."""

    _fields_ = (
        ("openid_configuration", ctypes.c_char_p),
        ("scope", ctypes.c_char_p),
        ("async_", ctypes.c_void_p),
        ("cleanup", ctypes.c_void_p),
        ("token", ctypes.c_char_p),
        ("user", ctypes.c_void_p),
    )


@contextmanager
def handing_over(given: str, asked: list[bytes]) -> Iterator[None]:
    """Have psycopg's libpq take a token from us, as an application's own login would hand it over."""
    library = ctypes.CDLL(str(bundled()))
    hook_type = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
    kept = given.encode()

    def hook(kind: int, _connection: int, wanted: int) -> int:
        if kind != 1:
            return 0
        request = ctypes.cast(wanted, ctypes.POINTER(BearerRequest)).contents
        asked.append(request.openid_configuration)
        request.token = kept
        return 1

    made = hook_type(hook)
    library.PQsetAuthDataHook(made)
    try:
        yield
    finally:
        library.PQsetAuthDataHook(ctypes.cast(library.PQdefaultAuthDataHook, hook_type))


def test_libpq_brings_a_token(gateway: Running) -> None:
    """It asks where tokens come from, is told, and comes back with one; a wrong one does not get in."""
    oauth = {"password": None, "require_auth": "oauth", "oauth_client_id": "tests", "oauth_issuer": ISSUER}
    oauth["options"] = "-c datagate.login=oauth"
    asked: list[bytes] = []
    with handing_over(token(purpose="self-service"), asked), gateway.connect("cora", **oauth) as cora:
        assert cora.execute("select count(*) from bank.accounts").fetchone() != (0,)
    assert asked == [f"{ISSUER}/.well-known/openid-configuration".encode()]
    with handing_over(token(aud="other"), []), pytest.raises(psycopg.OperationalError, match="authentication failed"):
        gateway.connect("cora", **oauth)


class Raw:
    """A client that sends what it is told to."""

    def __init__(self, port: int, user: str, database: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        body = b"\0\x03\0\0" + f"user\0{user}\0database\0{database}\0\0".encode()
        self._socket.sendall(struct.pack("!I", len(body) + 4) + body)
        self._file = self._socket.makefile("rb")

    def read(self) -> tuple[bytes, bytes]:
        """One message."""
        kind, length = self._file.read(1), self._file.read(4)
        return kind, self._file.read(int.from_bytes(length, "big") - 4) if length else b""

    def say(self, body: bytes) -> tuple[bytes, bytes]:
        """Send a password message; the answer."""
        self._send(body)
        return self.read()

    def _send(self, body: bytes) -> None:
        self._socket.sendall(b"p" + struct.pack("!I", len(body) + 4) + body)

    def begin(self, first: bytes) -> tuple[bytes, bytes]:
        """Begin OAUTHBEARER; the answer."""
        self.begin_without_answer(first)
        return self.read()

    def begin_without_answer(self, first: bytes) -> None:
        """Begin OAUTHBEARER."""
        assert b"OAUTHBEARER" in self.read()[1]
        self._send(b"OAUTHBEARER\0" + struct.pack("!I", len(first)) + first)

    def close(self) -> None:
        self._file.close()
        self._socket.close()


def test_the_exchange_byte_by_byte(gateway: Running) -> None:
    """RFC 7628, 4: a token gets in; none, or a wrong one, is told what to do in JSON, and refused after a byte."""
    for _ in range(20):  # more than the guesses that are allowed: asking is no guess
        raw = Raw(gateway.port, "cora", gateway.database)
        kind, body = raw.begin(b"n,,\x01auth=\x01\x01")
        told = json.loads(body[4:])
        assert (kind, body[:4], told["status"]) == (b"R", struct.pack("!I", 11), "invalid_token")
        kind, body = raw.say(b"\x01")
        assert (kind, b"C28P01\0" in body) == (b"E", True)
        raw.close()
    raw = Raw(gateway.port, "cora", gateway.database)
    assert raw.begin(f"n,,\x01auth=Bearer {token(purpose='self-service')}\x01\x01".encode()) == (b"R", bytes(4))
    raw.close()


@pytest.mark.parametrize(
    "first",
    [
        b"",
        b"n,,",
        b"p=tls-exporter,,\x01auth=\x01\x01",
        b"n,a=rex,\x01auth=\x01\x01",
        b"n,,\x01host=x\x01\x01",
        b"n,,\x01auth=Basic YQ==\x01\x01",
        b"n,,\x01auth=Bearer a b\x01\x01",
        b"n,,\x01auth=\x01auth=\x01\x01",
    ],
)
def test_malformed_bearers(first: bytes) -> None:
    """What is no OAUTHBEARER, speaks for another, or has no one token is a violation of the protocol."""
    with pytest.raises(ProtocolViolation):
        read_bearer(first)


def test_others_do_not_wait_for_an_issuer(bank_dsn: str, tmp_path: Path) -> None:
    """While an issuer does not answer, those whose tokens need its keys wait, and others log in and work."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        source = JwksUrl(f"http://127.0.0.1:{silent.getsockname()[1]}/keys", timeout_seconds=30)
        tokens = Tokens(JwtVerifier(source, issuer=ISSUER, audience=AUDIENCE), ISSUER)
        with Running(bank_dsn, tmp_path, tokens=tokens) as running:
            raw = Raw(running.port, "cora", running.database)
            raw.begin_without_answer(f"n,,\x01auth=Bearer {token()}\x01\x01".encode())
            asking, _ = silent.accept()
            with running.connect("ana") as ana:
                assert ana.execute("select 1").fetchone() == (1,)
            asking.close()
            assert raw.read() == (b"R", struct.pack("!I", 11) + refusal(ISSUER))
            raw.close()
