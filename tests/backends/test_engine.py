"""PostgreSQL's own parser as the road uses it: what it reads, and that nothing brings it down."""

from __future__ import annotations

import contextlib

import pytest

from datagate.backends.postgres.engine import (
    MAX_TEXT,
    canonical,
    deparse,
    parse_tree,
    without_positions,
)
from datagate.errors import StatementSyntaxError, UnsupportedConstruct

REPEATED = {
    "parentheses": ("select ", "(", "1", ")"),
    "subqueries": ("select ", "(select ", "1", ")"),
    "additions": ("select 1", "+1", "", ""),
    "negations": ("select ", "not ", "true", ""),
    "cases": ("select ", "case when true then ", "1", " end"),
    "unions": ("select 1", " union all select 1", "", ""),
    "joins": ("select * from a", " join b on true", "", ""),
    "casts": ("select a", "::int", "", ""),
    "rows": ("select ", "row(", "1", ")"),
    "arrays": ("select array", "[", "1", "]"),
    "with": ("", "with a as (", "select 1", ") select 1"),
    "minus": ("select ", "- ", "1", ""),
    "is null": ("select a", " is null", "", ""),
    "unclosed": ("select ", "exists(", "", ""),
}


@pytest.mark.parametrize("times", [10, 1_000, 20_000, 100_000])
@pytest.mark.parametrize("kind", REPEATED)
def test_deep_texts_end_in_a_tree_or_an_error(kind: str, times: int) -> None:
    """However deep a text nests, it is read or refused in plain words; the process lives on."""
    start, opening, middle, closing = REPEATED[kind]
    text = start + opening * times + middle + closing * times
    for read in (parse_tree, canonical):
        with contextlib.suppress(StatementSyntaxError, UnsupportedConstruct):
            read(text)


def test_a_wide_text_is_read() -> None:
    """Width is no depth: thousands of alternatives and list items are read."""
    alternatives = " or ".join(f"a = {number}" for number in range(5_000))
    items = ", ".join(str(number) for number in range(20_000))
    assert parse_tree(f"select 1 from t where ({alternatives}) and b in ({items})")["stmts"]


def test_a_text_over_the_limit_is_refused() -> None:
    """A text of more bytes than are read is refused before the parser sees it."""
    with pytest.raises(UnsupportedConstruct, match="at most"):
        parse_tree("select '" + "x" * MAX_TEXT + "'")


@pytest.mark.parametrize("text", ["select 1\0", "\0", "select '\0'"])
def test_nul_is_refused(text: str) -> None:
    """NUL would end the text for the C parser and not for us."""
    with pytest.raises(StatementSyntaxError, match="NUL") as caught:
        parse_tree(text)
    assert caught.value.position == text.index("\0") + 1


def test_half_a_surrogate_pair_is_refused() -> None:
    """What UTF-8 cannot carry is named with its place."""
    with pytest.raises(StatementSyntaxError, match="character 9"):
        parse_tree("select '\ud800'")


def test_a_syntax_error_counts_characters() -> None:
    """The position of an error is in characters of the caller's text, not in bytes."""
    with pytest.raises(StatementSyntaxError) as caught:
        parse_tree("select 'ééé', from")
    assert caught.value.position == len("select 'ééé', f")
    assert caught.value.sqlstate == "42601"


@pytest.mark.parametrize(
    "text",
    [
        "select $1,$2,(select max(ssn) from bank.customers) -- $1,$ as x",
        "select $$a$$, $x$b$x$, E'\\n', U&'\\0061', 0x1F, 1_000",
        "select interval '2 days ago', x !~ any(y), a::numeric(10,2)[]",
        "select * from only a.t x tablesample bernoulli (10) repeatable (3)",
    ],
)
def test_the_canonical_spelling_keeps_the_tree(text: str) -> None:
    """Lexical tricks go, the tree stays; also by way of a tree's own spelling."""
    tree = without_positions(parse_tree(text)["stmts"])
    assert without_positions(parse_tree(canonical(text))["stmts"]) == tree
    assert without_positions(parse_tree(deparse(parse_tree(text)))["stmts"]) == tree
