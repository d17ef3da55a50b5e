"""Holds new rows to their check by their values, before they can meet a key that a hidden row has.

RETURNING, where the check stands, is computed when the row is there already: a key that is taken would be told of
first. So the values are looked at too, in one of them: ``CASE WHEN check of the values THEN value WHEN refusal …``.
The row as it was stored is held to the check all the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlglot import exp

from datagate.errors import StatementSyntaxError, UnsupportedConstruct
from datagate.model.guard import Ahead
from datagate.sql.dialect import generate
from datagate.sql.dialect.nodes import Assignment, DefaultValue, GuardText, Write

ROWS = '"datagate: rows"'
"""What the rows of an INSERT's query stand as."""


@dataclass(frozen=True, slots=True)
class Held:
    """What values are held to, as engine text; ``alias``: the name under which ``check`` reads the row."""

    ahead: Ahead
    check: str
    refusal: str
    alias: str

    def carried(self, condition: str, value: str) -> GuardText:
        """A value that there is only where the condition holds."""
        return GuardText(this=f"CASE WHEN {condition} THEN {value} WHEN {self.refusal} THEN NULL END")

    def of_one(self, values: Mapping[str, str]) -> str:
        """That the check holds for one row, given as texts of what stands in the columns that the check reads."""
        items = ", ".join(f"{values[name]} AS {quoted(name)}" for name in self.ahead.read)
        return f"(SELECT {self.check} FROM (SELECT {items}) AS {quoted(self.alias)})"

    def of_all(self, rows: Sequence[Mapping[str, str]]) -> str:
        """That it holds for all of the rows."""
        lists = ", ".join(f"({', '.join(row[name] for name in self.ahead.read)})" for row in rows)
        names = ", ".join(map(quoted, self.ahead.read))
        item = f" FROM (VALUES {lists}) AS {quoted(self.alias)} ({names})" if self.ahead.read else ""
        return f"NOT EXISTS (SELECT 1{item} WHERE ({self.check}) IS NOT TRUE)"

    def cast(self, name: str, value: str) -> str:
        """A value as it will be in a column that the check reads."""
        return f"CAST({value} AS {self.ahead.read[name]})"

    def literal(self, name: str, value: exp.Expression) -> str:
        """A value that stays what it is inside of another expression."""
        text = generate(value)
        return f"CAST({text} AS {self.ahead.given[name]})" if is_untyped(value) else text

    def default(self, name: str) -> str:
        """What stands in a column without a value."""
        return self.cast(name, self.ahead.defaults[name])


def quoted(name: str) -> str:
    """An identifier in double quotes."""
    return '"' + name.replace('"', '""') + '"'


def is_untyped(value: exp.Expression) -> bool:
    """Whether the engine takes the value's type from where it stands: string constants, NULL, parameters."""
    return isinstance(value, exp.Null | exp.Parameter) or (isinstance(value, exp.Literal) and bool(value.is_string))


def place_insert(write: Write, held: Held) -> None:
    """Into an INSERT, in place."""
    if write.args.get("override") == "USER":
        raise UnsupportedConstruct("OVERRIDING USER VALUE where rules hold new rows; leave the column out")
    source = write.args.get("source")
    while isinstance(source, exp.Subquery) and _has_only(source, "this"):
        source = source.this
    columns = [column.name for column in write.args.get("columns") or ()]
    if source is None:
        return
    if isinstance(source, exp.Values) and _has_only(source, "expressions"):
        _place_rows(columns, [row.expressions for row in source.expressions], held)
    else:
        write.set("source", _around(columns, source, held))


def _has_only(node: exp.Expression, key: str) -> bool:
    return not any(value for name, value in node.args.items() if name != key)


