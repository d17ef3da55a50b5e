"""The road of one statement on PostgreSQL, from text to verified text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from datagate.backends.postgres.functions import CATALOG_FUNCTIONS, NUMBER_ARGUMENT, OID_ARGUMENT, OID_COLUMN
from datagate.backends.postgres.graft import graft
from datagate.backends.postgres.predicate import spell_parameter
from datagate.backends.postgres.spelled import spell_out
from datagate.backends.postgres.statements import ReadStatement
from datagate.errors import NestedTooDeeply, Refused, UnsupportedConstruct
from datagate.model.catalog import Relation
from datagate.model.fragment import Binding
from datagate.model.lookup import Lookup
from datagate.model.names import RelationName
from datagate.sql.dialect import NotCarried, TooDeep
from datagate.sql.guard import Numbering
from datagate.sql.knowledge import Assumption
from datagate.sql.rewrite import Engine, Rewritten, Surroundings, rewrite
from datagate.sql.views import Seen
from datagate.verify.mismatch import Mismatch, MismatchKind
from datagate.verify.postgres import verify
from datagate.verify.prescription import Prescription

ENGINE = Engine(
    spell=spell_parameter,
    lookups={
        name: Lookup(
            OID_ARGUMENT.get(name, 0),
            RelationName("pg_catalog", catalog),
            OID_COLUMN.get(name) or OID_COLUMN.get(catalog, "oid"),
            NUMBER_ARGUMENT.get(name),
        )
        for name, catalog in CATALOG_FUNCTIONS.items()
    },
)


MOST_PARAMETERS = 65_535
"""The wire protocol counts them in 16 bits (manual, 54.7: Bind)."""


@dataclass(frozen=True, slots=True)
class Carried:
    """A verified rewriting. ``by`` says which rendering carried it: ``dialect`` or ``graft``."""

    text: str
    bindings: tuple[Binding, ...]
    by: str
    fenced: frozenset[RelationName]
    assumptions: frozenset[Assumption]
    shows_rows: bool


def carry(
    text: str,
    statement: ReadStatement,
    around: Surroundings,
    functions: frozenset[str],
    views: Mapping[RelationName, Relation],
    *,
    assuming: bool = True,
) -> Carried:
    """Rewrite and verify one query; ``views`` fills as views are expanded.

    ``assuming``: whether casts of the caller's parameters may be taken to succeed.

    Raises UndefinedRelation, UnsupportedConstruct, Refused (a function, operator or type that is not allowed), or
    Mismatch (VerificationFailed) where no rendering passes the verifier.
    """
    text = spell_out(text, around.catalog, lambda schema, name: _exists(around, schema, name))
    try:
        rewritten = rewrite(text, statement.parameters, ENGINE, around, assuming=assuming)
        _verify(text, rewritten, around, functions, views)
    except (TooDeep, RecursionError):
        # A long chain of ORs is deep for sqlglot, and flat in the engine's own tree.
        if statement.writes:
            raise NestedTooDeeply from None
    except NotCarried as error:
        if statement.writes:
            raise UnsupportedConstruct(f"{error.construct} is not carried in a statement that writes") from None
    except Mismatch as mismatch:
        if statement.writes or mismatch.kind not in (MismatchKind.TREE, MismatchKind.GUARD):
            raise _refusal(mismatch) from None
    else:
        return _carried(rewritten, statement, "dialect")
    try:
        grafted = graft(text, Numbering(statement.parameters, spell_parameter), around)
        _verify(text, grafted, around, functions, views)
    except Mismatch as mismatch:
        raise _refusal(mismatch) from None
    except RecursionError:
        raise NestedTooDeeply from None
    return _carried(grafted, statement, "graft")


def _exists(around: Surroundings, schema: str | None, name: str) -> bool:
    found = around.catalog.resolve(schema, name)
    if found is None:
        return around.catalog.is_temporary(schema, name)
    return found.schema == "pg_catalog" or around.sight(around.catalog.relations[found]) is not Seen.NOT


def _carried(rewritten: Rewritten, statement: ReadStatement, by: str) -> Carried:
    room = MOST_PARAMETERS - len(rewritten.bindings)
    if statement.parameters > room:
        told = f"the statement has {statement.parameters} parameters; beside those of policies there is room for {room}"
        raise UnsupportedConstruct(told, sqlstate="54000")
    return Carried(
        rewritten.text, rewritten.bindings, by, rewritten.fenced, rewritten.assumptions, rewritten.shows_rows
    )


def _verify(
    text: str,
    rewritten: Rewritten,
    around: Surroundings,
    functions: frozenset[str],
    views: Mapping[RelationName, Relation],
) -> None:
    prescriptions = {name: Prescription(guard=body, view_sql=None) for name, body in rewritten.guards.items()}
    for name, relation in views.items():
        prescriptions[name] = Prescription(guard=None, view_sql=relation.view_sql)
    if around.check is not None and (prescriptions or rewritten.targets) and rewritten.check is None:
        raise Mismatch("the check of the caller's rights is missing", MismatchKind.GUARD)
    verify(
        text,
        rewritten.text,
        catalog=around.catalog,
        prescriptions=prescriptions,
        functions=functions,
        lookups=ENGINE.lookups,
        check=rewritten.check,
        targets=rewritten.targets,
    )


def _refusal(mismatch: Mismatch) -> Exception:
    """What the caller reads: a thing that is not allowed is a refusal, a construct not carried is not supported."""
    if mismatch.kind is MismatchKind.FORBIDDEN:
        return Refused(mismatch.reason)
    if mismatch.kind is MismatchKind.DEPTH:
        return NestedTooDeeply()
    if mismatch.kind is MismatchKind.STATEMENT:
        return UnsupportedConstruct(mismatch.reason)
    return mismatch
