"""What recorded clients are told: ``python -m tests.clients.report [--differences] [--check] [--json FILE]``.

Each statement of ``fixtures/statements/clients``, in the order in which its client sent it, goes to a real gateway and
to the caller's twin, for two callers who see different things. Equal means the same columns, rows, copied bytes, and
tags, or errors of the same SQLSTATE. Parameters are NULL where none were recorded. Whatever is not equal has its reason
in ``REASONS``, or is unexplained.
"""

from __future__ import annotations

import argparse
import json
import re
import select
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import pq

from datagate.backends.postgres.embedded import EmbeddedPostgres, find_binaries
from fixtures.statements import corpus
from tests.clients.places import Site, site

_OIDS = {16387: "customer", 16402: "orders", 16397: "nation", 16448: "types_t", 16392: "lineitem"}
"""Tables that recorded OIDs are taken to mean."""

REASONS = (
    (r"\bctid\b", "row addresses (ctid) tell of rows that are hidden; system columns do not exist behind a guard"),
    (r"search_path", "what a name means is not turned by search_path"),
    (r"client_encoding TO 'LATIN1'", "the connection stays UTF8"),
    (r"pg_export_snapshot|TRANSACTION SNAPSHOT", "a snapshot is not handed to other sessions"),
    (r"^\s*EXPLAIN", "EXPLAIN shows the plan's shape without costs and counts"),
    (r"pg_(table|relation|total_relation|indexes|database)_size", "sizes are statistics"),
    (r"reltuples|relpages|n_distinct|attstattarget", "statistics are closed"),
    (r"acl\b|_acl|array_acl|pg_default_acl", "access lists name roles; they are empty, and no ACL type"),
    (r"typreceive|typinput|typoutput", "regproc of functions that are not there to be named"),
    (r"proargtypes", "an array of types counts from 1, an oidvector from 0"),
    (r"::\s*(pg_catalog\.)?regproc\b", "what is named by its type, a function, is looked up for nobody"),
    (r"FROM\s+pg_catalog\.pg_roles r\b", "each side shows the role that its own session has"),
    (r"\bcollnsp\b", "follows a refused SET search_path: names of types come without their schema"),
    (r"pg_proc", "functions of the database's own are not listed"),
    (
        r"FROM\s+pg_catalog\.pg_attribute\s+ORDER BY|pg_toast|'SYSTEM TOAST",
        "storage tables (TOAST) and dropped columns",
    ),
    (r"current_database|pg_database|datname", "the two databases have two names"),
    (r"clock_timestamp|pg_backend_pid|pg_stat_activity", "another moment, another process"),
    (r"^\s*(CREATE|DROP|INSERT|UPDATE|DELETE|TRUNCATE|ALTER|COPY\s+\S+\s+FROM)", "writes to the client's own tables"),
)
"""By what is in a statement: why it is not answered as PostgreSQL would."""

