"""Make the twin: every relation that the caller may see, row by row and cell by cell, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import psycopg
from psycopg import sql

from datagate.model.caller import Caller
from datagate.model.facts import Facts
from datagate.model.names import RelationName
from datagate.model.policy import PolicySet, RelationPolicy
from tests.twin import schema
from tests.twin.consents import Answer, Consents
from tests.twin.masks import Keys
from tests.twin.rights import Asked, Denied
from tests.twin.rows import Connection, Interpreter, TwinTable
from tests.twin.schema import RealRelation

KEYS = {"default": bytes(range(32)), "other": bytes(range(32, 64))}
"""The keys that masks use in tests."""

HIDEOUT = "twin hideout"
"""Schema for rows that belong to a parent under the parent's policy, while the child has a policy of its own."""


def build_twin(
    real: Connection,
    twin_dsn: str,
    policies: PolicySet,
    caller: Caller,
    facts: Facts,
    consents: Iterable[Answer],
    keys: Keys,
    instant: datetime,
    *,
    backwards: bool = False,
) -> None:
    """Fill the empty database ``twin_dsn`` with what ``caller`` may see of ``real``.

    Args:
        real: a superuser's connection to the real database, in autocommit mode.
        twin_dsn: a superuser's connection string of an empty database.
        policies: the rules.
        caller: for whom the twin is made.
        facts: the caller's entitlements and mandates.
        consents: all answers of data subjects, live or not.
        keys: the keys of masks, by name.
        instant: the moment at which validity is judged, and the value of ``:now``.
        backwards: store the rows the other way round; the same twin to every statement that leaves nothing to chance.
    """
    asked = Asked(policies=policies, caller=caller, facts=facts, instant=instant)
    real.execute("SET TIME ZONE 'UTC'")
    real.execute("SET DateStyle = 'ISO'")
    interpreter = Interpreter(real, asked, Consents(consents, instant), keys)
    with psycopg.connect(twin_dsn, autocommit=True) as twin:
        twin.execute("SET TIME ZONE 'UTC'")
        twin.execute("SET synchronous_commit = off")
        schema.copy_surroundings(real, twin)
        with twin.transaction():
            _Build(real, twin, interpreter, policies, backwards=backwards).run()
        _copy_settings(real, twin)


class _Build:
    """One making of a twin."""

    def __init__(
        self, real: Connection, twin: Connection, interpreter: Interpreter, policies: PolicySet, *, backwards: bool
    ) -> None:
        self._real = real
        self._twin = twin
        self._interpreter = interpreter
        self._policies = policies
        self._backwards = backwards
        self._relations = {relation.name: relation for relation in schema.relations(real)}
        self._made: dict[RelationName, RealRelation] = {}

    def run(self) -> None:
        """Tables first, then functions, which views may call, then views."""
        views = []
        for relation in self._relations.values():
            if relation.kind == "v" and relation.name not in self._policies.relations:
                views.append(relation)
            elif (policy := self._policy_of(relation)) is not None:
                self._table(relation, policy)
        for relation in self._made.values():
            self._hang(relation)
        schema.copy_functions(self._real, self._twin)
        while views:
            left = [view for view in views if not schema.create_view(self._real, self._twin, view)]
            if len(left) == len(views):
                break
            views = left

    def _policy_of(self, relation: RealRelation) -> RelationPolicy | None:
        """A relation's own policy, else that of the table that it is a partition or child of."""
        own = self._policies.relations.get(relation.name)
        if own is not None:
            return own
        for parent in relation.parents:
            found = self._policy_of(self._relations[parent])
            if found is not None:
                return found
        return None

    def _table(self, relation: RealRelation, policy: RelationPolicy) -> None:
        """A table of its own rows, without those of its children."""
        held = self._held(relation, policy)
        if held is None:
            return
        schema.create_table(self._twin, relation.name, held)
        schema.add_keys(self._twin, relation, relation.name, held)
        self._made[relation.name] = relation

    def _hang(self, relation: RealRelation) -> None:
        """Children hang below their parent as on the real database, whatever their kind there."""
        for parent in relation.parents:
            if relation.name in self._policies.relations:
                self._hidden_child(relation, parent)
            elif parent in self._made:
                _inherit(self._twin, relation.name, parent)

    def _held(self, relation: RealRelation, policy: RelationPolicy) -> TwinTable | None:
        try:
            held = self._interpreter.table(relation.name, policy, only=relation.kind in ("r", "p"))
        except Denied:
            return None
        if self._backwards:
            held.rows.reverse()
        return held

    def _hidden_child(self, relation: RealRelation, parent: RelationName) -> None:
        """What the parent shows of a child that has a policy of its own."""
        policy = self._policy_of(self._relations[parent])
        held = self._held(relation, policy) if policy is not None else None
        if held is None or parent not in self._made:
            return
        self._twin.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(HIDEOUT)))
        hidden = RelationName(HIDEOUT, f"{parent} {relation.name}")
        schema.create_table(self._twin, hidden, held)
        _inherit(self._twin, hidden, parent)


def _inherit(twin: Connection, child: RelationName, parent: RelationName) -> None:
    twin.execute(
        sql.SQL("ALTER TABLE {} INHERIT {}").format(
            sql.Identifier(child.schema, child.name), sql.Identifier(parent.schema, parent.name)
        )
    )


def _copy_settings(real: Connection, twin: Connection) -> None:
    """The database's own settings, the search path among them."""
    found = real.execute(
        """SELECT unnest(s.setconfig) FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase
        WHERE d.datname = current_database() AND s.setrole = 0"""
    ).fetchall()
    for (setting,) in found:
        name, _, value = str(setting).partition("=")
        # Lists such as a search path are stored as they were written, so that they are written back as they stand.
        statement = sql.SQL("ALTER DATABASE {} SET {} = {}").format(
            sql.Identifier(twin.info.dbname),
            sql.Identifier(name),
            sql.SQL(value) if name == "search_path" else sql.Literal(value),
        )
        twin.execute(statement)
