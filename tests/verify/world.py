"""A small catalog with prescriptions, and pairs of texts written as one template.

In a template ``{bank.customers AS c}`` is the relation in the original, and in the final text its guard of that name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from datagate.model.catalog import Catalog, Column, Relation, RelationKind
from datagate.model.names import RelationName
from datagate.verify.postgres import Mismatch, MismatchKind, Prescription, verify

FUNCTIONS = frozenset(
    """
    count sum max min avg lower upper length now generate_series coalesce row_to_json extract substring overlay trim
    btrim position date_trunc rank row_number unnest json_object json_build_object jsonb_array_elements jsonb_each
    timezone like_escape similar_to_escape percentile_cont random md5 date text name abs xmlexists lag json_to_record
    pg_advisory_lock pg_try_advisory_xact_lock_shared
    array_agg jsonb_populate_record json_object_agg normalize concat json_to_recordset to_char
    public.risk public.listed public.upper public.<=>
    """.split()
)
TYPES = frozenset(
    """
    int2 int4 int8 numeric float8 text varchar bpchar date timestamp timestamptz interval bool bit varbit jsonb json
    regclass _regclass regrole oid tsquery name time xml
    bank.region_t public.mood public.accounts
    """.split()
)
ENGINE_FUNCTIONS = frozenset(name for name in FUNCTIONS if "." not in name) | {
    "pg_read_file",
    "ts_stat",
    "query_to_xml",
    "pg_sleep",
    "regclass",
    "set_config",
}
COLUMNS = {
    "bank.customers": "id email region balance note born",
    "bank.accounts": "id customer_id balance",
    "bank.transactions": "id account_id amount",
    "bank.transactions_2024": "id account_id amount",
    "bank.parents": "id name",
    "bank.children": "id name",
    "bank.emails": "id email",
    "bank.nested": "id email",
    "public.customers": "id email",
    "public.kyc": "id x",
    "public.notes": "id body",
    "public.forgotten": "id",
    "public.Forgotten": "id",
    "public.loose": "id x",
    "public.shuffled": "id body",
    "pg_catalog.pg_class": "oid relname",
    "pg_catalog.pg_authid": "oid rolname",
}
KINDS = {
    "bank.transactions": RelationKind.PARTITIONED,
    "bank.emails": RelationKind.VIEW,
    "bank.nested": RelationKind.VIEW,
}
PARENTS = {"bank.transactions_2024": "bank.transactions", "bank.children": "bank.parents"}

GUARDS = {
    "bank.customers": "SELECT g.id AS id, left(g.email, 1) AS email, g.region AS region, g.balance AS balance,"
    ' g.born AS born FROM "bank"."customers" AS g WHERE g.region = ANY($9::text[]) AND EXISTS'
    " (SELECT 1 FROM datagate.consents AS c WHERE c.data_subject = g.id)",
    "bank.accounts": 'SELECT g.id AS id, g.customer_id AS customer_id, g.balance AS balance FROM "bank"."accounts" AS g'
    " WHERE g.customer_id = $8",
    "bank.transactions": "SELECT g.id AS id, g.account_id AS account_id, g.amount AS amount FROM bank.transactions AS g"
    " WHERE g.amount < 100",
    "bank.transactions_2024": "SELECT g.id AS id, g.amount AS amount FROM bank.transactions_2024 AS g"
    " WHERE g.amount < 100",
    "bank.parents": "SELECT g.id AS id, g.name AS name FROM bank.parents AS g WHERE true",
    "bank.children": "SELECT g.id AS id, g.name AS name FROM bank.children AS g WHERE true",
    "public.customers": "SELECT g.id AS id, g.email AS email FROM public.customers AS g WHERE true",
    "public.kyc": "SELECT g.id AS id, g.x AS x FROM public.kyc AS g WHERE g.x > 0",
    "public.notes": "SELECT md5(g.id::text) AS id, g.body AS body FROM public.notes AS g WHERE true",
    "public.Forgotten": 'SELECT g.id AS id FROM public."Forgotten" AS g',
    "public.loose": "SELECT g.id AS id, g.x AS x FROM public.loose AS g",
    "public.shuffled": "SELECT g.body AS id, g.id AS body FROM public.shuffled AS g",
    "pg_catalog.pg_class": "SELECT g.oid AS oid, g.relname AS relname FROM pg_catalog.pg_class AS g WHERE g.oid < 100",
}
VIEWS = {
    "bank.emails": "SELECT customers.id, customers.email FROM {bank.customers} WHERE customers.balance > 0",
    "bank.nested": "SELECT e.id, e.email FROM ({bank.emails e} LEFT JOIN {bank.accounts a} ON e.id = a.customer_id)",
}


_PLACE = re.compile(r"\{([A-Za-z][^{}]*)\}")


@dataclass(frozen=True)
class Pair:
    """What the caller wrote and what would be sent."""

    original: str
    final: str


def relation_name(text: str) -> RelationName:
    return RelationName.parse(text)


def _original(match: re.Match[str]) -> str:
    return match[1]


def body(name: str) -> str:
    """The text that stands in for a relation: its guard, or its view's text with guards in it."""
    return GUARDS[name] if name in GUARDS else expand(VIEWS[name])


