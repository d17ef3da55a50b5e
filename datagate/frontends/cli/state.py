"""``datagate init``, ``datagate entitle``, ``datagate consent``, ``datagate mandate``: who may what, and who agreed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from datagate.backends.postgres.catalog import read_catalog
from datagate.backends.postgres.predicate import PostgresPredicates
from datagate.backends.postgres.service_role import service_role as least_privileged
from datagate.errors import StateError
from datagate.frontends.cli.options import (
    At,
    By,
    Format,
    FormatOption,
    OptionalDsn,
    State,
    ValidFrom,
    ValidUntil,
    Why,
    Words,
    connect_plainly,
    instant,
    store,
    words,
)
from datagate.frontends.cli.results import JsonText, Names, print_records
from datagate.frontends.cli.values import known_names, scope_parameters, values_of
from datagate.model.caller import ActorKind
from datagate.model.facts import ANY_KIND
from datagate.model.values import ValueType
from datagate.policy import load_policies
from datagate.stores.encoding import encode, encode_parameters
from datagate.stores.records import EntitlementKind

entitle = typer.Typer(no_args_is_help=True, help="Grant and withdraw roles and attributes.")
consent = typer.Typer(no_args_is_help=True, help="Record what data subjects agree to.")
mandate = typer.Typer(no_args_is_help=True, help="Hand a principal's authority to an actor, and end that.")

Roles = Annotated[list[str] | None, typer.Option("--role", metavar="ROLE", help="A role; may be repeated.")]
Attributes = Annotated[
    list[str] | None,
    typer.Option(
        "--attribute", metavar="NAME=VALUE", help="An attribute with its value, in JSON or plain: regions='[\"EU\"]'."
    ),
]
AttributeNames = Annotated[list[str] | None, typer.Option("--attribute", metavar="NAME", help="An attribute.")]
ServiceRole = Annotated[
    str | None,
    typer.Option("--service-role", metavar="ROLE", help="Let this role of the database read what statements read."),
]
StateRole = Annotated[
    str | None,
    typer.Option("--state-role", metavar="ROLE", help="Let this role of the database read all of the state."),
]
PrincipalId = Annotated[str, typer.Argument(metavar="PRINCIPAL")]
DataSubject = Annotated[str, typer.Argument(metavar="DATA-SUBJECT", help="The key of the data subject's rows.")]
PurposeName = Annotated[str, typer.Argument(metavar="PURPOSE")]


def init(
    dsn: OptionalDsn = None,
    state: State = None,
    service_role: ServiceRole = None,
    state_role: StateRole = None,
    policies: Words = None,
    print_: Annotated[
        bool, typer.Option("--print", "--dry-run", help="Print the SQL for the service role, and change nothing.")
    ] = False,
) -> None:
    """Create what keeps entitlements, consents and mandates: on PostgreSQL the schema datagate.

    With --service-role and --policies also that role, with what the policies need and nothing else. Doing so again
    changes nothing; a state of an earlier version is brought forward, without loss.
    """
    made = () if service_role is None or policies is None or dsn is None else _role(dsn, service_role, policies)
    if print_:
        for statement in made:
            print(f"{statement};")
        print("-- and, without --print, the schema datagate, of which the role may read what statements read")
        return
    if made and dsn is not None:
        with connect_plainly(dsn) as connection, connection.transaction():
            for statement in made:
                connection.execute(statement.encode())
    with store(dsn, state) as found:
        found.create()
        if service_role is not None:
            found.grant_service_role(service_role)
        if state_role is not None:
            found.grant_state_reader(state_role)
    print("the state is there" if service_role is None else f"the state is there, and {service_role} may read it")


def _role(dsn: str, role: str, directory: Path) -> tuple[str, ...]:
    """The SQL that makes the service role for the policies, by the catalog of the database."""
    with connect_plainly(dsn) as connection:
        catalog = read_catalog(connection)
        policies = load_policies(directory, PostgresPredicates(catalog.functions))
        known = connection.execute("SELECT FROM pg_catalog.pg_roles WHERE rolname = %s", (role,)).fetchone()
        return tuple(least_privileged(role, policies, catalog, exists=known is not None))


@entitle.command("add", help="The same as grant.")
@entitle.command("grant")
def grant(
    principal: PrincipalId,
    role: Roles = None,
    attribute: Attributes = None,
    dsn: OptionalDsn = None,
    state: State = None,
    policies: Words = None,
    valid_from: ValidFrom = None,
    valid_until: ValidUntil = None,
    by: By = None,
    why: Why = None,
) -> None:
    """Grant roles, and give attributes their values, in place of earlier ones."""
    if not role and not attribute:
        raise typer.BadParameter("grant at least one role or attribute", param_hint="--role / --attribute")
    known = words(policies)
    start, end = instant(valid_from, "--from"), instant(valid_until, "--until")
    values = values_of(attribute or (), None if known is None else known.attributes, "attribute")
    if known is not None:
        known_names("role", role or (), known.roles)
    with store(dsn, state) as found:
        for name in role or ():
            found.grant_role(principal, name, valid_from=start, valid_until=end, by=by, why=why)
        for name, value in values.items():
            found.grant_attribute(principal, name, value, valid_from=start, valid_until=end, by=by, why=why)


@entitle.command("revoke", help="The same as withdraw.")
@entitle.command("withdraw")
def withdraw_entitlement(
    principal: PrincipalId,
    role: Roles = None,
    attribute: AttributeNames = None,
    dsn: OptionalDsn = None,
    state: State = None,
    by: By = None,
    why: Why = None,
) -> None:
    """Withdraw roles and attributes."""
    if not role and not attribute:
        raise typer.BadParameter("withdraw at least one role or attribute", param_hint="--role / --attribute")
    with store(dsn, state) as found:
        for name in role or ():
            found.withdraw_entitlement(principal, EntitlementKind.ROLE, name, by=by, why=why)
        for name in attribute or ():
            found.withdraw_entitlement(principal, EntitlementKind.ATTRIBUTE, name, by=by, why=why)


@entitle.command("list")
def list_entitlements(
    principal: Annotated[str | None, typer.Argument(metavar="[PRINCIPAL]", show_default=False)] = None,
    dsn: OptionalDsn = None,
    state: State = None,
    format_: FormatOption = Format.TABLE,
    at: At = None,
) -> None:
    """List entitlements, in force or not: all, or one principal's."""
    with store(dsn, state) as found:
        records = [
            (
                each.principal,
                each.kind.value,
                each.name,
                None if each.value is None else JsonText(encode(each.value)),
                each.valid_from,
                each.valid_until,
            )
            for each in found.list_entitlements(principal, at=instant(at, "--at"))
        ]
    print_records(("principal", "kind", "name", "value", "valid_from", "valid_until"), records, format_)


