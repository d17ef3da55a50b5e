"""Finds the guards that need a fence: those under a SELECT where something leaky of the caller's could sink.

What may sink into a scan: WHERE, ON, USING, HAVING but for what compares aggregates, the arguments of lateral
functions, and whatever such a condition names of a derived table's output.

A filter that the engine may turn into a join (consent, rows seen through another relation) comes later than the scan,
so more may come before it: sort keys, by which workers sort before they join; the output of derived tables, which is
computed inside the joins around them; and whether a FROM item is computed at all, which can hang on there being a row
to join it to.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from sqlglot import exp

from datagate.model.guard import Guard
from datagate.sql.dialect.nodes import Collation, FunctionSource, JoinGroup, Write
from datagate.sql.early import (
    aggregates,
    children,
    conjuncts,
    expressions_of,
    gathers_here,
    limited_plainly,
    memberships,
    own_conditions,
    sampled_plainly,
    sort_keys,
    subqueries,
)
from datagate.sql.guard import Fence
from datagate.sql.inventory import Reference
from datagate.sql.knowledge import PATTERN, Assumption, Knowledge
from datagate.sql.leakproof import judge
from datagate.sql.patterns import matches_patterns
from datagate.sql.scopes import (
    UNKNOWN,
    Output,
    Scope,
    Source,
    all_columns,
    as_map,
    belongs,
    derived,
    either,
    joined,
    leaky_join,
    merges,
    renamed,
)


def find_fences(
    tree: exp.Expression,
    references: Sequence[Reference],
    guards: Mapping[int, Guard],
    respelled: frozenset[int],
    *,
    assuming: bool,
) -> tuple[dict[Reference, Fence], frozenset[Assumption]]:
    """The references that need a fence, each with the conjuncts that may be copied inside.

    ``respelled``: column nodes (by identity) that no longer stand as the caller wrote them; conjuncts with such are
    not copied. With ``assuming``, casts of the caller's parameters are taken to succeed; the assumptions are the
    second result.
    """
    finder = _Finder({id(reference.table): reference for reference in references}, guards, respelled, assuming=assuming)
    seen: set[int] = set()
    for node in tree.find_all(exp.Parameter):
        (finder.often if int(node.name) in seen else seen).add(int(node.name))
    finder.query(tree, None, {})
    fences = finder.fences
    plain = frozenset(each.parameter for each in finder.assumptions if each.type == PATTERN)
    if fences and matches_patterns(tree, plain):
        fences = {reference: replace(fence, blind=True) for reference, fence in fences.items()}
    return fences, frozenset(finder.assumptions)


class _Finder:
    def __init__(
        self,
        by_table: Mapping[int, Reference],
        guards: Mapping[int, Guard],
        respelled: frozenset[int],
        *,
        assuming: bool,
    ) -> None:
        self._assuming = assuming
        self._respelled = respelled
        self.assumptions: set[Assumption] = set()
        self.often: set[int] = set()
        self._by_table = by_table
        self._guards = guards
        self.fences: dict[Reference, Fence] = {}
        self._outputs: dict[int, Output] = {}

    def query(self, node: exp.Expression, outer: Scope | None, ctes: Mapping[str, Output]) -> Output:
        """Analyse a query expression of any kind; each node is analysed once."""
        found = self._outputs.get(id(node))
        if found is None:
            found = self._query(node, outer, ctes)
            if not limited_plainly(node):
                found = replace(found, leakproof=False)
            self._outputs[id(node)] = found
        return found

    def _query(self, node: exp.Expression, outer: Scope | None, ctes: Mapping[str, Output]) -> Output:
        ctes = self._with(node, outer, ctes)
        if isinstance(node, exp.Select):
            return self._select(node, outer, ctes)
        if isinstance(node, exp.SetOperation):
            return self._set_operation(node, outer, ctes)
        if isinstance(node, exp.Subquery):
            return self.query(node.this, outer, ctes)
        if isinstance(node, Write):
            return self._write(node, outer, ctes)
        return self._other(node, outer, ctes)

    def _write(self, write: Write, outer: Scope | None, ctes: Mapping[str, Output]) -> Output:
        """A write is a join of its target with its other items; values and RETURNING are computed for what passes it.

        An arm of MERGE is asked for rows that passed the join, or, where the source has none for them, for all.
        """
        scope = Scope(outer=outer)
        conditions: list[exp.Expression] = []
        if write.args.get("source") is not None:
            self.query(write.args["source"], outer, ctes)
        self._item(write.args["target"], scope, ctes, conditions)
        conditions += self._from(write, scope, ctes)
        for key in ("where", "on"):
            if write.args.get(key) is not None:
                clause = write.args[key]
                conditions += conjuncts(clause.this if isinstance(clause, exp.Where) else clause)
        sinking = any(source.sinking for source in scope.sources) or leaky_join(write, scope)
        for condition in conditions:
            sinking = not self._judge(condition, scope, ctes).leakproof or sinking
        if sinking:
            self._fence(write, scope, ctes, joined_only=False)
        several = len(scope.sources) > 1
        if (several and not all(source.leakproof for source in scope.sources)) or not all(
            self._shows_leakproof(source) for source in scope.sources
        ):
            self._fence(write, scope, ctes, joined_only=True)
        for key in ("sets", "conflict", "arms", "returning"):
            for part in children(write.args.get(key)):
                self._after(part, scope, ctes)
        return Output(None, leakproof=False, below=[], sinking=True)

    def _with(self, node: exp.Expression, outer: Scope | None, ctes: Mapping[str, Output]) -> Mapping[str, Output]:
        with_ = node.args.get("with_")
        if with_ is None:
            return ctes
        known = dict(ctes)
        if with_.args.get("recursive"):
            # What a recursive item gives is what it gives: nothing is assumed of it.
            known.update({item.alias: UNKNOWN for item in with_.expressions})
        for item in with_.expressions:
            output = self.query(item.this, outer, known)
            if with_.args.get("recursive"):
                output = Output(None, leakproof=False, below=output.below, sinking=output.sinking)
            known[item.alias] = renamed(output, item.alias_column_names)
        return known

    def _select(self, select: exp.Select, outer: Scope | None, ctes: Mapping[str, Output]) -> Output:
        scope = Scope(outer=outer)
        conditions = self._from(select, scope, ctes)
        sinking = any(source.sinking for source in scope.sources)
        for condition in [*conditions, *own_conditions(select, scope)]:
            sinking = not self._judge(condition, scope, ctes).leakproof or sinking
        sinking = sinking or leaky_join(select, scope)
        if sinking:
            self._fence(select, scope, ctes, joined_only=False)
        columns: list[tuple[str, Knowledge]] | None = []
        leakproof = not sinking and all(source.leakproof for source in scope.sources)
        for item in select.expressions:
            named = self._output_item(item, scope, ctes)
            columns = None if columns is None or named is None else columns + named
            leakproof = leakproof and named is not None and all(known.leakproof for _, known in named)
        for key in ("group", "order", "distinct", "limit", "offset", "windows", "having"):
            for node in children(select.args.get(key)):
                leakproof = self._after(node, scope, ctes) and leakproof
        leakproof = leakproof and all(gathers_here(call, scope) for call in aggregates(select.expressions))
        if self._early(select, scope, ctes):
            self._fence(select, scope, ctes, joined_only=True)
        below = [reference for source in scope.sources for reference in source.below]
        return Output(columns, leakproof, below, sinking)

    def _early(self, select: exp.Select, scope: Scope, ctes: Mapping[str, Output]) -> bool:
        """Whether something leaky may be computed after the scans, but before what a guard's filter joins them to."""
        if not all(self._shows_leakproof(source) for source in scope.sources):
            return True
        several = len(scope.sources) > 1 or any(source.several for source in scope.sources)
        if several and not all(source.leakproof for source in scope.sources):
            return True
        return not all(self._sortable(key, scope, ctes) for key in sort_keys(select) if not aggregates([key]))

    def _sortable(self, key: exp.Expression, scope: Scope, ctes: Mapping[str, Output]) -> bool:
        """Whether computing a sort key, or all columns that a ``*`` means, is leak-proof."""
        if isinstance(key, exp.Star) or isinstance(key.this, exp.Star):
            named = self._output_item(key, scope, ctes)
            return named is not None and all(known.leakproof for _, known in named)
        return self._judge(key.this if isinstance(key, exp.Alias) else key, scope, ctes).leakproof

    def _shows_leakproof(self, source: Source) -> bool:
        """Whether the source is no guard that computes something leaky, as a steward's own mask may be."""
        if source.reference is None:
            return True
        return all(column.leakproof for column in self._guards[source.reference.relation.oid].columns)

    def _from(self, select: exp.Expression, scope: Scope, ctes: Mapping[str, Output]) -> list[exp.Expression]:
        """Fill the scope; give the conditions that stand in the FROM clause."""
        conditions: list[exp.Expression] = []
        from_ = select.args.get("from_")
        if from_ is not None:
            self._item(from_.this, scope, ctes, conditions)
        self._joins(select.args.get("joins") or [], scope, ctes, conditions, 0)
        for lateral in select.args.get("laterals") or []:
            self._item(lateral, scope, ctes, conditions)
        return conditions

    def _joins(
        self,
        joins: Iterable[exp.Join],
        scope: Scope,
        ctes: Mapping[str, Output],
        conditions: list[exp.Expression],
        first: int,
    ) -> None:
        for join in joins:
            before = len(scope.sources)
            self._item(join.this, scope, ctes, conditions)
            side = (join.side or "").upper()
            if side in ("LEFT", "FULL"):
                for source in scope.sources[before:]:
                    source.nullable = True
            if side in ("RIGHT", "FULL"):
                for source in scope.sources[first:before]:
                    source.nullable = True
            if join.args.get("on") is not None:
                conditions.extend(conjuncts(join.args["on"]))

    def _item(
        self, node: exp.Expression, scope: Scope, ctes: Mapping[str, Output], conditions: list[exp.Expression]
    ) -> None:
        if isinstance(node, exp.Table):
            scope.sources.append(self._table(node, ctes))
        elif isinstance(node, JoinGroup):
            self._group(node, scope, ctes, conditions)
        elif isinstance(node, FunctionSource):
            conditions.extend(node.expressions)
            scope.sources.append(Source(node.alias, None, []))
        elif isinstance(node, exp.Subquery | exp.Lateral):
            output = self.query(node.this, scope, ctes)
            scope.sources.append(derived(node.alias, renamed(output, node.alias_column_names)))
        else:
            scope.sources.append(derived(node.alias_or_name, self._other(node, scope, ctes)))

    def _group(
        self, node: JoinGroup, scope: Scope, ctes: Mapping[str, Output], conditions: list[exp.Expression]
    ) -> None:
        inner = Scope(outer=scope.outer) if node.args.get("alias") else scope
        first = len(inner.sources)
        self._item(node.this, inner, ctes, conditions)
        self._joins(node.args["joins"], inner, ctes, conditions, first)
        if inner is not scope:
            # An aliased join hides its members' names; its columns are not followed.
            scope.sources.append(joined(node.alias, inner.sources))

    def _table(self, table: exp.Table, ctes: Mapping[str, Output]) -> Source:
        reference = self._by_table.get(id(table))
        names = table.alias_column_names
        if reference is None:
            return derived(table.alias_or_name, renamed(ctes.get(table.name, UNKNOWN), names))
        guard = self._guards[reference.relation.oid]
        columns = [(column.name, Knowledge(column.leakproof, column.type, column.digits)) for column in guard.columns]
        output = renamed(Output(columns, leakproof=True, below=[reference]), names)
        plain = sampled_plainly(table.args.get("sample"))
        known, whole = as_map(output.columns), None if names else reference
        return Source(reference.alias, known, [reference], whole, leakproof=plain)

    def _judge(self, node: exp.Expression, scope: Scope, ctes: Mapping[str, Output]) -> Knowledge:
        # Every subquery is analysed, whatever the judgement comes to: each has conditions of its own.
        outputs = {id(inner): self.query(inner, scope, ctes) for inner in subqueries(node)}

        def query(inner: exp.Expression) -> Knowledge:
            exists = isinstance(inner, exp.Exists)
            output = outputs.get(id(inner.this if exists else inner), UNKNOWN)
            if exists:
                return Knowledge(output.leakproof, "bool")
            known = output.columns[0][1] if output.columns and len(output.columns) == 1 else None
            if known is None:
                return Knowledge(output.leakproof)
            return Knowledge(output.leakproof, known.type, known.digits, pieces=known.pieces)

        for member in memberships(node):
            # The engine may turn such a subquery into a join, of which the comparison is a condition like any other.
            if not judge(member, scope.resolve, query, self._assume).leakproof:
                inner = member.args.get("query") or member.expression
                self._fence_plainly(outputs.get(id(inner), UNKNOWN).below)
        return judge(node, scope.resolve, query, self._assume)

    def _assume(self, assumption: Assumption) -> bool:
        if self._assuming:
            self.assumptions.add(replace(assumption, once=assumption.parameter not in self.often))
        return self._assuming

    def _after(self, node: exp.Expression, scope: Scope, ctes: Mapping[str, Output]) -> bool:
        """A clause that is computed after the conditions: its subqueries have conditions of their own."""
        judged = [self._judge(part, scope, ctes) for part in expressions_of(node)]
        return all(known.leakproof for known in judged)

    def _output_item(
        self, item: exp.Expression, scope: Scope, ctes: Mapping[str, Output]
    ) -> list[tuple[str, Knowledge]] | None:
        if isinstance(item, exp.Star):
            return all_columns(scope.sources)
        if isinstance(item, exp.Column) and isinstance(item.this, exp.Star):
            return all_columns([source for source in scope.sources if source.alias == item.table])
        value = item.this if isinstance(item, exp.Alias) else item
        known = self._judge(value, scope, ctes)
        if value.find(Collation) is not None:
            # Further out the collation is implicit, and comparing two of those fails.
            known = Knowledge(leakproof=False, type=known.type)
        return [(item.alias_or_name, known)]

    def _set_operation(self, node: exp.SetOperation, outer: Scope | None, ctes: Mapping[str, Output]) -> Output:
        left = self.query(node.this, outer, ctes)
        right = self.query(node.expression, outer, ctes)
        below = left.below + right.below
        leakproof = left.leakproof and right.leakproof
        sinking = left.sinking or right.sinking
        for key in ("order", "limit", "offset"):
            for child in children(node.args.get(key)):
                self._after(child, Scope(outer=outer), ctes)
        if not leakproof:
            # Each side may be sorted by its output, early.
            self._fence_plainly([each for each in below if self._guards[each.relation.oid].joined])
        return Output(either(left, right), leakproof, below, sinking)

    def _other(self, node: exp.Expression, outer: Scope | None, ctes: Mapping[str, Output]) -> Output:
        """VALUES and whatever is not known: subqueries inside are analysed, the whole is leaky unless all literal."""
        scope = Scope(outer=outer)
        leakproof = True
        for child in expressions_of(node):
            leakproof = self._judge(child, scope, ctes).leakproof and leakproof
        columns = self._values(node, scope, ctes) if isinstance(node, exp.Values) else None
        return Output(columns, leakproof and columns is not None, [])

    def _values(self, node: exp.Values, scope: Scope, ctes: Mapping[str, Output]) -> list[tuple[str, Knowledge]]:
        """The columns of VALUES; an untyped constant or parameter becomes text where all in its column are so."""
        out = []
        for place, cells in enumerate(zip(*(row.expressions for row in node.expressions), strict=True), 1):
            known = [self._judge(cell, scope, ctes) for cell in cells]
            types = {each.type for each in known}
            type_ = next(iter(types)) if len(types) == 1 else None
            leakproof = type_ is not None and all(each.leakproof for each in known)
            pieces = max(each.pieces for each in known)
            out.append((f"column{place}", Knowledge(leakproof, "text" if type_ == "unknown" else type_, pieces=pieces)))
        return out

    def _fence(self, select: exp.Expression, scope: Scope, ctes: Mapping[str, Output], *, joined_only: bool) -> None:
        """Fence what stands below; ``joined_only``: no more than the guards that the engine may turn into joins."""
        where = select.args.get("where")
        parts = list(conjuncts(where.this)) if where is not None else []
        if any(merges(join) for join in select.find_all(exp.Join)):
            # Columns that USING merges are no column of one source; only qualified names are certain then.
            parts = [part for part in parts if all(column.table for column in part.find_all(exp.Column))]
        for source in scope.sources:
            for reference in source.below:
                if joined_only and not self._guards[reference.relation.oid].joined:
                    continue
                copied: tuple[exp.Expression, ...] = ()
                if source.reference is reference and not source.nullable:
                    copied = tuple(part for part in parts if self._copyable(part, source, scope, ctes))
                self.fences.setdefault(reference, Fence(copied))

    def _fence_plainly(self, references: Iterable[Reference]) -> None:
        for reference in references:
            self.fences.setdefault(reference, Fence(()))

    def _copyable(self, part: exp.Expression, source: Source, scope: Scope, ctes: Mapping[str, Output]) -> bool:
        """Whether a conjunct may also stand inside the fence: about this source alone, leak-proof, no subquery."""
        if part.find(exp.Subquery, exp.Exists, exp.Select, exp.SetOperation, exp.Values) is not None:
            return False
        columns = list(part.find_all(exp.Column))
        if not columns or not all(belongs(column, source, scope) for column in columns):
            return False
        if any(id(column) in self._respelled for column in columns):
            return False
        return self._judge(part, scope, ctes).leakproof
