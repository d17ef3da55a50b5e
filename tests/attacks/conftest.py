"""The two banks, once for all attacks on a server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from datagate.backends.postgres.embedded import EmbeddedPostgres
from tests.attacks.arena import Bank, build


@pytest.fixture(scope="session")
def banks(postgres: EmbeddedPostgres) -> Iterator[tuple[Bank, Bank]]:
    """The two banks."""
    names = ("attacked", "attacked_other")
    built = build(postgres, names)
    yield built
    for bank, name in zip(built, names, strict=True):
        bank.close()
        postgres.drop_database(name)


@pytest.fixture(scope="session")
def bank(banks: tuple[Bank, Bank]) -> Bank:
    """The first of them."""
    return banks[0]
