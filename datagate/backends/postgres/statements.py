"""Reads one statement's text: its kind, its canonical spelling, its parameters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

from datagate.backends.postgres.engine import Tree, canonical, parse_tree
from datagate.errors import Refused, UnsupportedConstruct


class StatementKind(Enum):
    """Which road a statement takes: a query is rewritten, a session statement passes from a list."""

    QUERY = "query"
    SESSION = "session"


@dataclass(frozen=True, slots=True)
class ReadStatement:
    """One statement.

    ``parameters``: the highest ``$n`` in it. ``canonical``: a session statement in the engine's own spelling, so that
    what is sent is what was read; a query is sent as it is rewritten, and this is empty. ``writes``: it is INSERT,
    UPDATE, DELETE or MERGE, or has such in its WITH.
    """

    kind: StatementKind
    canonical: str
    parameters: int
    writes: bool = False


SETTINGS = frozenset(
    {
        "application_name", "client_encoding", "client_min_messages", "datestyle", "extra_float_digits",
        "idle_in_transaction_session_timeout", "intervalstyle", "lock_timeout", "statement_timeout", "timezone",
        "transaction_isolation", "transaction_read_only", "transaction_deferrable", "default_transaction_isolation",
        "default_transaction_read_only", "default_transaction_deferrable", "work_mem", "bytea_output", "jit",
        "enable_seqscan", "enable_hashjoin", "enable_nestloop", "enable_mergejoin", "cursor_tuple_fraction",
        "plan_cache_mode", "geqo", "xmloption",
    }
)  # fmt: skip
"""Settings that a caller may change: none of them changes what a name, an operator or a literal means."""

SHOWN_SETTINGS = SETTINGS | {
    "standard_conforming_strings", "server_version", "server_version_num", "server_encoding", "search_path",
    "integer_datetimes", "max_identifier_length", "is_superuser", "session_authorization",
    "transaction isolation level",
    "in_hot_standby", "lc_collate", "lc_ctype", "max_index_keys",
}  # fmt: skip

_WORDS = {
    "CopyStmt": "COPY",
    "ExplainStmt": "EXPLAIN", "PrepareStmt": "PREPARE", "ExecuteStmt": "EXECUTE", "DeallocateStmt": "DEALLOCATE",
    "DeclareCursorStmt": "DECLARE", "FetchStmt": "FETCH", "ClosePortalStmt": "CLOSE", "DiscardStmt": "DISCARD",
    "CreateTableAsStmt": "CREATE TABLE AS", "CreateStmt": "CREATE TABLE", "DropStmt": "DROP",
    "TruncateStmt": "TRUNCATE",
    "LockStmt": "LOCK", "DoStmt": "DO", "CallStmt": "CALL", "ListenStmt": "LISTEN", "NotifyStmt": "NOTIFY",
    "VacuumStmt": "VACUUM", "GrantStmt": "GRANT", "LoadStmt": "LOAD",
}  # fmt: skip

WRITES = frozenset({"InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt"})

_TRANSACTION_KINDS = frozenset(
    {
        "TRANS_STMT_BEGIN", "TRANS_STMT_START", "TRANS_STMT_COMMIT", "TRANS_STMT_ROLLBACK", "TRANS_STMT_SAVEPOINT",
        "TRANS_STMT_RELEASE", "TRANS_STMT_ROLLBACK_TO",
    }
)  # fmt: skip


def read_statement(text: str) -> ReadStatement:
    """Read a text that holds exactly one statement.

    Raises StatementSyntaxError, UnsupportedConstruct (several statements, a kind that is not carried), Refused (a
    setting that callers may not change).
    """
    statements = parse_tree(text)["stmts"]
    if len(statements) != 1:
        raise UnsupportedConstruct(f"{len(statements)} statements in one text; send them one by one")
    ((node, body),) = statements[0]["stmt"].items()
    if node == "SelectStmt":
        _refuse_into(body)
        return ReadStatement(StatementKind.QUERY, "", _parameters(body), _writes_within(body))
    if node in WRITES:
        return ReadStatement(StatementKind.QUERY, "", _parameters(body), writes=True)
    _check_session_statement(node, body)
    return ReadStatement(StatementKind.SESSION, canonical(text), 0)


def _check_session_statement(node: str, body: Tree) -> None:
    if node == "TransactionStmt" and body["kind"] in _TRANSACTION_KINDS:
        return
    if node == "VariableSetStmt":
        _check_set(body)
        return
    if node == "VariableShowStmt":
        if body["name"].lower() not in SHOWN_SETTINGS:
            raise Refused(f"setting {body['name']} is not shown through the gate")
        return
    word = _WORDS.get(node, node.removesuffix("Stmt"))
    raise UnsupportedConstruct(f"{word} is not carried; send a SELECT, or a statement about the transaction")


def _check_set(body: Tree) -> None:
    name = body.get("name", "").lower()
    if body["kind"] == "VAR_SET_MULTI" and name in ("transaction", "session characteristics"):
        return
    if (
        name == "client_encoding"
        and body["kind"] == "VAR_SET_VALUE"
        and _value(body) not in ("utf8", "unicode", "utf-8")
    ):
        raise Refused("client_encoding stays UTF8 through the gate")
    if any("A_Const" not in value for value in body.get("args", ())):
        # libpg_query's deparser does not survive SET TIME ZONE INTERVAL '…'.
        raise UnsupportedConstruct(f"setting {name} to anything but a plain constant is not carried")
    if body["kind"] in ("VAR_SET_VALUE", "VAR_SET_DEFAULT", "VAR_RESET") and name in SETTINGS:
        return
    raise Refused(f"setting {name or 'ALL'} may not be changed through the gate")


def _writes_within(select: Tree) -> bool:
    ctes = select.get("withClause", {}).get("ctes", ())
    return any(item["CommonTableExpr"]["ctequery"].keys() & WRITES for item in ctes)


def _value(body: Tree) -> str:
    (value,) = body["args"] if len(body.get("args", ())) == 1 else ({},)
    text: str = value.get("A_Const", {}).get("sval", {}).get("sval", "")
    return text.lower()


def _refuse_into(select: Tree) -> None:
    arms = [select]
    while arms:
        arm = arms.pop()
        if "intoClause" in arm:
            raise UnsupportedConstruct("SELECT INTO is not carried; it would write a table")
        arms += [arm[side] for side in ("larg", "rarg") if isinstance(arm.get(side), dict)]


def _parameters(tree: Any) -> int:
    return max(_numbers(tree), default=0)


def _numbers(node: Any) -> Iterator[int]:
    if isinstance(node, dict):
        if "ParamRef" in node:
            yield node["ParamRef"].get("number", 0)
        for value in node.values():
            yield from _numbers(value)
    elif isinstance(node, list):
        for item in node:
            yield from _numbers(item)