@consent.command("add", help="The same as grant.")
@consent.command("grant")
def give_consent(
    data_subject: DataSubject,
    purpose: PurposeName,
    dsn: OptionalDsn = None,
    state: State = None,
    policies: Words = None,
    valid_from: ValidFrom = None,
    valid_until: ValidUntil = None,
    category: Annotated[
        list[str] | None, typer.Option("--category", metavar="TAG", help="Limit it to columns of this tag; repeat.")
    ] = None,
    recipient: Annotated[
        list[str] | None,
        typer.Option("--recipient", metavar="NAME", help="Limit it to this principal, actor or role; repeat."),
    ] = None,
    evidence: Annotated[str | None, typer.Option("--evidence", metavar="REF", help="Where it can be shown.")] = None,
    by: By = None,
    why: Why = None,
) -> None:
    """Record a data subject's yes for a purpose, and what that contains."""
    known = words(policies)
    if known is not None:
        known_names("purpose", [purpose], known.purposes.parents)
    if known is not None:
        known_names("tag", category or (), known.tags)
    start, end = instant(valid_from, "--from"), instant(valid_until, "--until")
    with store(dsn, state) as found:
        found.give_consent(
            data_subject,
            purpose,
            valid_from=start,
            valid_until=end,
            categories=category,
            recipients=recipient,
            evidence=evidence,
            by=by,
            why=why,
        )


@consent.command("revoke", help="The same as withdraw.")
@consent.command("withdraw")
def withdraw_consent(
    data_subject: DataSubject,
    purpose: PurposeName,
    dsn: OptionalDsn = None,
    state: State = None,
    policies: Words = None,
    valid_from: ValidFrom = None,
    by: By = None,
    why: Why = None,
) -> None:
    """Record a data subject's no for a purpose; it also stands against a yes for a purpose that contains this."""
    known = words(policies)
    if known is not None:
        known_names("purpose", [purpose], known.purposes.parents)
    with store(dsn, state) as found:
        found.withdraw_consent(data_subject, purpose, at=instant(valid_from, "--from"), by=by, why=why)


@consent.command("list")
def list_consents(
    data_subject: Annotated[str | None, typer.Argument(metavar="[DATA-SUBJECT]", show_default=False)] = None,
    purpose: Annotated[str | None, typer.Option("--purpose", metavar="PURPOSE")] = None,
    dsn: OptionalDsn = None,
    state: State = None,
    format_: FormatOption = Format.TABLE,
    at: At = None,
) -> None:
    """List answers, in force or not: all, one data subject's, or those for one very purpose."""
    with store(dsn, state) as found:
        records = [
            (
                each.data_subject,
                each.purpose,
                "yes" if each.granted else "no",
                each.valid_from,
                each.valid_until,
                _names(each.categories),
                _names(each.recipients),
                each.evidence,
            )
            for each in found.list_consents(data_subject, purpose, at=instant(at, "--at"))
        ]
    names = ("data_subject", "purpose", "answer", "valid_from", "valid_until", "categories", "recipients", "evidence")
    print_records(names, records, format_)


