"""Mutants of what peers send: messages, or a violation of the protocol, and nothing else."""

from __future__ import annotations

import pytest

from tests.frontends.gateway.fuzzing import TARGETS, try_mutants


@pytest.mark.parametrize("name", TARGETS)
def test_mutants(name: str) -> None:
    """4,000 of each kind; some are violations and some are not."""
    assert 100 < try_mutants(name, 4_000, 7) <= 4_000


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_a_million_mutants(name: str) -> None:
    """A million of each kind."""
    assert 10_000 < try_mutants(name, 1_000_000, 11) <= 1_000_000
