"""What libpq reads beside a connection string: service file and password file (PostgreSQL manual, 32.16, 32.17)."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from configparser import ConfigParser, Error
from pathlib import Path

from datagate.errors import ProgrammingError

_FIELD = re.compile(r"((?:[^:\\]|\\.)*)(?::|$)")


def service_settings(service: str, given: str, environment: Mapping[str, str]) -> dict[str, str]:
    """The settings that a service file has for a service.

    Args:
        service: Its name.
        given: The file, as the connection string has it; empty: where libpq looks.
        environment: The process's.

    Raises:
        ProgrammingError: No file has it, or it cannot be read.
    """
    system = Path(environment.get("PGSYSCONFDIR", "/etc/postgresql-common")) / "pg_service.conf"
    named = given or environment.get("PGSERVICEFILE")
    for place in (Path(named) if named else Path("~/.pg_service.conf").expanduser(), system):
        parser = ConfigParser(interpolation=None, delimiters=("=",), comment_prefixes=("#",), strict=False)
        try:
            parser.read(place, "utf-8")
        except (Error, UnicodeDecodeError):
            raise ProgrammingError(f"the service file {place} cannot be read") from None
        if parser.has_section(service):
            return dict(parser.items(service))
    raise ProgrammingError(f'connection string: definition of service "{service}" not found')


def password_for(path: str, host: str, port: int, database: str, user: str) -> str | None:
    """The first password that a password file has for a connection; None where it has none.

    A file that others may read is passed over, as libpq does.
    """
    place = Path(path or os.environ.get("PGPASSFILE") or "~/.pgpass").expanduser()
    try:
        status = place.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            return None
        lines = place.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    # Any socket directory is called localhost there.
    wanted = ("localhost" if host.startswith("/") else host, str(port), database, user)
    for line in lines:
        if line.startswith("#"):
            continue
        fields = [re.sub(r"\\(.)", r"\1", field) for field in _FIELD.findall(line)]
        patterns = _FIELD.findall(line)
        if len(fields) >= 5 and all(
            pattern == "*" or field == want
            for pattern, field, want in zip(patterns[:4], fields[:4], wanted, strict=True)
        ):
            return fields[4]
    return None
