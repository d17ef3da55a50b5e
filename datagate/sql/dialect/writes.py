"""INSERT, UPDATE, DELETE and MERGE (gram.y: InsertStmt, UpdateStmt, DeleteStmt, MergeStmt)."""

from __future__ import annotations

from abc import abstractmethod

from sqlglot import exp

from datagate.sql.dialect.keywords import COL_ID
from datagate.sql.dialect.nodes import Assignment, Conflict, DefaultValue, IndexKey, MergeArm, Write
from datagate.sql.dialect.source import Sources

WRITES = frozenset({"INSERT", "UPDATE", "DELETE", "MERGE"})
_TABLE_PARTS = ("this", "db", "catalog")


class Writes(Sources):
    """Reads the statements that write."""

    @abstractmethod
    def targets(self) -> list[exp.Expression]:
        """The items of a select list or of RETURNING."""

    @abstractmethod
    def value(self) -> exp.Expression:
        """An expression, or DEFAULT."""

    def write(self) -> Write:
        """One statement that writes, after its WITH."""
        word = self.take().upper()
        match word:
            case "INSERT":
                return self.insert()
            case "UPDATE":
                return self.update()
            case "DELETE":
                return self.delete()
            case _:
                return self.merge()

    # -- the statements ------------------------------------------------------------------------------------

    def insert(self) -> Write:
        """INSERT after its word."""
        self.expect("INTO")
        names = self.dotted()
        alias = self.name() if self.accept("AS") else None
        args: dict[str, object] = {"action": "INSERT", "target": _table(names, alias)}
        if self.words[self.at] == "(" and not self.begins_query(self.at + 1):
            self.at += 1
            args["columns"] = self.written_columns()
            self.expect(")")
        if self.accept("OVERRIDING"):
            args["override"] = self.one_of("SYSTEM", "USER")
            self.expect("VALUE")
        if not self.accept_words("DEFAULT", "VALUES"):
            args["source"] = self.query()
        if self.accept_words("ON", "CONFLICT"):
            args["conflict"] = self.conflict()
        return self.returning(args)

    def begins_query(self, at: int) -> bool:
        """Whether what is in the parenthesis before that token is a query."""
        while self.words[at] == "(":
            at += 1
        return self.words[at] in ("SELECT", "VALUES", "WITH", "TABLE")

    def written_columns(self) -> list[exp.Identifier]:
        """``a, b``: whole columns; elements and fields of columns are not read."""
        found = self.names()
        if self.words[self.at] in ("[", "."):
            self.fail("a part of a column as the target of a write")
        return found

    def update(self) -> Write:
        """UPDATE after its word."""
        args: dict[str, object] = {"action": "UPDATE", "target": self.written_table()}
        self.expect("SET")
        args["sets"] = self.assignments()
        if self.accept("FROM"):
            self.from_clause(args)
        return self.returning(self.condition(args))

    def delete(self) -> Write:
        """DELETE after its word."""
        self.expect("FROM")
        args: dict[str, object] = {"action": "DELETE", "target": self.written_table()}
        if self.accept("USING"):
            self.from_clause(args)
        return self.returning(self.condition(args))

    def merge(self) -> Write:
        """MERGE after its word."""
        self.expect("INTO")
        args: dict[str, object] = {"action": "MERGE", "target": self.written_table()}
        self.expect("USING")
        args["from_"] = exp.From(this=self.item())
        self.expect("ON")
        args["on"] = self.expr()
        arms = []
        while self.accept("WHEN"):
            arms.append(self.arm())
        args["arms"] = arms
        return self.returning(args)

    # -- their parts ---------------------------------------------------------------------------------------

    def written_table(self) -> exp.Table:
        """``[ONLY] t [*] [[AS] alias]``, where SET is no alias."""
        only = self.accept("ONLY")
        parenthesised = only and self.accept("(")
        names = self.dotted()
        if parenthesised:
            self.expect(")")
        elif not only:
            self.accept("*")
        alias = None
        if self.accept("AS") or (self.words[self.at] != "SET" and self.words[self.at] in COL_ID):
            alias = self.name()
        return _table(names, alias, only=only)

    def assignments(self) -> list[exp.Expression]:
        """``a = 1, (b, c) = (2, 3)``."""
        found = [self.assignment()]
        while self.accept(","):
            found.append(self.assignment())
        return found

    def assignment(self) -> exp.Expression:
        """One assignment."""
        several = self.accept("(")
        columns = self.written_columns() if several else [self.name()]
        if several:
            self.expect(")")
        elif self.words[self.at] in ("[", "."):
            self.fail("a part of a column as the target of a write")
        self.expect("=")
        return Assignment(columns=columns, expression=self.assigned(), several=several)

    def assigned(self) -> exp.Expression:
        """What is assigned: an expression, DEFAULT, or a row in which DEFAULT may stand."""
        if self.words[self.at] != "(" or self.begins_query(self.at):
            return self.value()
        start = self.at
        self.at += 1
        row = [self.value()]
        while self.accept(","):
            row.append(self.value())
        if self.accept(")") and any(isinstance(item, DefaultValue) for item in row):
            return exp.Tuple(expressions=row)
        # Without DEFAULT it is an expression like any other, of which the parenthesis may be but the beginning.
        self.at = start
        return self.expr()

    def condition(self, args: dict[str, object]) -> dict[str, object]:
        """WHERE, if it is next."""
        if self.accept("WHERE"):
            if self.words[self.at] == "CURRENT" and self.peek() == "OF":
                self.fail("WHERE CURRENT OF")
            args["where"] = exp.Where(this=self.expr())
        return args

    def returning(self, args: dict[str, object]) -> Write:
        """The statement, with RETURNING if it is next."""
        if self.accept("RETURNING"):
            if self.words[self.at] == "WITH" and self.peek() == "(":
                self.fail("RETURNING WITH")
            args["returning"] = self.targets()
        return Write(**args)

    def conflict(self) -> Conflict:
        """ON CONFLICT after its words."""
        args: dict[str, object] = {}
        if self.accept_words("ON", "CONSTRAINT"):
            args["constraint"] = self.name()
        elif self.accept("("):
            keys = [self.index_key()]
            while self.accept(","):
                keys.append(self.index_key())
            self.expect(")")
            args["keys"] = keys
            if self.accept("WHERE"):
                args["predicate"] = self.expr()
        self.expect("DO")
        if self.accept("NOTHING"):
            return Conflict(**args)
        self.expect("UPDATE", "SET")
        args["sets"] = self.assignments()
        if self.accept("WHERE"):
            args["where"] = self.expr()
        return Conflict(**args)

    def index_key(self) -> IndexKey:
        """A column or an expression, with its collation and operator class."""
        key = self.expr()
        args: dict[str, object] = {"this": key}
        if self.accept("COLLATE"):
            args["collation"] = self.dotted()
        if self.words[self.at] not in (",", ")"):
            args["opclass"] = self.dotted()
        return IndexKey(**args)

    def arm(self) -> MergeArm:
        """An arm of MERGE after WHEN."""
        match = "MATCHED"
        if self.accept("NOT"):
            match = "NOT MATCHED"
        self.expect("MATCHED")
        if match == "NOT MATCHED" and self.accept("BY") and self.one_of("SOURCE", "TARGET") == "SOURCE":
            match = "NOT MATCHED BY SOURCE"
        args: dict[str, object] = {"match": match}
        if self.accept("AND"):
            args["condition"] = self.expr()
        self.expect("THEN")
        word = self.one_of("UPDATE", "INSERT", "DELETE", "DO")
        args["action"] = "NOTHING" if word == "DO" else word
        if word == "DO":
            self.expect("NOTHING")
        elif word == "UPDATE":
            self.expect("SET")
            args["sets"] = self.assignments()
        elif word == "INSERT":
            self.inserted(args)
        return MergeArm(**args)

    def inserted(self, args: dict[str, object]) -> None:
        """The row that an arm of MERGE inserts."""
        if self.accept("("):
            args["columns"] = self.written_columns()
            self.expect(")")
        if self.accept("OVERRIDING"):
            args["override"] = self.one_of("SYSTEM", "USER")
            self.expect("VALUE")
        if self.accept_words("DEFAULT", "VALUES"):
            return
        self.expect("VALUES", "(")
        values = [self.value()]
        while self.accept(","):
            values.append(self.value())
        self.expect(")")
        args["values"] = values


def _table(names: list[exp.Identifier], alias: exp.Identifier | None, *, only: bool = False) -> exp.Table:
    args: dict[str, object] = dict(zip(_TABLE_PARTS, reversed(names), strict=False))
    if alias is not None:
        args["alias"] = exp.TableAlias(this=alias)
    if only:
        args["only"] = True
    return exp.Table(**args)
