"""Key sets in files and at URLs: a real HTTP server on loopback, and a clock that the test turns."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from datagate.errors import InterfaceError, TokenRefused
from datagate.identity import JwksFile, JwksUrl, JwtVerifier
from datagate.model.caller import Caller
from tests.identity.issuer import AUDIENCE, ISSUER, KEYS, NOON, claims, published, signed


class Publisher(ThreadingHTTPServer):
    """Answers with what it is told to, and counts."""

    def __init__(self) -> None:
        self.status, self.body, self.headers, self.asked = 200, published(), {}, 0
        self.dawdles = threading.Event()
        super().__init__(("127.0.0.1", 0), _Handler)

    headers: dict[str, str]

    @property
    def url(self) -> str:
        """Where its key set is."""
        return f"http://127.0.0.1:{self.server_port}/keys?tenant=1"


class _Handler(BaseHTTPRequestHandler):
    server: Publisher

    def do_GET(self) -> None:
        self.server.asked += 1
        self.send_response(self.server.status)
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.server.dawdles.is_set():
            self.wfile.write(b"{")
            self.wfile.flush()
            self.server.dawdles.clear()
            self.connection.recv(1)
        else:
            self.wfile.write(self.server.body)

    def log_message(self, *_args: object) -> None:
        """Say nothing."""


class Clock:
    """Seconds that pass when told to."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    """A running publisher."""
    server = Publisher()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def check(keys: JwksUrl | JwksFile) -> JwtVerifier:
    return JwtVerifier(keys, issuer=ISSUER, audience=AUDIENCE, clock=lambda: NOON)


def why(token: str, verifier: JwtVerifier) -> str:
    with pytest.raises(TokenRefused) as caught:
        Caller.from_token(token, verifier)
    return caught.value.audit_reason or ""


def test_a_set_is_fetched_once_and_again_when_old(publisher: Publisher) -> None:
    """Kept for ten minutes; then fetched anew."""
    clock = Clock()
    verifier = check(JwksUrl(publisher.url, clock=clock))
    for _ in range(5):
        Caller.from_token(signed(claims()), verifier)
    assert publisher.asked == 1
    clock.now += 601
    Caller.from_token(signed(claims()), verifier)
    assert publisher.asked == 2


def test_a_new_key_is_found_and_made_up_ones_cost_nothing(publisher: Publisher) -> None:
    """A key id that is not known has the set fetched again, but once in thirty seconds at most."""
    clock = Clock()
    publisher.body = published(KEYS["ES256"])
    verifier = check(JwksUrl(publisher.url, clock=clock))
    Caller.from_token(signed(claims(), "ES256"), verifier)
    publisher.body = published()
    clock.now += 31
    Caller.from_token(signed(claims()), verifier)
    assert publisher.asked == 2
    for number in range(50):
        assert "no key of id" in why(signed(claims(), kid=f"made-up-{number}"), verifier)
    assert publisher.asked == 2


def test_an_outage_is_bridged_for_a_while(publisher: Publisher) -> None:
    """What was fetched is used on while the issuer is down, for an hour; then no token is accepted."""
    clock = Clock()
    verifier = check(JwksUrl(publisher.url, clock=clock))
    Caller.from_token(signed(claims()), verifier)
    publisher.status = 503
    clock.now += 3599
    Caller.from_token(signed(claims()), verifier)
    clock.now += 2
    assert "status 503" in why(signed(claims()), verifier)


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (302, b"", "status 302"),
        (404, b"", "status 404"),
        (200, b"<html>", "not JSON"),
        (200, b"[]", "no JWK set"),
        (200, b'{"keys": 1}', "no JWK set"),
        (200, b" " * 300_000, "larger than"),
        (200, json.dumps({"keys": [{}] * 101}).encode(), "no JWK set"),
        (200, b'{"keys": [], "keys": []}', "twice"),
        (200, b"[" * 100_000, "nested"),
        (200, json.dumps({"keys": [KEYS["ES256"].as_dict(private=True)]}).encode(), "private"),
    ],
)
def test_wrong_answers_give_no_keys(publisher: Publisher, status: int, body: bytes, reason: str) -> None:
    """Redirects, errors, and what is no bounded set of public keys: no token is accepted."""
    publisher.status, publisher.body = status, body
    publisher.headers = {"Location": "http://127.0.0.1:1/"} if status == 302 else {}
    assert reason in why(signed(claims()), check(JwksUrl(publisher.url)))


def test_a_slow_issuer_is_not_waited_for(publisher: Publisher) -> None:
    """A fetch that does not end in time is given up."""
    publisher.dawdles.set()
    assert "TimeoutError" in why(signed(claims()), check(JwksUrl(publisher.url, timeout_seconds=0.2)))


@pytest.mark.parametrize(
    "url",
    [
        "http://login.example/keys",
        "ftp://127.0.0.1/",
        "file:///etc/passwd",
        "https://a:b@x/",
        "keys",
        "http://10.0.0.1/",
    ],
)
def test_urls_that_others_could_answer_are_refused(url: str) -> None:
    """Only https, or http on loopback."""
    with pytest.raises(InterfaceError):
        JwksUrl(url)


def test_a_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    """A key set in a file: keys come and go with it, and without it no token is accepted."""
    path = tmp_path / "keys.json"
    verifier = check(JwksFile(path))
    assert "cannot be read" in why(signed(claims()), verifier)
    path.write_bytes(published(KEYS["ES256"]))
    Caller.from_token(signed(claims(), "ES256"), verifier)
    assert "no key of id" in why(signed(claims()), verifier)
    path.write_bytes(published(KEYS["RS256"]))
    Caller.from_token(signed(claims()), verifier)
    assert "no key of id" in why(signed(claims(), "ES256"), verifier)