_IN_TRANSACTION = re.compile(r"\s*(DECLARE|FETCH|CLOSE|SAVEPOINT|RELEASE|ROLLBACK TO)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Told:
    """``state``: the SQLSTATE of an error, and its words. ``results``: of each result its tag, columns and rows."""

    state: str
    words: str
    results: tuple[object, ...]


class Replay:
    """One connection on which statements run as a client sent them."""

    def __init__(self, dsn: str) -> None:
        self._connection = psycopg.connect(dsn, autocommit=True)
        self.line = self._connection.pgconn

    def close(self) -> None:
        """End it."""
        self._connection.close()

    def run(self, text: bytes, parameters: int) -> Told:
        """All that is told of one text."""
        if parameters:
            self.line.send_query_params(text, [None] * parameters)
        else:
            self.line.send_query(text)
        told: list[object] = []
        state = words = ""
        while (result := self._result()) is not None:
            if result.status == pq.ExecStatus.FATAL_ERROR:
                state = (result.error_field(pq.DiagnosticField.SQLSTATE) or b"").decode()
                words = (result.error_field(pq.DiagnosticField.MESSAGE_PRIMARY) or b"").decode()
            elif result.status == pq.ExecStatus.COPY_OUT:
                told.append(self._copied())
            else:
                columns = [(result.fname(n), result.ftype(n)) for n in range(result.nfields)]
                rows = Counter(
                    tuple(result.get_value(row, n) for n in range(result.nfields)) for row in range(result.ntuples)
                )
                told.append((result.command_status, columns, rows))
        return Told(state, words, tuple(told))

    def _result(self) -> pq.abc.PGresult | None:
        # libpq's own waiting would keep the interpreter from the gateway, which runs in another thread of it.
        while self.line.is_busy():
            select.select([self.line.socket], [], [])
            self.line.consume_input()
        return self.line.get_result()

    def _copied(self) -> bytes:
        out = b""
        while (got := self.line.get_copy_data(1))[0] != -1:
            out += bytes(got[1])
            if not got[0]:
                select.select([self.line.socket], [], [])
                self.line.consume_input()
        return out

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open."""
        return self.line.transaction_status != pq.TransactionStatus.IDLE

    @property
    def failed(self) -> bool:
        """Whether it is one that failed."""
        return self.line.transaction_status == pq.TransactionStatus.INERROR


def statements(owner: str) -> list[corpus.Statement]:
    """The clients' statements, with the OIDs of this database."""
    with psycopg.connect(owner) as connection:
        found: dict[str, int] = dict(
            connection.execute("SELECT relname, oid::int FROM pg_class WHERE relkind = 'r'").fetchall()
        )
    out = []
    for statement in corpus.clients():
        text = statement.text
        for recorded, name in _OIDS.items():
            text = text.replace(str(recorded), str(found[name]))
        out.append(corpus.Statement(statement.area, text, statement.since, statement.parameters))
    return out


def judged(text: str, gateway: Replay, twin: Replay) -> tuple[str, str]:
    """``equal``, ``refused`` or ``differs``, and what to read about it."""
    numbers = [int(number) for number in re.findall(r"\$(\d+)", text)]
    parameters = max(numbers, default=0) if ";" not in text and not text.lower().startswith("prepare") else 0
    if _IN_TRANSACTION.match(text) and not (gateway.in_transaction and twin.in_transaction):
        for line in (gateway, twin):
            if not line.in_transaction:
                line.run(b"BEGIN", 0)
    real, expected = (line.run(text.encode(), parameters) for line in (gateway, twin))
    if gateway.failed != twin.failed or gateway.failed:
        for line in (gateway, twin):
            line.run(b"ROLLBACK", 0)
    same = real.state == expected.state and (bool(real.state) or real.results == expected.results)
    if same:
        return "equal", ""
    kind = "refused" if real.state and not expected.state else "differs"
    return kind, f"{text}\n--- gateway: {real.state} {real.words}\n--- twin: {expected.state} {expected.words}"


def reason(text: str) -> str | None:
    """Why a statement is not answered as PostgreSQL would; None where nothing says so."""
    return next((why for found, why in REASONS if re.search(found, text, re.IGNORECASE)), None)


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one statement for one caller."""

    client: str
    caller: str
    text: str
    kind: str
    detail: str


def replayed(shop: Site, clients: Sequence[str]) -> list[Outcome]:
    """Every statement of the clients, or of every client where none is named, for both callers."""
    out = []
    found = [each for each in statements(shop.owner) if not clients or each.area.removeprefix("clients/") in clients]
    for caller, pair in shop.pairs.items():
        for area in dict.fromkeys(statement.area for statement in found):
            gateway, twin = Replay(pair.gateway.dsn), Replay(pair.twin.dsn)
            for statement in found:
                if statement.area == area:
                    kind, detail = judged(statement.text, gateway, twin)
                    out.append(Outcome(area.removeprefix("clients/"), caller, statement.text, kind, detail))
            gateway.close()
            twin.close()
    return out


def main() -> int:
    """Print the tables; 1 where something is unexplained and ``--check`` is given."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("clients", nargs="*", help="only these")
    arguments.add_argument("--differences", action="store_true")
    arguments.add_argument("--check", action="store_true")
    arguments.add_argument("--json", type=Path)
    options = arguments.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        EmbeddedPostgres(find_binaries()[0], tcp=True) as server,
        site(server, Path(folder)) as shop,
    ):
        outcomes = replayed(shop, options.clients)
    tallies: defaultdict[str, Counter[str]] = defaultdict(Counter)
    why: Counter[tuple[str, str]] = Counter()
    for outcome in outcomes:
        tallies[outcome.client][outcome.kind] += 1
        if outcome.kind != "equal":
            why[outcome.kind, reason(outcome.text) or "unexplained"] += 1
    kinds = ("equal", "differs", "refused")
    total: Counter[str] = sum(tallies.values(), Counter())
    print(f"{'client':22}" + "".join(f"{kind:>9}" for kind in kinds))
    for client, counts in [*sorted(tallies.items()), ("all", total)]:
        print(f"{client:22}" + "".join(f"{counts[kind]:>9}" for kind in kinds))
    for (kind, said), count in why.most_common():
        print(f"{count:>5}  {kind}: {said}")
    for outcome in outcomes:
        if outcome.kind != "equal" and (options.differences or reason(outcome.text) is None):
            print(f"\n[{outcome.client}, {outcome.caller}] {outcome.kind}: {outcome.detail}")
    if options.json is not None:
        tables = {client: dict(counts) for client, counts in tallies.items()}
        options.json.write_text(json.dumps(tables, indent=2) + "\n")
    unexplained = sum(count for (_, said), count in why.items() if said == "unexplained")
    return int(options.check and unexplained > 0)


if __name__ == "__main__":
    sys.exit(main())
