"""Compiles a decision into its guard: closed PostgreSQL text with bindings."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import assert_never

from datagate.backends.postgres.ahead import ahead_of
from datagate.backends.postgres.consents import ConsentSource, consent_condition
from datagate.backends.postgres.mask_types import cast
from datagate.backends.postgres.masks import is_total, mask_expression
from datagate.backends.postgres.predicate import compile_predicate, is_leakproof
from datagate.decision.writes import insertable, touchable
from datagate.errors import InternalError
from datagate.model.catalog import Catalog, Column, Relation
from datagate.model.decision import (
    TRUE,
    AllOf,
    AnyOf,
    CellCase,
    ColumnDecision,
    ConsentLive,
    Decision,
    Filter,
    RefersTo,
    Where,
)
from datagate.model.fragment import Binding, Fragment
from datagate.model.guard import Guard, GuardColumn, Target, TargetKey
from datagate.model.mask import MaskKind
from datagate.model.policy import Action
from datagate.verify.names import names_things


def quote(name: str) -> str:
    """An identifier in double quotes (PostgreSQL manual, 4.1.1)."""
    return '"' + name.replace('"', '""') + '"'


def row_relation(relation: Relation) -> str:
    """The relation's qualified, quoted name."""
    return f"{quote(relation.name.schema)}.{quote(relation.name.name)}"


SourceOf = Callable[[Relation], str]
"""The text of a FROM item that has a relation's rows."""


@dataclass(frozen=True, slots=True)
class _Compiler:
    decision: Decision
    catalog: Catalog
    consents: ConsentSource | None
    source_of: SourceOf
    alias: str = "g"

    def filter(self, wanted: Filter, relation: Relation, alias: str, depth: int) -> Fragment:
        """Closed text of a filter over the relation, which stands as ``alias``; every part in parentheses."""
        match wanted:
            case AllOf(parts):
                return self._joined(" AND ", parts, relation, alias, depth, empty="true")
            case AnyOf(parts):
                return self._joined(" OR ", parts, relation, alias, depth, empty="false")
            case Where():
                return self._where(wanted, alias)
            case ConsentLive():
                return self._consent(wanted, relation, alias)
            case RefersTo():
                return self._refers_to(wanted, alias, depth)
            case _:
                assert_never(wanted)

    def _joined(
        self, word: str, parts: tuple[Filter, ...], relation: Relation, alias: str, depth: int, empty: str
    ) -> Fragment:
        if not parts:
            return Fragment.of(empty)
        return Fragment.join(word, [Fragment.of("(", self.filter(part, relation, alias, depth), ")") for part in parts])

    def _where(self, where: Where, alias: str) -> Fragment:
        bindings = tuple(
            (placeholder, Binding(name, self.decision.bindings[name].type)) for placeholder, name in where.bindings
        )
        return compile_predicate(where.predicate.text, alias, bindings)

    def _consent(self, consent: ConsentLive, relation: Relation, alias: str) -> Fragment:
        column = relation.column(consent.column)
        whole = column is not None and column.base_type in _WHOLE_NUMBERS
        return consent_condition(consent, self.consents, f"{_spell(alias)}.{quote(consent.column)}", whole=whole)

    def _refers_to(self, there: RefersTo, alias: str, depth: int) -> Fragment:
        inner = f"g{depth + 1}"
        keys = " AND ".join(
            f"{inner}.{quote(other)} OPERATOR(pg_catalog.=) {_spell(alias)}.{quote(own)}" for own, other in there.on
        )
        relation = self.catalog.relations[there.relation]
        return Fragment.of(
            f"EXISTS (SELECT 1 FROM {self.source_of(relation)} AS {inner} WHERE {keys} AND (",
            self.filter(there.filter, relation, inner, depth + 1),
            "))",
        )

    def column(self, decided: ColumnDecision, column: Column, relation: Relation) -> tuple[Fragment, GuardColumn]:
        """The column's target-list entry, and what it exposes."""
        shown = [(case, *self._cell(case, column)) for case in decided.cases]
        types = {type_ for _, _, type_ in shown}
        if len(types) > 1:
            raise InternalError(f"rules show one caller column {column.name} in two types; run `datagate check`")
        raw = len(shown) == 1 and shown[0][0] == CellCase(TRUE, ())
        return (
            Fragment.of(self.value(decided, column, relation), f" AS {quote(column.name)}"),
            GuardColumn(
                name=column.name,
                raw=raw,
                type=types.pop(),
                leakproof=not column.collated and all(self._case_leakproof(case, relation) for case in decided.cases),
                digits=_shown_digits(decided, column),
            ),
        )

    def value(self, decided: ColumnDecision, column: Column, relation: Relation) -> Fragment:
        """The column as the caller sees it."""
        shown = [(case, self._cell(case, column)[0]) for case in decided.cases]
        if len(shown) == 1 and shown[0][0].when == TRUE:
            return shown[0][1]
        arms = [
            Fragment.of(" WHEN ", self.filter(case.when, relation, self.alias, 0), " THEN ", cell)
            for case, cell in shown
        ]
        return Fragment.of("CASE", *arms, " END")

    def _cell(self, case: CellCase, column: Column) -> tuple[Fragment, str]:
        cell = Fragment.of(f"{_spell(self.alias)}.{quote(column.name)}")
        type_ = column.base_type
        for mask in case.masks:
            cell, type_ = mask_expression(mask, cell, type_, tag="", sql_expression=self._sql_mask(type_))
        return cell, type_

    def _sql_mask(self, type_: str) -> Callable[[str], tuple[Fragment, str]]:
        """A steward's expression keeps the column's type: it is cast to it."""
        alias = self.alias
        return lambda text: (cast(Fragment.of("(", compile_predicate(text, alias, ()), ")"), type_), type_)

    def _case_leakproof(self, case: CellCase, relation: Relation) -> bool:
        return self._leakproof(case.when, relation) and all(
            is_total(mask) or is_leakproof(str(mask.option("expression")), relation) for mask in case.masks
        )

    def _leakproof(self, wanted: Filter, relation: Relation) -> bool:
        """Whether evaluating a filter in a cell can neither raise nor talk."""
        match wanted:
            case AllOf(parts) | AnyOf(parts):
                return all(self._leakproof(part, relation) for part in parts)
            case Where():
                return is_leakproof(wanted.predicate.text, relation)
            case ConsentLive():
                return True
            case RefersTo():
                return self._leakproof(wanted.filter, self.catalog.relations[wanted.relation])
            case _:
                assert_never(wanted)


