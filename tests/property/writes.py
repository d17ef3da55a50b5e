"""Random writes to the shop, of which the outcome is certain: no row is set twice, nothing can raise by itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random

from tests.property.selects import Columns, Scope, Writer


@dataclass(frozen=True, slots=True)
class May:
    """What a caller may do to any row that is seen: columns by relation, and whether rows go."""

    insert: Mapping[str, tuple[str, ...]]
    update: Mapping[str, tuple[str, ...]]
    delete: tuple[str, ...]


KEYS = {"orders": ("id",), "lines": ("order_id", "sku")}
_KIND = {"id": "number", "order_id": "number", "amount": "number", "qty": "number", "stars": "number"}
_FIRST_NEW = 5000


class WriteWriter(Writer):
    """Writes one statement that writes, by the choices of a source of chance."""

    def __init__(self, random: Random, known: Mapping[str, Columns], may: May, *, merges: bool) -> None:
        super().__init__(random, known, schema="shop")
        self._may = may
        self._merges = merges
        self._new = _FIRST_NEW

    def write(self) -> str:
        """A whole statement."""
        kinds = []
        if self._may.insert:
            kinds += [self._insert, self._insert, self._upsert]
        if self._may.update:
            kinds += [self._update, self._update, self._update]
        if self._may.delete:
            kinds += [self._delete]
        if self._merges and self._may.update and self._may.insert:
            kinds += [self._merge]
        write = self._pick(kinds)
        choice = self._random.random()
        if choice < 0.15:
            return f"WITH w AS ({write(returning=True)}) SELECT * FROM w"
        if choice < 0.25:
            return f"WITH w AS ({write(returning=False)}) SELECT count(*) FROM shop.orders"
        return write(returning=None)

    # The kinds of write.

    def _insert(self, *, returning: bool | None) -> str:
        name = self._pick(list(self._may.insert))
        columns = self._inserted(name)
        if self._chance(0.3) and name == "orders":
            scope = Scope([("s", self._known["orders"])])
            items = ", ".join(
                f"s.id + {self._fresh()}000" if column == "id" else self._written(column, scope) for column in columns
            )
            source = f"SELECT {items} FROM shop.orders AS s WHERE {self._bool(scope, 1)}"
        else:
            rows = [self._row(columns) for _ in range(self._random.randint(1, 3))]
            source = f"VALUES {', '.join(rows)}"
        text = f"INSERT INTO shop.{name} ({', '.join(columns)}) {source}"
        return text + self._returning([(name, self._known[name])], returning)

    def _inserted(self, name: str) -> list[str]:
        key = KEYS[name]
        others = [column for column in self._may.insert[name] if column not in key and self._chance(0.7)]
        return [*key, *(["region"] if name == "orders" and "region" not in others else []), *others]

    def _row(self, columns: list[str]) -> str:
        scope = Scope()
        cells = []
        for column in columns:
            if column == "id":
                cells.append(self._fresh())
            elif column == "order_id":
                cells.append(f"(SELECT min(id) FROM shop.orders WHERE id > {self._random.randint(0, 50)})")
            elif column == "sku":
                cells.append(f"'new{self._fresh()}'")
            else:
                cells.append(self._written(column, scope))
        return f"({', '.join(cells)})"

    def _upsert(self, *, returning: bool | None) -> str:
        name = self._pick(list(self._may.insert))
        scope = Scope([(name, self._known[name])])
        key = ", ".join(KEYS[name])
        columns = self._inserted(name)
        text = f"INSERT INTO shop.{name} ({', '.join(columns)}) SELECT {self._existing(name, columns)}"
        if name not in self._may.update or self._chance(0.3):
            text += " ON CONFLICT DO NOTHING" if self._chance(0.5) else f" ON CONFLICT ({key}) DO NOTHING"
        else:
            column = self._pick([c for c in self._may.update[name] if c not in KEYS[name]])
            excluded = f"excluded.{column}" if column in columns else self._written(column, Scope())
            text += f" ON CONFLICT ({key}) DO UPDATE SET {column} = {excluded}"
            text += f" WHERE {self._bool(scope, 1)}" if self._chance(0.4) else ""
        return text + self._returning(scope.items, returning)

    def _existing(self, name: str, columns: list[str]) -> str:
        """A row that is there, as the caller sees it, under the same key."""
        scope = Scope()
        cells = [f"x.{c}" if c in (*KEYS[name], "region") else self._written(c, scope) for c in columns]
        order = ", ".join(f"x.{column}" for column in KEYS[name])
        skipped = self._random.randint(0, 12)
        return (
            f"{', '.join(cells)} FROM (SELECT * FROM shop.{name} AS x ORDER BY {order} OFFSET {skipped} LIMIT 2) AS x"
        )

    def _update(self, *, returning: bool | None) -> str:
        name = self._pick(list(self._may.update))
        alias = self._pick([name, "x"])
        scope = Scope([(alias, self._known[name])])
        columns = [column for column in self._may.update[name] if self._chance(0.6)] or [self._may.update[name][0]]
        named = "" if alias == name else f" AS {alias}"
        items, condition = self._joined(name, alias, scope)
        sets = ", ".join(f"{column} = {self._written(column, scope)}" for column in columns)
        if len(columns) > 1 and self._chance(0.3):
            values = ", ".join(self._written(column, scope) for column in columns)
            sets = f"({', '.join(columns)}) = ({values})"
        text = f"UPDATE shop.{name}{named} SET {sets}{f' FROM {items}' if items else ''}"
        return text + self._where(scope, condition) + self._returning(scope.items, returning)

    def _delete(self, *, returning: bool | None) -> str:
        name = self._pick(list(self._may.delete))
        scope = Scope([(name, self._known[name])])
        items, condition = self._joined(name, name, scope)
        text = f"DELETE FROM shop.{name}{f' USING {items}' if items else ''}"
        return text + self._where(scope, condition) + self._returning(scope.items, returning)

    def _joined(self, name: str, alias: str, scope: Scope) -> tuple[str, str]:
        """Other items, joined by their key, so that each row meets at most one of theirs."""
        choice = self._random.random()
        if choice < 0.6:
            return "", ""
        key = KEYS[name][0]
        if choice < 0.8:
            scope.items.append(("o", self._known["orders"]))
            return "shop.orders AS o", f"o.id = {alias}.{key}"
        if choice < 0.9 or "lines" not in self._known:
            scope.items.append(("v", (("n", "number"), ("w", "text"))))
            return "(VALUES (1, 'a'), (4, 'b'), (7, 'c'), (10, NULL)) AS v (n, w)", f"v.n = {alias}.{key}"
        scope.items.append(("d", (("n", "number"), ("total", "number"))))
        query = "SELECT order_id AS n, sum(qty) AS total FROM shop.lines GROUP BY order_id"
        return f"({query}) AS d", f"d.n = {alias}.{key}"

    def _merge(self, *, returning: bool | None) -> str:
        scope = Scope([("orders", self._known["orders"]), ("v", (("n", "number"), ("w", "text")))])
        numbers = self._random.sample(range(1, 30), 4)
        rows = ", ".join(f"({number}, 'w{number}')" for number in numbers)
        fresh = ", ".join(f"({self._fresh()}, 'new')" for _ in range(2))
        arms = [f"WHEN MATCHED AND {self._bool(scope, 0)} THEN UPDATE SET note = v.w || 'x'"]
        if "orders" in self._may.delete and self._chance(0.2):
            arms.append(f"WHEN MATCHED AND v.n < {self._random.randint(1, 20)} THEN DO NOTHING")
        inserted = "(id, region, note) VALUES (v.n, 'EU', v.w)"
        arms.append(f"WHEN NOT MATCHED AND v.n >= {_FIRST_NEW} THEN INSERT {inserted}")
        if self._chance(0.3):
            own = Scope([scope.items[0]])
            arms.append(f"WHEN NOT MATCHED BY SOURCE AND {self._bool(own, 0)} THEN UPDATE SET note = 'unmatched'")
        head = f"MERGE INTO shop.orders USING (VALUES {rows}, {fresh}) AS v (n, w) ON orders.id = v.n"
        return " ".join([head, *arms]) + self._returning([scope.items[1], scope.items[0]], returning)

    # Their parts.

    def _fresh(self) -> str:
        self._new += 1
        return str(self._new)

    def _written(self, column: str, scope: Scope) -> str:
        """A value for a column, not of a masked one."""
        plain = Scope([(alias, _raw(columns)) for alias, columns in scope.items])
        if column == "region":
            others = [f"coalesce({each}, 'EU')" for each in plain.columns("text")]
            return self._pick(["'EU'", "'EU'", "'US'", "'APAC'", *others])
        if _KIND.get(column) == "number":
            return f"({self._pick(['1', '13.5', 'NULL', '999', *plain.columns('number')])})::int % 1000"
        return self._pick([self._literal("text"), "'n' || 1", *(f"{each} || '+'" for each in plain.columns("text"))])

    def _where(self, scope: Scope, condition: str) -> str:
        if condition:
            more = f" AND {self._bool(scope, 1)}" if self._chance(0.6) else ""
            return f" WHERE {condition}{more}"
        return f" WHERE {self._bool(scope, 2)}" if self._chance(0.85) else ""

    def _returning(self, items: list[tuple[str, Columns]], wanted: bool | None) -> str:
        if wanted is False or (wanted is None and self._chance(0.4)):
            return ""
        scope = Scope(items)
        own = [name for name, _ in scope.own()]
        choice = self._random.random()
        if choice < 0.3 and wanted is None:
            return " RETURNING *"
        some = [f"{name} AS {self._name('r')}" for name in own if self._chance(0.5)]
        if choice < 0.6:
            some.append(f"upper({self._pick([n for n, k in scope.own() if k == 'text'])}) AS {self._name('r')}")
        return f" RETURNING {', '.join(some or [f'{own[0]} AS first'])}"


def _raw(columns: Columns) -> Columns:
    return tuple((name, kind) for name, kind in columns if name not in ("owner", "stars"))
