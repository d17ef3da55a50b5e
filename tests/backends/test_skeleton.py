"""Which numbers of a text may be parameters, and that nothing else changes."""

from __future__ import annotations

import pytest

from datagate.backends.postgres.skeleton import movable, split, with_parameters


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("select a from t where b = 7", "select a from t where b = $1"),
        (
            "select a from t where 7 < b and (b >= 8 or not b <> 9)",
            "select a from t where $1 < b and (b >= $2 or not b <> $3)",
        ),
        (
            "select a from t where b in (1, 2) and c between 3 and 4",
            "select a from t where b in ($1, $2) and c between $3 and $4",
        ),
        ("select a from t join s on s.x = 1 where b = 2;", "select a from t join s on s.x = $1 where b = $2;"),
        ("update t set a = 1 where b = 2", "update t set a = 1 where b = $1"),
        ("delete from t where b = 2 returning 3", "delete from t where b = $1 returning 3"),
        (
            "select 1 from t where b = 2 group by 1 order by 1 limit 3",
            "select 1 from t where b = $1 group by 1 order by 1 limit 3",
        ),
        ("select a::varchar(3) from t where b = 2", "select a::varchar(3) from t where b = $1"),
        (
            "select interval '1' year from t where b = 2 and c = '5'",
            "select interval '1' year from t where b = $1 and c = '5'",
        ),
        ("select $$ b = 1 $$ from t where b = 2 -- b = 3", "select $$ b = 1 $$ from t where b = $1 -- b = 3"),
        (r"select E'\' = 1' from t where b = 2 /* b = 3 */", r"select E'\' = 1' from t where b = $1 /* b = 3 */"),
        ('select "b = 1" from t where b = 2', 'select "b = 1" from t where b = $1'),
        ("select a from t where b = 007", "select a from t where b = $1"),
        ("select 'ä' from t where ä5 = 6", "select 'ä' from t where ä5 = $1"),
    ],
)
def test_numbers_beside_columns_move(text: str, sent: str) -> None:
    """In conditions of the outermost statement, and nowhere else."""
    raw = text.encode()
    assert with_parameters(split(raw), movable(raw)).decode() == sent


@pytest.mark.parametrize(
    "text",
    [
        "select a from t where b = -7",
        "select a from t where b = 7.0",
        "select a from t where b = 7e1",
        "select a from t where b = 1234567890",
        "select a from t where b = '7'",
        "select a from t where b + 7 = c",
        "select a from t where f(7) = b",
        "select a from t where b = 7::bigint",
        "select a from t where b[7] = c",
        "select a from t where b = (select 7)",
        "select a from t where exists (select from s where x = 7)",
        "select a from (select a from t where b = 7) as s",
        "with s as (select a from t where b = 7) select a from s",
        "select a from t where b = 7 union select 1",
        "select a from t group by a having a = 7",
        "select a from t where b = 7 and c = $1",
        "select a from t where b = 7; select 1",
        "insert into t values (7)",
        "select a from t where b =",
        "select a from t where b is distinct from 7",
        "select a from t where b operator(pg_catalog.=) 7",
        "select a from t where 1 = 7",
    ],
)
def test_all_other_numbers_stay(text: str) -> None:
    """Where a parameter might mean something else, and where nobody has looked whether it does."""
    assert movable(text.encode()) == ()
