"""What a real server says of hidden things, and what the caller is told of it.

Each case runs on a direct connection, as a rewritten statement would, in a database where every name and every value is
a canary. The caller's own text, to which the translation holds the server's words, is another one without canaries.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import psycopg
import pytest

from datagate.backends.postgres.embedded import EmbeddedPostgres
from datagate.backends.postgres.faults import from_server, quiet_notice

ASKED = "select a, b from t where a = 1 and b = 'x'"

_SCHEMA = """
CREATE SCHEMA canary_s;
CREATE TYPE canary_s.canary_enum AS ENUM ('canary_one', 'canary_two');
CREATE DOMAIN canary_s.canary_dom AS text CONSTRAINT canary_dom_check CHECK (VALUE <> 'canary_bad');
CREATE DOMAIN canary_s.canary_must AS text NOT NULL;
CREATE TABLE canary_s.canary_other (canary_id int PRIMARY KEY);
INSERT INTO canary_s.canary_other VALUES (4711), (4712);
CREATE TABLE canary_s.canary_t (
  canary_id int CONSTRAINT canary_pk PRIMARY KEY, canary_v text NOT NULL,
  canary_u text CONSTRAINT canary_uq UNIQUE, canary_n int CONSTRAINT canary_chk CHECK (canary_n > 0),
  canary_f int CONSTRAINT canary_fk REFERENCES canary_s.canary_other, canary_short varchar(3),
  canary_num numeric(3, 1), canary_gen int GENERATED ALWAYS AS (canary_n + 1) STORED,
  canary_ident int GENERATED ALWAYS AS IDENTITY, canary_bits bit(3),
  canary_span int4range, CONSTRAINT canary_ex EXCLUDE USING gist (canary_span WITH &&));
INSERT INTO canary_s.canary_t (canary_id, canary_v, canary_u, canary_n, canary_f, canary_span)
  VALUES (1, 'canary-v', 'canary-u', 5, 4711, '[1,5)'), (2, 'canary-w', 'canary-x', 6, 4711, '[5,9)');
CREATE TABLE canary_s.canary_refs (
  canary_r int CONSTRAINT canary_restrict REFERENCES canary_s.canary_other ON DELETE RESTRICT);
INSERT INTO canary_s.canary_refs VALUES (4712);
CREATE TABLE canary_s.canary_parts (canary_k int, canary_v text) PARTITION BY RANGE (canary_k);
CREATE TABLE canary_s.canary_part PARTITION OF canary_s.canary_parts FOR VALUES FROM (0) TO (10);
CREATE VIEW canary_s.canary_view AS SELECT * FROM canary_s.canary_t WHERE canary_n > 3 WITH CHECK OPTION;
CREATE VIEW canary_s.canary_joined AS SELECT t.canary_id, o.canary_id AS canary_o
  FROM canary_s.canary_t t, canary_s.canary_other o;
CREATE FUNCTION canary_s.canary_raise(code text, said text) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION '%', said USING ERRCODE = code, DETAIL = 'canary detail', HINT = 'canary hint',
    SCHEMA = 'canary_s', TABLE = 'canary_t', COLUMN = 'canary_v', CONSTRAINT = 'canary_chk', DATATYPE = 'canary_enum';
END $$;
CREATE FUNCTION canary_s.canary_trigger() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'row % is canary', NEW; END $$;
CREATE TABLE canary_s.canary_triggered (canary_v text);
CREATE TRIGGER canary_trg BEFORE INSERT ON canary_s.canary_triggered
  FOR EACH ROW EXECUTE FUNCTION canary_s.canary_trigger();
CREATE FUNCTION canary_s.canary_inner(what text) RETURNS int LANGUAGE plpgsql AS $$
DECLARE found int;
BEGIN
  EXECUTE what; GET DIAGNOSTICS found = ROW_COUNT; RETURN found;
END $$;
CREATE FUNCTION canary_s.canary_strict(n int) RETURNS text LANGUAGE plpgsql AS $$
DECLARE canary_var text;
BEGIN
  SELECT canary_v INTO STRICT canary_var FROM canary_s.canary_t WHERE canary_id <= n; RETURN canary_var;
