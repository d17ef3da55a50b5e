"""The walk over two trees side by side: the original's and the final text's. See :mod:`datagate.verify.postgres`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from datagate.model.catalog import RelationKind
from datagate.model.lookup import Lookup
from datagate.model.names import RelationName
from datagate.verify.checks import Checks
from datagate.verify.fence import Place, Source, check_conjuncts, conjuncts, unfence
from datagate.verify.grammar import GRAMMAR, NODE, NODES, OWN, SINCE, VALUE
from datagate.verify.lookup import condition, is_constant_in_row, reads_oids
from datagate.verify.mismatch import differs, forbidden, unguarded
from datagate.verify.names import Names
from datagate.verify.prescription import Prescription, read_guard, read_view
from datagate.verify.ranges import Ranges
from datagate.verify.scope import Scope, Select
from datagate.verify.target import Items, Meaning, Target, meaning
from datagate.verify.tree import Tree, kind_of, strings

_PLACED = frozenset({"JoinExpr", "WithClause"})
"""Kinds that other methods compare where the engine has them; elsewhere parts of them would be passed over."""


class Walk:
    """One verification. In every method ``o`` is the original's node and ``f`` the final text's in the same place."""

    def __init__(
        self,
        names: Names,
        prescriptions: Mapping[RelationName, Prescription],
        lookups: Mapping[str, Lookup] = MappingProxyType({}),
    ) -> None:
        self.names = names
        self.prescriptions = prescriptions
        self.checks = Checks(names, prescriptions)
        self.items = Items(names, prescriptions)
        self.ranges = Ranges(names)
        self.guard_parameters: set[int] = set()
        self.depth = 0
        self.own: Mapping[str, Callable[[Tree, Tree, Scope], None]] = {
            "SelectStmt": self._select,
            "ColumnRef": self._column_ref,
            "TypeCast": self._type_cast,
        }
        self.lookups = lookups

    def statement(self, o: Tree, f: Tree) -> None:
        """Compare two whole statements; Mismatch, or nothing."""
        self._node(o, f, Scope())
        self.ranges.settle()
        if self.checks.parameters & self.guard_parameters:
            raise unguarded("a parameter of the caller's has the number of a policy's")

    # Nodes in general.

    def _node(self, o: Tree, f: Tree, scope: Scope) -> None:
        """A node in a place that takes any kind: ``{kind: body}``, or ``{}`` for none."""
        if o.keys() != f.keys():
            if o.keys() == {"FuncCall"} and f.keys() == {"CaseExpr"}:
                self._lookup(o["FuncCall"], f["CaseExpr"], scope)
                return
            if o.keys() == {"TypeCast"} and f.keys() == {"CaseExpr"}:
                self._name_cast(o["TypeCast"], f["CaseExpr"], scope)
                return
            if o.keys() == {"ColumnRef"} and scope.target is not None:
                self._masked_column(o["ColumnRef"], f, scope, scope.target)
                return
            raise differs(f"{kind_of(o) or 'a missing node'}, now {kind_of(f) or 'missing'}")
        for kind, body in o.items():
            self._body(kind, body, f[kind], scope)

    def _body(self, kind: str, o: Tree, f: Tree, scope: Scope) -> None:
        """A node of a known kind."""
        self.depth += 1
        own = self.own.get(kind)
        if own is not None:
            own(o, f, scope)
        elif kind in _PLACED:
            raise forbidden(f"{kind} out of its place")
        else:
            self._fields(kind, o, f, scope)
            check = self.checks.by_kind.get(kind)
            if check is not None:
                check(o)
        self.depth -= 1

    def _fields(self, kind: str, o: Tree, f: Tree, scope: Scope) -> None:
        """All fields of a node, but for those that another method compares."""
        shapes = GRAMMAR.get(kind)
        if shapes is None or SINCE.get(kind, 0) > self.names.catalog.server_version:
            raise forbidden(f"a node {kind}")
        if o.keys() != f.keys():
            raise differs(f"{kind}: {', '.join(sorted(o.keys() ^ f.keys()))}")
        for name, value in o.items():
            shape = shapes.get(name)
            if shape == VALUE:
                if value != f[name]:
                    raise differs(f"{kind}.{name}")
            elif shape == NODE:
                self._node(value, f[name], scope)
            elif shape == NODES:
                self._nodes(value, f[name], scope)
            elif shape is None:
                raise forbidden(f"{kind}.{name}")
            elif shape != OWN:
                self._body(shape, value, f[name], scope)

    def _nodes(self, o: Sequence[Tree], f: Sequence[Tree], scope: Scope) -> None:
        if len(o) != len(f):
            raise differs(f"the length of a list of {kind_of(o[0])}")
        for one, other in zip(o, f, strict=True):
            self._node(one, other, scope)

    # Statements.

    def _select(self, o: Tree, f: Tree, scope: Scope) -> None:
        scope = self._with(o, f, scope)
        select = Select(tuple(conjuncts(o.get("whereClause"))))
        o_from, f_from = o.get("fromClause", ()), f.get("fromClause", ())
        if len(o_from) != len(f_from):
            raise differs("the number of FROM items")
        lateral = scope.below(self.items.level(o_from, scope.ctes, unsure=True)) if scope.target else scope
        for one, other in zip(o_from, f_from, strict=True):
            self._from_item(one, other, scope, lateral, select, Place())
        if scope.target is not None:
            # Behind a set operation names are those of its output.
            unsure = o.get("op", "SETOP_NONE") != "SETOP_NONE"
            level = self.items.level(o_from, scope.ctes)
            scope = scope.below(replace(level, unknown=level.unknown or unsure))
        self._group_by(o.get("groupClause", ()), f.get("groupClause", ()), scope, select)
        self._fields("SelectStmt", o, f, scope)

    def _with(self, o: Tree, f: Tree, scope: Scope) -> Scope:
        """The scope inside a statement with this WITH (PostgreSQL manual, 7.8).

        An item of WITH sees its elder siblings, of WITH RECURSIVE all of them; the statement sees all. An item hides
        an outer one of the same name, and a relation that is named without its schema.
        """
        if ("withClause" in o) != ("withClause" in f):
            raise differs("WITH")
        if "withClause" not in o:
            return scope
        one, other = o["withClause"], f["withClause"]
        self._fields("WithClause", one, other, scope)
        if len(one["ctes"]) != len(other["ctes"]):
            raise differs("the number of WITH items")
        if one.get("recursive"):
            scope = scope.plus(*(item["CommonTableExpr"]["ctename"] for item in one["ctes"]))
        for item, final_item in zip(one["ctes"], other["ctes"], strict=True):
            self._node(item, final_item, scope)
            scope = scope.plus(item["CommonTableExpr"]["ctename"])
        return scope

    def _group_by(self, o: Sequence[Tree], f: Sequence[Tree], scope: Scope, select: Select) -> None:
        """The final GROUP BY may go on with columns of a guarded relation whose whole primary key is in the original's.

        The rows of a group then come from one row of that relation, or from none (an outer join, where all its columns
        are NULL): the further columns are the same throughout the group and split nothing. PostgreSQL itself lets a
        statement name such columns ungrouped (manual, 7.2.3), but does not see through the guard.
        """
        self._nodes(o, f[: len(o)], scope)
        for extra in f[len(o) :]:
            if any("GroupingSet" in item for item in o):
                raise differs("GROUP BY, with grouping sets,")
            if not any(self._determined(extra, o, source) for source in select.sources):
                raise differs("GROUP BY")

    def _determined(self, extra: Tree, grouped: Sequence[Tree], source: Source) -> bool:
        key = frozenset(self.names.catalog.relations[source.relation].primary_key)
        return (
            source.column(extra) is not None
            and len(extra["ColumnRef"]["fields"]) == 2
            and bool(key)
            and key <= source.guard.raw
            and key <= {source.column(item) for item in grouped}
            and not self._has_heirs(source.relation)
        )

    def _has_heirs(self, name: RelationName) -> bool:
        """Whether tables inherit from it: its primary key says nothing of their rows (partitions are no heirs)."""
        relations = self.names.catalog.relations
        partitioned = relations[name].kind is RelationKind.PARTITIONED
        return not partitioned and any(heir.parent == name for heir in relations.values())

    # FROM.

    def _from_item(self, o: Tree, f: Tree, scope: Scope, lateral: Scope, select: Select, place: Place) -> None:
        """An item of FROM; ``lateral`` is the scope of what may see the items beside it."""
        kind = kind_of(o)
        if kind == "RangeVar":
            self._range_var(o, f, scope, select, place, sample=None)
        elif kind == "RangeTableSample":
            self.checks.sample(o[kind])
            self._range_var(o[kind]["relation"], f, scope, select, place, sample=o[kind])
        elif kind == "JoinExpr":
            self._join(o, f, scope, lateral, select, place)
        else:
            inner = scope if kind == "RangeSubselect" and "lateral" not in o[kind] else lateral
            self._node(o, f, inner)
            self.ranges.add_item(kind, o[kind])

    def _join(self, o: Tree, f: Tree, scope: Scope, lateral: Scope, select: Select, place: Place) -> None:
        if kind_of(f) != "JoinExpr":
            raise differs("JoinExpr")
        one, other = o["JoinExpr"], f["JoinExpr"]
        self._fields("JoinExpr", one, other, lateral)
        merging = "usingClause" in one or "isNatural" in one
        if merging:
            self.names.check_operators("=")
        for side, preserving in (("larg", "JOIN_LEFT"), ("rarg", "JOIN_RIGHT")):
            below = Place(
                nullable=place.nullable or one["jointype"] not in ("JOIN_INNER", preserving),
                hidden=place.hidden or "alias" in one,
                merged=place.merged or merging,
            )
            self._from_item(one[side], other[side], scope, lateral, select, below)
        self.ranges.add_join(one)

    def _range_var(self, o: Tree, f: Tree, scope: Scope, select: Select, place: Place, *, sample: Tree | None) -> None:
        """A name in FROM: an item of WITH, which stays, or a relation, in whose place its guard or view must stand."""
        var = o["RangeVar"]
        if "catalogname" in var:
            raise forbidden("a relation named with its database")
        if "schemaname" not in var and var["relname"] in scope.ctes:
            if f != o or sample is not None:
                raise unguarded("in the place of a WITH item stands something else")
            self.ranges.add_query(var.get("alias", {}).get("aliasname", var["relname"]))
            return
        if self.names.catalog.is_temporary(var.get("schemaname"), var["relname"]) and not scope.in_view:
            if f != {"RangeVar": {**var, "schemaname": "pg_temp"}} or sample is not None:
                raise unguarded("a temporary table is not named with its schema")
            self.ranges.add_temporary(var.get("alias", {}).get("aliasname", var["relname"]))
            return
        if "schemaname" not in var and scope.in_view:
            raise unguarded("a view names a relation without its schema")
        name = self.names.relation(var.get("schemaname"), var["relname"])
        prescription = self.prescriptions.get(name) if name is not None else None
        if name is None or prescription is None:
            raise unguarded(f"no guard is prescribed for {var['relname']}")
        alias = var.get("alias", {"aliasname": var["relname"]})
        match f:
            case {"RangeSubselect": {"subquery": subquery, "alias": found, **rest}} if found == alias and not rest:
                inner, copied = unfence(subquery, alias["aliasname"]) or (subquery, ())
            case _:
                raise unguarded(f"{name} is not guarded, or not under the name that it had")
        only = "inh" not in var
        unaliased = name if "alias" not in var else None
        match prescription:
            case Prescription(guard=str() as text, view_sql=None):
                guard = read_guard(text, name)
                if inner != guard.body(only=only, sample=sample):
                    raise unguarded(f"in the place of {name} stands something other than its guard")
                source = Source(name, alias["aliasname"], "colnames" in alias, guard, place)
                check_conjuncts(copied, source, select.required)
                select.sources.append(source)
                self.guard_parameters |= guard.parameters
                self.ranges.add_relation(unaliased, alias, guard.columns)
            case Prescription(guard=None, view_sql=str() as text):
                # ONLY before a view says nothing: a view has no heirs.
                if sample is not None or copied:
                    raise unguarded(f"TABLESAMPLE or a filtering fence on the view {name}")
                self._node(read_view(text), inner, Scope(in_view=True))
                columns = self.names.catalog.relations[name].columns
                self.ranges.add_relation(unaliased, alias, tuple(column.name for column in columns))
            case _:
                raise unguarded(f"the prescription for {name} is neither a guard nor a view")

    # Expressions that need more than equality.

    def _lookup(self, o: Tree, f: Tree, scope: Scope) -> None:
        """A call that looks an object up by OID, made conditional on the OID being in a guarded catalog.

        ``f(oid, …)`` stands as ``CASE WHEN (oid IN (SELECT c.oid FROM <guard> AS c)) IS NOT TRUE THEN NULL ELSE
        f(oid, …) END``, whose output column is named like the call. Condition and call compute the OID
        apart, so it must be made of what gives the same value twice. The left side of IN is
        outside the subquery's scope: nothing in there can capture its names.
        """
        name = strings(o["funcname"])
        lookup = self.lookups.get(name[-1]) if name[:-1] in ([], ["pg_catalog"]) else None
        if lookup is None or name[-1] in self.names.catalog.user_functions:
            raise differs("FuncCall, now CaseExpr")
        if o.keys() - {"funcname", "args", "funcformat"}:
            raise forbidden(f"{name[-1]} with more than arguments")
        call = self._held(f, "FuncCall", name[-1])
        arguments = call.get("args", ())
        places = [lookup.argument, *([lookup.also[0]] if lookup.also is not None else [])]
        held = [arguments[place] if place < len(arguments) else {} for place in places]
        self._hold(f, held, lookup, name[-1])
        self._fields("FuncCall", o, call, scope)

    def _name_cast(self, o: Tree, f: Tree, scope: Scope) -> None:
        """A cast of an OID to a type that shows the name of what has it, held to the catalog in the same way."""
        names = strings(o["typeName"]["names"])
        lookup = self.lookups.get(f"::{names[-1]}") if names[:-1] in ([], ["pg_catalog"]) else None
        if lookup is None or o["typeName"].keys() != {"names", "typemod"}:
            raise differs("TypeCast, now CaseExpr")
        cast = self._held(f, "TypeCast", names[-1])
        if "A_Const" in cast["arg"] or cast["typeName"] != o["typeName"] or cast.keys() != o.keys():
            raise differs("TypeCast")
        self._hold(f, [cast["arg"]], lookup, names[-1])
        self._node(o["arg"], cast["arg"], scope)

    def _held(self, f: Tree, kind: str, what: str) -> Tree:
        """The node inside ``CASE WHEN … THEN NULL ELSE node END``."""
        match f:
            case {"args": [{"CaseWhen": {"result": result}}], "defresult": node, **rest} if (
                not rest and result == {"A_Const": {"isnull": True}} and node.keys() == {kind}
            ):
                inner: Tree = node[kind]
                return inner
            case _:
                raise differs(f"the condition on {what}")

    def _hold(self, f: Tree, held: Sequence[Tree], lookup: Lookup, what: str) -> None:
        """Refuse a condition that is not the guard's, or an OID that may change between condition and use."""
        prescription = self.prescriptions.get(lookup.relation)
        if prescription is None or prescription.guard is None:
            raise unguarded(f"no guard is prescribed for {lookup.relation}")
        guard = read_guard(prescription.guard, lookup.relation)
        (arm,) = f["args"]
        expected = condition(lookup, held, guard.body(only=False, sample=None))
        constant = all(is_constant_in_row(each) for each in held)
        if arm["CaseWhen"].get("expr") != expected or not constant:
            raise unguarded(f"{what} is not held to the guard of {lookup.relation}")
        self.names.check_operators("=")
        self.guard_parameters |= guard.parameters

    def _masked_column(self, o: Tree, f: Tree, scope: Scope, target: Target) -> None:
        """A masked column of the target, in whose place what the caller sees must stand."""
        found = self._meaning(o, scope, target)
        if found is None or not found.sure or found.row != target.alias or target.shown.get(found.column) != f:
            raise differs("ColumnRef")
        if len(o["fields"]) > 1:
            self.ranges.add_reference(strings(o["fields"][-2:]))

    def _meaning(self, o: Tree, scope: Scope, target: Target) -> Meaning | None:
        return meaning(o["fields"], target, scope.levels)

    def _check_reach(self, o: Tree, f: Tree, scope: Scope, target: Target) -> None:
        """Refuse a name that may mean what the caller does not see raw of the target."""
        found = self._meaning(o, scope, target)
        if found is None or found.column in target.raw:
            return
        if not (scope.levels or found.column in target.visible):
            # A bare name, hidden in the target, of which the final text says that it is another item's.
            match o["fields"], strings(f["fields"]):
                case [{"String": {"sval": name}}], [alias, column] if name == column == found.column:
                    if column in (target.others.get(alias) or ()):
                        return
        raise forbidden("a name that may mean a hidden or masked column, or the whole row, of what is written")

    def _column_ref(self, o: Tree, f: Tree, scope: Scope) -> None:
        """Equal; or ``schema.table.column`` that lost its schema, which :class:`Ranges` judges at the end."""
        fields = o["fields"]
        if scope.target is not None:
            self._check_reach(o, f, scope, scope.target)
            if len(fields) == 1 and len(f["fields"]) == 2:
                self.ranges.add_reference(strings(f["fields"]))
                return
        if o == f:
            self._fields("ColumnRef", o, f, scope)
        elif len(fields) == 3 and f == {"fields": fields[1:]}:
            self.ranges.shortened.add(RelationName(*strings(fields)[:2]))
        else:
            raise differs("ColumnRef.fields")
        if len(fields) > 1:
            self.ranges.add_reference(strings(fields[-2:]))

    def _type_cast(self, o: Tree, f: Tree, scope: Scope) -> None:
        """To a type that is listed; ``'name'::regclass`` and its like; or such a type of OIDs read from the catalog."""
        if o == f and self.checks.is_name_of_known(o):
            return
        names = strings(o["typeName"]["names"])
        lookup = self.lookups.get(f"::{names[-1]}") if names[:-1] == ["pg_catalog"] else None
        if lookup is not None and reads_oids(o["arg"], lookup, several="arrayBounds" in o["typeName"]):
            # All that it can name stands in a row of the catalog's guard, which the walk demands below.
            if o["typeName"] != f["typeName"] or o.keys() != f.keys():
                raise differs("TypeCast")
            self._node(o["arg"], f["arg"], scope)
            return
        self._fields("TypeCast", o, f, scope)
