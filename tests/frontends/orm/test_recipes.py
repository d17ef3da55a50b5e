"""How applications use sessions: per request in FastAPI and Flask, in a background job, and beside Alembic."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import alembic.command
import alembic.config
import celery
import fastapi
import flask
import httpx
import pytest
import sqlalchemy as sa
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import Session

from datagate import errors
from datagate.frontends.orm import AsyncGatedSession, GatedSession, gate_engine, gated_sessionmaker
from datagate.identity import JwksFile, JwtVerifier
from datagate.model.caller import Caller
from fixtures.market.callers import CLERK
from fixtures.market.models import Person
from tests.frontends.orm.conftest import Market, url

ISSUER, AUDIENCE = "https://login.shop.example", "market"
KEY = ECKey.generate_key("P-256", {"kid": "2026", "alg": "ES256", "use": "sig"}, private=True)


def token(subject: str, **claims: object) -> str:
    """What a login server gives; ``act`` names who really asks (RFC 8693)."""
    now = int(time.time())
    known = {"iss": ISSUER, "aud": AUDIENCE, "sub": subject, "purpose": "work", "iat": now, "exp": now + 600}
    return jwt.encode({"alg": "ES256", "kid": "2026", "typ": "at+jwt"}, {**known, **claims}, KEY)


@pytest.fixture
def verifier(tmp_path: Path) -> JwtVerifier:
    """What an application makes once: who is believed, by the keys that the login server publishes."""
    published = tmp_path / "jwks.json"
    published.write_text(json.dumps(KeySet([KEY]).as_dict(private=False)))
    return JwtVerifier(JwksFile(published), issuer=ISSUER, audience=AUDIENCE)


def callers(market: Market, verifier: JwtVerifier) -> Callable[[str], Caller]:
    """The caller whom a request's header names; a token that is refused is recorded, and raises TokenRefused."""

    def caller_of(authorization: str) -> Caller:
        return market.gate.caller(authorization.removeprefix("Bearer "), verifier, frontend="api")

    return caller_of


def bearer(subject: str, **claims: object) -> dict[str, str]:
    return {"Authorization": f"Bearer {token(subject, **claims)}"}


def test_fastapi(market: Market, verifier: JwtVerifier) -> None:
    """One dependency opens the session of the request's caller; the handlers know nothing of it."""
    caller_of = callers(market, verifier)
    engine = create_async_engine(url(market.dsn))
    gated = gate_engine(engine, market.gate)
    maker = gated_sessionmaker(gated)
    app = fastapi.FastAPI()

    @app.exception_handler(errors.TokenRefused)
    async def refused(_request: fastapi.Request, error: errors.TokenRefused) -> fastapi.Response:
        return fastapi.Response(str(error), 401)

    async def opened(authorization: str = fastapi.Header()) -> AsyncIterator[AsyncGatedSession]:
        async with maker(caller=caller_of(authorization)) as session:
            yield session

    @app.get("/people")
    async def people(page: int = 0, session: Any = fastapi.Depends(opened)) -> list[dict[str, object]]:  # noqa: B008
        query = sa.select(Person).order_by(Person.id).offset(page * 5).limit(5)
        return [{"id": each.id, "name": each.name, "email": each.email} for each in await session.scalars(query)]

    async def story() -> None:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://market") as client:
            found = (await client.get("/people", headers=bearer("carl"), params={"page": 1})).json()
            assert found[0] == {"id": 12, "name": "name 12", "email": "***@shop.example"}
            assert (await client.get("/people", headers=bearer("bea"))).json()[0]["email"] == "mail1@shop.example"
            with pytest.raises(sa.exc.ProgrammingError):
                await client.get("/people", headers=bearer("zoe"))
            for forged in (bearer("bea", aud="other"), bearer("bea", exp=1), {"Authorization": "Bearer x.y.z"}):
                answer = await client.get("/people", headers=forged)
                assert (answer.status_code, answer.text) == (401, "the token is not accepted; log in again")
        await gated.dispose_async()

    asyncio.run(story())


