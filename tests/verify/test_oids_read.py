"""Which expressions give nothing but OIDs that a catalog's guard shows: only such may be cast to a type that names."""

from __future__ import annotations

import pytest

from datagate.model.lookup import Lookup
from datagate.model.names import RelationName
from datagate.verify.lookup import reads_oids
from datagate.verify.tree import read

CLASS = Lookup(0, RelationName("pg_catalog", "pg_class"), "oid")
ONE = "(SELECT d.oid FROM pg_catalog.pg_class AS d WHERE d.relname = 'x')"


def judged(expression: str, *, several: bool = False) -> bool:
    """Whether the expression is taken for such."""
    value = read(f"SELECT {expression}")["SelectStmt"]["targetList"][0]["ResTarget"]["val"]
    return reads_oids(value, CLASS, several=several)


@pytest.mark.parametrize(
    "expression",
    [
        ONE,
        f"CASE WHEN true THEN {ONE} END",
        "(SELECT d.oid FROM (SELECT 1 AS a) AS n, pg_catalog.pg_class AS d LIMIT 1)",
        "(SELECT d.oid FROM pg_catalog.pg_attribute AS a LEFT JOIN pg_catalog.pg_class AS d ON d.oid = a.attrelid)",
    ],
)
def test_out_of_the_catalog(expression: str) -> None:
    """The OID column of the catalog, under a name of its own."""
    assert judged(expression)


@pytest.mark.parametrize(
    "expression",
    [
        "16400",
        "d.oid",
        f"CASE WHEN true THEN {ONE} ELSE 16400 END",
        f"CASE WHEN true THEN 16400 ELSE {ONE} END",
        f"coalesce({ONE}, 16400)",
        "(SELECT d.relfilenode FROM pg_catalog.pg_class AS d)",
        "(SELECT d.oid + 1 FROM pg_catalog.pg_class AS d)",
        "(SELECT max(d.oid) FROM pg_catalog.pg_class AS d)",
        "(SELECT oid FROM pg_catalog.pg_class AS d)",
        "(SELECT d.oid FROM pg_class AS d)",
        "(SELECT d.oid FROM pg_catalog.pg_type AS d)",
        "(SELECT d.oid FROM pg_catalog.pg_class AS d (oid))",
        "(SELECT d.oid FROM (SELECT 16400 AS oid) AS d, pg_catalog.pg_class AS c)",
        "(SELECT d.oid FROM (pg_catalog.pg_class AS c CROSS JOIN (SELECT 16400 AS oid) AS x) AS d)",
        "(SELECT d.oid FROM pg_catalog.pg_class AS d UNION SELECT 16400)",
        "(VALUES (16400))",
        "ARRAY(SELECT d.oid FROM pg_catalog.pg_class AS d)",
        "EXISTS (SELECT d.oid FROM pg_catalog.pg_class AS d)",
    ],
)
def test_from_elsewhere(expression: str) -> None:
    """Anything that could be another number is not."""
    assert not judged(expression)


def test_arrays_are_read_as_arrays() -> None:
    """Several OIDs come by ARRAY, and one never does."""
    assert judged("ARRAY(SELECT d.oid FROM pg_catalog.pg_class AS d)", several=True)
    assert not judged(ONE, several=True)
