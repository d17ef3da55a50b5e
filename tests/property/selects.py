"""Random SELECTs over the bank, of which every answer is certain: no order without ORDER BY, nothing that can raise."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import TypeVar

from tests.twin.rows import Connection

T = TypeVar("T")
Columns = tuple[tuple[str, str], ...]
"""Names, as they are written, with kinds: number, text, moment, bool."""

_KINDS = {
    "int2": "number",
    "int4": "number",
    "int8": "number",
    "numeric": "number",
    "text": "text",
    "date": "moment",
    "timestamptz": "moment",
    "bool": "bool",
}
_LITERALS = {
    "number": ("0", "7", "-1.5", "1000", "NULL::numeric", "12345678901"),
    "text": ("'EU'", "'US'", "''", "'a%b'", "NULL::text", "'Å😀'", "'O''Brien'"),
    "moment": ("date '2024-02-29'", "NULL::date", "timestamptz '2026-02-01 00:00+00'", "date 'infinity'"),
    "bool": ("true", "false", "NULL::boolean"),
}
_WHOLE = ("accounts", "advisers", "region_totals")
"""Relations of which every column is of a kind known here, so that a list of aliases renames the first that is."""
_SMALL = ("advisers", "region_totals", '"KycReview"')


def relations(twin: Connection, schema: str = "bank") -> dict[str, Columns]:
    """What a caller can name: the relations of the twin, with the columns of the kinds above."""
    rows = twin.execute(
        "SELECT quote_ident(c.relname), quote_ident(a.attname), t.typname FROM pg_attribute a"
        " JOIN pg_class c ON c.oid = a.attrelid JOIN pg_type t ON t.oid = a.atttypid"
        " WHERE c.relnamespace = %s::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm') AND a.attnum > 0"
        " AND NOT a.attisdropped ORDER BY 1, a.attnum",
        (schema,),
    ).fetchall()
    found: dict[str, Columns] = {}
    for relation, column, kind in rows:
        if kind in _KINDS:
            found[relation] = (*found.get(relation, ()), (column, _KINDS[kind]))
    return found


@dataclass(slots=True)
class Scope:
    """What can be named at a place: aliases with their columns, and the scope around."""

    items: list[tuple[str, Columns]] = field(default_factory=list)
    outer: Scope | None = None

    def columns(self, kind: str) -> list[str]:
        """Qualified columns of a kind, those of outer scopes too."""
        own = [f"{alias}.{name}" for alias, columns in self.items for name, each in columns if each == kind]
        return own + (self.outer.columns(kind) if self.outer is not None else [])

    def own(self) -> list[tuple[str, str]]:
        """Qualified columns of this scope, with their kinds."""
        return [(f"{alias}.{name}", kind) for alias, columns in self.items for name, kind in columns]


class Writer:
    """Writes one statement by the choices of a source of chance."""

    def __init__(self, random: Random, known: Mapping[str, Columns], schema: str = "bank") -> None:
        self._schema = schema
        self._random = random
        self._known = known
        self._ctes: dict[str, Columns] = {}
        self._count = 0
        self._large = 0

    def statement(self) -> str:
        """A whole statement."""
        text, _ = self._query(3, None)
        return text

    # Queries.

    def _query(self, depth: int, outer: Scope | None, wanted: Sequence[str] | None = None) -> tuple[str, Columns]:
        """A query expression; ``wanted``: the kinds of its columns."""
        saved = dict(self._ctes)
        with_ = self._with(depth) if depth > 1 and self._chance(0.25) else ""
        if depth > 1 and self._chance(0.2):
            text, columns = self._set_operation(depth, outer, wanted)
        else:
            text, columns = self._select(depth, outer, wanted)
        self._ctes = saved
        return with_ + text, columns

    def _with(self, depth: int) -> str:
        items = []
        if self._chance(0.2):
            name = self._name("r")
            step = f"SELECT n + 1, t || 'y' FROM {name} WHERE n < {self._random.randint(1, 4)}"
            items.append(f"{name} (n, t) AS (SELECT 1, 'x'::text UNION ALL {step})")
            self._ctes[name] = (("n", "number"), ("t", "text"))
        recursive = "RECURSIVE " if items else ""
        for _ in range(self._random.randint(1, 2)):
            # A name that also is a relation's: without its schema it means the item.
            name = self._pick(["customers", "advisers", self._name("q"), self._name("q")])
            if name in self._ctes:
                continue
            text, columns = self._query(depth - 1, None)
            items.append(f"{name} AS {self._pick(['', '', 'MATERIALIZED ', 'NOT MATERIALIZED '])}({text})")
            self._ctes[name] = columns
        return f"WITH {recursive}{', '.join(items)} " if items else ""

    def _set_operation(self, depth: int, outer: Scope | None, wanted: Sequence[str] | None) -> tuple[str, Columns]:
        kinds = wanted or [self._pick(list(_LITERALS)) for _ in range(self._random.randint(1, 3))]
        left, columns = self._select(depth - 1, outer, kinds)
        right, _ = self._select(depth - 1, outer, kinds)
        operator = self._pick(["UNION", "UNION ALL", "INTERSECT", "EXCEPT", "EXCEPT ALL", "INTERSECT ALL"])
        text = f"({left}) {operator} ({right})"
        if self._chance(0.3):
            order = ", ".join(str(place + 1) for place in range(len(columns)))
            text += f" ORDER BY {order} LIMIT {self._random.randint(0, 9)}"
        return text, columns

    def _select(self, depth: int, outer: Scope | None, wanted: Sequence[str] | None) -> tuple[str, Columns]:
        if self._chance(0.07):
            return self._values(wanted)
        scope = Scope(outer=outer)
        from_ = self._from(depth, scope)
        where = f" WHERE {self._bool(scope, depth)}" if self._chance(0.45) else ""
        shape = self._pick([self._plain, self._plain, self._grouped, self._windowed, self._distinct_on])
        return shape(from_ + where, scope, depth, wanted or self._some_kinds())

    def _values(self, wanted: Sequence[str] | None) -> tuple[str, Columns]:
        kinds = wanted or self._some_kinds()
        rows = [", ".join(self._literal(kind) for kind in kinds) for _ in range(self._random.randint(1, 3))]
        body = ", ".join(f"({row})" for row in rows)
        names = [self._name("v") for _ in kinds]
        text = f"SELECT * FROM (VALUES {body}) AS {self._name('w')} ({', '.join(names)})"
        return text, tuple(zip(names, kinds, strict=True))

    def _plain(self, body: str, scope: Scope, depth: int, kinds: Sequence[str]) -> tuple[str, Columns]:
        items, columns = self._items([self._value(kind, scope, depth) for kind in kinds], kinds)
        distinct = "DISTINCT " if self._chance(0.2) else ""
        return f"SELECT {distinct}{items}{body}{self._ordered(columns)}", columns

    def _grouped(self, body: str, scope: Scope, depth: int, kinds: Sequence[str]) -> tuple[str, Columns]:
        own = self._some(scope.own(), 2)
        if not own:
            return self._plain(body, scope, depth, kinds)
        keys = [name for name, _ in own]
        values = []
        for kind in kinds:
            fitting = [name for name, each in own if each == kind]
            values.append(self._pick(fitting) if fitting and self._chance(0.6) else self._aggregate(kind, scope))
        items, columns = self._items(values, kinds)
        group = self._pick(["{}", "{}", "ROLLUP ({})", "CUBE ({})", "GROUPING SETS (({}), ())"]).format(", ".join(keys))
        having = f" HAVING {self._having(scope, keys)}" if self._chance(0.4) else ""
        return f"SELECT {items}{body} GROUP BY {group}{having}{self._ordered(columns)}", columns

    def _having(self, scope: Scope, keys: Sequence[str]) -> str:
        return self._pick(
            [
                f"{self._aggregate('number', scope)} > {self._literal('number')}",
                f"{self._pick(keys)} IS NOT NULL",
                f"NOT (count(*) = 1 OR {self._pick(keys)} IS NULL)",
            ]
        )

    def _windowed(self, body: str, scope: Scope, depth: int, kinds: Sequence[str]) -> tuple[str, Columns]:
        own = [name for name, _ in scope.own()]
        if not own:
            return self._plain(body, scope, depth, kinds)
        window = f"(PARTITION BY {self._pick(own)} ORDER BY {self._pick(own)})"
        named = self._chance(0.3)
        over = "w" if named else window
        number = self._value("number", scope, 0)
        calls = ("rank()", "dense_rank()", "count(*)", f"sum(({number})::numeric)", f"max({number})")
        values = [self._value(kind, scope, depth) for kind in kinds]
        if "number" in kinds:
            values[list(kinds).index("number")] = f"{self._pick(calls)} OVER {over}"
        items, columns = self._items(values, kinds)
        tail = f" WINDOW w AS {window}" if named else ""
        return f"SELECT {items}{body}{tail}{self._ordered(columns)}", columns

    def _distinct_on(self, body: str, scope: Scope, depth: int, kinds: Sequence[str]) -> tuple[str, Columns]:
        values = [self._value(kind, scope, depth) for kind in kinds]
        items, columns = self._items(values, kinds)
        order = ", ".join(str(place + 1) for place in range(len(columns)))
        return f"SELECT DISTINCT ON ({columns[0][0]}) {items}{body} ORDER BY {order}", columns

    def _items(self, values: Sequence[str], kinds: Sequence[str]) -> tuple[str, Columns]:
        names = [self._pick([self._name("x"), f'"X {self._count}"']) for _ in values]
        text = ", ".join(f"{value} AS {name}" for value, name in zip(values, names, strict=True))
        return text, tuple(zip(names, kinds, strict=False))

    def _ordered(self, columns: Columns) -> str:
        if not self._chance(0.2):
            return ""
        order = ", ".join(f"{place + 1} {self._pick(['', 'DESC', 'NULLS FIRST'])}" for place in range(len(columns)))
        return f" ORDER BY {order} LIMIT {self._random.randint(0, 9)} OFFSET {self._random.randint(0, 3)}"

    # FROM.

    def _from(self, depth: int, scope: Scope) -> str:
        text = self._item(depth, scope)
        joins = self._random.choice([0, 0, 1, 1, 2])
        for place in range(joins):
            # An ON cannot name what stands before a comma.
            text = self._join(text, depth, scope, comma=place == joins - 1)
        return f" FROM {text}"

    def _join(self, text: str, depth: int, scope: Scope, *, comma: bool) -> str:
        before = scope.own()
        kinds = ["JOIN", "JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN", "CROSS JOIN", "USING", "NATURAL", "LATERAL"]
        kind = self._pick([*kinds, ","] if comma else kinds)
        if kind == "LATERAL":
            # What stands to the left is around the derived table, and so is what stands around both.
            inner, columns = self._select(max(depth - 1, 0), Scope(list(scope.items), scope.outer), None)
            alias = self._name("l")
            scope.items.append((alias, columns))
            form = self._pick(["CROSS JOIN LATERAL ({}) AS {}", "LEFT JOIN LATERAL ({}) AS {} ON true"])
            return f"{text} {form.format(inner, alias)}"
        item = self._item(depth, scope, small=kind in (",", "CROSS JOIN"))
        after = scope.own()[len(before) :]
        pairs = [(one, other) for one, k in before for other, k2 in after if k == k2]
        if kind == "USING":
            shared = self._shared(scope)
            join = self._pick(["JOIN", "LEFT JOIN", "FULL JOIN"])
            return f"{text} {join} {item} USING ({shared})" if shared else f"{text} CROSS JOIN {item}"
        if kind == "NATURAL":
            return f"{text} NATURAL {self._pick(['JOIN', 'LEFT JOIN'])} {item}"
        if kind in (",", "CROSS JOIN"):
            return f"{text}{kind if kind == ',' else ' ' + kind} {item}"
        if not pairs:
            return (
                f"{text} CROSS JOIN {item}"
                if kind == "FULL JOIN"
                else f"{text} {kind} {item} ON {self._bool(scope, 0)}"
            )
        condition = "{} = {}".format(*self._pick(pairs))
        if kind != "FULL JOIN" and self._chance(0.4):
            condition += f" {self._pick(['AND', 'AND', 'OR'])} {self._bool(scope, depth - 1)}"
        return f"{text} {kind} {item} ON {condition}"

    def _shared(self, scope: Scope) -> str | None:
        *left, right = scope.items
        before = [column for _, columns in left for column in columns]
        names = [name for name, kind in right[1] if before.count((name, kind)) == 1]
        return self._pick(names) if names else None

    def _item(self, depth: int, scope: Scope, *, small: bool = False) -> str:
        choice = self._random.random()
        alias = self._name("t")
        if choice < 0.55 or depth <= 0:
            return self._relation(alias, scope, small=small)
        if choice < 0.7 and self._ctes:
            name = self._pick(list(self._ctes))
            scope.items.append((alias, self._ctes[name]))
            return f"{name} AS {alias}"
        if choice < 0.8:
            scope.items.append((alias, (("n", "number"),)))
            return f"generate_series(1, {self._random.randint(0, 4)}) AS {alias} (n)"
        text, columns = self._query(depth - 1, scope.outer)
        scope.items.append((alias, columns))
        return f"({text}) AS {alias}"

    def _relation(self, alias: str, scope: Scope, *, small: bool) -> str:
        large = small or self._large > 1
        names = [name for name in self._known if not large or name in _SMALL]
        name = self._pick(names or list(self._known) or ["nowhere"])
        self._large += name not in _SMALL
        columns = self._known.get(name, ())
        only = self._pick(["", "", "", "ONLY "]) if "transactions" not in name else ""
        scope.items.append((alias, columns))
        if self._chance(0.1) and columns and name in _WHOLE:
            renamed = (self._name("k"), columns[0][1])
            scope.items[-1] = (alias, (renamed, *columns[1:]))
            return f"{only}{self._schema}.{name} AS {alias} ({renamed[0]})"
        return f"{only}{self._schema}.{name} AS {alias}"

    # Expressions.

    def _value(self, kind: str, scope: Scope, depth: int) -> str:
        columns = scope.columns(kind)
        choice = self._random.random()
        if choice < 0.55 and columns:
            return self._pick(columns)
        if choice < 0.65 or depth <= 0:
            return self._literal(kind)
        if choice < 0.75 and depth > 0:
            text, names = self._query(depth - 1, scope, [kind])
            if kind == "number":
                return f"(SELECT max({names[0][0]}) FROM ({text}) AS {self._name('m')})"
            if kind == "text":
                return f"(SELECT string_agg(s, ',' ORDER BY s) FROM ({text}) AS {self._name('m')} (s))"
            if kind == "bool":
                return f"EXISTS ({text})"
            return f"(SELECT min({names[0][0]}) FROM ({text}) AS {self._name('m')})"
        makers: dict[str, Callable[[Scope, int], str]] = {
            "number": self._number,
            "text": self._text,
            "moment": self._moment,
            "bool": self._bool,
        }
        return makers[kind](scope, depth)

    def _number(self, scope: Scope, depth: int) -> str:
        one, two = (self._value("number", scope, depth - 1) for _ in range(2))
        text = self._value("text", scope, depth - 1)
        return self._pick(
            [
                f"(({one})::numeric + ({two})::numeric)",
                f"round(({one})::numeric, 1)",
                f"length({text})",
                f"COALESCE(({one})::numeric, ({two})::numeric)",
                f"CASE WHEN {self._bool(scope, depth - 1)} THEN ({one})::numeric ELSE ({two})::numeric END",
                f"greatest(({one})::numeric, ({two})::numeric)",
                f"extract(year FROM {self._pick(scope.columns('moment') or [self._literal('moment')])})",
            ]
        )

    def _text(self, scope: Scope, depth: int) -> str:
        one, two = (self._value("text", scope, depth - 1) for _ in range(2))
        return self._pick(
            [
                f"({one} || {two})",
                f"lower({one})",
                f"left({one}, 3)",
                f"substring({one} FROM 2 FOR 4)",
                f"COALESCE({one}, {two})",
                f"NULLIF({one}, {two})",
                f"({self._value('number', scope, depth - 1)})::text",
                f"concat_ws('-', {one}, {two})",
            ]
        )

    def _moment(self, scope: Scope, depth: int) -> str:
        one = self._value("moment", scope, depth - 1)
        return self._pick([f"COALESCE({one}, date '2020-01-01')", f"date_trunc('month', {one})", one])

    def _bool(self, scope: Scope, depth: int) -> str:
        kind = self._pick(["number", "text", "moment"])
        one, two = (self._value(kind, scope, depth - 1) for _ in range(2))
        simple = [
            f"{one} {self._pick(['=', '<>', '<', '>='])} {two}",
            f"({one}) IS NOT NULL",
            f"{one} IN ({two}, {self._literal(kind)})",
            f"{one} BETWEEN {two} AND {self._literal(kind)}",
            f"({one}) IS DISTINCT FROM ({two})",
            f"{self._value('text', scope, depth - 1)} LIKE '%a%'",
        ]
        if depth <= 0:
            return f"({self._pick(simple)})"
        left, right = self._bool(scope, depth - 1), self._bool(scope, depth - 1)
        text, _ = self._query(depth - 1, scope, [kind])
        return self._pick(
            [
                *(f"({each})" for each in simple),
                f"({left} AND {right})",
                f"({left} OR {right})",
                f"(NOT {left})",
                f"({left} IS NOT TRUE)",
                f"({one} IN ({text}))",
                f"({one} NOT IN ({text}))",
                f"({one} > ALL ({text}))",
                f"EXISTS ({text})",
                f"(NOT EXISTS ({text}))",
            ]
        )

    def _aggregate(self, kind: str, scope: Scope) -> str:
        own = [name for name, each in scope.own() if each == kind]
        value = self._pick(own) if own else self._literal(kind)
        calls = {
            "number": (
                "count(*)",
                f"count(DISTINCT {value})",
                f"sum(({value})::numeric)",
                f"avg(({value})::numeric)",
                f"max({value})",
            ),
            "text": (
                f"min({value})",
                f"string_agg({value}, ',' ORDER BY {value})",
                f"string_agg(DISTINCT {value}, ',')",
            ),
            "moment": (f"max({value})", f"min({value})"),
            "bool": (f"bool_and({value})", f"every({value})"),
        }
        filter_ = f" FILTER (WHERE {self._bool(scope, 0)})" if self._chance(0.2) else ""
        return self._pick(calls[kind]) + filter_

    # Chance.

    def _literal(self, kind: str) -> str:
        return self._pick(_LITERALS[kind])

    def _some_kinds(self) -> list[str]:
        return [self._pick(list(_LITERALS)) for _ in range(self._random.randint(1, 3))]

    def _some(self, items: list[tuple[str, str]], most: int) -> list[tuple[str, str]]:
        return [self._pick(items) for _ in range(self._random.randint(1, most))] if items else []

    def _pick(self, items: Sequence[T]) -> T:
        return self._random.choice(items)

    def _chance(self, share: float) -> bool:
        return self._random.random() < share

    def _name(self, letter: str) -> str:
        self._count += 1
        return f"{letter}{self._count}"
