"""A small real reader of predicates on PostgreSQL's own scanner and parser, for this room's tests."""

from __future__ import annotations

from typing import Any

import postgast

from datagate.policy import PredicateFault, PredicateParts

_HEAD = "SELECT 1 WHERE "
_COLON, _DOT = 58, 46


class SmallReader:
    """Reads one expression; subqueries and qualified columns are refused."""

    def read(self, text: str) -> PredicateParts:
        placeholders, replaced = self._placeholders(text)
        try:
            tree = postgast.parse(f"{_HEAD}{replaced}")
        except postgast.PgQueryError as error:
            raise PredicateFault(error.message, max(error.cursorpos - 1 - len(_HEAD), 0)) from None
        select = tree.stmts[0].stmt.select_stmt
        names = {field.name for field, _ in select.ListFields()} - {"target_list", "where_clause", "limit_option", "op"}
        if len(tree.stmts) != 1 or names:
            raise PredicateFault("not one expression", 0)
        columns: list[str] = []
        functions: list[str] = []
        self._walk(select.where_clause, columns, functions)
        return PredicateParts(placeholders, tuple(dict.fromkeys(columns)), tuple(dict.fromkeys(functions)))

    def _placeholders(self, text: str) -> tuple[tuple[str, ...], str]:
        raw = text.encode()
        try:
            tokens = list(postgast.scan(text).tokens)
        except postgast.PgQueryError as error:
            raise PredicateFault(error.message, max(error.cursorpos - 1, 0)) from None
        found: list[str] = []
        out = bytearray(raw)
        at = 0
        while at + 1 < len(tokens):
            colon, word = tokens[at], tokens[at + 1]
            at += 1
            if raw[colon.start : colon.end] != b":" or word.start != colon.end or not raw[word.start :][:1].isalpha():
                continue
            end = word.end
            at += 1
            if at + 1 < len(tokens) and raw[tokens[at].start : tokens[at].end] == b"." and tokens[at].start == end:
                end = tokens[at + 1].end
                at += 2
            found.append(raw[colon.start + 1 : end].decode())
            out[colon.start : end] = b"$1".ljust(end - colon.start)
        return tuple(dict.fromkeys(found)), out.decode()

    def _walk(self, message: Any, columns: list[str], functions: list[str]) -> None:
        name = message.DESCRIPTOR.name
        if name in {"SubLink", "SelectStmt"}:
            raise PredicateFault("a subquery", 0)
        if name == "ColumnRef":
            fields = [part.string.sval for part in message.fields]
            if len(fields) != 1 or not fields[0]:
                raise PredicateFault("a column with a qualifier", max(message.location - len(_HEAD), 0))
            columns.append(fields[0])
        if name == "FuncCall":
            functions.append(".".join(part.string.sval for part in message.funcname))
        for field, value in message.ListFields():
            if field.message_type is not None:
                for item in value if field.is_repeated else [value]:
                    self._walk(item, columns, functions)
