"""What the state costs at size: ``python -m benchmarks.scale [--json FILE] [--check] [--quick] [--data-subjects N]``.

Ten million data subjects with an answer for each of five purposes, one million entitlements, 100,000 live mandates
(`--quick`: a hundredth). A point statement and an analyst's aggregate over all, behind two gates: with policies that
ask for consent, by an actor under a mandate; and with the same policies without consent, by the principal in person.
Then what tables and indexes take on the disk, history included.

Which layout consents have is judged by the table "layouts", measured on every run: the same join by hand, but for what
it reads. Seen with one (ten) million data subjects, against the aggregate without consent:

* the answers alone, one row each: 2.3 (2.4) times, by a merge with the index of the customers; of ten million, that
  index takes 660 MB for each purpose, and is read once;
* a table for each purpose: 4.2 (2.8) times, and plain SQL would have to make one for each new purpose;
* bits in blocks, 1,024 data subjects a row: 1.0 to 1.1 (1.7, on a machine that was busier with other things), and 44 MB
  for all five purposes of ten million;
* all bits of a purpose at once, gathered before the first row: as quick as no consent at all, but a point statement
  would have to gather them too, which takes milliseconds.

The third is kept (`datagate.stores.blocks`): behind the gate, 1.23 times with ten million and 1.25 by processor time,
where the answers alone took 2.1 to 2.9. Triggers keep the bits in the transaction that changes an answer, by plain SQL
too; a block that the clock has ended, and a yes that is limited, are looked up. It helps where numbers of data subjects
lie close together; where each lies alone, a block holds one answer. Loading a million takes no longer than without,
where they come in order; scattered over as many blocks, 1.7 times. Of the point statement, the join with the block
takes some 4 us of the server, and the other party of a mandate 1, of 14 without either.
"""

from __future__ import annotations

import itertools
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from psycopg.pq import ExecStatus

import datagate
from benchmarks.harness import Nowhere, Report, Table, arguments, begin, by_turns, finish, micro, milli, server, settle
from benchmarks.plans import runner
from datagate.backends.postgres.embedded import EmbeddedPostgres
from datagate.backends.postgres.parameters import encode
from datagate.gate import Gate, state_engine
from datagate.model.caller import Caller
from datagate.stores.keyring import Keyring
from datagate.stores.store import StateStore

DATA_SUBJECTS = 10_000_000
POINT_BAR = 1.2
AGGREGATE_BAR = 1.5
PURPOSES = ("analytics", "marketing", "research", "support", "tax")
IN_PERSON = Caller.of("ana", purpose="analytics")
DELEGATED = Caller.of("ana", actor="bot", actor_kind="agent", mandate="m-bench", purpose="analytics")
POINT = "SELECT customer_id, region, balance FROM bench.customers WHERE customer_id = $1"
AGGREGATE = "SELECT region, count(*), avg(balance) FROM bench.customers GROUP BY region ORDER BY region"

Run = Callable[[], int]
_NAMES = itertools.count()

_WORDS = f"""
purposes: {{{", ".join(f"{purpose}: For {purpose}." for purpose in PURPOSES)}}}
roles: {{analyst: Works with figures.}}
attributes: {{regions: "text[]"}}
tags: {{plain: Nothing about a person., financial: Money.}}
scopes:
  figures:
    why: Somebody else works with the figures.
    relations:
      bench.customers: {{columns: all}}
"""
_POLICY = """
relation: bench.customers
owner: bench@bank.example
why: Analysts see customers of their regions.
data_subject: customer_id
columns: {customer_id: plain, full_name: plain, region: plain, balance: financial}
rules:
  - permit: figures
    to: {role: analyst}
    for: [analytics]
    rows: region = ANY(:principal.regions)
    consent: required
    show: [customer_id, region, balance]
    masks: {balance: {round: 1000}}
"""

_CUSTOMERS = """
CREATE SCHEMA bench;
CREATE TABLE bench.customers AS
SELECT i AS customer_id, 'name ' || i AS full_name, (ARRAY['EU', 'US', 'APAC', 'LATAM'])[1 + i % 4] AS region,
       (i * 7919 % 100000)::numeric(14, 2) AS balance
  FROM generate_series(1::bigint, {count}) AS i;
ALTER TABLE bench.customers ADD PRIMARY KEY (customer_id);
"""
# Four in five said yes, one in ten of them for a time that is not over, one in seven for a time that is.
_CONSENTS = """
INSERT INTO datagate.consents (data_subject, purpose, granted, valid_from, valid_until)
SELECT i::text, '{purpose}', i % 5 <> 0, timestamptz '2020-01-01 00:00+00',
       CASE WHEN i % 7 = 0 THEN timestamptz '2024-01-01 00:00+00' WHEN i % 10 = 1 THEN timestamptz '2090-01-01 00:00+00'
       END
  FROM generate_series(1::bigint, {count}) AS i
"""
_ENTITLEMENTS = """
INSERT INTO datagate.entitlements (principal, kind, name, value, valid_from)
SELECT 'p' || i, 'attribute', 'regions', '["EU"]', timestamptz '2020-01-01 00:00+00'
  FROM generate_series(1, {count}) AS i
"""
_MANDATES = """
INSERT INTO datagate.mandates
  (mandate_id, principal, holder, scope, parameters, purposes, valid_from, sub_delegable)
SELECT 'm' || i, 'p' || i, 'h' || i % 1000, 'figures', '{{}}', '["analytics"]', timestamptz '2020-01-01 00:00+00', 0
  FROM generate_series(1, {count}) AS i
"""
_INDEXES = ("consents_by_purpose",)
_SIZES = """
SELECT c.relname, c.relkind = 'i', pg_relation_size(c.oid), greatest(c.reltuples, 0)::bigint FROM pg_class AS c
 WHERE c.relnamespace = 'datagate'::regnamespace AND c.relkind IN ('r', 'i') AND pg_relation_size(c.oid) > 1000000
 ORDER BY c.relkind DESC, 3 DESC
"""

