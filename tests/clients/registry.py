"""The clients that are tried, whether each is at hand, and how it is run at a place."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.clients import more_clients
from tests.clients.mapper_clients import MAPPERS
from tests.clients.places import Place
from tests.clients.python_clients import PYTHON, run
from tests.house.source import ROOT

PROGRAMS = Path(__file__).parent / "programs"
JDBC = Path("/usr/share/java/postgresql.jar")
_LIB_PQ = Path("/usr/share/gocode/src/github.com/lib/pq")
_NODE = "node, and in DATAGATE_NODE_MODULES a node_modules with it: npm install pg pg-cursor pg-query-stream postgres"


@dataclass(frozen=True, slots=True)
class Client:
    """``tell``: all that it was told at a place; ``missing``: what is missing to run it, or None.

    ``quick``: it runs for every change. ``tries``: what it does, for the table.
    """

    name: str
    tries: str
    tell: Callable[[Place], str]
    missing: Callable[[], str | None]
    quick: bool = False


def _here() -> None:
    return None


def _program(*command: str, more: Mapping[str, str] | None = None) -> Callable[[Place], str]:
    """What a program prints; a failure is what it says."""

    def tell(place: Place) -> str:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
            cwd=ROOT,
            env={**place.environment, **(more or {})},
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    return tell


def _more(name: str) -> Callable[[Place], str]:
    return _program(sys.executable, "-m", "tests.clients.more_clients", name)


def _psql(place: Place) -> str:
    done = subprocess.run(
        ["psql", "-X", "-a"],
        input=(PROGRAMS / "psql.sql").read_text(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=True,
        env=place.environment,
    )
    return done.stdout


_TIMES = re.compile(r"(?:latency|initial connection|tps|pgbench|number of transactions|duration).*\n")


def _pgbench(place: Place) -> str:
    """What pgbench counts, for each way of asking; its times left out."""
    out = ""
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as script:
        script.write("\\set key random(1, 60)\nselect c_name, c_acctbal from customer where c_custkey = :key;\n")
        script.flush()
        for mode in ("simple", "extended", "prepared"):
            command = ("pgbench", "-n", "-M", mode, "-c", "3", "-t", "40", "-f", script.name)
            out += _TIMES.sub("", _program(*command)(place)).replace(script.name, "the script")
            assert "failed transactions: 0 (0.000%)" in out
    return out


def _ogr(place: Place) -> str:
    """What ogr2ogr makes of a query, and of a table."""
    query = "select c_custkey, c_name, c_acctbal from customer order by 1"
    asked = (("-sql", query), ("nation",))
    return "".join(_program("ogr2ogr", "-f", "CSV", "/vsistdout/", f"PG:{place.dsn}", *each)(place) for each in asked)


def _lib_pq(place: Place) -> str:
    environment = {"GO111MODULE": "off", "GOPATH": "/usr/share/gocode", "GOCACHE": f"{tempfile.gettempdir()}/go-cache"}
    return _program("go", "run", str(PROGRAMS / "lib_pq.go"), more=environment)(place)


def _needs(*programs: str, files: tuple[Path, ...] = (), how: str) -> Callable[[], str | None]:
    def missing() -> str | None:
        there = all(shutil.which(program) for program in programs) and all(file.exists() for file in files)
        return None if there else how

    return missing


def _needs_perl() -> str | None:
    there = shutil.which("perl") is not None
    if there and subprocess.run(["perl", "-MDBD::Pg", "-e1"], capture_output=True, check=False).returncode == 0:
        return None
    return "apt install libdbd-pg-perl"


def _needs_tcl() -> str | None:
    asked = subprocess.run(
        ["tclsh"], input="package require Pgtcl", capture_output=True, text=True, check=False
    ) if shutil.which("tclsh") else None  # fmt: skip
    return None if asked is not None and not asked.stderr else "apt install libpgtcl"


def _needs_odbc() -> str | None:
    drivers = subprocess.run(["odbcinst", "-q", "-d"], capture_output=True, text=True, check=False).stdout \
        if shutil.which("odbcinst") else ""  # fmt: skip
    there = more_clients.installed("pyodbc") and "PostgreSQL Unicode" in drivers
    return None if there else "apt install odbc-postgresql unixodbc; pip install pyodbc"


def _needs_modules(*modules: str, how: str) -> Callable[[], str | None]:
    return lambda: None if more_clients.installed(*modules) else f"pip install {how}"


def _needs_duckdb() -> str | None:
    if more_clients.installed("duckdb"):
        import duckdb

        try:
            duckdb.connect().execute("LOAD postgres")
        except duckdb.Error:
            pass
        else:
            return None
    return "pip install duckdb, and its extension: duckdb -c 'INSTALL postgres' where extensions.duckdb.org is reached"


def _node(script: str) -> Client:
    folder = os.environ.get("DATAGATE_NODE_MODULES", "node_modules")
    names = {"node_pg": "node pg", "postgres_js": "node postgres"}
    module = {"node_pg": "pg-query-stream", "postgres_js": "postgres"}[script]
    tries = {
        "node_pg": "parameters, prepared statements, cursors, streams, several statements in one text, a pool",
        "postgres_js": "pipelining, cursors, savepoints, describe, COPY out",
    }[script]
    return Client(
        names[script],
        tries,
        _program("node", "--no-deprecation", str(PROGRAMS / f"{script}.js"), more={"NODE_PATH": folder}),
        _needs("node", files=(Path(folder) / module,), how=_NODE),
    )


def _compiled(*steps: tuple[str, ...]) -> Callable[[Place], str]:
    """What a program prints that is compiled first; ``{out}`` stands for a folder of its own."""

    def tell(place: Place) -> str:
        with tempfile.TemporaryDirectory() as folder:
            for step in steps[:-1]:
                subprocess.run([part.replace("{out}", folder) for part in step], check=True, timeout=120)
            return _program(*(part.replace("{out}", folder) for part in steps[-1]))(place)

    return tell


def _asks(*command: str, how: str) -> Callable[[], str | None]:
    """What is missing where a program does not do a thing without a word of complaint."""

    def missing() -> str | None:
        if shutil.which(command[0]) is None:
            return how
        asked = subprocess.run(command, capture_output=True, check=False, stdin=subprocess.DEVNULL)
        return None if asked.returncode == 0 else how

    return missing


def _node_mappers() -> Client:
    folder = os.environ.get("DATAGATE_NODE_MODULES", "node_modules")
    modules = "knex objection sequelize typeorm reflect-metadata kysely drizzle-orm pg-promise pg-cursor"
    return Client(
        "knex, objection, Sequelize, TypeORM, kysely, drizzle, pg-promise",
        "queries, relations, streams, transactions, introspection (TypeORM: none)",
        _program("node", "--no-deprecation", str(PROGRAMS / "node_mappers.js"), more={"NODE_PATH": folder}),
        _needs("node", files=tuple(Path(folder) / each for each in modules.split()), how=f"npm install pg {modules}"),
    )


_TDBC = Path("/usr/lib/tcltk/tdbcpostgres1.1.5")
_LIB_PQ_H = Path("/usr/include/postgresql/libpq-fe.h")
_C = ("gcc", "-I/usr/include/postgresql")
_LONG = frozenset({"SQLAlchemy, psycopg2", "SQLAlchemy, pg8000", "SQLAlchemy, asyncpg"})
"""What asks for the same as another, and takes long over it."""


def _python() -> Iterator[Client]:
    for name, client in PYTHON.items():
        tries = (client.__doc__ or "SQLAlchemy: reflection of all, streams, isolation levels.").partition(": ")[2]
        yield Client(name, tries.rstrip("."), partial(run, client), _here, quick=name not in _LONG)


CLIENTS: tuple[Client, ...] = (
    Client(
        "psql",
        "the \\d family, FETCH_COUNT, \\copy, \\gdesc, \\gexec, \\gset, \\crosstabview, PREPARE, savepoints",
        _psql,
        _needs("psql", how="apt install postgresql-client"),
        quick=True,
    ),
    *_python(),
    Client(
        "pgbench", "simple, extended and prepared", _pgbench, _needs("pgbench", how="apt install postgresql-contrib")
    ),
    Client(
        "pgjdbc",
        "all four query modes, fetch sizes, savepoints, COPY out, metadata of all kinds",
        _program("java", "-XX:TieredStopAtLevel=1", "-cp", str(JDBC), str(PROGRAMS / "Jdbc.java")),
        _needs("java", files=(JDBC,), how="apt install default-jdk-headless libpostgresql-jdbc-java"),
    ),
    Client(
        "psqlODBC",
        "with and without server-side prepare, declared cursors, catalog functions",
        _more("odbc"),
        _needs_odbc,
    ),
    Client(
        "ADBC, polars",
        "COPY BINARY, parameters, metadata",
        _more("adbc"),
        _needs_modules("adbc_driver_postgresql", "polars", "pyarrow", how="adbc-driver-postgresql polars pyarrow"),
    ),
    Client(
        "connectorx, polars",
        "all four protocols, partitions",
        _more("connectorx"),
        _needs_modules("connectorx", "polars", "pyarrow", how="connectorx polars pyarrow"),
    ),
    _node("node_pg"),
    _node("postgres_js"),
    _node_mappers(),
    *(
        Client(
            name,
            client.tries,
            _program(sys.executable, "-m", "tests.clients.mapper_clients", name),
            _needs_modules(*client.modules, how=client.how),
        )
        for name, client in MAPPERS.items()
    ),
    Client(
        "pgcli",
        "statements, \\dt, \\d, \\df",
        _more("pgcli"),
        _needs_modules("pgcli", how="pgcli"),
    ),
    Client(
        "DBD::Pg",
        "placeholders, table, column, key and index information, savepoints, COPY out",
        _program("perl", str(PROGRAMS / "dbd_pg.pl")),
        _needs_perl,
    ),
    Client(
        "libpq",
        "binary results, single rows, pipelines, portals, COPY out, function calls",
        _compiled((*_C, "-o", "{out}/program", str(PROGRAMS / "libpq.c"), "-lpq"), ("{out}/program",)),
        _needs("gcc", files=(_LIB_PQ_H,), how="apt install gcc libpq-dev"),
    ),
    Client(
        "ECPG",
        "host variables, cursors, dynamic statements",
        _compiled(
            ("ecpg", "-o", "{out}/program.c", str(PROGRAMS / "ecpg.pgc")),
            (*_C, "-o", "{out}/program", "{out}/program.c", "-lecpg"),
            ("{out}/program",),
        ),
        _needs("gcc", "ecpg", how="apt install gcc libecpg-dev"),
    ),
    Client(
        "Ruby pg",
        "parameters, prepared statements, single rows, COPY out, pipelines",
        _program("ruby", str(PROGRAMS / "ruby_pg.rb")),
        _asks("ruby", "-rpg", "-e1", how="apt install ruby-pg"),
    ),
    Client(
        "ActiveRecord",
        "introspection, associations, batches, nested transactions, advisory locks",
        _program("ruby", str(PROGRAMS / "active_record.rb")),
        _asks("ruby", "-rpg", "-ractive_record", "-e1", how="apt install ruby-pg ruby-activerecord"),
    ),
    Client(
        "PHP pgsql, PDO",
        "prepared statements, metadata, COPY out, scrollable cursors",
        _program("php", str(PROGRAMS / "php.php")),
        _asks("php", "-r", "exit((int) !extension_loaded('pdo_pgsql'));", how="apt install php-cli php-pgsql"),
    ),
    Client(
        "GDAL",
        "ogr2ogr of a query and of a table",
        _ogr,
        _needs("ogr2ogr", how="apt install gdal-bin"),
    ),
    Client(
        "TDBC",
        "bound variables, tables, keys, transactions",
        _program("tclsh", str(PROGRAMS / "tdbc.tcl")),
        _needs("tclsh", files=(_TDBC,), how="apt install tcl8.6-tdbc-postgres"),
    ),
    Client("Pgtcl", "statements, parameters, errors", _program("tclsh", str(PROGRAMS / "pgtcl.tcl")), _needs_tcl),
    Client(
        "Go lib/pq",
        "prepared statements, arrays, transactions",
        _lib_pq,
        _needs("go", files=(_LIB_PQ,), how="apt install golang-go golang-github-lib-pq-dev"),
    ),
    Client(
        "DuckDB",
        "ATTACH and postgres_query, with pg_use_ctid_scan = false",
        _more("duckdb"),
        _needs_duckdb,
    ),
)
