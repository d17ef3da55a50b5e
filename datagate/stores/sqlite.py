"""What the state needs of SQLite beyond tables: triggers that advance epochs, so that plain SQL counts too."""

from __future__ import annotations

from collections.abc import Iterator

# Microseconds, as on PostgreSQL: a file restored from a copy does not repeat values that were handed out since.
_NOW = "CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)"
_PARTIES = {"entitlements": ("principal",), "mandates": ("principal", "holder")}


def create_statements() -> Iterator[str]:
    """What makes the triggers; each may run again."""
    for table, parties in _PARTIES.items():
        for event, rows in (("INSERT", ("NEW",)), ("UPDATE", ("OLD", "NEW")), ("DELETE", ("OLD",))):
            changed = [f"{row}.{party}" for row in rows for party in parties]
            yield _trigger(
                f"{table}_{event.lower()}", f"AFTER {event} ON {table}", [_advance(each) for each in changed]
            )
    # INSERT OR REPLACE removes a row without running its DELETE triggers.
    replaced = [
        f"UPDATE epochs SET value = max(value + 1, {_NOW}) WHERE party IN"
        f" (SELECT {party} FROM mandates WHERE mandate_id = NEW.mandate_id);"
        for party in _PARTIES["mandates"]
    ]
    yield _trigger("mandates_replace", "BEFORE INSERT ON mandates", replaced)
    forbid = "SELECT RAISE(ABORT, 'epochs only grow: what was read under one must not seem current again');"
    yield _trigger("epochs_stay", "BEFORE DELETE ON epochs", [forbid])
    grown = "BEFORE UPDATE ON epochs WHEN NEW.value <= OLD.value OR NEW.party <> OLD.party"
    yield _trigger("epochs_grow", grown, [forbid])


def _advance(party: str) -> str:
    return (
        f"INSERT INTO epochs (party, value) VALUES ({party}, {_NOW})"
        " ON CONFLICT (party) DO UPDATE SET value = max(value + 1, excluded.value);"
    )


def _trigger(name: str, when: str, body: list[str]) -> str:
    return f"CREATE TRIGGER IF NOT EXISTS {name} {when} BEGIN {' '.join(body)} END"
