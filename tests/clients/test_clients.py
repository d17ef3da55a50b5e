"""Real clients through a real gateway: two callers, each of whom is told what his redacted twin would tell him."""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.clients.places import Pair, Place, Site
from tests.clients.registry import CLIENTS, Client


def told_alike(client: Client, shop: Site) -> None:
    """Each caller is told the same at the gateway as at his twin, and the two are told different things."""
    told = {}
    for caller, pair in shop.pairs.items():
        told[caller] = client.tell(pair.gateway)
        assert told[caller] == client.tell(pair.twin), caller
    assert len(set(told.values())) == len(told) or client.name == "pgbench"


def _named(clients: list[Client]) -> list[object]:
    return [pytest.param(client, id=client.name.replace(" ", "-")) for client in clients]


@pytest.mark.parametrize("client", _named([client for client in CLIENTS if client.quick]))
def test_client(client: Client, shop: Site) -> None:
    """Clients that are here wherever the tests run."""
    told_alike(client, shop)


@pytest.mark.slow
@pytest.mark.parametrize("client", _named([client for client in CLIENTS if not client.quick]))
def test_client_of_ones_own(client: Client, shop: Site) -> None:
    """Clients that have to be installed first."""
    missing = client.missing()
    if missing is not None:
        pytest.skip(f"{client.name} is not here: {missing}")
    told_alike(client, shop)


def _psql(place: Place, *commands: str) -> str:
    asked = [part for command in commands for part in ("-c", command)]
    done = subprocess.run(
        ["psql", "-X", *asked],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, **place.environment},
    )
    return done.stdout


@pytest.mark.parametrize("command", "\\dt+ \\di+ \\d+ \\dn+ \\dv+ \\db+ \\dp \\drds".split())
def test_psql_lists_without_sizes_and_rights(shop: Site, command: str) -> None:
    """What tells of sizes or of others' rights comes without them: the same objects, and nothing that is hidden."""
    pair: Pair = shop.pairs["narrow"]
    told, twin = _psql(pair.gateway, command), _psql(pair.twin, command)
    assert "ERROR" not in told
    assert not {"vault", "orders", "c_phone", "phones"} & set(told.replace("|", " ").split())
    if command in ("\\dt+", "\\di+", "\\dv+"):
        names = [line.split("|")[1].strip() for line in told.splitlines() if line.count("|") > 3]
        assert names == [line.split("|")[1].strip() for line in twin.splitlines() if line.count("|") > 3]


def test_psql_watches(shop: Site) -> None:
    r"""\watch runs a statement again and again, until psql is ended."""
    pair = shop.pairs["narrow"]
    told = [
        subprocess.run(
            ["timeout", "3", "psql", "-X", "-A", "-t"],
            input="select count(*) from customer \\watch 0.2\n",
            stdout=subprocess.PIPE,
            text=True,
            check=False,
            timeout=60,
            env=place.environment,
        ).stdout.split()
        for place in (pair.gateway, pair.twin)
    ]
    assert len(told[0]) > 1
    assert set(told[0]) == set(told[1])
