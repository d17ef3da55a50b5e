"""The SQL that makes a role which may do what the policies need, and nothing else; run again, it changes nothing."""

from __future__ import annotations

from collections.abc import Iterator

from datagate.backends.postgres.guards import quote
from datagate.model.catalog import Catalog, Relation
from datagate.model.policy import PolicySet, RelationPolicy

_SETTINGS = ("standard_conforming_strings = on", "row_security = on", "transform_null_equals = off")


def service_role(role: str, policies: PolicySet, catalog: Catalog, *, exists: bool) -> Iterator[str]:
    """The statements, for the owner of the database or a superuser to run.

    Args:
        role: its name.
        policies: what it is to serve.
        catalog: what the database has.
        exists: whether there is such a role; its rights beyond these are for `datagate doctor` to find.
    """
    name, database = quote(role), quote(catalog.database)
    if not exists:
        yield f"CREATE ROLE {name} LOGIN NOINHERIT NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS"
    for setting in _SETTINGS:
        yield f"ALTER ROLE {name} SET {setting}"
    yield f"REVOKE TEMPORARY ON DATABASE {database} FROM PUBLIC"
    # For the temporary tables of callers, and for those on which a gate tries what its policies' expressions mean.
    yield f"GRANT CONNECT, TEMPORARY ON DATABASE {database} TO {name}"
    governed = {
        relation.name: policy
        for relation in catalog.relations.values()
        if (policy := _policy(relation, policies, catalog))
    }
    for schema in sorted(
        {relation.schema for relation in governed} | {each.partition(".")[0] for each in policies.functions}
    ):
        yield f"REVOKE CREATE ON SCHEMA {quote(schema)} FROM PUBLIC"
        yield f"GRANT USAGE ON SCHEMA {quote(schema)} TO {name}"
    if any(relation.schema == "public" for relation in catalog.relations) or "public" in catalog.search_path:
        yield "REVOKE CREATE ON SCHEMA public FROM PUBLIC"
    for relation in sorted(governed):
        for privilege in _privileges(governed[relation]):
            yield f"GRANT {privilege} ON TABLE {quote(relation.schema)}.{quote(relation.name)} TO {name}"
    for function in sorted(policies.functions):
        schema, _, bare = function.partition(".")
        if bare in catalog.user_functions:
            yield (
                "DO $$ DECLARE f regprocedure; BEGIN FOR f IN SELECT p.oid FROM pg_catalog.pg_proc p"
                f" WHERE p.pronamespace = {_literal(schema)}::regnamespace AND p.proname = {_literal(bare)} LOOP"
                f" EXECUTE format('GRANT EXECUTE ON ROUTINE %s TO %I', f, {_literal(role)}); END LOOP; END $$"
            )


def _policy(relation: Relation, policies: PolicySet, catalog: Catalog) -> RelationPolicy | None:
    """The policy of the relation, or else of the one that it is a part of."""
    step: Relation | None = relation
    while step is not None:
        if step.name in policies.relations:
            return policies.relations[step.name]
        step = catalog.relations.get(step.parent) if step.parent is not None else None
    return None


def _privileges(policy: RelationPolicy) -> Iterator[str]:
    yield "SELECT"
    for privilege, columns in (
        ("INSERT", {column for rule in policy.rules for column in rule.insert}),
        ("UPDATE", {column for rule in policy.rules for column in rule.update}),
    ):
        if columns:
            yield f"{privilege} ({', '.join(map(quote, sorted(columns)))})"
    if any(rule.delete for rule in policy.rules):
        yield "DELETE"


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
