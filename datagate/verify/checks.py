"""What a node of the caller's must obey by itself, once it is known to be the same in both texts."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from datagate.model.locks import RESERVED
from datagate.model.names import RelationName
from datagate.verify.mismatch import forbidden
from datagate.verify.names import PLAIN_NAME, Names
from datagate.verify.tree import Tree, strings

_ZONE = re.compile("[A-Za-z_]+(/[A-Za-z_-]+)*")
_ADVISORY_LOCK = re.compile("pg_(try_)?advisory_.*lock(_shared)?")


def _constant(node: Tree) -> str | None:
    """The text of a string constant; None for all else."""
    text = node.get("A_Const", {}).get("sval", {}).get("sval")
    return text if isinstance(text, str) else None


class Checks:
    """The allow-lists, by kind of node. ``guarded``: the relations for which a guard is prescribed."""

    def __init__(self, names: Names, guarded: Mapping[RelationName, object]) -> None:
        self.names = names
        self.guarded = guarded
        self.parameters: set[int] = set()
        self.by_kind: Mapping[str, Callable[[Tree], None]] = {
            "A_Expr": self._a_expr,
            "A_Indirection": self._indirection,
            "CaseExpr": self._case,
            "FuncCall": self._func_call,
            "ParamRef": self._param_ref,
            "SortBy": self._sort_by,
            "SubLink": self._sub_link,
            "TypeName": self._type_name,
        }

    def _a_expr(self, node: Tree) -> None:
        if "BETWEEN" in node["kind"]:
            self.names.check_operators(">=", "<=", "<", ">")
        else:
            self.names.check_qualified_operator(strings(node["name"]))

    def _indirection(self, node: Tree) -> None:
        for name in (step["String"]["sval"] for step in node["indirection"] if "String" in step):
            if not self.names.harmless_attribute(name):
                raise forbidden(f"the field {name}, which could be a function,")

    def _case(self, node: Tree) -> None:
        if "arg" in node:
            self.names.check_operators("=")

    def _func_call(self, node: Tree) -> None:
        names = strings(node["funcname"])
        if names[-1] == "set_config" and names[:-1] in ([], ["pg_catalog"]):
            self._set_config(node.get("args", ()))
        else:
            self.names.check_function(names)
            if _ADVISORY_LOCK.fullmatch(names[-1]):
                self._advisory_lock(node.get("args", ()))

    def _set_config(self, arguments: Sequence[Tree]) -> None:
        """Of a setting that a constant names and that is listed; a time zone by a constant that gives it no meaning."""
        if len(arguments) != 3:
            raise forbidden("set_config() of other than three arguments")
        name, value = (_constant(argument) for argument in arguments[:2])
        listed = name is not None and f"set_config({name.lower()})" in self.names.functions
        plain_zone = value is not None and _ZONE.fullmatch(value) is not None
        if not listed or "set_config" in self.names.catalog.user_functions:
            raise forbidden("set_config() of anything but a setting that may be SET, named by a constant,")
        if name is not None and name.lower() == "timezone" and not plain_zone:
            raise forbidden("set_config() of a time zone but by its full name, as a constant,")

    @staticmethod
    def _advisory_lock(arguments: Sequence[Tree]) -> None:
        """Of one key; or of two, the first of them a number that is seen not to be datagate's own."""
        if len(arguments) < 2:
            return
        number = arguments[0].get("A_Const", {}).get("ival")
        if number is None or number.get("ival", 0) in RESERVED:
            raise forbidden("an advisory lock of two keys, the first of them no plain number or one of datagate's own,")

    def _param_ref(self, node: Tree) -> None:
        self.parameters.add(node.get("number", 0))

    def _sort_by(self, node: Tree) -> None:
        if "useOp" in node:
            self.names.check_qualified_operator(strings(node["useOp"]))

    def _sub_link(self, node: Tree) -> None:
        if "operName" in node:
            self.names.check_qualified_operator(strings(node["operName"]))
        elif "testexpr" in node:
            self.names.check_operators("=")

    def _type_name(self, node: Tree) -> None:
        self.names.check_type(strings(node["names"]))

    def sample(self, node: Tree) -> None:
        """TABLESAMPLE of a relation, by one of the engine's own methods.

        It moves into the guard; its arguments may only be constants and parameters, which mean the same there.
        """
        self.names.check_sample_method(strings(node["method"]))
        repeatable = [node["repeatable"]] if "repeatable" in node else []
        for argument in (*node["args"], *repeatable):
            if not argument.keys() <= {"A_Const", "ParamRef"}:
                raise forbidden("an argument of TABLESAMPLE other than a constant or a parameter")
            if "ParamRef" in argument:
                self._param_ref(argument["ParamRef"])
        if "RangeVar" not in node["relation"] or node.keys() - {"relation", "method", "args", "repeatable"}:
            raise forbidden("TABLESAMPLE of anything but a relation")

    def is_name_of_known(self, cast: Tree) -> bool:
        """Whether a cast is ``'name'::regclass`` of a relation of the engine's own or one that is guarded.

        Or ``'name'::regtype`` of a listed type, or ``'name'::regproc`` of a function of the engine's own.
        """
        type_names = strings(cast["typeName"]["names"])
        literal = cast["arg"].get("A_Const", {}).get("sval", {}).get("sval")
        plain_type = cast["typeName"].keys() == {"names", "typemod"} and type_names[:-1] in ([], ["pg_catalog"])
        if not plain_type or literal is None or not PLAIN_NAME.fullmatch(literal):
            return False
        schema, _, name = literal.rpartition(".")
        match type_names[-1]:
            case "regclass":
                relation = self.names.relation(schema or None, name)
                return relation is not None and (relation.schema == "pg_catalog" or relation in self.guarded)
            case "regtype":
                return schema in ("", "pg_catalog") and name in self.names.catalog.types
            case "regproc":
                return schema in ("", "pg_catalog") and name in self.names.catalog.engine_functions
            case _:
                return False
