"""Statements that the gateway itself answers: SET, RESET and SHOW of the settings that say who is calling.

Also ``SELECT current_setting('datagate.purpose')`` and ``SELECT set_config('datagate.purpose', 'tax', false)``, by
which programs do the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from datagate.backends.postgres.engine import Tree, parse_tree
from datagate.errors import DatagateError, Refused
from datagate.frontends.gateway.identity import WISHES
from datagate.frontends.gateway.protocol import backend
from datagate.frontends.gateway.way import Way

_TEXT_OID, _UNKNOWN_LENGTH = 25, -1
_MENTION = "datagate."
_SET_CONFIG_ARGUMENTS = 3
_NO_BLOCK = backend.notice(
    {
        "S": "WARNING",
        "V": "WARNING",
        "C": "25P01",
        "M": "SET LOCAL can only be used in transaction blocks",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Local:
    """One such statement.

    ``sets``: it sets the value, to what it is by default where that is None; ``local``: for the transaction alone.
    ``column``: the name of the column in which it gives the value; None: it gives none.
    """

    tag: str
    name: str
    sets: bool = False
    value: str | None = None
    local: bool = False
    column: str | None = None

    def checked(self, way: Way) -> Local | DatagateError:
        """Itself, or why this login may not set that."""
        try:
            if self.sets:
                way.check_wish(self.name, self.value)
        except Refused as error:
            return error
        return self

    def description(self, results: bytes) -> bytes:
        """What Describe answers; ``results``: the formats asked for, as they stood in Bind."""
        if self.column is None:
            return backend.NO_DATA_MESSAGE
        # The binary format of a text is the text.
        code = int.from_bytes(results[2:4], "big") if len(results) >= 4 else 0
        column = backend.Column(self.column.encode(), 0, 0, _TEXT_OID, _UNKNOWN_LENGTH, -1, code)
        return backend.row_description([column])

    def run(self, way: Way, *, in_block: bool) -> bytes:
        """Do it: the row, if there is one, and the tag. ``in_block``: whether a transaction was begun."""
        warning = _NO_BLOCK if self.local and self.tag == "SET" and not in_block else b""
        if self.sets:
            way.wish(self.name, self.value, local=self.local)
        row = backend.data_row([way.shown(self.name).encode()]) if self.column is not None else b""
        return warning + row + backend.command_complete(self.tag)


def may_be_local(text: str) -> bool:
    """Whether a text speaks of one of our settings at all; few do."""
    return _MENTION in text or _MENTION in text.lower()


def read_local(text: str) -> Local | None:
    """The statement that a text is, or None where it is not one of these."""
    if not may_be_local(text):
        return None
    try:
        statements = parse_tree(text)["stmts"]
    except DatagateError:
        return None
    if len(statements) != 1:
        return None
    ((node, body),) = statements[0]["stmt"].items()
    if node == "VariableShowStmt" and body["name"].lower() in WISHES:
        name = body["name"].lower()
        return Local(tag="SHOW", name=name, column=name)
    if node == "VariableSetStmt" and body.get("name", "").lower() in WISHES:
        return _setting(body)
    return _called(body) if node == "SelectStmt" else None


def _setting(body: Tree) -> Local | None:
    name, local = body["name"].lower(), bool(body.get("is_local"))
    match body["kind"]:
        case "VAR_RESET":
            return Local(tag="RESET", name=name, sets=True)
        case "VAR_SET_DEFAULT":
            return Local(tag="SET", name=name, sets=True, local=local)
        case "VAR_SET_VALUE" if len(body["args"]) == 1 and (value := _constant(body["args"][0])) is not None:
            return Local(tag="SET", name=name, sets=True, value=value, local=local)
        case _:
            return None


def _called(select: Tree) -> Local | None:
    """``SELECT`` of one call of current_setting() or set_config(), and of nothing else."""
    if select.keys() != {"targetList", "limitOption", "op"} or len(select["targetList"]) != 1:
        return None
    target: Tree = select["targetList"][0]["ResTarget"]
    call = target["val"].get("FuncCall")
    if call is None or call.keys() - {"funcname", "args", "funcformat", "location"}:
        return None
    *schema, function = [part["String"]["sval"] for part in call["funcname"]]
    arguments = [_constant(each) for each in call.get("args", ())]
    if schema not in ([], ["pg_catalog"]) or not arguments or (arguments[0] or "").lower() not in WISHES:
        return None
    name, column = str(arguments[0]).lower(), target.get("name", function)
    if function == "current_setting" and len(arguments) <= 2:
        return Local(tag="SELECT 1", name=name, column=column)
    if function == "set_config" and len(arguments) == _SET_CONFIG_ARGUMENTS:
        return _set_config(name, column, arguments, call["args"][2])
    return None


def _set_config(name: str, column: str, arguments: Sequence[str | None], is_local: Any) -> Local | None:
    local = is_local.get("A_Const", {}).get("boolval")
    if local is None or arguments[1] is None:
        return None
    value, only_here = arguments[1], bool(local.get("boolval"))
    return Local(tag="SELECT 1", name=name, sets=True, value=value, local=only_here, column=column)


def _constant(node: Tree) -> str | None:
    """A constant's text; None for all else. A value may be a plain word."""
    constant = node.get("A_Const", {})
    if "sval" in constant:
        text: str = constant["sval"].get("sval", "")
        return text
    return str(constant["ival"].get("ival", 0)) if "ival" in constant else None
