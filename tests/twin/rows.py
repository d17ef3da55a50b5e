"""Which rows a caller sees of a relation, and what stands in each cell: one row after the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import pq, sql
from psycopg.adapt import Transformer

from datagate.model.mask import Mask, MaskKind
from datagate.model.names import RelationName
from datagate.model.policy import RelationPolicy, Rule, Through
from tests.twin import masks
from tests.twin.consents import Consents
from tests.twin.rights import Asked, Clause, Denied, Leg, Rights, Standing, rights, shows

Connection = psycopg.Connection[tuple[Any, ...]]
# Spelled without a length, the SQL names of these would mean a length of one.
_BARE = {"bpchar": "pg_catalog.bpchar", "bit": "pg_catalog.bit varying"}
_PLAIN = frozenset(
    "text varchar name int2 int4 int8 numeric float4 float8 bool date time timetz timestamp timestamptz interval uuid"
    " inet cidr json jsonb bytea varbit".split()
)

Cell = object
"""What the twin stores: raw cells as the server's own text, masked ones as Python values, None for NULL."""


@dataclass(frozen=True, slots=True)
class TwinColumn:
    """A column of a twin table with its SQL type."""

    name: str
    type: str


@dataclass(frozen=True, slots=True)
class TwinTable:
    """What the twin holds of one relation. ``raw``: the columns that every cell shows unmasked."""

    columns: tuple[TwinColumn, ...]
    rows: list[list[Cell]]
    raw: frozenset[str]


@dataclass(frozen=True, slots=True)
class ColumnType:
    """A type: ``name`` the internal one of its base type, as masks know it; ``sql`` its spelling with modifiers."""

    name: str
    sql: str


@dataclass(slots=True)
class _Question:
    """Expressions to evaluate in each row, each asked once; ``index`` says where the answer stands."""

    relation: RelationName
    only: bool
    expressions: list[sql.Composable] = field(default_factory=list)
    index: dict[tuple[str, str], int] = field(default_factory=dict)

    def ask(self, key: tuple[str, str], expression: sql.Composable) -> None:
        if key not in self.index:
            self.index[key] = len(self.expressions)
            self.expressions.append(expression)

    def column(self, name: str) -> None:
        self.ask(("column", name), sql.SQL("{}").format(sql.Identifier(name)))

    def condition(self, text: str) -> None:
        self.ask(("condition", text), sql.SQL("(({}\n) IS TRUE)").format(sql.SQL(text)))

    def value(self, text: str) -> None:
        self.ask(("value", text), sql.SQL("({}\n)").format(sql.SQL(text)))


# Oids of built-in types (PostgreSQL's pg_type.dat).
_CHAR = 1042
_JSON = (114, 3802)


class _Answers:
    """The server's answer to a question: raw text and Python values by row."""

    def __init__(self, connection: Connection, question: _Question) -> None:
        listed = sql.SQL(", ").join(question.expressions)
        only = sql.SQL("ONLY " if question.only else "")
        name = sql.Identifier(question.relation.schema, question.relation.name)
        cursor = connection.execute(sql.SQL("SELECT {} FROM {}{}").format(listed, only, name))
        assert cursor.pgresult is not None
        self._result = cursor.pgresult
        self._index = question.index
        transformer = Transformer(connection)
        self._loaders = [
            transformer.get_loader(self._result.ftype(i), pq.Format.TEXT) for i in range(self._result.nfields)
        ]

    def __len__(self) -> int:
        return self._result.ntuples

    def text(self, row: int, key: tuple[str, str]) -> str | None:
        value = self._result.get_value(row, self._index[key])
        return None if value is None else value.decode()

    def python(self, row: int, key: tuple[str, str]) -> Any:
        """The value as psycopg loads it; as text where Python has no such value, and for JSON."""
        place = self._index[key]
        value = self._result.get_value(row, place)
        if value is None:
            return None
        if self._result.ftype(place) in _JSON:
            return value.decode()
        try:
            return self._loaders[place].load(value)
        except psycopg.DataError:
            return value.decode()

    def key(self, row: int, key: tuple[str, str]) -> object:
        """A value as it compares with its like: the trailing blanks of CHAR do not count."""
        value = self.python(row, key)
        return value.rstrip(" ") if self._result.ftype(self._index[key]) == _CHAR else value

    def true(self, row: int, text: str) -> bool:
        return self._result.get_value(row, self._index["condition", text]) == b"t"

    def type(self, key: tuple[str, str]) -> tuple[int, int]:
        """Type oid and modifier."""
        place = self._index[key]
        return self._result.ftype(place), self._result.fmod(place)


