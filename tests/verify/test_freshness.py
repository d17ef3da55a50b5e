"""The check of the caller's rights above the whole query: it must stand there, and may do nothing else."""

from __future__ import annotations

import pytest

from datagate.verify.postgres import Mismatch, verify
from tests.verify.world import CATALOG, FUNCTIONS, PRESCRIPTIONS, expand, plain

CHECK = "CASE WHEN datagate.still_current($7::text) THEN 0 ELSE -1 END"
QUERY = "SELECT id FROM {kyc}"


def accepted(original: str, final: str, check: str = CHECK) -> bool:
    """Whether the verifier lets the pair pass."""
    try:
        verify(
            plain(original),
            expand(final),
            catalog=CATALOG,
            prescriptions=PRESCRIPTIONS,
            functions=FUNCTIONS,
            check=check,
        )
    except Mismatch:
        return False
    return True


@pytest.mark.parametrize(
    ("original", "final"),
    [
        (QUERY, f"{QUERY} OFFSET {CHECK}"),
        (f"{QUERY} ORDER BY 1", f"{QUERY} ORDER BY 1 OFFSET {CHECK}"),
        (f"{QUERY} UNION {QUERY}", f"{QUERY} UNION {QUERY} OFFSET {CHECK}"),
        (f"{QUERY} LIMIT 1", f"SELECT * FROM ({QUERY} LIMIT 1) AS q OFFSET {CHECK}"),
        (f"{QUERY} OFFSET 3", f"SELECT * FROM ({QUERY} OFFSET 3) AS q OFFSET {CHECK}"),
        (f"{QUERY} FOR UPDATE", f"SELECT * FROM ({QUERY} FOR UPDATE) AS q OFFSET {CHECK}"),
        ("SELECT * FROM (SELECT 1) AS q", f"SELECT * FROM (SELECT 1) AS q OFFSET {CHECK}"),
    ],
)
def test_the_check_above_a_query_passes(original: str, final: str) -> None:
    """As its OFFSET, or above it where it has a LIMIT, an OFFSET or row locks of its own."""
    assert accepted(original, final)


@pytest.mark.parametrize(
    ("original", "final"),
    [
        (QUERY, QUERY),
        (QUERY, f"{QUERY} OFFSET 0"),
        (QUERY, f"{QUERY} OFFSET CASE WHEN true THEN 0 ELSE -1 END"),
        (QUERY, f"{QUERY} LIMIT 1 OFFSET {CHECK}"),
        (QUERY, f"{QUERY} WHERE false OFFSET {CHECK}"),
        (QUERY, f"SELECT * FROM ({QUERY}) AS q OFFSET {CHECK}"),
        (f"{QUERY} LIMIT 1", f"SELECT * FROM ({QUERY} LIMIT 2) AS q OFFSET {CHECK}"),
        (f"{QUERY} LIMIT 1", f"SELECT * FROM ({QUERY}) AS q OFFSET {CHECK}"),
        (f"{QUERY} LIMIT 1", f"SELECT id FROM ({QUERY} LIMIT 1) AS q OFFSET {CHECK}"),
        (f"{QUERY} LIMIT 1", f"SELECT * FROM ({QUERY} LIMIT 1) AS q WHERE true OFFSET {CHECK}"),
        (f"{QUERY} LIMIT 1", f"SELECT DISTINCT * FROM ({QUERY} LIMIT 1) AS q OFFSET {CHECK}"),
        (f"{QUERY} LIMIT 1", f"SELECT * FROM ({QUERY} LIMIT 1) AS q, (SELECT 1) AS r OFFSET {CHECK}"),
        (f"{QUERY} LIMIT 1", f"SELECT * FROM ({QUERY} LIMIT 1) AS q (a) OFFSET {CHECK}"),
        (f"{QUERY} FOR UPDATE", f"SELECT * FROM ({QUERY}) AS q OFFSET {CHECK} FOR UPDATE"),
    ],
)
def test_anything_else_is_refused(original: str, final: str) -> None:
    """A check that is missing, is another, or comes with something that the caller did not say."""
    assert not accepted(original, final)


@pytest.mark.parametrize(
    "check",
    ["1", "CASE WHEN true THEN 1 ELSE -1 END", "CASE WHEN true THEN 0 END", "CASE WHEN true THEN 0 ELSE 5 END"],
)
def test_a_check_that_could_skip_rows_is_refused(check: str) -> None:
    """Whoever prescribes it: it gives 0, or what raises."""
    assert not accepted(QUERY, f"{QUERY} OFFSET {check}", check)


def test_a_parameter_of_the_check_is_no_callers() -> None:
    """The caller could give the check its value."""
    original = "SELECT id, $7::text FROM {kyc}"
    assert not accepted(original, f"{original} OFFSET {CHECK}")
