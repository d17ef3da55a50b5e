"""What consent costs: ``python -m benchmarks.consent [--json FILE] [--check] [--quick]``.

One million data subjects of ``fixtures/bank``, most of whom agreed to studies. The analyst's aggregate behind two
gates: the bank's own policies, where consent is required and read inside the statement, and the same files without
that line. For the purpose itself, and for a narrower one, where an answer to the wider counts unless there is a nearer
one.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import psycopg

from benchmarks.harness import Nowhere, Report, arguments, begin, by_turns, finish, milli, server, settle
from benchmarks.plans import Rows, Run, runner
from datagate.backends.postgres.embedded import EmbeddedPostgres
from datagate.gate import Gate, state_engine
from datagate.model.caller import Caller
from datagate.stores.keyring import Keyring
from datagate.stores.store import StateStore
from fixtures.bank import generate
from fixtures.bank.rows import Rows as BankRows

CONSENT_BAR = 2.0
DATA_SUBJECTS = 1_000_000
HERE = Path(__file__).resolve().parent.parent
CALLERS = {
    "analytics": Caller.of("ana", purpose="analytics"),
    "marketing.email": Caller.of("ana", purpose="marketing.email"),
}
AGGREGATE = "SELECT region, count(*), avg(balance) FROM bank.customers GROUP BY region ORDER BY region"
COUNT = "SELECT region, count(*) FROM bank.customers GROUP BY region ORDER BY region"
ASKED = (
    ("analytics", AGGREGATE, True),
    ("analytics", COUNT, False),
    ("marketing.email", COUNT, False),
)
"""Purpose, statement, whether the bar is for it. The count alone is read from an index in some 50 ns a row, less than
any join on the row's data subject can take: it shows what consent costs at most."""

# Four in five say yes to studies, some of them for a time that is over; a third to offers, and by e-mail some do not.
_CONSENTS = """
INSERT INTO datagate.consents (data_subject, purpose, granted, valid_from, valid_until)
SELECT customer_id::text, 'analytics', true, timestamptz '2020-01-01 00:00+00',
       CASE WHEN customer_id % 7 = 0 THEN timestamptz '2024-01-01 00:00+00' END
  FROM bank.customers WHERE customer_id % 5 <> 0
UNION ALL
SELECT customer_id::text, 'marketing', true, timestamptz '2020-01-01 00:00+00', NULL
  FROM bank.customers WHERE customer_id % 3 = 0
UNION ALL
SELECT customer_id::text, 'marketing.email', customer_id % 8 = 0, timestamptz '2024-01-01 00:00+00', NULL
  FROM bank.customers WHERE customer_id % 4 = 0
"""


def create(running: EmbeddedPostgres, data_subjects: int) -> str:
    """The bank with customers alone, and their answers."""
    dsn = running.create_database("bank")
    scripts = Path(generate.__file__).parent
    with psycopg.connect(dsn) as connection, connection.cursor() as cursor:
        cursor.execute((scripts / "schema.sql").read_bytes())
        rows = BankRows(data_subjects, generate.SEED).customer_rows()
        with cursor.copy("COPY bank.customers FROM STDIN (FREEZE)") as copy:
            while batch := list(islice(rows, 5_000)):
                copy.write("\n".join(batch).encode() + b"\n")
        cursor.execute((scripts / "keys.sql").read_bytes())
    store = StateStore(state_engine(dsn))
    store.create()
    long_ago = datetime(2020, 1, 1, tzinfo=UTC)
    store.grant_role("ana", "analyst", valid_from=long_ago)
    store.grant_attribute("ana", "regions", ("EU", "US"), valid_from=long_ago)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(_CONSENTS.encode())
    settle(dsn)
    return dsn


@contextmanager
def policies_without_consent() -> Iterator[Path]:
    """The bank's policies without ``consent: required``, nor the examples that expect it."""
    with tempfile.TemporaryDirectory() as directory:
        for source in (HERE / "policies").glob("*.yaml"):
            text = source.read_text(encoding="utf-8").partition("\nexamples:")[0] + "\n"
            text = re.sub(r"^ *consent: required\n", "", text, flags=re.MULTILINE)
            (Path(directory) / source.name).write_text(text, encoding="utf-8")
        yield Path(directory)


def _run(connection: psycopg.Connection[tuple[object, ...]], gate: Gate, caller: Caller, text: str) -> Run:
    admitted = gate.session(caller, frontend="benchmark").admit(text)
    return runner(connection, admitted.text, admitted.parameters)


def _counted(rows: Rows) -> int:
    return sum(next(int(cell) for cell in row if isinstance(cell, int)) for row in rows)


def measure(report: Report, dsn: str, rounds: int) -> None:
    """Fill the report."""
    table = report.table(
        "aggregates", f"The analyst's aggregate over {DATA_SUBJECTS:,} data subjects, ms",
        "purpose", "aggregate", "without", "counted", "with consent", "counted ", "ratio",
    )  # fmt: skip
    keyring = Keyring.ephemeral(os.urandom)
    with policies_without_consent() as without, psycopg.connect(dsn, autocommit=True, prepare_threshold=None) as conn:
        free = Gate.open(dsn, policies=without, keyring=keyring, audit=Nowhere())
        bound = Gate.open(dsn, policies=HERE / "policies", keyring=keyring, audit=Nowhere())
        for purpose, text, judged in ASKED:
            runs = {
                "without": _run(conn, free, CALLERS[purpose], text),
                "with": _run(conn, bound, CALLERS[purpose], text),
            }
            everybody, consented = (_counted(run()) for run in runs.values())
            assert 0 < consented < everybody
            timings = by_turns(runs, rounds=rounds)
            ratio = timings["with"].median / timings["without"].median
            name = "count and average" if judged else "count"
            table.add(
                purpose, name, milli(timings["without"].median), everybody,
                milli(timings["with"].median), consented, ratio,
            )  # fmt: skip
            if judged:
                report.bar(f"{purpose}, {name}", ratio, CONSENT_BAR)


def main() -> int:
    """Measure, print, judge."""
    parser = arguments(__doc__)
    parser.add_argument("--explain", action="store_true", help="print the plans with consent")
    options = parser.parse_args()
    report = begin("consent")
    with server(options.postgres) as running:
        report.about["server"] = f"PostgreSQL {running.version}, Unix socket"
        dsn = create(running, DATA_SUBJECTS)
        measure(report, dsn, 5 if options.quick else 15)
        if options.explain:
            _explain(report, dsn)
    return finish(report, options)


def _explain(report: Report, dsn: str) -> None:
    gate = Gate.open(dsn, policies=HERE / "policies", keyring=Keyring.ephemeral(os.urandom), audit=Nowhere())
    with psycopg.connect(dsn, autocommit=True, prepare_threshold=None) as connection:
        for purpose, text, _ in ASKED:
            admitted = gate.session(CALLERS[purpose], frontend="benchmark").admit(text)
            lines = runner(connection, f"EXPLAIN (ANALYZE, BUFFERS) {admitted.text}", admitted.parameters)()
            report.notes.append("\n".join([purpose, admitted.text, *(line for (line,) in lines)]))


if __name__ == "__main__":
    sys.exit(main())