class Interpreter:
    """The policy, applied to the rows of the real database for one caller."""

    def __init__(self, real: Connection, asked: Asked, consents: Consents, keys: masks.Keys) -> None:
        self._real = real
        self._asked = asked
        self._consents = consents
        self._keys = keys
        self._visible_keys: dict[tuple[object, Through], frozenset[tuple[object, ...]]] = {}

    def table(self, relation: RelationName, policy: RelationPolicy, *, only: bool) -> TwinTable:
        """What the caller sees of a relation under a policy (its own, or its parent's); Denied if nothing at all."""
        granted = rights(self._asked, policy)
        question = _Question(relation, only)
        types = self._column_types(relation)
        names = [name for name in types if name in granted.columns]
        self._ask(question, policy, granted, names)
        answers = _Answers(self._real, question)
        painters = [self._painter(name, types[name], policy, granted, answers) for name in names]
        rows = [
            [painter.cell(row, matching) for painter in painters]
            for row, matching in self._visible(policy, granted, answers)
        ]
        return TwinTable(
            tuple(TwinColumn(name, painter.type) for name, painter in zip(names, painters, strict=True)),
            rows,
            frozenset(name for name in names if _always_raw(name, granted)),
        )

    def _column_types(self, relation: RelationName) -> dict[str, ColumnType]:
        found = self._real.execute(
            """SELECT a.attname, b.typname, format_type(a.atttypid, a.atttypmod) FROM pg_attribute a
            JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
            JOIN pg_type t ON t.oid = a.atttypid JOIN pg_type b ON b.oid = coalesce(nullif(t.typbasetype, 0), t.oid)
            WHERE n.nspname = %s AND c.relname = %s AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum""",
            (relation.schema, relation.name),
        )
        return {str(name): ColumnType(str(base), str(spelled)) for name, base, spelled in found}

    def _ask(self, question: _Question, policy: RelationPolicy, granted: Rights, names: list[str]) -> None:
        for name in names:
            question.column(name)
        if policy.data_subject is not None:
            question.column(policy.data_subject)
        for clause in _clauses(granted):
            if clause.rows is not None:
                question.condition(clause.rows)
            if isinstance(clause.rule.rows, Through):
                for own, _ in clause.rule.rows.on:
                    question.column(own)
            for _, mask in clause.rule.masks:
                if mask.kind is MaskKind.SQL:
                    question.value(str(mask.option("expression")))
        for condition in granted.scopes:
            question.condition(condition)
        if not question.expressions:
            question.condition("true")

    def _visible(
        self, policy: RelationPolicy, granted: Rights, answers: _Answers
    ) -> Iterator[tuple[int, list[list[Clause]]]]:
        """Each visible row with, per leg, the permits that match it."""

        def holds(leg: Leg, clause: Clause, row: int) -> bool:
            return self._holds(leg.standing, clause, policy, answers, row)

        for row in range(len(answers)):
            matching = [[clause for clause in leg.permits if holds(leg, clause, row)] for leg in granted.legs]
            if (
                all(matching)
                and all(holds(leg, clause, row) for leg in granted.legs for clause in leg.restricts)
                and all(answers.true(row, condition) for condition in granted.scopes)
            ):
                yield row, matching

    def _holds(self, standing: Standing, clause: Clause, policy: RelationPolicy, answers: _Answers, row: int) -> bool:
        """Whether a rule's rows, and consent where it requires it, are true of a row."""
        if clause.rows is not None and not answers.true(row, clause.rows):
            return False
        through = clause.rule.rows
        if isinstance(through, Through):
            key = tuple(answers.key(row, ("column", own)) for own, _ in through.on)
            if None in key or key not in self._keys_there(standing, through):
                return False
        if not clause.rule.consent:
            return True
        if policy.data_subject is None:
            return False
        data_subject = answers.key(row, ("column", policy.data_subject))
        who = None if data_subject is None else str(data_subject)
        actor = standing.actor
        # In person the actor is the principal; of a mandate the wider standings are asked too, that one among them.
        parties = [frozenset({str(actor.id)}) | actor.own.roles]
        return self._consents.given(who, self._asked.purposes, _tags(clause.rule, policy), parties)

    def _keys_there(self, standing: Standing, through: Through) -> frozenset[tuple[object, ...]]:
        """The keys of the rows that the same standing sees of the relation that a rule goes through."""
        asked = (standing.label, through)
        if asked not in self._visible_keys:
            # Relations that refer to each other in a circle show nothing.
            self._visible_keys[asked] = frozenset()
            self._visible_keys[asked] = self._read_keys(standing, through)
        return self._visible_keys[asked]

    def _read_keys(self, standing: Standing, through: Through) -> frozenset[tuple[object, ...]]:
        policy = self._asked.policies.relations[through.relation]
        try:
            granted = rights(self._asked, policy, standing)
        except Denied:
            return frozenset()
        question = _Question(through.relation, only=False)
        there = [column for _, column in through.on]
        self._ask(question, policy, granted, there)
        answers = _Answers(self._real, question)
        return frozenset(
            tuple(answers.key(row, ("column", column)) for column in there)
            for row, _ in self._visible(policy, granted, answers)
        )

    def _painter(
        self, name: str, column_type: ColumnType, policy: RelationPolicy, granted: Rights, answers: _Answers
    ) -> _Painter:
        tags = dict(policy.columns)
        sql_types: dict[str, ColumnType] = {}
        for clause in _clauses(granted):
            for _, mask in clause.rule.masks:
                if mask.kind is MaskKind.SQL:
                    expression = str(mask.option("expression"))
                    oid, modifier = answers.type(("value", expression))
                    found = self._real.execute(
                        "SELECT typname, format_type(oid, %s) FROM pg_type WHERE oid = %s", (modifier, oid)
                    ).fetchone()
                    assert found is not None
                    sql_types[expression] = ColumnType(str(found[0]), str(found[1]))
        return _Painter(name, column_type, tags[name], granted.legs, answers, sql_types, self._keys)


