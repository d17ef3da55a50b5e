"""A steward's predicate, compiled into text that nothing can capture."""

from __future__ import annotations

import pytest

from datagate.backends.postgres.predicate import (
    PostgresPredicates,
    compile_predicate,
    is_leakproof,
    spell_parameter,
)
from datagate.model.catalog import Column, Relation, RelationKind
from datagate.model.fragment import Binding
from datagate.model.names import RelationName
from datagate.model.values import ValueType
from datagate.policy.predicate import PredicateFault

REGIONS = Binding("principal.regions", ValueType.TEXT_ARRAY)


def compiled(text: str, **bindings: Binding) -> str:
    """The closed text, with every binding as parameter 7."""
    pairs = tuple((name.replace("__", "."), binding) for name, binding in bindings.items())
    return compile_predicate(text, "g", pairs).render(lambda binding: spell_parameter(binding, 7))


@pytest.mark.parametrize(
    ("text", "closed"),
    [
        ("a = 1", "g.a OPERATOR(pg_catalog.=) 1"),
        ("lower(\"Name\") like 'x%'", "pg_catalog.lower(g.\"Name\") LIKE 'x%'"),
        ("not a < b or c is null", "NOT g.a OPERATOR(pg_catalog.<) g.b OR g.c IS NULL"),
        ("a::text = 'x'", "g.a::pg_catalog.text OPERATOR(pg_catalog.=) 'x'"),
        (
            "d > :now - interval '1 day'",
            "g.d OPERATOR(pg_catalog.>) (pg_catalog.statement_timestamp() OPERATOR(pg_catalog.-) '1 day'::interval)",
        ),
        ("t = 'a:now' -- :now", "g.t OPERATOR(pg_catalog.=) 'a:now'"),
    ],
)
def test_names_are_qualified(text: str, closed: str) -> None:
    """Columns, functions, operators and types are qualified; a placeholder in a string or a comment is none."""
    assert compiled(text) == closed


def test_placeholders_become_typed_parameters() -> None:
    """A placeholder travels as a parameter with its type, as often as it stands there."""
    text = compiled("r = any(:principal.regions) or s = any(:principal.regions)", principal__regions=REGIONS)
    assert text.count("$7::pg_catalog.text[]") == 2


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("(select 1) = 1", "subquery"),
        ("a = $1", "numbered parameter"),
        ("t.a = 1", "qualified name"),
        ("a = 1; drop table t", "syntax error"),
        ("a = ", "syntax error"),
        ("count(*) > 1", "aggregate"),
        ("rank() over () = 1", "aggregate or window"),
    ],
)
def test_what_is_no_predicate_is_refused(text: str, why: str) -> None:
    """A predicate is one expression over one row."""
    with pytest.raises(PredicateFault, match=why):
        PostgresPredicates().read(text)


def test_a_function_must_be_pure_or_named_with_its_schema() -> None:
    """With a catalog at hand, a function that is not pure is refused; a qualified one is told to the policy room."""
    reader = PostgresPredicates(frozenset({"lower"}))
    with pytest.raises(PredicateFault, match="pg_read_file"):
        reader.read("pg_read_file(a) = 'x'")
    parts = reader.read("risk.score(a, lower(b)) > :mandate.floor")
    assert parts.functions == ("risk.score",)
    assert parts.placeholders == ("mandate.floor",)
    assert parts.columns == ("a", "b")


def _relation() -> Relation:
    columns = tuple(
        Column(name, number, type_, "pg_catalog", type_, type_, False, False, False, "")
        for number, (name, type_) in enumerate([("a", "int4"), ("t", "text"), ("b", "numeric")], 1)
    )
    return Relation(1, RelationName("s", "r"), RelationKind.TABLE, columns, (), None, None, ())


@pytest.mark.parametrize(
    ("text", "leakproof"),
    [
        ("a = 1 and t like 'x%'", True),
        ("t = any(:principal.regions)", True),
        ("1 / a = 1", False),
        ("t::int = 1", False),
        ("a + 1 = 2", False),
        ("missing = 1", False),
    ],
)
def test_leakproof_predicates(text: str, *, leakproof: bool) -> None:
    """A predicate that may raise on some value is leaky."""
    assert is_leakproof(text, _relation()) is leakproof
