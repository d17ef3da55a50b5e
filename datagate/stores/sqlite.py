"""What the state needs of SQLite beyond tables: triggers that record, so that plain SQL counts too.

SQLite has no session settings: who records, and why, stands in the table ``recording`` while a transaction of
`StateStore` runs; it is empty otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator

from datagate.stores.history import HISTORIES
from datagate.stores.tables import metadata

# Microseconds, as on PostgreSQL: a file restored from a copy does not repeat values that were handed out since.
_NOW = "CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)"
_PARTIES = {"entitlements": ("principal",), "mandates": ("principal", "holder"), "consents": ()}
_AT = "strftime('%Y-%m-%d %H:%M:%f000', 'now')"
_BY = "coalesce((SELECT by_whom FROM recording), 'sqlite')"
_WHY = "(SELECT why FROM recording)"


def create_statements() -> Iterator[str]:
    """What makes triggers and the table of who records; each may run again."""
    yield "CREATE TABLE IF NOT EXISTS recording (by_whom TEXT NOT NULL, why TEXT)"
    for table, parties in _PARTIES.items():
        keys = [column.name for column in metadata.tables[f"datagate.{table}"].primary_key]
        moved = " OR ".join(f"OLD.{key} <> NEW.{key}" for key in keys)
        for event, rows in (("INSERT", ("NEW",)), ("UPDATE", ("OLD", "NEW")), ("DELETE", ("OLD",))):
            body = [_advance(f"{row}.{party}") for row in rows for party in parties]
            if event == "UPDATE":
                body.append(_fact(table, "OLD", present=False, where=f" WHERE {moved}"))
            body.append(_fact(table, rows[-1], present=event != "DELETE"))
            yield from _trigger(f"{table}_{event.lower()}", f"AFTER {event} ON {table}", body)
    # INSERT OR REPLACE removes a row without running its DELETE triggers.
    replaced = [
        f"UPDATE epochs SET value = max(value + 1, {_NOW}) WHERE party IN"
        f" (SELECT {party} FROM mandates WHERE mandate_id = NEW.mandate_id);"
        for party in _PARTIES["mandates"]
    ]
    yield from _trigger("mandates_replace", "BEFORE INSERT ON mandates", replaced)
    forbid = "SELECT RAISE(ABORT, 'epochs only grow: what was read under one must not seem current again');"
    yield from _trigger("epochs_stay", "BEFORE DELETE ON epochs", [forbid])
    grown = "BEFORE UPDATE ON epochs WHEN NEW.value <= OLD.value OR NEW.party <> OLD.party"
    yield from _trigger("epochs_grow", grown, [forbid])
    stays = "SELECT RAISE(ABORT, 'facts of the history stay as they were recorded');"
    for table in (*(history.name for history in HISTORIES.values()), "mandate_uses"):
        for event in ("UPDATE", "DELETE"):
            yield from _trigger(f"{table}_stays_{event.lower()}", f"BEFORE {event} ON {table}", [stays])


def _advance(party: str) -> str:
    return (
        f"INSERT INTO epochs (party, value) VALUES ({party}, {_NOW})"
        " ON CONFLICT (party) DO UPDATE SET value = max(value + 1, excluded.value);"
    )


def _fact(table: str, row: str, *, present: bool, where: str = "") -> str:
    columns = [column.name for column in metadata.tables[f"datagate.{table}"].columns]
    values = ", ".join(f"{row}.{column}" for column in columns)
    return (
        f"INSERT INTO {HISTORIES[table].name} (present, recorded_at, recorded_by, why, {', '.join(columns)})"
        f" SELECT {int(present)}, {_AT}, {_BY}, {_WHY}, {values}{where};"
    )


def _trigger(name: str, when: str, body: list[str]) -> Iterator[str]:
    yield f"DROP TRIGGER IF EXISTS {name}"
    yield f"CREATE TRIGGER {name} {when} BEGIN {' '.join(body)} END"