@mandate.command("add", help="The same as issue.")
@mandate.command("issue")
def issue_mandate(
    principal: PrincipalId,
    holder: Annotated[str, typer.Argument(metavar="HOLDER", help="The actor who may act.")],
    scope: Annotated[str, typer.Argument(metavar="SCOPE", help="What it may do: a scope of the policies.")],
    purpose: Annotated[list[str], typer.Option("--purpose", metavar="PURPOSE", help="What for; may be repeated.")],
    parameter: Annotated[
        list[str] | None,
        typer.Option("--parameter", metavar="NAME=VALUE", help="A parameter of the scope, in JSON or plain."),
    ] = None,
    mandate_id: Annotated[
        str | None, typer.Option("--id", metavar="ID", help="Its id; by default a random one.", show_default=False)
    ] = None,
    parent: Annotated[str | None, typer.Option("--parent", metavar="ID", help="The mandate it is a part of.")] = None,
    sub_delegable: Annotated[
        int, typer.Option("--sub-delegable", min=0, help="How many further links may hang below it.")
    ] = 0,
    dsn: OptionalDsn = None,
    state: State = None,
    policies: Words = None,
    valid_from: ValidFrom = None,
    valid_until: ValidUntil = None,
    max_uses: Annotated[
        int | None, typer.Option("--max-uses", min=1, help="How many sessions may start under it; any number.")
    ] = None,
    actor_kind: Annotated[
        list[ActorKind] | None, typer.Option("--actor-kind", help="What may hold it; may be repeated; any kind.")
    ] = None,
    by: By = None,
    why: Why = None,
) -> None:
    """Issue a mandate, and print its id."""
    known = words(policies)
    types: Mapping[str, ValueType] | None = None
    if known is not None:
        types = scope_parameters(known, scope)
        known_names("purpose", purpose, known.purposes.parents)
    parameters = values_of(parameter or (), types, "parameter")
    missing = sorted(set(types or ()) - set(parameters))
    if missing:
        raise StateError(f"the scope {scope} needs the parameter {missing[0]}: add --parameter {missing[0]}=…")
    start, end = instant(valid_from, "--from"), instant(valid_until, "--until")
    with store(dsn, state) as found:
        issued = found.issue_mandate(
            principal,
            holder,
            scope,
            purposes=purpose,
            parameters=parameters,
            valid_from=start,
            valid_until=end,
            parent=parent,
            sub_delegable=sub_delegable,
            max_uses=max_uses,
            actor_kinds=actor_kind or ANY_KIND,
            mandate_id=mandate_id,
            by=by,
            why=why,
        )
    print(issued.id)


@mandate.command("revoke")
def revoke_mandate(
    mandate_id: Annotated[str, typer.Argument(metavar="ID")],
    dsn: OptionalDsn = None,
    state: State = None,
    at: Annotated[str | None, typer.Option("--at", metavar="TIME", help="When it ends (ISO 8601); now.")] = None,
    by: By = None,
    why: Why = None,
) -> None:
    """End a mandate, and all that hang below it."""
    with store(dsn, state) as found:
        found.revoke_mandate(mandate_id, at=instant(at, "--at"), by=by, why=why)


@mandate.command("list")
def list_mandates(
    principal: Annotated[str | None, typer.Option("--principal", metavar="ID", help="Of this principal.")] = None,
    holder: Annotated[str | None, typer.Option("--holder", metavar="ID", help="In the hands of this actor.")] = None,
    dsn: OptionalDsn = None,
    state: State = None,
    format_: FormatOption = Format.TABLE,
    at: At = None,
) -> None:
    """List mandates, ended ones too."""
    names = ("id", "principal", "holder", "scope", "parameters", "purposes", "valid_from", "valid_until", "revoked_at")
    with store(dsn, state) as found:
        records = [
            (
                each.id,
                each.principal,
                each.holder,
                each.scope,
                JsonText(encode_parameters(each.parameters)),
                Names(each.purposes),
                each.valid_from,
                each.valid_until,
                each.revoked_at,
                each.parent,
                each.sub_delegable,
                each.suspended_at,
                each.max_uses,
                Names(kind.value for kind in each.actor_kinds),
            )
            for each in found.list_mandates(principal=principal, holder=holder, at=instant(at, "--at"))
        ]
    more = ("parent", "sub_delegable", "suspended_at", "max_uses", "actor_kinds")
    print_records((*names, *more), records, format_)


def _names(names: Sequence[str] | None) -> Names | None:
    return None if names is None else Names(names)
