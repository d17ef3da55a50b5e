"""Encryption at the door: who is served without it, channel binding, and logins by client certificate."""

from __future__ import annotations

import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from cryptography import x509

from datagate.frontends.gateway.sockets import is_loopback
from datagate.frontends.gateway.users import User
from datagate.frontends.gateway.worker import Certificates
from tests.frontends.gateway.certifying import Authority
from tests.frontends.gateway.running import Running, make_bank

NOTHING_ELSE = {"password": None, "require_auth": "none"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("certificates")


@pytest.fixture(scope="module")
def clients(folder: Path) -> Authority:
    """Who signs certificates of clients."""
    return Authority(folder, "clients")


@pytest.fixture(scope="module")
def encrypting(bank_dsn: str, folder: Path, clients: Authority) -> Iterator[Running]:
    """A gateway that serves encrypted only, on loopback too."""
    make_bank(bank_dsn)
    own = Authority(folder, "gateways")
    certificate, key = own.sign("gateway")
    certificates = Certificates(certificate, key, clients.certificate)
    with Running(bank_dsn, folder, certificates=certificates, only_encrypted=True) as running:
        for name, names in (("ana", {"cn:ana"}), ("ada", {"email:ada@bank.example", "uri:spiffe://bank/ada"})):
            user = running.users.find(name)
            assert user is not None
            running.users.put(
                User(name=name, verifier=user.verifier, purposes=user.purposes, certificates=frozenset(names))
            )
        running.trust = {"sslmode": "verify-full", "sslrootcert": str(own.certificate)}
        yield running


@pytest.mark.parametrize("negotiation", ["postgres", "direct"])
def test_channel_binding(encrypting: Running, negotiation: str) -> None:
    """A client that insists on SCRAM-SHA-256-PLUS gets it, whichever way TLS began."""
    with encrypting.connect(
        **encrypting.trust, channel_binding="require", sslnegotiation=negotiation, require_auth="scram-sha-256"
    ) as ana:
        assert ana.execute("select 1").fetchone() == (1,)
        assert ana.pgconn.ssl_in_use


def test_channel_binding_with_psql(encrypting: Running) -> None:
    """psql, which brings a libpq of its own, insists on it too."""
    dsn = encrypting.dsn(**encrypting.trust, channel_binding="require")
    command = ["psql", "-X", "-At", "-c", "select 1", dsn]
    assert subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout == "1\n"


def test_a_client_in_the_clear_is_told_what_to_do(encrypting: Running) -> None:
    """Without TLS nothing is asked for, so that no password crosses the wire; with it all goes on."""
    with pytest.raises(psycopg.OperationalError, match="takes encrypted connections only; use sslmode=require"):
        encrypting.connect(sslmode="disable")
    with encrypting.connect(**encrypting.trust) as ana:
        assert ana.execute("select 1").fetchone() == (1,)


@pytest.mark.parametrize(
    ("address", "local"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("0.0.0.0", False), ("::", False)],  # noqa: S104
)
def test_what_counts_as_loopback(address: str, local: bool) -> None:
    """Only a listener that no other machine can reach may serve in the clear; one for all addresses is none."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as listener:
        listener.bind((address, 0))  # bound, and never listening
        assert is_loopback(listener) is local


def test_direct_tls_needs_the_protocols_name(encrypting: Running) -> None:
    """Direct TLS without ALPN could be another protocol's bytes, and ends at once (PostgreSQL manual, 55.2.10)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    for names, served in ((["postgresql"], True), (["http/1.1"], False), ([], False)):
        if names:
            context.set_alpn_protocols(names)
        try:
            with (
                socket.create_connection(("127.0.0.1", encrypting.port), timeout=10) as sock,
                context.wrap_socket(sock) as line,
            ):
                line.sendall(_startup())
                answered = line.recv(1) == b"R"
        except (ssl.SSLError, ConnectionError):
            answered = False
        assert answered is served, names
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE


def _startup() -> bytes:
    body = b"\0\x03\0\0user\0ana\0\0"
    return (len(body) + 4).to_bytes(4, "big") + body


def test_a_certificate_is_enough(encrypting: Running, clients: Authority) -> None:
    """By the subject's name or an alternative one, as the store has it; nobody is asked for a password."""
    certificate, key = clients.sign("ana")
    with encrypting.connect(
        "ana", **encrypting.trust, **NOTHING_ELSE, sslcert=str(certificate), sslkey=str(key)
    ) as ana:
        assert ana.execute("select distinct full_name from bank.customers").fetchall() == [("***",)]
    names = [x509.RFC822Name("ada@bank.example")]
    certificate, key = clients.sign("laptop", names)
    with encrypting.connect(
        "ada", **encrypting.trust, **NOTHING_ELSE, sslcert=str(certificate), sslkey=str(key)
    ) as ada:
        assert ada.execute("select 1").fetchone() == (1,)


def test_a_certificate_of_somebody_else_is_not(encrypting: Running, clients: Authority, folder: Path) -> None:
    """Another's name, a stranger's authority, a locked user: no login, and a password is what is asked for."""
    certificate, key = clients.sign("rex")
    given = {**encrypting.trust, "sslcert": str(certificate), "sslkey": str(key)}
    with pytest.raises(psycopg.OperationalError):
        encrypting.connect("ana", **given, **NOTHING_ELSE)
    with encrypting.connect("ana", **given) as ana:
        assert ana.execute("select 1").fetchone() == (1,)
    (folder / "strange").mkdir()
    certificate, key = Authority(folder / "strange", "strangers").sign("ana")
    with pytest.raises(psycopg.OperationalError):
        encrypting.connect("ana", **encrypting.trust, sslcert=str(certificate), sslkey=str(key))
    certificate, key = clients.sign("ana")
    encrypting.users.lock("ana", locked=True)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        encrypting.connect("ana", **encrypting.trust, sslcert=str(certificate), sslkey=str(key))
    encrypting.users.lock("ana", locked=False)
