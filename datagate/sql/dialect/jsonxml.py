"""SQL/JSON and SQL/XML (gram.y: json_* and xml* rules), read into KeywordCall."""

from __future__ import annotations

from sqlglot import exp

from datagate.sql.dialect.keywords import LABEL
from datagate.sql.dialect.nodes import KeywordCall
from datagate.sql.dialect.special import Part, Specials

_JSON_CALLS = frozenset(
    {
        "JSON",
        "JSON_ARRAY",
        "JSON_ARRAYAGG",
        "JSON_EXISTS",
        "JSON_OBJECT",
        "JSON_OBJECTAGG",
        "JSON_QUERY",
        "JSON_SCALAR",
        "JSON_SERIALIZE",
        "JSON_TABLE",
        "JSON_VALUE",
    }
)
# Words of the clauses that follow an operand.
_JSON_WORDS = frozenset(
    """
    ABSENT ARRAY CONDITIONAL EMPTY ERROR EXISTS FALSE FOR FORMAT JSON KEEP KEYS NULL OBJECT OMIT ON ORDINALITY
    QUOTES SCALAR STRING TRUE UNCONDITIONAL UNIQUE UNKNOWN WITH WITHOUT WRAPPER
    """.split()
)
_OPERAND_AFTER = frozenset({",", ":", "VALUE", "PASSING", "DEFAULT"})
_XML_WORDS = frozenset({"STANDALONE", "YES", "NO", "VALUE", "INDENT", "PRESERVE", "STRIP", "WHITESPACE"})


