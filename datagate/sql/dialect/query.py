"""Queries (gram.y: SelectStmt and its clauses)."""

from __future__ import annotations

from sqlglot import exp

from datagate.sql.dialect.keywords import BARE_LABEL
from datagate.sql.dialect.nodes import Cycle, DefaultValue, GroupingSet, NamedWindow, RowLock, Search
from datagate.sql.dialect.writes import WRITES, Writes

_INTERSECT, _UNION = 2, 1
_SET_LEVELS = {"UNION": _UNION, "EXCEPT": _UNION, "INTERSECT": _INTERSECT}
_SET_NODES = {"UNION": exp.Union, "EXCEPT": exp.Except, "INTERSECT": exp.Intersect}
_TAIL = frozenset({"ORDER", "LIMIT", "OFFSET", "FETCH", "FOR"})


class StatementParser(Writes):
    """Reads one SELECT, VALUES, TABLE, INSERT, UPDATE, DELETE or MERGE statement."""

    def statement(self) -> exp.Expression:
        """The whole text, with empty statements before and behind it."""
        while self.accept(";"):
            pass
        node = self.query()
        while self.accept(";"):
            pass
        if self.words[self.at] != "end":
            self.fail()
        return node

    def query(self, left: exp.Expression | None = None) -> exp.Expression:
        """A query or a write without its parentheses; ``left``: its first operand, already read."""
        with_ = self.with_clause() if left is None and self.words[self.at] == "WITH" else None
        node: exp.Expression
        if left is None and self.words[self.at] in WRITES:
            node = self.write()
        else:
            node = self.set_operation(_UNION, left)
            if self.words[self.at] in _TAIL:
                self.tail(node)
        if with_ is not None:
            node.set("with_", with_)
        return node

    def set_operation(self, floor: int, left: exp.Expression | None = None) -> exp.Expression:
        """Operands joined by set operations that bind at least as tightly as ``floor``."""
        if left is None:
            left = self.operand()
        while True:
            word = self.words[self.at]
            level = _SET_LEVELS.get(word, 0)
            if level < floor:
                return left
            self.at += 1
            all_ = self.accept("ALL")
            if not all_:
                self.accept("DISTINCT")
            left = _SET_NODES[word](this=left, distinct=not all_, expression=self.set_operation(level + 1))

    def operand(self) -> exp.Expression:
        """SELECT, VALUES, TABLE, or a query in parentheses."""
        word = self.words[self.at]
        self.at += 1
        if word == "SELECT":
            return self.select()
        if word == "VALUES":
            return self.values()
        if word == "TABLE":
            only = self.accept("ONLY")
            table = exp.Table(**dict(zip(("this", "db", "catalog"), reversed(self.dotted()), strict=False)))
            if only:
                table.set("only", True)
            else:
                self.accept("*")
            return exp.Select(expressions=[exp.Star()], from_=exp.From(this=table))
        if word != "(":
            self.at -= 1
            self.fail()
        node = self.query()
        self.expect(")")
        return exp.Subquery(this=node)

    # -- SELECT --------------------------------------------------------------------------------------------

    def select(self) -> exp.Select:
        """SELECT after its word, up to WINDOW."""
        args: dict[str, object] = {}
        words = self.words
        if self.accept("DISTINCT"):
            on = None
            if self.accept_words("ON", "("):
                on = exp.Tuple(expressions=self.expressions())
                self.expect(")")
            args["distinct"] = exp.Distinct(on=on)
        else:
            self.accept("ALL")
        args["expressions"] = self.targets()
        if words[self.at] == "INTO":
            self.fail("SELECT INTO")
        if self.accept("FROM"):
            self.from_clause(args)
        if self.accept("WHERE"):
            args["where"] = exp.Where(this=self.expr())
        if self.accept_words("GROUP", "BY"):
            args["group"] = self.group()
        if self.accept("HAVING"):
            args["having"] = exp.Having(this=self.expr())
        if self.accept("WINDOW"):
            args["windows"] = self.windows()
        return exp.Select(**args)

    def targets(self) -> list[exp.Expression]:
        """The select list, which may be empty."""
        found: list[exp.Expression] = []
        if self.words[self.at] in _NO_TARGET:
            return found
        while True:
            if self.words[self.at] == "*":
                self.at += 1
                found.append(exp.Star())
            else:
                node = self.expr()
                word = self.words[self.at]
                if word == "AS":
                    self.at += 1
                    node = exp.Alias(this=node, alias=self.label())
                elif word in BARE_LABEL:
                    node = exp.Alias(this=node, alias=self.label())
                found.append(node)
            if self.words[self.at] != ",":
                return found
            self.at += 1

    def group(self) -> exp.Group:
        """GROUP BY after its words."""
        distinct = self.accept("DISTINCT")
        if not distinct:
            self.accept("ALL")
        node = exp.Group(expressions=self.group_items())
        if distinct:
            node.set("distinct", True)
        return node

    def group_items(self) -> list[exp.Expression]:
        """The items of GROUP BY or of GROUPING SETS."""
        found = [self.group_item()]
        while self.accept(","):
            found.append(self.group_item())
        return found

    def group_item(self) -> exp.Expression:
        """An expression or a grouping set."""
        if self.accept_words("(", ")"):
            return GroupingSet(this="")
        if self.accept_words("GROUPING", "SETS", "("):
            kind, items = "GROUPING SETS", self.group_items()
        elif self.words[self.at] in ("ROLLUP", "CUBE") and self.peek() == "(":
            kind = self.words[self.at]
            self.at += 2
            items = self.expressions()
        else:
            return self.expr()
        self.expect(")")
        return GroupingSet(this=kind, expressions=items)

    def windows(self) -> list[exp.Expression]:
        """``w AS (…), …``."""
        found: list[exp.Expression] = []
        while True:
            name = self.name()
            self.expect("AS")
            found.append(NamedWindow(this=name, definition=self.window_definition()))
            if not self.accept(","):
                return found

    def values(self) -> exp.Values:
        """VALUES after its word."""
        rows: list[exp.Expression] = []
        while True:
            self.expect("(")
            row = [self.value()]
            while self.accept(","):
                row.append(self.value())
            self.expect(")")
            rows.append(exp.Tuple(expressions=row))
            if not self.accept(","):
                return exp.Values(expressions=rows)

    def value(self) -> exp.Expression:
        """An expression, or DEFAULT."""
        return DefaultValue() if self.accept("DEFAULT") else self.expr()

    # -- ORDER BY, LIMIT, FOR ------------------------------------------------------------------------------

    def tail(self, node: exp.Expression) -> None:
        """The clauses after the last operand."""
        order = self.order()
        if order is not None:
            node.set("order", order)
        locks: list[exp.Expression] = []
        while (word := self.words[self.at]) in _TAIL:
            if word == "FOR":
                if not self.accept_words("FOR", "READ", "ONLY"):
                    locks.append(self.lock())
            elif word == "OFFSET" and node.args.get("offset") is None:
                self.at += 1
                node.set("offset", exp.Offset(expression=self.expr()))
                self.one_of("ROW", "ROWS")
            elif word in ("LIMIT", "FETCH") and node.args.get("limit") is None:
                node.set("limit", self.limit() if word == "LIMIT" else self.fetch())
            else:
                self.fail()
        if locks:
            node.set("locks", locks)

    def limit(self) -> exp.Limit:
        """``LIMIT n`` and ``LIMIT ALL``."""
        self.expect("LIMIT")
        if self.accept("ALL"):
            return exp.Limit(expression=exp.Var(this="ALL"))
        return exp.Limit(expression=self.expr())

    def fetch(self) -> exp.Fetch:
        """``FETCH FIRST n ROWS ONLY`` and ``WITH TIES``; no count is one."""
        self.expect("FETCH")
        if self.one_of("FIRST", "NEXT") is None:
            self.fail()
        count: exp.Expression | None = None
        if self.words[self.at] not in ("ROW", "ROWS"):
            sign = self.one_of("+", "-")
            count = self.primary()
            if sign == "-":
                count = exp.Neg(this=count)
        if self.one_of("ROW", "ROWS") is None:
            self.fail()
        ties = self.accept_words("WITH", "TIES")
        if not ties:
            self.expect("ONLY")
        node = exp.Fetch(direction="FIRST", count=count)
        node.args["ties"] = ties
        return node

    def lock(self) -> RowLock:
        """``FOR UPDATE OF t NOWAIT``."""
        self.expect("FOR")
        for strength in ("UPDATE", "SHARE", "NO KEY UPDATE", "KEY SHARE"):
            if self.accept_words(*strength.split()):
                break
        else:
            self.fail()
        names: list[exp.Identifier] = []
        if self.accept("OF"):
            names = self.names()
        wait = None
        if self.accept("NOWAIT"):
            wait = "NOWAIT"
        elif self.accept_words("SKIP", "LOCKED"):
            wait = "SKIP LOCKED"
        return RowLock(strength=strength, expressions=names, wait=wait)

    # -- WITH ----------------------------------------------------------------------------------------------

    def with_clause(self) -> exp.With:
        """``WITH [RECURSIVE] a AS (…), …``."""
        self.expect("WITH")
        recursive = self.accept("RECURSIVE")
        found = [self.cte()]
        while self.accept(","):
            found.append(self.cte())
        return exp.With(expressions=found, recursive=recursive)

    def cte(self) -> exp.CTE:
        """One common table expression."""
        alias = exp.TableAlias(this=self.name())
        if self.accept("("):
            alias.set("columns", self.names())
            self.expect(")")
        self.expect("AS")
        materialized: bool | None = None
        if self.accept("MATERIALIZED"):
            materialized = True
        elif self.accept_words("NOT", "MATERIALIZED"):
            materialized = False
        self.expect("(")
        node = exp.CTE(this=self.query(), alias=alias, materialized=materialized)
        self.expect(")")
        if self.words[self.at] == "SEARCH":
            node.set("search", self.search())
        if self.words[self.at] == "CYCLE":
            node.set("cycle", self.cycle())
        return node

    def search(self) -> Search:
        """``SEARCH DEPTH FIRST BY a SET b``."""
        self.expect("SEARCH")
        kind = self.one_of("DEPTH", "BREADTH")
        self.expect("FIRST", "BY")
        names = self.names()
        self.expect("SET")
        return Search(this=kind, expressions=names, column=self.name())

    def cycle(self) -> Cycle:
        """``CYCLE a SET b TO x DEFAULT y USING c``."""
        self.expect("CYCLE")
        names = self.names()
        self.expect("SET")
        mark = self.name()
        value = default = None
        if self.accept("TO"):
            value = self.expr()
            self.expect("DEFAULT")
            default = self.expr()
        self.expect("USING")
        return Cycle(expressions=names, mark=mark, value=value, default=default, path=self.name())


_NO_TARGET = frozenset(
    {"FROM", "WHERE", "GROUP", "HAVING", "WINDOW", "UNION", "INTERSECT", "EXCEPT", "ORDER", "LIMIT", "OFFSET"}
    | {"FETCH", "FOR", "INTO", ")", ";", "end", "RETURNING"}
)
