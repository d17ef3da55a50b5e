from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.frontends.gateway.running import Running, make_bank


@pytest.fixture(scope="module")
def gateway(bank_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A gateway before this module's bank."""
    make_bank(bank_dsn)
    with Running(bank_dsn, tmp_path_factory.mktemp("gateway")) as running:
        yield running