def _final(match: re.Match[str]) -> str:
    only, name, alias = re.fullmatch(r"(ONLY )?([\w.]+)(?: (?:AS )?(.+))?", match[1]).groups()  # type: ignore[union-attr]
    found = body(name if "." in name else f"bank.{name}" if f"bank.{name}" in COLUMNS else f"public.{name}")
    if only:
        found = found.replace(" FROM ", " FROM ONLY ", 1)
    return f"({found}) AS {alias or name.rpartition('.')[2]}"


def plain(template: str) -> str:
    """The original text of a template."""
    return _PLACE.sub(_original, template)


def expand(template: str) -> str:
    """The final text of a template."""
    return _PLACE.sub(_final, template)


def pair(template: str) -> Pair:
    """Both texts of a template."""
    return Pair(plain(template), expand(template))


def column(name: str) -> Column:
    return Column(name, 1, "text", "pg_catalog", "text", "text", False, False, False, "")


def relation(name: str) -> Relation:
    parent = PARENTS.get(name)
    return Relation(
        oid=1,
        name=relation_name(name),
        kind=KINDS.get(name, RelationKind.TABLE),
        columns=tuple(column(each) for each in COLUMNS[name].split()),
        primary_key=() if name in VIEWS or name == "public.loose" else ("id",),
        parent=relation_name(parent) if parent else None,
        view_sql=None,
        view_columns=(),
    )


def catalog(
    *,
    server_version: int = 150000,
    search_path: tuple[str, ...] = ("pg_catalog", "bank", "public"),
    user_functions: frozenset[str] = frozenset(),
    user_operators: frozenset[str] = frozenset(),
    engine_functions: frozenset[str] = ENGINE_FUNCTIONS,
) -> Catalog:
    return Catalog(
        version="1",
        database="bank",
        server_version=server_version,
        search_path=search_path,
        relations={relation_name(name): relation(name) for name in COLUMNS},
        functions=frozenset(),
        types=TYPES,
        user_operators=user_operators,
        user_functions=user_functions,
        engine_functions=engine_functions,
    )


CATALOG = catalog()
PRESCRIPTIONS = {relation_name(name): Prescription(guard=text, view_sql=None) for name, text in GUARDS.items()} | {
    relation_name(name): Prescription(guard=None, view_sql=plain(text)) for name, text in VIEWS.items()
}


def check(original: str, final: str, *, of: Catalog = CATALOG) -> None:
    """Verify with this world's lists."""
    verify(original, final, catalog=of, prescriptions=PRESCRIPTIONS, functions=FUNCTIONS)


def passes(template: str, *, of: Catalog = CATALOG) -> None:
    """The pair of a template is accepted."""
    both = pair(template)
    check(both.original, both.final, of=of)


def refusal(original: str, final: str, *, of: Catalog = CATALOG) -> MismatchKind:
    """The kind of refusal; fails where the pair is accepted."""
    try:
        check(original, final, of=of)
    except Mismatch as mismatch:
        return mismatch.kind
    raise AssertionError(f"accepted: {original!r} -> {final!r}")


def refused(template: str, *, of: Catalog = CATALOG) -> MismatchKind:
    """The kind of refusal of a template's pair."""
    both = pair(template)
    return refusal(both.original, both.final, of=of)
