"""FROM items and joins (gram.y: table_ref, joined_table, func_table)."""

from __future__ import annotations

from sqlglot import exp

from datagate.sql.dialect.jsonxml import JsonXml
from datagate.sql.dialect.keywords import COL_ID, FUNCTION_ID
from datagate.sql.dialect.nodes import (
    Call,
    ColumnDefinition,
    DefinedFunction,
    FunctionSource,
    JoinGroup,
    KeywordCall,
    Sample,
)
from datagate.sql.dialect.operands import QUERY_TAIL

_SIDES = frozenset({"LEFT", "RIGHT", "FULL"})
_JOIN_START = _SIDES | {"JOIN", "INNER", "CROSS", "NATURAL"}
_TABLE_PARTS = ("this", "db", "catalog")
# These begin a call wherever a parenthesis follows; other names of this class cannot name a function.
_NOT_A_TABLE = frozenset(
    {"CURRENT_DATE", "CURRENT_ROLE", "CURRENT_USER", "SESSION_USER", "SYSTEM_USER", "USER", "CURRENT_CATALOG"}
    | {"CURRENT_TIME", "CURRENT_TIMESTAMP", "LOCALTIME", "LOCALTIMESTAMP", "CAST", "COLLATION"}
)


class Sources(JsonXml):
    """Reads FROM clauses."""

    def from_clause(self, args: dict[str, object]) -> None:
        """The items after FROM, into ``from_`` and ``joins``."""
        joins: list[exp.Expression] = []
        args["from_"] = exp.From(this=self.item())
        while True:
            word = self.words[self.at]
            if word == ",":
                self.at += 1
                joins.append(exp.Join(this=self.item()))
            elif word in _JOIN_START:
                joins.append(self.join())
            else:
                break
        if joins:
            args["joins"] = joins

    def join(self) -> exp.Join:
        """One join with its right side and its condition."""
        args: dict[str, object] = {}
        if self.accept("CROSS"):
            self.expect("JOIN")
            return exp.Join(kind="CROSS", this=self.item())
        natural = self.accept("NATURAL")
        if natural:
            args["method"] = "NATURAL"
        side = self.one_of(*_SIDES)
        if side is not None:
            args["side"] = side
            self.accept("OUTER")
        else:
            self.accept("INNER")
        self.expect("JOIN")
        if natural:
            return exp.Join(this=self.item(), **args)
        args["this"] = self.right_side()
        if self.accept("ON"):
            args["on"] = self.expr()
        else:
            self.expect("USING", "(")
            args["using"] = self.names()
            self.expect(")")
            if self.accept("AS"):
                args["using_alias"] = self.name()
        return exp.Join(**args)

    def right_side(self) -> exp.Expression:
        """What is joined: an item, or more joins that end before this one's condition."""
        first = self.item()
        joins = []
        while self.words[self.at] in _JOIN_START:
            joins.append(self.join())
        return JoinGroup(this=first, joins=joins, bare=True) if joins else first

    def item(self) -> exp.Expression:
        """A table, a function, a subquery or a joined table in parentheses, with its alias."""
        word = self.words[self.at]
        if word == "(":
            return self.aliased(self.grouped())
        if word == "LATERAL":
            self.at += 1
            if self.words[self.at] == "(":
                node = self.aliased(self.grouped())
                if not isinstance(node, exp.Subquery):
                    self.fail()
            else:
                node = self.function_source()
            node.set("lateral", True)
            return node
        if word == "ONLY":
            return self.only_table()
        if self.names_function(word):
            return self.function_source()
        return self.table(self.dotted())

    def names_function(self, word: str) -> bool:
        """Whether a function call, and not a relation's name, is next."""
        if word == "ROWS" and self.peek() == "FROM" and self.peek(2) == "(":
            return True
        if word in _NOT_A_TABLE:
            return True
        if word not in COL_ID and word not in FUNCTION_ID:
            self.fail()
        ahead = self.at + 1
        while self.words[ahead] == ".":
            ahead += 2
        return self.words[ahead] == "("

    # -- relations -----------------------------------------------------------------------------------------

    def only_table(self) -> exp.Expression:
        """``ONLY t`` and ``ONLY (t)``."""
        self.expect("ONLY")
        parenthesised = self.accept("(")
        names = self.dotted()
        if parenthesised:
            self.expect(")")
        return self.table(names, only=True)

    def table(self, names: list[exp.Identifier], *, only: bool = False) -> exp.Table:
        """A relation reference after its name."""
        if len(names) > len(_TABLE_PARTS):
            self.fail("relation name of more than three parts")
        if not only:
            self.accept("*")
        args: dict[str, object] = dict(zip(_TABLE_PARTS, reversed(names), strict=False))
        alias = self.alias()
        if alias is not None:
            args["alias"] = alias
        if only:
            args["only"] = True
        if self.words[self.at] == "TABLESAMPLE":
            args["sample"] = self.sample()
        return exp.Table(**args)

    def sample(self) -> Sample:
        """``TABLESAMPLE method (…) REPEATABLE (…)``."""
        self.expect("TABLESAMPLE")
        names = self.dotted(FUNCTION_ID | COL_ID)
        self.expect("(")
        expressions = self.expressions()
        self.expect(")")
        seed = None
        if self.accept("REPEATABLE"):
            self.expect("(")
            seed = self.expr()
            self.expect(")")
        return Sample(names=names, expressions=expressions, seed=seed)

    def alias(self) -> exp.TableAlias | None:
        """``AS a (b, c)``, with the AS or without, if it is next."""
        if not self.accept("AS") and self.words[self.at] not in COL_ID:
            return None
        name = self.name()
        columns = None
        if self.accept("("):
            columns = self.names()
            self.expect(")")
        return exp.TableAlias(this=name, columns=columns) if columns else exp.TableAlias(this=name)

    def aliased(self, node: exp.Expression) -> exp.Expression:
        """The node with the alias that follows it."""
        alias = self.alias()
        if alias is not None:
            node.set("alias", alias)
        return node

    # -- parentheses ---------------------------------------------------------------------------------------

    def grouped(self) -> exp.Expression:
        """``(query)`` or ``(a JOIN b …)`` without an alias."""
        self.expect("(")
        word = self.words[self.at]
        if word in ("SELECT", "VALUES", "WITH", "TABLE"):
            query = self.query()
            self.expect(")")
            return exp.Subquery(this=query)
        first: exp.Expression
        if word == "(":
            first = self.grouped()
            following = self.words[self.at]
            if isinstance(first, exp.Subquery) and (following == ")" or following in QUERY_TAIL):
                query = self.query(first) if following != ")" else first
                self.expect(")")
                return exp.Subquery(this=query)
            first = self.aliased(first)
        else:
            first = self.item()
        joins = []
        while self.words[self.at] in _JOIN_START:
            joins.append(self.join())
        self.expect(")")
        return JoinGroup(this=first, joins=joins)

    # -- functions -----------------------------------------------------------------------------------------

    def function_source(self) -> FunctionSource:
        """A function, or ROWS FROM, with ordinality and alias."""
        args: dict[str, object] = {}
        if self.accept_words("ROWS", "FROM"):
            self.expect("(")
            functions = [self.defined_function()]
            while self.accept(","):
                functions.append(self.defined_function())
            self.expect(")")
            args["rows_from"] = True
        else:
            functions = [self.function()]
        args["expressions"] = functions
        if self.accept_words("WITH", "ORDINALITY"):
            args["ordinality"] = True
        alias = self.function_alias()
        if alias is not None:
            args["alias"] = alias
        return FunctionSource(**args)

    def function(self) -> exp.Expression:
        """A call without FILTER and OVER."""
        word = self.words[self.at]
        node = self.special(word)
        if node is None:
            node = self.call(self.dotted(FUNCTION_ID | COL_ID))
        if isinstance(node, (Call, KeywordCall)) and (node.args.get("over") or node.args.get("filter")):
            self.fail()
        return node

    def defined_function(self) -> exp.Expression:
        """A function inside ROWS FROM."""
        node = self.function()
        if self.accept_words("AS", "("):
            node = DefinedFunction(this=node, columns=self.column_definitions())
        return node

    def function_alias(self) -> exp.TableAlias | None:
        """``AS a``, ``AS a (b, c)``, ``AS a (b int)``, ``AS (b int)`` if it is next."""
        name = None
        if self.accept("AS"):
            if self.words[self.at] != "(":
                name = self.name()
        elif self.words[self.at] in COL_ID:
            name = self.name()
        else:
            return None
        columns: list[exp.Expression] | None = None
        if self.accept("("):
            if name is not None and self.peek() in (",", ")"):
                columns = [*self.names()]
                self.expect(")")
            else:
                columns = self.column_definitions()
        args = {"this": name, "columns": columns}
        return exp.TableAlias(**{key: value for key, value in args.items() if value is not None})

    def column_definitions(self) -> list[exp.Expression]:
        """``a int, b text COLLATE "C")`` with the closing parenthesis."""
        found: list[exp.Expression] = []
        while True:
            node = ColumnDefinition(this=self.name(), type_name=self.type_name())
            if self.accept("COLLATE"):
                node.set("collation", self.dotted())
            found.append(node)
            if not self.accept(","):
                self.expect(")")
                return found
