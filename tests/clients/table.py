"""What works with which client: ``python -m tests.clients.table`` tries all that is here, and prints README's table."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import asyncpg
import pg8000.dbapi
import psycopg
import psycopg2
import sqlalchemy

from datagate.backends.postgres.embedded import EmbeddedPostgres
from tests.clients.places import Site, site
from tests.clients.registry import CLIENTS, Client
from tests.conftest import chosen_binaries

FAULTS = (AssertionError, OSError, subprocess.SubprocessError, psycopg.Error, psycopg2.Error, asyncpg.PostgresError,
          pg8000.dbapi.DatabaseError, sqlalchemy.exc.SQLAlchemyError)  # fmt: skip
"""What clients raise."""


def verdict(client: Client, shop: Site) -> str:
    """``works``, or what does not."""
    missing = client.missing()
    if missing is not None:
        return f"not tried: {missing}"
    for caller, pair in shop.pairs.items():
        try:
            same = client.tell(pair.gateway) == client.tell(pair.twin)
        except FAULTS as error:
            return f"fails for {caller}: {str(error).splitlines()[-1][:200]}"
        if not same:
            return f"differs for {caller}"
    return "works"


def main() -> int:
    """Print the table; 1 where a client that is here is not told what its twins tell."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("names", nargs="*", help="only clients whose names begin so")
    names = tuple(arguments.parse_args().names)
    verdicts = []
    with (
        tempfile.TemporaryDirectory() as folder,
        EmbeddedPostgres(chosen_binaries()[0], settings={"max_connections": "120"}, tcp=True) as server,
        site(server, Path(folder)) as shop,
    ):
        print("| client | tried | |\n| --- | --- | --- |")
        for client in (client for client in CLIENTS if not names or client.name.startswith(names)):
            verdicts.append(verdict(client, shop))
            print(f"| {client.name} | {client.tries.replace('|', ' ')} | {verdicts[-1]} |", flush=True)
    return int(any(not each.startswith(("works", "not tried")) for each in verdicts))


if __name__ == "__main__":
    sys.exit(main())
