"""Logins: who gets in, and that those who do not learn nothing from it."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
from scramp import ScramClient

from datagate.errors import OperationalError, ProtocolViolation
from datagate.frontends.gateway.attempts import AttemptLimits, Attempts
from datagate.frontends.gateway.login import Channel, Doorkeeper
from datagate.frontends.gateway.protocol import frontend
from datagate.frontends.gateway.protocol.scram import PLAIN, ScramServer, Verifier
from datagate.frontends.gateway.users import User, UserFile
from tests.frontends.gateway.running import Running


def test_wrong_unknown_and_locked_look_alike(gateway: Running) -> None:
    """A wrong password, an unknown name and a locked one end in the same words and SQLSTATE; the right one gets in."""
    gateway.users.lock("rex", locked=True)
    words = set()
    for user, password in (("ana", "wrong"), ("nobody", "wrong"), ("rex", "correct horse")):
        with pytest.raises(psycopg.OperationalError) as caught:
            gateway.connect(user, password=password)
        words.add(str(caught.value).rpartition("FATAL:")[2].replace(user, "NAME"))
    assert words == {'  password authentication failed for user "NAME"'}
    gateway.users.lock("rex", locked=False)
    with gateway.connect("rex") as connection:
        assert connection.execute("select 1").fetchone() == (1,)


def test_they_take_the_same_road(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wrong, unknown, locked, without a password, made to wait: the same messages by length, and the same work."""
    users = UserFile(tmp_path / "users.json")
    verifier = Verifier.of("right", bytes(16))
    users.put(User(name="right", verifier=verifier, purposes=()))
    users.put(User(name="wrong", verifier=verifier, purposes=()))
    users.put(User(name="locks", verifier=verifier, purposes=(), locked=True))
    users.put(User(name="certs", verifier=None, purposes=(), certificates=frozenset({"cn:certs"})))
    work: list[str] = []

    def counted(made: Callable[..., Any], *given: Any) -> Any:
        work.append(made.__name__)
        return made(*given)

    for module, function in ((hmac, "digest"), (hmac, "compare_digest"), (hashlib, "sha256"), (hashlib, "pbkdf2_hmac")):
        monkeypatch.setattr(module, function, partial(counted, getattr(module, function)))

    def attempt(name: str, password: str, *, failures: int = 0) -> tuple[list[int], list[str], str]:
        attempts = Attempts(lambda: 0.0)
        for _ in range(failures):
            attempts.failed(name, "1.2.3.4")
        keeper = Doorkeeper(users=users, attempts=attempts, nonce=lambda: b"n" * 24)
        exchange = keeper.exchange(name, "", Channel("1.2.3.4", encrypted=False))
        client = ScramClient([PLAIN], "*", password)
        sizes, words = [len(_bytes(next(exchange)))], "admitted"
        challenge = _bytes(exchange.send(frontend.sasl_initial(PLAIN, client.get_client_first().encode())[5:]))
        client.set_server_first(challenge[9:].decode())
        final = client.get_client_final().encode()
        work.clear()
        try:
            exchange.send(final)
        except OperationalError as error:
            words = error.message.replace(name, "NAME")
        except StopIteration:
            pass
        return [*sizes, len(challenge)], sorted(work), words

    asked = [("wrong", "guess"), ("nobody", "guess"), ("certs", "guess")]
    found = [attempt(*each) for each in asked]
    assert len({str(each) for each in found}) == 1, found
    assert found[0][2] == 'password authentication failed for user "NAME"'
    assert attempt("right", "right")[2] == "admitted"
    # With the right password the road is that of whoever gets in, up to the words.
    assert attempt("locks", "right") == attempt("right", "right", failures=10)
    assert attempt("locks", "right")[1] == attempt("right", "right")[1]
    assert attempt("locks", "right")[2] == found[0][2]


def _bytes(step: object) -> bytes:
    assert isinstance(step, bytes)
    return step


def test_another_database_does_not_exist(gateway: Running) -> None:
    """The gateway serves the one database that its policies are about."""
    with pytest.raises(psycopg.OperationalError, match='database "elsewhere" does not exist'):
        gateway.connect(dbname="elsewhere")


@pytest.mark.parametrize(
    "options",
    ["-c search_path=bank", "-c datagate.nothing=1", "-c client_encoding=LATIN1", "-x", "-c timezone=Nowhere/Land"],
)
def test_start_up_settings_are_held_to_the_list(gateway: Running, options: str) -> None:
    """Settings that callers may not change, unknown ones and wrong values are refused at the start."""
    with pytest.raises(psycopg.OperationalError):
        gateway.connect(options=options)


def test_guesses_are_limited() -> None:
    """Who failed too often from one address has to wait; the same name from elsewhere, and another name, has not."""
    now = [0.0]
    limits = AttemptLimits(per_name_and_address=3, per_address=5, per_name=7, window=60)
    attempts = Attempts(lambda: now[0], limits)
    for _ in range(3):
        assert attempts.may_try("ana", "a")
        attempts.failed("ana", "a")
    assert not attempts.may_try("ana", "a")
    assert attempts.may_try("ana", "b")
    assert attempts.may_try("ada", "a")
    for name in ("x", "y"):
        attempts.failed(name, "a")
    assert not attempts.may_try("ada", "a"), "one address guesses many names"
    for address in "bcde":
        attempts.failed("ana", address)
    assert not attempts.may_try("ana", "f"), "many addresses guess one name"
    attempts.succeeded("ana", "b")
    assert not attempts.may_try("ana", "f"), "one who knows the password does not clear the others"
    now[0] = 61.0
    assert attempts.may_try("ana", "a")


def test_verifiers_are_spelled_as_postgresql_spells_them(gateway: Running) -> None:
    """A verifier that PostgreSQL made reads the same, and one of ours makes the same from password and salt."""
    with psycopg.connect(gateway.owner, autocommit=True) as owner:
        owner.execute("create role spelled password 'secret word'")
        row = owner.execute("select rolpassword from pg_authid where rolname = 'spelled'").fetchone()
        owner.execute("drop role spelled")
    assert row is not None
    theirs = Verifier.read(row[0])
    assert str(theirs) == row[0]
    assert Verifier.of("secret word", theirs.salt, theirs.iterations) == theirs


@pytest.mark.parametrize("first", [b"", b"n", b"n,,", b"x,,n=,r=abc", b"p=tls-unique,,n=,r=abc", b"n,,n=,r=\0"])
def test_malformed_first_messages(first: bytes) -> None:
    """What is no SCRAM is a violation of the protocol, and nothing else."""
    server = ScramServer(Verifier.of("x", b"salt" * 4), b"nonce", None)
    with pytest.raises(ProtocolViolation):
        server.challenge(PLAIN, first)