def test_flask(market: Market, verifier: JwtVerifier) -> None:
    """The session lives in the request's context, for the caller of its token."""
    caller_of = callers(market, verifier)
    maker = gated_sessionmaker(market.engine)
    app = flask.Flask("market")

    def session() -> GatedSession:
        if "session" not in flask.g:
            flask.g.session = maker(caller=caller_of(flask.request.headers["Authorization"]))
        opened: GatedSession = flask.g.session
        return opened

    @app.teardown_appcontext
    def close(_error: BaseException | None) -> None:
        if "session" in flask.g:
            flask.g.session.close()

    @app.get("/people/<int:number>")
    def person(number: int) -> dict[str, object]:
        found = session().get(Person, number)
        return {"name": found.name} if found else flask.abort(404)

    client = app.test_client()
    assert client.get("/people/2", headers=bearer("carl")).json == {"name": "name 2"}
    assert client.get("/people/1", headers=bearer("carl")).status_code == 404
    mandate = [{"type": "datagate_mandate", "mandate": "errand-2"}]
    delegated = bearer("carl", act={"sub": "hal", "actor_kind": "person"}, authorization_details=mandate)
    assert client.get("/people/2", headers=delegated).json == {"name": "name 2"}
    assert client.get("/people/4", headers=delegated).status_code == 404


def test_a_background_job(market: Market) -> None:
    """A job runs for a service of its own, with its own rights; it is told who, never handed a session."""
    market.store.grant_role("nightly", "clerk")
    market.store.grant_attribute("nightly", "regions", ("US",))
    maker = gated_sessionmaker(market.engine)
    service = Caller.of("nightly", actor_kind="service", purpose="work")
    jobs = celery.Celery("market", set_as_current=False)
    jobs.conf.task_always_eager = True
    jobs.conf.task_eager_propagates = True

    @jobs.task(name="rename")  # type: ignore[untyped-decorator]
    def rename(suffix: str) -> int:
        with maker(caller=service) as session, session.begin():
            found = session.scalars(sa.select(Person)).all()
            for person in found:
                person.name += suffix
            return len(found)

    assert rename.delay("!").get() == 20
    assert market.sql("SELECT count(*), min(id % 2) FROM market.people WHERE right(name, 1) = '!'") == [(20, 1)]


MIGRATION = '''
"""Add a column."""
import sqlalchemy as sa
from alembic import op
revision, down_revision = "one", None
def upgrade():
    op.add_column("people", sa.Column("nickname", sa.Text()), schema="market")
'''
ENV = """
from alembic import context
with context.config.attributes["engine"].connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
"""


def test_alembic_is_kept_apart(market: Market, tmp_path: Path) -> None:
    """Migrations run on the plain engine, as the owner; through a caller's engine they are refused."""
    (tmp_path / "versions").mkdir()
    (tmp_path / "env.py").write_text(ENV)
    (tmp_path / "versions" / "one.py").write_text(MIGRATION)
    config = alembic.config.Config()
    config.set_main_option("script_location", str(tmp_path))
    config.set_main_option("path_separator", "os")
    config.attributes["engine"] = market.engine.as_caller(CLERK)
    with pytest.raises((sa.exc.DBAPIError, errors.Error)):
        alembic.command.upgrade(config, "head")
    config.attributes["engine"] = market.plain
    alembic.command.upgrade(config, "head")
    with Session(market.plain) as session:
        assert session.scalars(sa.text("SELECT nickname FROM market.people LIMIT 1")).one() is None
    with market.Session(caller=CLERK) as session:
        # The column has no rule yet, so it does not exist for any caller.
        with pytest.raises(sa.exc.ProgrammingError):
            session.execute(sa.text("SELECT nickname FROM market.people"))
        session.rollback()
        assert session.get(Person, 2) is not None
