"""Which version of the state's schema a database holds, and whether this datagate knows it."""

from __future__ import annotations

from sqlalchemy import Connection, select

from datagate.errors import StateError
from datagate.stores.tables import SCHEMA_VERSION, schema_version


def found_version(connection: Connection) -> int:
    """The version; StateError where the database does not say one, or a newer one than this datagate knows."""
    found = connection.execute(select(schema_version.c.version)).scalars().all()
    if len(found) != 1:
        raise StateError("the database does not say which version its state has; restore it from a backup")
    version = int(found[0])
    if version > SCHEMA_VERSION:
        raise StateError(
            f"the database holds state of version {version}, which a newer datagate made; this one knows version"
            f" {SCHEMA_VERSION}, and leaves it alone: install the newer datagate here too"
        )
    return version


def check_version(connection: Connection) -> None:
    """StateError where the state is of a version that this datagate neither made nor migrated."""
    version = found_version(connection)
    if version < SCHEMA_VERSION:
        raise StateError(
            f"the database holds state of version {version}; this datagate needs version {SCHEMA_VERSION}:"
            " migrate it with: datagate init"
        )