class _Painter:
    """Makes the cells of one column."""

    def __init__(
        self,
        name: str,
        column_type: ColumnType,
        tag: str,
        legs: tuple[Leg, ...],
        answers: _Answers,
        sql_types: Mapping[str, ColumnType],
        keys: masks.Keys,
    ) -> None:
        self._name = name
        self._column_type = column_type
        self._tag = tag
        self._legs = legs
        self._answers = answers
        self._sql_types = sql_types
        self._keys = keys
        self._restricts = [
            [mask for clause in leg.restricts if (mask := clause.rule.mask(name)) is not None] for leg in legs
        ]
        self.type = self._type_after(column_type, self._some_masks()).sql

    def _some_masks(self) -> list[Mask]:
        """The masks of one possible cell: all possible cells of a column have one type."""
        out: list[Mask] = []
        for leg, restricts in zip(self._legs, self._restricts, strict=True):
            first = next(clause.rule for clause in leg.permits if shows(clause.rule, self._name))
            mask = first.mask(self._name)
            out = _of_both(out, [mask, *restricts] if mask is not None else restricts)
        return out

    def _type_after(self, kind: ColumnType, applied: list[Mask]) -> ColumnType:
        for mask in applied:
            if mask.kind is MaskKind.SQL:
                kind = self._sql_types[str(mask.option("expression"))]
            else:
                kind = masked_type(mask, kind)
        return kind

    def cell(self, row: int, matching: list[list[Clause]]) -> Cell:
        """What stands in the row's cell, given the permits of each leg that match the row."""
        applied: list[Mask] = []
        for clauses, restricts in zip(matching, self._restricts, strict=True):
            showing = [clause.rule for clause in clauses if shows(clause.rule, self._name)]
            if not showing:
                return None
            found = [rule.mask(self._name) for rule in showing]
            first = found[0] if None not in found else None
            applied = _of_both(applied, [first, *restricts] if first is not None else restricts)
        if not applied:
            return self._answers.text(row, ("column", self._name))
        value, kind = self._answers.python(row, ("column", self._name)), self._column_type
        for mask in applied:
            value = masks.mask_value(
                mask,
                value,
                kind.name,
                tag=self._tag,
                keys=self._keys,
                sql=lambda text: self._answers.python(row, ("value", text)),
            )
            kind = self._type_after(kind, [mask])
        return value


def masked_type(mask: Mask, kind: ColumnType) -> ColumnType:
    """A mask keeps the type, without length or domain; a hash is text, a whole number's pseudonym a bigint."""
    if mask.kind is MaskKind.HASH:
        return ColumnType("text", "text")
    if mask.kind is MaskKind.PSEUDONYM and kind.name in ("int2", "int4", "int8"):
        return ColumnType("int8", "bigint")
    return ColumnType(kind.name, _BARE.get(kind.name, kind.name if kind.name in _PLAIN else kind.sql))


def _of_both(wide: list[Mask], narrow: list[Mask]) -> list[Mask]:
    """The masks of two legs, the wider one's first; what both owe to one place in a policy file counts once."""
    left, out = list(wide), list(wide)
    for mask in narrow:
        if mask in left:
            left.remove(mask)
        else:
            out.append(mask)
    return out


def _clauses(granted: Rights) -> Iterator[Clause]:
    for leg in granted.legs:
        yield from leg.permits
        yield from leg.restricts


def _always_raw(column: str, granted: Rights) -> bool:
    """Whether every cell of the column is shown unmasked in every visible row."""
    return all(
        all(column in clause.rule.show and clause.rule.mask(column) is None for clause in leg.permits)
        and all(clause.rule.mask(column) is None for clause in leg.restricts)
        for leg in granted.legs
    )


def _tags(rule: Rule, policy: RelationPolicy) -> frozenset[str]:
    """The tags of what a rule shows or lets write; of all columns where it does neither."""
    named = {*rule.show, *rule.insert, *rule.update} or {column for column, _ in policy.columns}
    return frozenset(tag for column, tag in policy.columns if column in named)