END $$;
CREATE FUNCTION canary_s.canary_assert() RETURNS int LANGUAGE plpgsql AS $$
BEGIN ASSERT false, 'canary-v'; RETURN 1; END $$;
CREATE FUNCTION canary_s.canary_case() RETURNS int LANGUAGE plpgsql AS $$
BEGIN CASE 3 WHEN 1 THEN RETURN 1; END CASE; END $$;
CREATE FUNCTION canary_s.canary_endless() RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE OR REPLACE FUNCTION canary_s.canary_endless() RETURNS int LANGUAGE plpgsql AS $$
BEGIN RETURN canary_s.canary_endless() + 1; END $$;
CREATE SEQUENCE canary_s.canary_seq MAXVALUE 2;
SELECT nextval('canary_s.canary_seq'); SELECT nextval('canary_s.canary_seq');
"""

_T = "canary_s.canary_t"
_NEW = f"INSERT INTO {_T} (canary_id, canary_v"

# SQLSTATE, and a statement at which the server says a canary. Sorted by SQLSTATE.
HIDDEN: list[tuple[str, str]] = [
    ("20000", "SELECT canary_s.canary_case()"),
    ("21000", "SELECT canary_s.canary_raise('21000', 'canary')"),
    ("22001", ("SELECT canary_s.canary_inner('SELECT ''canary''::name::varchar(2); "
     "INSERT INTO canary_s.canary_t (canary_id, canary_v, canary_short) VALUES (9, ''c'', ''canary'')')")),
    ("22003", f"SELECT (canary_f::text || canary_f::text || canary_f)::int FROM {_T}"),
    ("22003", f"SELECT ('1e' || canary_f)::float8 FROM {_T}"),
    ("22004", "SELECT canary_s.canary_inner(NULL)"),
    ("22007", f"SELECT canary_v::date FROM {_T}"),
    ("22007", f"SELECT canary_v::timestamptz FROM {_T}"),
    ("22007", f"SELECT canary_v::interval FROM {_T}"),
    ("22008", f"SELECT (canary_f || '-13-45')::date FROM {_T}"),
    ("22008", f"SELECT to_date(canary_f || '-13', 'YYYY-MM') FROM {_T}"),
    ("2200H", "SELECT nextval('canary_s.canary_seq')"),
    ("22023", f"SELECT extract(canary FROM now()), canary_v FROM {_T}"),
    ("22023", f"SELECT date_trunc(canary_v, now()) FROM {_T}"),
    ("22023", f"SELECT now() AT TIME ZONE canary_v FROM {_T}"),
    ("22023", f"SELECT encode(canary_v::bytea, canary_v) FROM {_T}"),
    ("22032", "SELECT canary_s.canary_raise('22032', 'canary')"),
    ("22P02", f"SELECT canary_v::int FROM {_T}"),
    ("22P02", f"SELECT canary_v::numeric FROM {_T}"),
    ("22P02", f"SELECT canary_v::bool FROM {_T}"),
    ("22P02", f"SELECT canary_v::uuid FROM {_T}"),
    ("22P02", f"SELECT canary_v::inet FROM {_T}"),
    ("22P02", f"SELECT canary_v::json FROM {_T}"),
    ("22P02", f"SELECT canary_v::jsonb FROM {_T}"),
    ("22P02", f"SELECT canary_v::int[] FROM {_T}"),
    ("22P02", f"SELECT canary_v::point FROM {_T}"),
    ("22P02", f"SELECT canary_v::int4range FROM {_T}"),
    ("22P02", f"SELECT canary_v::canary_s.canary_enum FROM {_T}"),
    ("22P02", "SELECT 'canary_three'::canary_s.canary_enum"),
    ("22P02", f"SELECT canary_v::macaddr FROM {_T}"),
    ("23001", "DELETE FROM canary_s.canary_other WHERE canary_id = 4712"),
    ("23502", f"{_NEW}) VALUES (3, NULL)"),
    ("23502", f"UPDATE {_T} SET canary_v = NULL"),
    ("23502", "SELECT NULL::canary_s.canary_must"),
    ("23503", f"{_NEW}, canary_f) VALUES (3, 'canary', 99)"),
    ("23503", "DELETE FROM canary_s.canary_other WHERE canary_id = 4711"),
    ("23505", f"{_NEW}) VALUES (1, 'canary')"),
    ("23505", f"{_NEW}, canary_u) VALUES (3, 'canary', 'canary-u')"),
    ("23505", f"UPDATE {_T} SET canary_u = 'canary'"),
    ("23514", f"{_NEW}, canary_n) VALUES (3, 'canary', -1)"),
    ("23514", "SELECT 'canary_bad'::canary_s.canary_dom"),
    ("23514", "INSERT INTO canary_s.canary_parts VALUES (77, 'canary')"),
    ("23514", "INSERT INTO canary_s.canary_part VALUES (77, 'canary')"),
    ("23P01", f"{_NEW}, canary_span) VALUES (3, 'canary', '[2,3)')"),
    ("25006", "SELECT canary_s.canary_raise('25006', 'canary')"),
    ("2F005", "SELECT canary_s.canary_raise('2F005', 'canary')"),
    ("34000", "FETCH canary_cursor"),
    ("26000", "EXECUTE canary_prepared"),
    ("3B001", "ROLLBACK TO SAVEPOINT canary_point"),
    ("3F000", "CREATE TABLE canary_nowhere.canary (a int)"),
    ("40001", "SELECT canary_s.canary_raise('40001', 'canary')"),
    ("42501", "SET LOCAL ROLE canary_role; SELECT * FROM canary_s.canary_t"),
    ("42601", "SELECT canary_s.canary_inner('SELEC canary')"),
    ("42601", "SELECT canary_s.canary_inner('SELECT canary canary canary')"),
    ("42622", "SELECT canary_s.canary_raise('42622', 'canary')"),
    ("42701", "SELECT canary_s.canary_inner('ALTER TABLE canary_s.canary_t ADD canary_v int')"),
    ("42702", f"SELECT canary_id FROM {_T}, canary_s.canary_other"),
    ("42703", f"SELECT canary_x FROM {_T}"),
    ("42703", f"SELECT canary_vv FROM {_T}"),
    ("42703", "SELECT canary_s.canary_inner('SELECT canary_vv FROM canary_s.canary_t')"),
    ("42704", "SELECT 'x'::canary_type"),
    ("42710", "SELECT canary_s.canary_inner('CREATE ROLE canary_role')"),
    ("42803", f"SELECT canary_v, count(*) FROM {_T}"),
    ("42804", f"{_NEW}, canary_n) VALUES (3, 'canary', true)"),
    ("42804", f"UPDATE {_T} SET canary_span = 5"),
    ("42809", "SELECT canary_s.canary_inner('DROP TABLE canary_s.canary_view')"),
    ("42846", f"SELECT canary_span::canary_s.canary_enum FROM {_T}"),
    ("42883", f"SELECT canary_f(canary_v) FROM {_T}"),
    ("42883", f"SELECT canary_span + 1 + canary_v FROM {_T}"),
    ("42883", "SELECT canary_s.canary_raise(1)"),
    ("428C9", f"{_NEW}, canary_gen) VALUES (3, 'canary', 1)"),
    ("428C9", f"{_NEW}, canary_ident) VALUES (3, 'canary', 1)"),
    ("42P01", "SELECT * FROM canary_s.canary_tt"),
    ("42P01", f"SELECT canary_a.canary_v FROM {_T}"),
    ("44000", "INSERT INTO canary_s.canary_view (canary_id, canary_v, canary_n) VALUES (3, 'canary', 1)"),
    ("44000", "UPDATE canary_s.canary_view SET canary_n = 1"),
    ("54001", "SELECT canary_s.canary_endless()"),
    ("55000", "DELETE FROM canary_s.canary_joined"),
    ("55000", "SELECT currval('canary_s.canary_seq') + canary_s.canary_raise('55000', 'canary')"),
    ("57014", "SELECT canary_s.canary_raise('57014', 'canary')"),
    ("58P01", "SELECT pg_read_file('canary')"),
    ("P0001", "INSERT INTO canary_s.canary_triggered VALUES ('canary')"),
    ("P0001", "DO $$ BEGIN RAISE EXCEPTION 'canary'; END $$"),
    ("P0002", "SELECT canary_s.canary_strict(0)"),
    ("P0003", "SELECT canary_s.canary_strict(2)"),
    ("P0004", "SELECT canary_s.canary_assert()"),
    ("XX000", "SELECT canary_s.canary_raise('XX000', 'canary')"),
    ("ZZ999", "SELECT canary_s.canary_raise('ZZ999', 'canary')"),
]  # fmt: skip

# The caller's own text is the one that is sent: what the server says of it, and the word at which it stands.
OWN: list[tuple[str, str, str, str]] = [
    ("42703", "SELECT nope FROM canary_s.canary_other", 'column "nope" does not exist', "nope"),
    ("42703", "SELECT o.nope FROM canary_s.canary_other o", "column o.nope does not exist", "o.nope"),
    ("42P01", "SELECT 1 FROM nowhere", 'relation "nowhere" does not exist', "nowhere"),
    ("42P01", "SELECT nobody.x", 'missing FROM-clause entry for table "nobody"', "nobody"),
    ("42883", "SELECT nope(1)", "function nope(integer) does not exist", ""),
    ("42704", "SELECT 'x'::nope", 'type "nope" does not exist', "nope"),
    ("42803", "SELECT canary_id, count(*) FROM canary_s.canary_other", "must appear in the GROUP BY clause", ""),
    ("42P10", "SELECT 1 AS x ORDER BY 2", "ORDER BY position 2 is not in select list", ""),
    ("22P02", "SELECT 'four'::int", 'invalid input syntax for type integer: "four"', "four"),
    ("22P02", "SELECT 'never'::bool", 'invalid input syntax for type boolean: "never"', "never"),
    ("22007", "SELECT 'someday'::date", 'invalid input syntax for type date: "someday"', "someday"),
    ("22003", "SELECT '99999999999'::int", 'value "99999999999" is out of range for type integer', "99999999999"),
    ("22012", "SELECT 1/0", "division by zero", ""),
    ("22003", "SELECT 2147483647 + 1", "integer out of range", ""),
    ("34000", "FETCH mine", 'cursor "mine" does not exist', ""),
]


@pytest.fixture(scope="module")
def canaries(postgres: EmbeddedPostgres) -> Iterator[psycopg.Connection[Any]]:
    """A direct connection, as the owner, to the database of canaries."""
    dsn = postgres.create_database("canaries")
    with psycopg.connect(dsn, autocommit=True) as connection:
        if connection.execute("SELECT FROM pg_roles WHERE rolname = 'canary_role'").fetchone() is None:
            connection.execute("CREATE ROLE canary_role")
        connection.execute(_SCHEMA)
        connection.execute("SET max_stack_depth = '200kB'")
        yield connection
        connection.execute("DROP ROLE canary_role")
    postgres.drop_database("canaries")


def provoke(connection: psycopg.Connection[Any], text: str) -> psycopg.Error:
    """The error with which the statement fails, in a transaction that is rolled back."""
    with pytest.raises(psycopg.Error) as caught, connection.transaction():
        connection.execute(text.encode())
    return caught.value


def said(error: psycopg.Error) -> str:
    """All that the server said."""
    fields = [getattr(error.diag, name) for name in dir(error.diag) if not name.startswith("_")]
    return repr([*map(str, fields), str(error)])


@pytest.mark.parametrize(("state", "text"), HIDDEN, ids=lambda each: each[:60])
def test_nothing_hidden_is_told(canaries: psycopg.Connection[Any], state: str, text: str) -> None:
    """The server says a canary; the caller is told none, with the SQLSTATE and no position in a text not his own."""
    error = provoke(canaries, text)
    if "canary_restrict" in str(error):
        # PostgreSQL 18 reports RESTRICT as 23001, as the standard has it.
        state = error.sqlstate or ""
    assert error.sqlstate == state, str(error)
    assert "canary" in said(error) or "4711" in said(error), said(error)
    fault = from_server(error, ASKED)
    told = repr([str(fault), fault.args, fault.__dict__])
    assert "canary" not in told
    assert "4711" not in told
    assert fault.sqlstate == state
    assert fault.position is None
    assert fault.message


def test_the_register_of_errors_is_long() -> None:
    """At least sixty errors of at least thirty SQLSTATEs are provoked."""
    assert len({text for _, text in HIDDEN}) >= 60
    assert len({state for state, _ in HIDDEN}) >= 30


@pytest.mark.parametrize(("state", "text", "message", "word"), OWN)
def test_what_the_caller_wrote_is_told(
    canaries: psycopg.Connection[Any], state: str, text: str, message: str, word: str
) -> None:
    """What the server found in the caller's own text is told in its words, with the position in that text."""
    error = provoke(canaries, text)
    assert error.sqlstate == state, str(error)
    rewritten = f"/* rewritten: other positions */ {text}"
    error = provoke(canaries, rewritten)
    fault = from_server(error, text)
    assert message in fault.message
    assert fault.position == (text.index(word) + 1 if word else None)