class JsonXml(Specials):
    """Reads them."""

    def json_or_xml(self, word: str) -> exp.Expression | None:
        """A call of SQL/JSON or SQL/XML whose name and ``(`` are next; None if it is another word."""
        if word in _JSON_CALLS:
            self.at += 2
            return self.with_aggregation(KeywordCall(this=word, parts=self.closed(self.json_parts())))
        if word in ("XMLELEMENT", "XMLFOREST", "XMLPI", "XMLATTRIBUTES", "XMLNAMESPACES"):
            self.at += 2
            return KeywordCall(this=word, parts=self.closed(self.xml_labelled()))
        if word in ("XMLPARSE", "XMLSERIALIZE", "XMLROOT", "XMLEXISTS"):
            self.at += 2
            return KeywordCall(this=word, parts=self.closed(self.xml_parts()))
        if word == "XMLTABLE":
            self.at += 2
            return KeywordCall(this=word, parts=self.closed(self.xml_table()))
        return None

    # -- SQL/JSON ------------------------------------------------------------------------------------------

    def json_parts(self) -> list[Part]:
        """Everything up to the closing parenthesis."""
        parts: list[Part] = []
        operand_next = True
        while (word := self.words[self.at]) != ")":
            if operand_next and word != "RETURNING":
                parts.append(self.json_operand())
                operand_next = False
            elif word in _OPERAND_AFTER:
                self.at += 1
                parts.append(word)
                operand_next = True
            elif word == "COLUMNS":
                self.at += 1
                self.expect("(")
                parts.append(KeywordCall(this="COLUMNS", parts=self.closed(self.json_columns())))
            elif word == "ORDER":
                parts.append(self.some_order())
            else:
                parts += self.json_clause(word)
                operand_next = False
        return parts

    def json_operand(self) -> Part:
        """An argument: a query, or an expression, which ends where a clause begins."""
        if self.words[self.at] in ("SELECT", "VALUES", "WITH"):
            return self.query()
        return self.argument()

    def json_clause(self, word: str) -> list[Part]:
        """One word of a clause with the type or name that goes with it."""
        self.at += 1
        if word == "RETURNING":
            return [word, self.type_name()]
        if word == "AS":
            return [word, self.label()]
        if word == "ENCODING":
            return [word, self.name()]
        if word not in _JSON_WORDS:
            self.at -= 1
            self.fail()
        return [word]

    def some_order(self) -> exp.Order:
        """``ORDER BY …``, which is next."""
        order = self.order()
        if order is None:
            self.fail()
        return order

    def json_columns(self) -> list[Part]:
        """The columns of JSON_TABLE without the parentheses."""
        parts = self.json_column()
        while self.accept(","):
            parts.append(",")
            parts += self.json_column()
        return parts

    def json_column(self) -> list[Part]:
        """One column, or NESTED columns."""
        if self.words[self.at] == "NESTED" and self.peek() in ("PATH", "string"):
            self.at += 1
            parts: list[Part] = ["NESTED"]
            if self.accept("PATH"):
                parts.append("PATH")
            parts.append(self.string())
            if self.accept("AS"):
                parts += ["AS", self.name()]
            self.expect("COLUMNS", "(")
            return [*parts, KeywordCall(this="COLUMNS", parts=self.closed(self.json_columns()))]
        parts = [self.name()]
        if self.accept_words("FOR", "ORDINALITY"):
            return [*parts, "FOR", "ORDINALITY"]
        parts.append(self.type_name())
        while (word := self.words[self.at]) not in (",", ")"):
            if word == "PATH":
                self.at += 1
                parts += [word, self.string()]
            elif word == "DEFAULT":
                self.at += 1
                parts += [word, self.expr()]
            else:
                parts += self.json_clause(word)
        return parts

    # -- SQL/XML -------------------------------------------------------------------------------------------

    def xml_labelled(self) -> list[Part]:
        """``NAME n, x AS label, …`` up to the closing parenthesis."""
        parts: list[Part] = []
        while self.words[self.at] != ")":
            if self.words[self.at] == "NAME" and self.peek() in LABEL:
                self.at += 1
                parts += ["NAME", self.label()]
            elif self.accept("DEFAULT"):
                parts += ["DEFAULT", self.expr()]
            else:
                parts.append(self.expr())
                if self.accept("AS"):
                    parts += ["AS", self.label()]
            if self.accept(","):
                parts.append(",")
        return parts

    def xml_parts(self) -> list[Part]:
        """XMLPARSE, XMLSERIALIZE, XMLROOT, XMLEXISTS up to the closing parenthesis."""
        parts: list[Part] = []
        document = self.one_of("DOCUMENT", "CONTENT")
        if document is not None:
            parts.append(document)
        parts.append(self.expr())
        while (word := self.words[self.at]) != ")":
            self.at += 1
            parts.append(word)
            if word == "AS":
                parts.append(self.type_name())
            elif word == "PASSING":
                parts += self.xml_passing()
            elif word == "VERSION" and not (self.words[self.at] == "NO" and self.peek() == "VALUE"):
                parts.append(self.expr())
            elif word not in _XML_WORDS and word not in (",", "VERSION"):
                self.at -= 1
                self.fail()
        return parts

    def xml_passing(self) -> list[Part]:
        """``BY REF x BY VALUE``."""
        parts = self.xml_mechanism()
        parts.append(self.primary())
        return parts + self.xml_mechanism()

    def xml_mechanism(self) -> list[Part]:
        """``BY REF`` or ``BY VALUE`` if it is next."""
        if not self.accept("BY"):
            return []
        word = self.one_of("REF", "VALUE")
        if word is None:
            self.fail()
        return ["BY", word]

    def xml_table(self) -> list[Part]:
        """XMLTABLE's inside."""
        parts: list[Part] = []
        if self.words[self.at] == "XMLNAMESPACES":
            self.at += 1
            self.expect("(")
            parts += [KeywordCall(this="XMLNAMESPACES", parts=self.closed(self.xml_labelled())), ","]
            self.expect(",")
        parts.append(self.primary())
        self.expect("PASSING")
        parts += ["PASSING", *self.xml_passing()]
        self.expect("COLUMNS")
        parts += ["COLUMNS", *self.xml_column()]
        while self.accept(","):
            parts += [",", *self.xml_column()]
        return parts

    def xml_column(self) -> list[Part]:
        """One column of XMLTABLE."""
        parts: list[Part] = [self.name()]
        if self.accept_words("FOR", "ORDINALITY"):
            return [*parts, "FOR", "ORDINALITY"]
        parts.append(self.type_name())
        while (word := self.words[self.at]) not in (",", ")"):
            self.at += 1
            if word in ("PATH", "DEFAULT"):
                parts += [word, self.expr()]
            elif word in ("NOT", "NULL"):
                parts.append(word)
            else:
                self.at -= 1
                self.fail()
        return parts
