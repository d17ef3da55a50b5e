"""Function calls in the ordinary form, aggregates and windows (gram.y: func_application, over_clause, sort_clause)."""

from __future__ import annotations

from sqlglot import exp

from datagate.sql.dialect.cursor import is_operator
from datagate.sql.dialect.keywords import FUNCTION_ID
from datagate.sql.dialect.nodes import Bound, Call, Frame, KeywordCall, NamedArgument, Variadic, WindowDefinition
from datagate.sql.dialect.operands import Operands


class Calls(Operands):
    """Reads calls."""

    def call(self, names: list[exp.Identifier]) -> exp.Expression:
        """A call of the function of that name; ``(`` is next."""
        self.expect("(")
        args: dict[str, object] = {"this": names[-1]}
        if len(names) > 1:
            args["qualifiers"] = names[:-1]
        if self.words[self.at] == ")":
            self.at += 1
        else:
            if self.accept("*"):
                args["expressions"] = [exp.Star()]
            else:
                if self.accept("DISTINCT"):
                    args["distinct"] = True
                else:
                    self.accept("ALL")
                args["expressions"] = self.arguments()
                order = self.order()
                if order is not None:
                    args["order"] = order
            self.expect(")")
        if self.accept_words("WITHIN", "GROUP"):
            self.expect("(")
            args["within_group"] = self.order()
            self.expect(")")
        args.update(self.aggregation())
        return Call(**args)

    def arguments(self) -> list[exp.Expression]:
        """Arguments, of which the last may be VARIADIC."""
        found = [self.argument()]
        while self.words[self.at] == ",":
            self.at += 1
            found.append(self.argument())
        return found

    def argument(self) -> exp.Expression:
        """One argument, perhaps named."""
        if self.words[self.at] == "VARIADIC":
            self.at += 1
            return Variadic(this=self.argument())
        if self.words[self.at + 1] in ("=>", ":="):
            name = self.name(FUNCTION_ID)
            return NamedArgument(this=name, operator=self.take(), expression=self.expr())
        return self.expr()

    def aggregation(self) -> dict[str, object]:
        """``FILTER (WHERE …)`` and ``OVER …``."""
        found: dict[str, object] = {}
        word = self.words[self.at]
        if word == "FILTER" and self.peek() == "(":
            self.at += 1
            self.expect("(", "WHERE")
            found["filter"] = self.expr()
            self.expect(")")
            word = self.words[self.at]
        if word == "OVER":
            self.at += 1
            found["over"] = self.window_definition() if self.words[self.at] == "(" else self.name()
        return found

    def with_aggregation(self, node: KeywordCall) -> KeywordCall:
        """The node with the FILTER and OVER that follow it."""
        for key, value in self.aggregation().items():
            node.set(key, value)
        return node

    def window_definition(self) -> WindowDefinition:
        """``(w PARTITION BY … ORDER BY … frame)``."""
        self.expect("(")
        args: dict[str, object] = {}
        if self.words[self.at] not in ("PARTITION", "RANGE", "ROWS", "GROUPS", "ORDER", ")"):
            args["this"] = self.name()
        if self.accept_words("PARTITION", "BY"):
            args["partition_by"] = self.expressions()
        args["order"] = self.order()
        mode = self.one_of("RANGE", "ROWS", "GROUPS")
        if mode is not None:
            args["frame"] = self.frame(mode)
        self.expect(")")
        return WindowDefinition(**args)

    def frame(self, mode: str) -> Frame:
        """A frame after its mode."""
        end = None
        if self.accept("BETWEEN"):
            start = self.bound()
            self.expect("AND")
            end = self.bound()
        else:
            start = self.bound()
        exclude = None
        if self.accept("EXCLUDE"):
            at = self.at
            if not (
                self.accept_words("CURRENT", "ROW") or self.accept_words("NO", "OTHERS") or self.one_of("GROUP", "TIES")
            ):
                self.fail()
            exclude = self.since(at).upper()
        return Frame(mode=mode, start=start, end=end, exclude=exclude)

    def bound(self) -> Bound:
        """One end of a frame."""
        if self.accept_words("CURRENT", "ROW"):
            return Bound(words="CURRENT ROW")
        if self.words[self.at] == "UNBOUNDED" and self.peek() in ("PRECEDING", "FOLLOWING"):
            self.at += 2
            return Bound(words=f"UNBOUNDED {self.words[self.at - 1]}")
        offset = self.expr()
        side = self.one_of("PRECEDING", "FOLLOWING")
        if side is None:
            self.fail()
        return Bound(this=offset, words=side)

    def order(self) -> exp.Order | None:
        """``ORDER BY …`` if it is next."""
        if self.words[self.at] != "ORDER":
            return None
        self.expect("ORDER", "BY")
        found = [self.ordered()]
        while self.accept(","):
            found.append(self.ordered())
        return exp.Order(expressions=found)

    def ordered(self) -> exp.Ordered:
        """One sort key; ``desc`` and ``nulls_first`` are None where nothing is written."""
        node = exp.Ordered(this=self.expr())
        word = self.words[self.at]
        if word in (",", ")"):
            return node
        if word in ("ASC", "DESC"):
            self.at += 1
            node.args["desc"] = word == "DESC"
        elif word == "USING":
            self.at += 1
            if self.words[self.at] != "OPERATOR" and not is_operator(self.words[self.at]):
                self.fail()
            node.args["using"] = self.operator_name() if self.words[self.at] == "OPERATOR" else self.take()
        if self.accept("NULLS"):
            side = self.one_of("FIRST", "LAST")
            if side is None:
                self.fail()
            node.args["nulls_first"] = side == "FIRST"
        return node
