"""Mappers, loaders and other drivers of Python that are not installed for development; see `more_clients`.

They are imported by name, so that the type checker needs none of them.
"""

from __future__ import annotations

import asyncio
import io
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from tests.clients.places import Place
from tests.clients.python_clients import CUSTOMERS, HIDDEN, run

_THREE = f"{CUSTOMERS} where c_nationkey = %s order by 1"
_COUNT = "select count(*) from nation"


def _refusal(ask: Callable[[str], object], query: str, raised: type[Exception]) -> str:
    """What a client says of a query that fails; ``none`` where it does not."""
    try:
        ask(query)
    except raised as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0]}"
    return "none"


def aiopg(place: Place) -> Iterator[object]:
    """Asyncio over psycopg2."""
    found: list[object] = []

    async def ask() -> None:
        async with (
            import_module("aiopg").create_pool(place.dsn) as pool,
            pool.acquire() as connection,
            connection.cursor() as cursor,
        ):
            for query, values in ((_THREE, (3,)), (_COUNT, ())):
                await cursor.execute(query, values)
                found.append(await cursor.fetchall())

    asyncio.run(ask())
    yield from found


def peewee(place: Place) -> Iterator[object]:
    """Introspection, models made from it, nested transactions."""
    mapper: Any = import_module("peewee")
    introspector = import_module("playhouse.reflection").Introspector
    database = mapper.PostgresqlDatabase(
        place.database, user=place.user, password=place.password, host=place.host, port=place.port
    )
    yield sorted(database.get_tables()), sorted(map(str, database.get_views()))
    yield database.get_columns("customer"), database.get_primary_keys("customer"), database.get_foreign_keys("customer")
    yield sorted(map(str, database.get_indexes("customer")))
    customer: Any = introspector.from_database(database).generate_models()["customer"]
    named = customer.select().where(customer.c_nationkey == 3).order_by(customer.c_custkey)
    yield [(row.c_custkey, row.c_name) for row in named]
    with database.atomic(), database.atomic():
        yield customer.select().count()
    for query in HIDDEN:
        yield query, _refusal(database.execute_sql, query, mapper.PeeweeException)
        database.rollback()


def django(place: Place) -> Iterator[object]:
    """Inspectdb, querysets, server-side iteration, nested transactions, constraints."""
    where = {"NAME": place.database, "USER": place.user, "PASSWORD": place.password, "HOST": place.host}
    settings: Any = import_module("django.conf").settings
    engine = {"ENGINE": "django.db.backends.postgresql", "PORT": place.port, **where}
    settings.configure(DATABASES={"default": engine}, INSTALLED_APPS=[], USE_TZ=True)
    import_module("django").setup()
    told = io.StringIO()
    import_module("django.core.management").call_command("inspectdb", include_views=True, stdout=told)
    # How long a masked text may be is not told.
    yield sorted(line for line in told.getvalue().splitlines() if "c_comment" not in line)
    models: Any = import_module("django.db.models")
    meta = type("Meta", (), {"app_label": "shop", "db_table": "customer", "managed": False})
    fields = {"c_custkey": models.IntegerField(primary_key=True), "c_name": models.CharField(max_length=25)}
    more = {"c_nationkey": models.IntegerField(), "Meta": meta, "__module__": __name__}
    customers: Any = type("Customer", (models.Model,), {**fields, **more}).objects  # type: ignore[attr-defined]
    yield list(customers.filter(c_nationkey=3).order_by("c_custkey").values_list("c_custkey", "c_name"))
    database: Any = import_module("django.db")
    with database.transaction.atomic():
        yield sum(1 for _ in customers.iterator(chunk_size=7))
        with database.transaction.atomic():
            yield customers.filter(c_name__icontains="er#1").count()
    with database.connection.cursor() as cursor:
        constraints = database.connection.introspection.get_constraints(cursor, "customer")
        yield sorted((name, sorted(each["columns"])) for name, each in constraints.items())
        for query in HIDDEN:
            yield query, _refusal(cursor.execute, query, database.Error)


def dataset(place: Place) -> Iterator[object]:
    """Tables, columns, finding rows."""
    database: Any = import_module("dataset").connect(place.url)
    customers = database["customer"]
    yield sorted(database.tables), sorted(database.views), customers.columns
    yield [dict(row) for row in customers.find(c_nationkey=3, order_by="c_custkey")]
    yield customers.count(), [dict(row) for row in database.query(_COUNT)]


def pygresql(place: Place) -> Iterator[object]:
    """The classic interface and DB-API: tables, attributes, keys, rows, COPY out."""
    where = {"dbname": place.database, "host": place.host, "port": place.port, "user": place.user}
    module: Any = import_module("pg")
    classic: Any = module.DB(passwd=place.password, **where)
    yield sorted(table for table in classic.get_tables() if table.startswith("public."))
    yield dict(classic.get_attnames("customer")), classic.pkey("customer")
    yield sorted(classic.get("customer", {"c_custkey": 3}).items(), key=str)
    yield classic.query(_THREE.replace("%s", "$1"), (3,)).getresult(), classic.has_table_privilege("customer")
    for query in HIDDEN:
        yield query, _refusal(classic.query, query, module.Error)
    at = f"{place.host}:{place.port}"
    modern: Any = import_module("pgdb").connect(
        database=place.database, host=at, user=place.user, password=place.password
    )
    cursor, copied = modern.cursor(), io.StringIO()
    cursor.execute(_THREE, (3,))
    yield cursor.fetchall()
    cursor.copy_to(copied, "nation")
    yield copied.getvalue()


@dataclass(frozen=True, slots=True)
class Mapper:
    """One of them: what it tries, the modules that it needs, how to get them."""

    tell: Callable[[Place], Iterator[object]]
    modules: tuple[str, ...]
    how: str

    @property
    def tries(self) -> str:
        """For the table."""
        return (self.tell.__doc__ or "").rstrip(".")


MAPPERS = {
    "aiopg": Mapper(aiopg, ("aiopg",), "aiopg"),
    "peewee": Mapper(peewee, ("peewee",), "peewee"),
    "Django": Mapper(django, ("django",), "django"),
    "dataset": Mapper(dataset, ("dataset",), "dataset"),
    "PyGreSQL": Mapper(pygresql, ("pgdb",), "pygresql"),
}


def main() -> None:
    """Run the client that is named, at the place that libpq's variables name."""
    where = os.environ
    place = Place(where["PGHOST"], int(where["PGPORT"]), where["PGUSER"], where["PGPASSWORD"], where["PGDATABASE"])
    sys.stdout.write(run(MAPPERS[sys.argv[1]].tell, place))


if __name__ == "__main__":
    main()