_PARTITION = """
CREATE TABLE bench.partition AS SELECT data_subject_number AS number, granted, valid_from, valid_until
  FROM datagate.consents WHERE purpose = 'analytics';
CREATE UNIQUE INDEX ON bench.partition (number) INCLUDE (granted, valid_from, valid_until);
"""
_LIVE = (
    "k.granted AND k.valid_from <= statement_timestamp()"
    " AND (k.valid_until IS NULL OR k.valid_until > statement_timestamp())"
)
_BLOCKS = "FROM datagate.consent_blocks AS k WHERE k.purpose = 'analytics'"
LAYOUTS = {
    "no consent": "true",
    "answers": "EXISTS (SELECT FROM datagate.consents AS k WHERE k.purpose = 'analytics'"
    f" AND k.data_subject_number = g.customer_id AND {_LIVE})",
    "a table for the purpose": f"EXISTS (SELECT FROM bench.partition AS k WHERE k.number = g.customer_id AND {_LIVE})",
    "bits in blocks": f"EXISTS (SELECT {_BLOCKS} AND k.block = g.customer_id >> 10 AND CASE"
    " WHEN statement_timestamp() >= k.holds_until OR k.asked IS NOT NULL THEN g.full_name = ''"
    " ELSE get_bit(k.yes, g.customer_id & 1023) = 1 END)",
    "all bits at once": f"get_bit((SELECT string_agg(k.yes, '' ORDER BY k.block) {_BLOCKS}), g.customer_id) = 1",
}
_BY_HAND = (
    "SELECT region, count(*), avg(round(balance, -3)) FROM bench.customers AS g WHERE region = ANY(ARRAY['EU', 'US'])"
    " AND {consent} GROUP BY region ORDER BY region"
)