def compile_guard(
    decision: Decision,
    relation: Relation,
    catalog: Catalog,
    consents: ConsentSource | None,
    *,
    source_of: SourceOf = row_relation,
    alias: str = "g",
) -> Guard:
    """The guard that the decision prescribes for the relation (the one named, or a partition or child of it).

    Columns stand in the relation's own order. ``consents``: where the statement itself reads consents, None where they
    travel as a list. ``source_of`` says where a relation's rows are: in itself, but for policies' examples.
    ``alias``: the name of the relation inside.
    Raises InternalError for a decision that no guard can express.
    """
    compiler = _Compiler(decision, catalog, consents, source_of, alias)
    decided: Mapping[str, ColumnDecision] = {column.name: column for column in decision.columns}
    hidden = naming_columns(relation)
    pairs = [
        compiler.column(decided[column.name], column, relation)
        for column in relation.columns
        if column.name in decided and column.name not in hidden
    ]
    filtered = Fragment.of(" WHERE ", compiler.filter(decision.filter, relation, alias, 0))
    return Guard(
        relation=relation.name,
        columns=tuple(column for _, column in pairs),
        primary_key=relation.primary_key,
        targets=tuple(target for target, _ in pairs),
        source=source_of(relation),
        alias=_spell(alias),
        after=filtered if decision.filter != TRUE else Fragment.of(""),
        joined=_joined(decision.filter, consents_within=consents is not None),
    )


def naming_columns(relation: Relation) -> frozenset[str]:
    """Columns of types that name things: a literal beside one would be looked up by name, so they exist for nobody."""
    return frozenset(column.name for column in relation.columns if names_things(column.base_type))


def compile_filter(
    wanted: Filter, decision: Decision, relation: Relation, catalog: Catalog, consents: ConsentSource | None, alias: str
) -> Fragment:
    """Closed text of a filter over the relation, which stands as ``alias``; ``decision`` has the bindings' types."""
    return _Compiler(decision, catalog, consents, row_relation, alias).filter(wanted, relation, alias, 0)