@pytest.mark.parametrize(
    "text",
    [
        f"SELECT canary_v::int FROM {_T}",
        f"SELECT canary_v::date FROM {_T}",
        "SELECT canary_s.canary_inner('SELECT canary_vv FROM canary_s.canary_t')",
        "SELECT canary_s.canary_raise('42703', 'column \"canary_v\" does not exist')",
        "SELECT canary_s.canary_raise('22P02', 'canary-v')",
        f"{_NEW}) VALUES (3, NULL)",
        f"{_NEW}) VALUES (1, 'canary')",
        f"{_NEW}, canary_n) VALUES (3, 'canary', -1)",
    ],
)
def test_a_right_guess_is_not_confirmed(canaries: psycopg.Connection[Any], text: str) -> None:
    """Who writes hidden names and values into his statement is told the same as who does not."""
    error = provoke(canaries, text)
    guess = f"{ASKED} or b in ('canary-v', 'canary_v', 'canary_vv', 'canary_t', 'canary_s', 'canary_pk', 'canary_chk')"
    assert from_server(error, guess).message == from_server(error, ASKED).message


def test_what_two_sessions_do_to_each_other_is_told_neutrally(canaries: psycopg.Connection[Any]) -> None:
    """Deadlocks, lock time-outs and serialization failures tell neither relations nor statements of the other one."""
    dsn = canaries.info.dsn
    with psycopg.connect(dsn, autocommit=True) as first, psycopg.connect(dsn, autocommit=True) as second:
        errors = [_lock_timeout(first, second), _serialization(first, second), _deadlock(first, second)]
    assert [error.sqlstate for error in errors] == ["55P03", "40001", "40P01"]
    for error in errors:
        fault = from_server(error, ASKED)
        assert fault.sqlstate == error.sqlstate
        assert "canary" not in repr([str(fault), fault.args, fault.__dict__])
        assert "process" not in fault.message.lower()