def _place_rows(columns: Sequence[str], rows: Sequence[list[exp.Expression]], held: Held) -> None:
    """VALUES: the first value there is looks at all rows, but for such as only the engine can compute."""
    if any(len(row) != len(columns) for row in rows):
        raise _uneven(len(rows[0]) > len(columns))
    found = [row for row in (_values(columns, row, held) for row in rows) if row is not None]
    if not found:
        return
    for row in rows:
        values = [
            (name, value) for name, value in zip(columns, row, strict=True) if not isinstance(value, DefaultValue)
        ]
        if values:
            # A function that gives several rows cannot stand in a CASE.
            plain = [each for each in values if isinstance(each[1], exp.Literal | exp.Parameter)]
            name, value = (plain or values)[0]
            value.replace(held.carried(held.of_all(found), held.literal(name, value)))
            return


def _values(columns: Sequence[str], row: Sequence[exp.Expression], held: Held) -> dict[str, str] | None:
    """What the check reads of a row; None where a default of it is not known."""
    given = dict(zip(columns, row, strict=True))
    values = {}
    for name in held.ahead.read:
        value = given.get(name)
        if value is None or isinstance(value, DefaultValue):
            if name not in held.ahead.defaults:
                return None
            values[name] = held.default(name)
        else:
            values[name] = held.cast(name, generate(value))
    return values


def _around(columns: Sequence[str], source: exp.Expression, held: Held) -> GuardText:
    """A query around the INSERT's own, that looks at each row."""
    query = source
    while isinstance(query, exp.Subquery) and not query.args.get("alias"):
        query = query.this
    if isinstance(query, exp.Select):
        _type_items(columns, query, held)
    names = [f"{ROWS}.{quoted(name)}" for name in columns]
    values = {
        name: held.cast(name, f"{ROWS}.{quoted(name)}") if name in columns else held.default(name)
        for name in held.ahead.read
    }
    first, *more = names
    items = ", ".join([held.carried(held.of_one(values), first).this, *more])
    return GuardText(this=f"SELECT {items} FROM ({generate(source)}) AS {ROWS} ({', '.join(map(quoted, columns))})")


def _type_items(columns: Sequence[str], query: exp.Select, held: Held) -> None:
    """A constant in the list of the query gets the type that it would have got as a value of the column."""
    items = query.expressions
    if any(isinstance(item, exp.Star) or isinstance(item.this, exp.Star) for item in items):
        return
    if len(items) != len(columns):
        raise _uneven(len(items) > len(columns))
    for name, item in zip(columns, items, strict=True):
        value = item.this if isinstance(item, exp.Alias) else item
        if is_untyped(value):
            value.replace(GuardText(this=held.literal(name, value)))


def _uneven(more_values: bool) -> StatementSyntaxError:
    one, other = ("expressions", "target columns") if more_values else ("target columns", "expressions")
    return StatementSyntaxError(f"INSERT has more {one} than {other}")


def place_sets(assignments: Iterable[Assignment], held: Held) -> None:
    """Into the assignments of an UPDATE, in place."""
    given: dict[str, exp.Expression] = {}
    for assignment in assignments:
        if assignment.args.get("several"):
            raise UnsupportedConstruct("a key and what a rule reads set as (a, b) = …; set each column by itself")
        given[assignment.args["columns"][0].name] = assignment.expression
    values = {}
    for name in held.ahead.read:
        value = given.get(name)
        if value is None:
            values[name] = f"{quoted(held.alias)}.{quoted(name)}"
        elif not isinstance(value, DefaultValue):
            values[name] = held.cast(name, generate(value))
        elif name in held.ahead.defaults:
            values[name] = held.default(name)
        else:
            raise UnsupportedConstruct(
                f'DEFAULT for column "{name}", which a rule reads, beside a key; write the value'
            )
    name, value = next(each for each in given.items() if not isinstance(each[1], DefaultValue))
    value.replace(held.carried(held.of_one(values), held.literal(name, value)))


def place_values(arm: exp.Expression, held: Held) -> None:
    """Into the row that an arm of MERGE inserts, in place."""
    columns = [column.name for column in arm.args.get("columns") or ()]
    if arm.args.get("values"):
        _place_rows(columns, [arm.args["values"]], held)