def compile_target(
    seen: Decision,
    decided: Decision,
    key: TargetKey,
    relation: Relation,
    catalog: Catalog,
    consents: ConsentSource | None,
) -> Target:
    """What a write is held to.

    Args:
        seen: the decision on reading the relation.
        decided: the decision on the key's action.
        key: what the statement does.
        relation: the relation that is written.
        catalog: for relations that filters refer to.
        consents: as for :func:`compile_guard`.
    """
    bindings = {**seen.bindings, **decided.bindings}
    both = replace(decided, bindings=bindings)

    def condition(wanted: Filter) -> Fragment | None:
        if wanted == TRUE:
            return None
        return compile_filter(wanted, both, relation, catalog, consents, key.alias)

    guard = compile_guard(seen, relation, catalog, consents, alias=key.alias)
    touch, check = _held_to(seen, decided, key)
    afterwards = condition(check) if check is not None else None
    ahead, settled = ahead_of(afterwards, key, relation, catalog.types)
    compiler = _Compiler(seen, catalog, consents, row_relation, key.alias)
    columns = {column.name: column for column in relation.columns}
    shown = {
        each.name: compiler.value(each, columns[each.name], relation)
        for each in seen.columns
        if each.name in columns and not _is_raw(guard, each.name)
    }
    return Target(
        guard=guard,
        seen=condition(seen.filter),
        shown=shown,
        touch=condition(touch) if touch is not None else None,
        check=afterwards,
        refusal=Fragment.of(f"datagate.refuse_row({_literal(str(relation.name))})"),
        ahead=ahead,
        settled=settled,
    )


def _held_to(seen: Decision, decided: Decision, key: TargetKey) -> tuple[Filter | None, Filter | None]:
    """The rows that may be touched, and what must hold of them afterwards."""
    match key.action:
        case Action.INSERT:
            return None, insertable(seen, decided, key.columns, returning=key.returning)
        case Action.UPDATE:
            rows = touchable(seen, decided, key.columns)
            return rows, rows
        case _:
            return touchable(seen, decided, ()), None


def _is_raw(guard: Guard, name: str) -> bool:
    column = guard.column(name)
    return column is not None and column.raw


def _literal(text: str) -> str:
    """A string constant (PostgreSQL manual, 4.1.2.1); the session has standard_conforming_strings on."""
    return "'" + text.replace("'", "''") + "'"


def _spell(alias: str) -> str:
    return alias if _PLAIN_ALIAS.fullmatch(alias) else quote(alias)


_PLAIN_ALIAS = re.compile("g[0-9]*")
CAPTURED = re.compile("k|k_[0-9n]+|g[0-9]*")
"""Names that guards use inside: what is written must not stand under one of them."""


def _joined(wanted: Filter, *, consents_within: bool) -> bool:
    """Whether a filter reads other relations: PostgreSQL turns such an EXISTS into a semi-join where it can."""
    match wanted:
        case AllOf(parts) | AnyOf(parts):
            return any(_joined(part, consents_within=consents_within) for part in parts)
        case Where():
            return False
        case ConsentLive():
            return consents_within
        case RefersTo():
            return True
        case _:
            assert_never(wanted)


_WHOLE_NUMBERS = frozenset({"int2", "int4", "int8"})
_INTEGER_DIGITS = {"int2": 5, "int4": 10, "int8": 19}


def _digits(column: Column) -> int | None:
    """How many integer digits the column's values have at most: by type, or numeric(p, s)'s p - s."""
    if column.base_type in _INTEGER_DIGITS:
        return _INTEGER_DIGITS[column.base_type]
    if column.base_type == "numeric" and column.type_text.startswith("numeric("):
        precision, _, scale = column.type_text.removeprefix("numeric(").removesuffix(")").partition(",")
        return int(precision) - int(scale or 0)
    return None


def _shown_digits(decided: ColumnDecision, column: Column) -> int | None:
    """The bound after masking: rounding carries into one digit more, other masks are not followed."""
    digits = _digits(column)
    if digits is None or any(mask.kind is not MaskKind.ROUND for case in decided.cases for mask in case.masks):
        return None
    return digits + max(len(case.masks) for case in decided.cases)