def _lock_timeout(first: psycopg.Connection[Any], second: psycopg.Connection[Any]) -> psycopg.Error:
    with first.transaction():
        first.execute(f"LOCK {_T}".encode())
        return provoke(second, f"LOCK {_T} NOWAIT")


def _serialization(first: psycopg.Connection[Any], second: psycopg.Connection[Any]) -> psycopg.Error:
    with suppress(_Undone), second.transaction():
        second.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        second.execute(f"SELECT count(*) FROM {_T}".encode())
        first.execute(f"UPDATE {_T} SET canary_v = canary_v || '-' WHERE canary_id = 1".encode())
        with pytest.raises(psycopg.Error) as caught:
            second.execute(f"UPDATE {_T} SET canary_v = canary_v || '+' WHERE canary_id = 1".encode())
        raise _Undone
    return caught.value


def _deadlock(first: psycopg.Connection[Any], second: psycopg.Connection[Any]) -> psycopg.Error:
    """Each waits for the other; whoever came last finds the circle."""
    update = "UPDATE canary_s.canary_t SET canary_v = canary_v WHERE canary_id = {}"
    found: list[psycopg.Error] = []
    for each in (first, second):
        each.execute("SET deadlock_timeout = '100ms'")
    with second.transaction(force_rollback=True):
        second.execute(update.format(2).encode())
        with suppress(_Undone), first.transaction():
            first.execute(update.format(1).encode())
            second.pgconn.send_query(update.format(1).encode())
            second.pgconn.flush()
            try:
                first.execute(update.format(2).encode())
            except psycopg.Error as error:
                found.append(error)
            raise _Undone
        while (result := second.pgconn.get_result()) is not None:
            if result.status == psycopg.pq.ExecStatus.FATAL_ERROR:
                found.append(psycopg.errors.error_from_result(result))
    (victim,) = found
    return victim


