"""Services that are trusted to say for whom they speak, and what that does not let anybody do."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from datagate.audit.record import statement_json
from datagate.errors import StateError
from datagate.frontends.gateway.protocol.scram import Verifier
from datagate.frontends.gateway.users import User, UserFile
from datagate.model.caller import ActorKind
from datagate.stores import EntitlementKind
from tests.frontends.gateway.running import PASSWORD, Running
from tests.house.source import ROOT

REGIONS = "select distinct region from bank.customers order by 1"
AS_ANA, AS_ADA = "-c datagate.end_user=ana", "-c datagate.on_behalf_of=ada"


@pytest.fixture(autouse=True)
def superset(gateway: Running) -> Iterator[None]:
    """A service that the policies trust to speak for analysts and advisers."""
    gateway.users.put(
        User(
            name="superset",
            verifier=Verifier.of(PASSWORD, os.urandom(16)),
            purposes=("analytics", "advice"),
            kind=ActorKind.SERVICE,
        )
    )
    yield
    for name in ("ana", "superset"):
        gateway.users.lock(name, locked=False)


def test_a_service_speaks_for_its_end_users(gateway: Running) -> None:
    """Each sees what it would see itself, for a purpose that both may have; the record names the service."""
    with gateway.connect("superset", options=AS_ANA) as ana, gateway.connect("superset", options=AS_ADA) as ada:
        assert ana.execute(REGIONS).fetchall() == [("EU",), ("US",)]
        assert ana.execute("show datagate.end_user").fetchone() == ("ana",)
        assert ada.execute("show datagate.purpose").fetchone() == ("advice",)
        assert ada.execute(REGIONS).fetchall() == [("APAC",), ("EU",)]
    record = statement_json(gateway.sink.records[-1], with_text=False)
    assert (record["principal"], record["prior_actors"]) == ("ada", ["superset"])


@pytest.mark.parametrize(
    "options",
    [
        "-c datagate.end_user=rex",
        "-c datagate.end_user=nobody",
        "-c datagate.on_behalf_of=rex",
        "-c datagate.end_user=ana -c datagate.on_behalf_of=ada",
        "-c datagate.end_user=ana -c datagate.purpose=advice",
        "-c datagate.end_user=ana -c datagate.mandate=tax-1",
    ],
)
def test_it_speaks_for_nobody_else(gateway: Running, options: str) -> None:
    """Users without a role that it is trusted for, two at once, and a purpose that one has not, are refused."""
    with pytest.raises(psycopg.OperationalError):
        gateway.connect("superset", options=options)


@pytest.mark.parametrize("started_as", [AS_ANA, ""])
def test_an_end_users_own_words_make_it_nobody_else(gateway: Running, started_as: str) -> None:
    """What is typed into such a tool runs as SQL: it must not reach another user's rows, or the service's own."""
    with gateway.connect("superset", options=started_as) as session:
        before = session.execute("show datagate.end_user").fetchone()
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            session.execute("set datagate.end_user = ada")
        session.execute("begin")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):  # noqa: PT012 - where depends on who it began as
            session.execute("set datagate.on_behalf_of = ada")
            session.execute(REGIONS)
        session.execute("rollback")
        for statement in ("reset datagate.end_user", "discard all", "reset all"):
            try:
                session.execute(statement)
            except psycopg.Error:
                continue
        assert session.execute("show datagate.end_user").fetchone() == before


def test_locked_is_locked(gateway: Running) -> None:
    """Nobody speaks for a user who is locked out, and a service that is locked out speaks for nobody."""
    gateway.users.lock("ana", locked=True)
    with pytest.raises(psycopg.OperationalError, match="not permitted"):
        gateway.connect("superset", options=AS_ANA)
    gateway.users.lock("ana", locked=False)
    gateway.connect("superset", options=AS_ANA).close()
    gateway.users.lock("superset", locked=True)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        gateway.connect("superset", options=AS_ANA)


def test_without_trust_there_is_no_end_user(gateway: Running) -> None:
    """Neither for a user, nor for a service that no policy names, nor for one of that name that is no service."""
    password = Verifier.of(PASSWORD, os.urandom(16))
    gateway.users.put(User(name="tableau", verifier=password, purposes=("advice",), kind=ActorKind.SERVICE))
    gateway.users.put(User(name="superset", verifier=password, purposes=("advice",), kind=ActorKind.PERSON))
    for who in ("ana", "tableau", "superset"):
        for option in ("datagate.end_user=ada", "datagate.on_behalf_of=ada"):
            with pytest.raises(psycopg.OperationalError):
                gateway.connect(who, options=f"-c {option}")


def test_trust_ends_at_once(gateway: Running, tmp_path: Path) -> None:
    """A session that is open is refused from its next statement on, when the user's role or the policy's trust is gone.

    A login gets no further than its start.
    """
    policies = Path(shutil.copytree(ROOT / "policies", tmp_path / "policies"))
    with Running(gateway.owner, tmp_path, policies=policies) as own:
        own.users.put(gateway.users.all()["superset"])
        with own.connect("superset", options=AS_ADA) as ada:
            assert ada.execute(REGIONS).fetchall() == [("APAC",), ("EU",)]
            own.store.withdraw_entitlement("ada", EntitlementKind.ROLE, "adviser")
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="not trusted to speak for this user"):
                ada.execute(REGIONS)
            with pytest.raises(psycopg.OperationalError, match="not permitted to this login"):
                own.connect("superset", options=AS_ADA)
            own.store.grant_role("ada", "adviser")
            assert ada.execute(REGIONS).fetchall() == [("APAC",), ("EU",)]

            configuration = policies / "datagate.yaml"
            text = configuration.read_text("utf-8")
            configuration.write_text(text.replace("for: [analytics, advice]", "for: [analytics]"), "utf-8")
            own.gate.reload()
            for asked in (REGIONS, "select 1"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege, match="not trusted to speak for this user"):
                    ada.execute(asked)
            with pytest.raises(psycopg.OperationalError, match="not permitted to this login"):
                own.connect("superset", options=AS_ADA)


def test_the_users_file_trusts_nobody(gateway: Running, tmp_path: Path) -> None:
    """Whom a service may speak for is a policy's word; what an older file says of it is refused, not passed over."""
    path = tmp_path / "users.json"
    users = UserFile(path)
    users.put(gateway.users.all()["superset"])
    text = path.read_text("utf-8")
    path.write_text(text.replace('"kind": "service"', '"kind": "service", "asserts": ["ana"]'), "utf-8")
    with pytest.raises(StateError, match="under services"):
        users.find("superset")


def test_unknown_names_look_the_same_everywhere(gateway: Running) -> None:
    """Who does not exist has one salt, in each process that reads the file and after a restart, as real users have."""
    again = UserFile(gateway.users._path)
    assert again.secret() == gateway.users.secret()
    assert Verifier.mock(again.secret(), "nobody") == Verifier.mock(gateway.users.secret(), "nobody")
    assert Verifier.mock(again.secret(), "nobody").salt != Verifier.mock(again.secret(), "noone").salt
