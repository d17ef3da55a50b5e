"""What recorded clients get through the gate: ``python -m tests.clients.report [--reasons] [--json FILE]``.

Each query of ``fixtures/statements/clients`` runs through the gate, for two callers who see different things, and on a
twin for each: a copy of the same database from which everything that the caller may not see was dropped, so that even
OIDs are the same. Equal means the same columns and rows. Parameters are NULL where none were recorded. ``not yet``:
statements that are no queries (COPY, cursors, SET …), which are counted and not run.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import psycopg

from datagate.audit import MemorySink
from datagate.backends.postgres.embedded import EmbeddedPostgres, find_binaries
from datagate.backends.postgres.statements import StatementKind, read_statement
from datagate.errors import Error
from datagate.gate import Gate, GateSession, state_engine
from datagate.model.caller import Caller
from datagate.stores import StateStore
from fixtures.statements import corpus
from tests.twin.compare import Answered, Failed, answer_of, difference, gated, same_answer

FIXTURE = Path(corpus.__file__).parent.parent / "clients"
DROPS = {
    "broad": """DROP TABLE vault CASCADE; ALTER TABLE orders DROP COLUMN o_secret;""",
    "narrow": """DROP TABLE vault, orders, lineitem, types_t CASCADE;
        ALTER TABLE customer DROP COLUMN c_phone CASCADE;""",
}
_HIDDEN = "DROP FUNCTION secret_function CASCADE; DROP SEQUENCE secret_sequence; DROP SCHEMA datagate CASCADE;"
_OIDS = {16387: "customer", 16402: "orders", 16397: "nation", 16448: "types_t", 16392: "lineitem"}
"""Tables that recorded OIDs are taken to mean."""


def build(server: EmbeddedPostgres) -> tuple[str, dict[str, str]]:
    """The database, with its state, and the twin of each role."""
    real = server.create_database("clients")
    with psycopg.connect(real) as connection:
        connection.execute((FIXTURE / "schema.sql").read_text().encode())
    engine = state_engine(real)
    store = StateStore(engine)
    store.create()
    engine.dispose()
    twins = {}
    for role, drops in DROPS.items():
        twins[role] = server.create_database(f"clients_{role}", template="clients")
        with psycopg.connect(twins[role], autocommit=True) as connection:
            connection.execute((_HIDDEN + drops).encode())
    engine = state_engine(real)
    for role in DROPS:
        StateStore(engine).grant_role(role, role)
    engine.dispose()
    return real, twins


def statements(connection: psycopg.Connection[Any]) -> list[corpus.Statement]:
    """The clients' statements, with the OIDs of this database."""
    out = []
    rows = connection.execute("SELECT relname, oid::int FROM pg_class WHERE relkind = 'r'").fetchall()
    found = dict(rows)
    for statement in corpus.clients():
        text = statement.text
        for recorded, name in _OIDS.items():
            text = text.replace(str(recorded), str(found[name]))
        out.append(corpus.Statement(statement.area, text, statement.since, statement.parameters))
    return out


def outcome(
    session: GateSession, real: psycopg.Connection[Any], twin: psycopg.Connection[Any], text: str
) -> tuple[str, str]:
    """``equal``, ``differs``, ``refused`` or ``not yet``, and why."""
    try:
        statement = read_statement(text)
    except Error as error:
        return "not yet", error.message
    if statement.kind is not StatementKind.QUERY:
        return "not yet", "a statement about the session"
    own: tuple[object, ...] = (None,) * statement.parameters
    through = gated(session, real, text, own)
    behind = answer_of(twin, text, own)
    if isinstance(through, Failed) and through.refused and not same_answer(through, behind):
        return "refused", through.message
    if isinstance(behind, Answered):
        # Access lists are shown empty, and as text, since an aclitem names roles.
        kinds = tuple((name, "text[]" if kind == "aclitem[]" else kind) for name, kind in behind.columns)
        behind = Answered(kinds, behind.rows)
    if same_answer(through, behind) or (isinstance(through, Answered) and _volatile(text)):
        return "equal", ""
    return "differs", difference(text, through, behind)


def _volatile(text: str) -> bool:
    return any(name in text for name in ("pg_export_snapshot", "current_database", "clock_timestamp", "pg_database"))


def main() -> int:
    """Print the table and the reasons; 1 where an answer differs from the twin's and ``--check`` is given."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--reasons", action="store_true")
    arguments.add_argument("--check", action="store_true")
    arguments.add_argument("--json", type=Path)
    options = arguments.parse_args()
    tallies: defaultdict[str, Counter[str]] = defaultdict(Counter)
    reasons: Counter[str] = Counter()
    differences: list[str] = []
    with EmbeddedPostgres(find_binaries()[0]) as server:
        real_dsn, twins = build(server)
        engine = state_engine(real_dsn)
        gate = Gate.open(real_dsn, policies=FIXTURE / "policies", state=StateStore(engine), audit=MemorySink())
        for role, twin_dsn in twins.items():
            session = gate.session(Caller.of(role, purpose="use"), frontend="clients")
            with (
                psycopg.connect(real_dsn, autocommit=True) as real,
                psycopg.connect(twin_dsn, autocommit=True) as twin,
            ):
                for statement in statements(real):
                    kind, why = outcome(session, real, twin, statement.text)
                    tallies[statement.area.removeprefix("clients/")][kind] += 1
                    reasons[why] += kind == "refused"
                    differences += [f"[{role}] {why}"] if kind == "differs" else []
        engine.dispose()
    kinds = ("equal", "differs", "refused", "not yet")
    print(f"{'client':22}" + "".join(f"{kind:>9}" for kind in kinds))
    for client, counts in sorted(tallies.items()):
        print(f"{client:22}" + "".join(f"{counts[kind]:>9}" for kind in kinds))
    total: Counter[str] = sum(tallies.values(), Counter())
    print(f"{'all':22}" + "".join(f"{total[kind]:>9}" for kind in kinds))
    for why, count in (+reasons).most_common():
        print(f"{count:>5}  refused: {why[:150]}")
    if options.reasons:
        print("\n\n".join(differences))
    if options.json is not None:
        options.json.write_text(
            json.dumps({client: dict(counts) for client, counts in tallies.items()}, indent=2) + "\n"
        )
    return int(options.check and total["differs"] > 0)


if __name__ == "__main__":
    sys.exit(main())