class _Undone(Exception):
    """Rolls a transaction back."""


def test_notices_tell_nothing(canaries: psycopg.Connection[Any]) -> None:
    """Notices, warnings and what hangs on them keep their SQLSTATE and lose their words."""
    heard: list[tuple[str | None, str | None, str]] = []

    def hear(diagnostic: psycopg.errors.Diagnostic) -> None:
        quiet = quiet_notice(diagnostic, ASKED)
        fields = [getattr(quiet, name) for name in dir(quiet) if not name.startswith("_")]
        assert quiet.severity == diagnostic.severity
        heard.append((diagnostic.sqlstate, quiet.sqlstate, repr(fields)))

    canaries.add_notice_handler(hear)
    canaries.execute(
        "DO $$ BEGIN RAISE NOTICE 'canary'; RAISE WARNING 'canary' USING ERRCODE = '42703', DETAIL = 'canary',"
        " HINT = 'canary', TABLE = 'canary_t'; END $$"
    )
    canaries.execute("DROP TABLE IF EXISTS canary_s.canary_nothing")
    canaries.execute("CREATE SCHEMA IF NOT EXISTS canary_s")
    canaries.remove_notice_handler(hear)
    assert [state for state, _, _ in heard] == ["00000", "42703", "00000", "42P06"]
    assert [kept for _, kept, _ in heard] == [state for state, _, _ in heard]
    assert "canary" not in repr([fields for _, _, fields in heard])