def create(running: EmbeddedPostgres, data_subjects: int, report: Report) -> str:
    """The customers, and the state at size."""
    dsn = running.create_database("scale")
    store = StateStore(state_engine(dsn))
    store.create()
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(_CUSTOMERS.format(count=data_subjects).encode())
        # Loaded as a migration would: indexes that no constraint needs are made afterwards.
        found = connection.execute(
            "SELECT indexdef FROM pg_indexes WHERE schemaname = 'datagate' AND indexname = ANY(%s)", (list(_INDEXES),)
        ).fetchall()
        for index in _INDEXES:
            connection.execute(f"DROP INDEX datagate.{index}".encode())
        begun = time.perf_counter()
        for purpose in PURPOSES:
            connection.execute(_CONSENTS.format(purpose=purpose, count=data_subjects).encode())
        report.about["loading"] = (
            f"{(time.perf_counter() - begun) * 1e6 / data_subjects / len(PURPOSES):.1f} us an answer"
        )
        for (definition,) in found:
            connection.execute(str(definition).encode())
        connection.execute(_ENTITLEMENTS.format(count=data_subjects // 10).encode())
        connection.execute(_MANDATES.format(count=data_subjects // 100).encode())
    store.grant_role("ana", "analyst")
    store.grant_attribute("ana", "regions", ("EU", "US"))
    store.issue_mandate("ana", "bot", "figures", purposes=["analytics"], mandate_id="m-bench")
    settle(dsn)
    sizes = report.table("sizes", "What the state takes on the disk", "what", "rows", "megabytes")
    with psycopg.connect(dsn) as connection:
        for name, is_index, size, rows in connection.execute(_SIZES.encode()).fetchall():
            sizes.add(f"{'index ' if is_index else ''}{name}", int(rows), size / 1e6)
    return dsn


@contextmanager
def policies(*, consent: bool) -> Iterator[Path]:
    """The policies, with or without ``consent: required``."""
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / "datagate.yaml").write_text(_WORDS, encoding="utf-8")
        text = _POLICY if consent else _POLICY.replace("    consent: required\n", "")
        (Path(directory) / "customers.yaml").write_text(text, encoding="utf-8")
        yield Path(directory)


def _run(connection: psycopg.Connection[tuple[object, ...]], gate: Gate, caller: Caller, text: str, *own: int) -> Run:
    """Sends the statement prepared, and the policy's values as frontends keep them: encoded once."""
    admitted = gate.session(caller, frontend="benchmark").admit(text)
    kept, formats = encode(admitted.parameters)
    values: list[Any] = [*(str(each).encode() for each in own), *kept]
    codes = [*(0 for _ in own), *formats]
    name = f"s{next(_NAMES)}".encode()
    connection.pgconn.prepare(name, admitted.text.encode())

    def run() -> int:
        result = connection.pgconn.exec_prepared(name, values, codes)
        if result.status != ExecStatus.TUPLES_OK:
            raise SystemExit(result.error_message.decode())
        return result.ntuples

    return run


def measure(report: Report, dsn: str, data_subjects: int, rounds: int) -> None:
    """The two statements behind the two gates."""
    table = report.table(
        "statements", f"{data_subjects:,} data subjects, {len(PURPOSES)} purposes each", "statement",
        "without", "with consent and mandate", "ratio",
    )  # fmt: skip
    keyring = Keyring.ephemeral(os.urandom)
    with (
        policies(consent=False) as free_policies,
        policies(consent=True) as bound_policies,
        psycopg.connect(dsn, autocommit=True, prepare_threshold=0) as connection,
    ):
        free = Gate.open(dsn, policies=free_policies, keyring=keyring, audit=Nowhere())
        bound = Gate.open(dsn, policies=bound_policies, keyring=keyring, audit=Nowhere())
        for name, text, own, bar, each in (
            ("point, us", POINT, (_shown(data_subjects),), POINT_BAR, 50),
            ("aggregate, ms", AGGREGATE, (), AGGREGATE_BAR, 1),
        ):
            runs: dict[str, Run] = {
                "without": _run(connection, free, IN_PERSON, text, *own),
                "with": _run(connection, bound, DELEGATED, text, *own),
            }
            assert all(run() for run in runs.values())
            _compare(report, table, name, runs, bar, rounds * (5 if each > 1 else 1), each)
        with (
            datagate.connect(dsn, caller=IN_PERSON, gate=free, autocommit=True) as without,
            datagate.connect(dsn, caller=DELEGATED, gate=bound, autocommit=True) as bounded,
        ):
            shown = _shown(data_subjects)
            driver = {"without": _by_driver(without, shown), "with": _by_driver(bounded, shown)}
            _compare(report, table, "point, through the driver, us", driver, None, rounds * 5, 50)


def _compare(
    report: Report,
    table: Table,
    name: str,
    runs: Mapping[str, Callable[[], object]],
    bar: float | None,
    rounds: int,
    each: int,
) -> None:
    """Both by turns; the ratio is the median of those of each turn: a busy machine is now slow, now quick."""
    turns = []
    for turn in range(rounds):
        order = runs if turn % 2 == 0 else dict(reversed(list(runs.items())))
        turns.append(by_turns(order, rounds=1, warm_up=0 if turn else 1, each=each))
    ratio = statistics.median(turn["with"].median / turn["without"].median for turn in turns)
    spell = micro if each > 1 else milli
    medians = [spell(statistics.median(turn[way].median for turn in turns)) for way in ("without", "with")]
    table.add(name, *medians, ratio)
    if bar is not None:
        report.bar(name, ratio, bar)


def _by_driver(connection: datagate.Connection[Any], key: int) -> Callable[[], object]:
    """The point statement as an application sends it."""
    text = POINT.replace("$1", "%s")
    return lambda: connection.execute(text, (key,)).fetchone()


def _shown(data_subjects: int) -> int:
    """A data subject whose region is seen and who consents."""
    return data_subjects // 2 - data_subjects // 2 % 140 + 1


def measure_layouts(report: Report, dsn: str, rounds: int) -> None:
    """The analyst's aggregate by hand over each layout."""
    table = report.table("layouts", "Layouts of consents, the aggregate by hand", "layout", "ms", "ratio")
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(_PARTITION.encode())
        settle(dsn)
        runs = {name: runner(connection, _BY_HAND.format(consent=text)) for name, text in LAYOUTS.items()}
        timings = by_turns(runs, rounds=rounds)
        least = timings["no consent"].median
        for name, timing in timings.items():
            table.add(name, milli(timing.median), timing.median / least)


def main() -> int:
    """Measure, print, judge."""
    parser = arguments(__doc__)
    parser.add_argument("--data-subjects", type=int, default=0, help="how many; ten million, or 100,000 with --quick")
    options = parser.parse_args()
    report = begin("scale")
    data_subjects = options.data_subjects or (DATA_SUBJECTS // 100 if options.quick else DATA_SUBJECTS)
    with server(options.postgres) as running:
        report.about["server"] = f"PostgreSQL {running.version}, Unix socket"
        dsn = create(running, data_subjects, report)
        rounds = 5 if options.quick else 9
        measure(report, dsn, data_subjects, rounds)
        measure_layouts(report, dsn, rounds)
        running.drop_database("scale")
    return finish(report, options)


if __name__ == "__main__":
    sys.exit(main())
