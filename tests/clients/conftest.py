"""What real clients are told, through the gate."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from datagate.backends.postgres.embedded import EmbeddedPostgres
from tests.clients.places import Site, site


@pytest.fixture(scope="session")
def shop(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The shop behind a gateway, and the two callers' twins."""
    with site(postgres, tmp_path_factory.mktemp("clients")) as made:
        yield made
