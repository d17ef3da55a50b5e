"""Reads one statement's text: its kind, its canonical spelling, its parameters."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from types import MappingProxyType
from typing import Any

from datagate.backends.postgres.engine import Tree, canonical, deparse, parse_tree
from datagate.backends.postgres.wrappers import Wrapper, is_wrapper, read_wrapper
from datagate.errors import Refused, SeveralStatements, UnsupportedConstruct


class StatementKind(Enum):
    """Which road a statement takes.

    A query is rewritten; a wrapper has the query inside it rewritten; EXECUTE becomes the query that was prepared; a
    session statement passes from a list.
    """

    QUERY = "query"
    WRAPPER = "wrapper"
    EXECUTE = "execute"
    SESSION = "session"


@dataclass(frozen=True, slots=True)
class ReadStatement:
    """One statement.

    ``parameters``: the highest ``$n`` in it. ``canonical``: a session statement in the engine's own spelling, so that
    what is sent is what was read; a query is sent as it is rewritten, and this is empty. ``writes``: it is INSERT,
    UPDATE, DELETE or MERGE, or has such in its WITH. ``wrapper``: what stands around a query. ``needs``: the kind of
    statement, as a policy names it, that the caller must have been granted. ``cursor``: what FETCH, MOVE and CLOSE
    name, ``prepared`` what EXECUTE and DEALLOCATE name, empty for ALL; ``arguments``: EXECUTE's, as text. ``dropped``:
    the tables that DROP TABLE names. ``discards``: what DISCARD names.
    """

    kind: StatementKind
    canonical: str
    parameters: int
    writes: bool = False
    wrapper: Wrapper | None = None
    needs: str | None = None
    cursor: str | None = None
    fetches: bool = False
    prepared: str | None = None
    arguments: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    discards: str = ""

    @property
    def gives_up(self) -> bool:
        """Whether it is ROLLBACK, for which nobody needs a right."""
        return self.kind is StatementKind.SESSION and self.canonical.startswith("ROLLBACK")


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

KEPT_SETTINGS: Mapping[str, frozenset[str]] = MappingProxyType(
    {"standard_conforming_strings": frozenset({"on", "true", "yes", "1"})}
)
"""Settings that stay as they are, and their values: many clients set them to just that at their start."""

# A POSIX specification names its own abbreviation, and from PostgreSQL 18 on it counts before zones' names: policies
# may name zones as Area/City, which no value without a digit can take away.
_RENAMES_ZONES = re.compile(r"<|/.*[0-9]")
_OFFSET = re.compile(r"[+-][0-9]{2}:[0-9]{2}")
_HOUR_TO_MINUTE = 1 << 10 | 1 << 11
"""As the grammar writes these units (utils/datetime.h)."""
_FIXED_ZONE = re.compile(r"etc/gmt[+-]?[0-9]{1,2}")

SHOWN_SETTINGS = SETTINGS | {
    "standard_conforming_strings", "server_version", "server_version_num", "server_encoding", "search_path",
    "integer_datetimes", "max_identifier_length", "is_superuser", "session_authorization",
    "transaction isolation level",
    "in_hot_standby", "lc_collate", "lc_ctype", "max_index_keys",
}  # fmt: skip

GRANTABLE: Mapping[str, str] = MappingProxyType(
    {
        "ListenStmt": "listen", "NotifyStmt": "notify", "LockStmt": "lock",
        "VacuumStmt": "vacuum", "RefreshMatViewStmt": "refresh", "CheckPointStmt": "checkpoint",
    }
)  # fmt: skip
"""Kinds of statement that a policy may grant to a role, by node; EXPLAIN ANALYZE is one more."""
EXPLAIN_ANALYZE = "explain-analyze"
STATEMENT_KINDS = frozenset({*GRANTABLE.values(), EXPLAIN_ANALYZE})

_WORDS = {
    "CreateStmt": "CREATE TABLE", "DropStmt": "DROP", "TruncateStmt": "TRUNCATE", "LockStmt": "LOCK", "DoStmt": "DO",
    "CallStmt": "CALL", "ListenStmt": "LISTEN", "NotifyStmt": "NOTIFY",
    "VacuumStmt": "VACUUM and ANALYZE", "GrantStmt": "GRANT and REVOKE", "GrantRoleStmt": "GRANT and REVOKE",
    "LoadStmt": "LOAD", "RefreshMatViewStmt": "REFRESH MATERIALIZED VIEW", "CheckPointStmt": "CHECKPOINT",
    "AlterTableStmt": "ALTER TABLE", "CommentStmt": "COMMENT", "ViewStmt": "CREATE VIEW", "IndexStmt": "CREATE INDEX",
    "CreateFunctionStmt": "CREATE FUNCTION", "RuleStmt": "CREATE RULE", "CreateTrigStmt": "CREATE TRIGGER",
    "CreateRoleStmt": "CREATE ROLE", "AlterRoleStmt": "ALTER ROLE", "ReindexStmt": "REINDEX",
    "AlterSystemStmt": "ALTER SYSTEM", "ConstraintsSetStmt": "SET CONSTRAINTS", "TransactionStmt": "this transaction",
}  # fmt: skip

WRITES = frozenset({"InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt"})

_ABOUT_TRANSACTIONS = ("transaction", "session characteristics", "transaction snapshot")

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
        raise SeveralStatements(_single_texts(text, statements))
    ((node, body),) = statements[0]["stmt"].items()
    if is_wrapper(node):
        wrapper = read_wrapper(text, node, body)
        return ReadStatement(StatementKind.WRAPPER, "", _parameters(body), wrapper=wrapper)
    if node == "ExecuteStmt":
        arguments = tuple(_argument(each) for each in body.get("params", ()))
        return ReadStatement(StatementKind.EXECUTE, "", 0, prepared=body["name"], arguments=arguments)
    if node == "SelectStmt":
        _refuse_into(body)
        return ReadStatement(StatementKind.QUERY, "", _parameters(body), _writes_within(body))
    if node in WRITES:
        return ReadStatement(StatementKind.QUERY, "", _parameters(body), writes=True)
    return _session_statement(text, node, body)


def _session_statement(text: str, node: str, body: Tree) -> ReadStatement:
    offset = _zone_offset(body) if node == "VariableSetStmt" else None
    if offset is not None:
        # libpg_query's deparser does not survive this one.
        local = "LOCAL " if body.get("is_local") else ""
        return ReadStatement(StatementKind.SESSION, f"SET {local}TIME ZONE INTERVAL '{offset}' HOUR TO MINUTE", 0)
    if node == "VariableSetStmt" and any("A_Const" not in value for value in body.get("args", ())):
        _check_set(body)  # Which refuses it; the deparser might take the process with it.
    plain = ReadStatement(StatementKind.SESSION, canonical(text), 0)
    match node:
        case "FetchStmt":
            return replace(plain, cursor=body["portalname"], fetches=True)
        case "ClosePortalStmt":
            return replace(plain, cursor=body.get("portalname", ""))
        case "DeallocateStmt":
            return replace(plain, prepared=body.get("name", ""))
        case "DiscardStmt":
            return replace(plain, discards=body["target"])
        case "DropStmt" if body["removeType"] == "OBJECT_TABLE" and not body.get("concurrent"):
            return replace(plain, dropped=tuple(_temporary_name(each) for each in body["objects"]))
        case _ if node in GRANTABLE:
            return replace(plain, needs=GRANTABLE[node])
    _check_session_statement(node, body)
    return plain


def _single_texts(text: str, statements: list[Tree]) -> list[str]:
    """The text of each statement; the engine's positions count bytes."""
    raw = text.encode()
    starts = [each.get("stmt_location", 0) for each in statements]
    lengths = [each.get("stmt_len", len(raw)) for each in statements]
    return [raw[start : start + length].decode().strip() for start, length in zip(starts, lengths, strict=True)]


def needed(kind: str, word: str) -> UnsupportedConstruct:
    """What a caller reads who was not granted a kind of statement."""
    return UnsupportedConstruct(f"{word} is not passed on, but for roles to which a policy grants {kind!r}")


def word_of(text: str) -> str:
    """The statement's first word in upper case, for messages."""
    return text.split(maxsplit=1)[0].upper()


def _temporary_name(dropped: Tree) -> str:
    names = [each["String"]["sval"] for each in dropped["List"]["items"]]
    if len(names) > 1 and names[:-1] != ["pg_temp"]:
        raise UnsupportedConstruct("DROP TABLE is not passed on, but for temporary tables of this session")
    name: str = names[-1]
    return name


def _argument(node: Tree) -> str:
    """An argument of EXECUTE, which has to be a constant, as text; the empty string for NULL is told apart."""
    if node.keys() - {"A_Const", "TypeCast", "A_ArrayExpr"}:
        raise UnsupportedConstruct("EXECUTE with anything but constants; send parameters instead")
    select = {"targetList": [{"ResTarget": {"val": node}}], "limitOption": "LIMIT_OPTION_DEFAULT", "op": "SETOP_NONE"}
    return deparse({"stmts": [{"stmt": {"SelectStmt": select}}]}).removeprefix("SELECT ")


def _check_session_statement(node: str, body: Tree) -> None:
    if node == "TransactionStmt" and body["kind"] in _TRANSACTION_KINDS:
        return
    if node == "UnlistenStmt":
        # Drivers' pools say it when they take a connection back; who may not listen loses nothing by it.
        return
    if node == "VariableSetStmt":
        _check_set(body)
        return
    if node == "VariableShowStmt":
        if body["name"].lower() not in SHOWN_SETTINGS:
            raise Refused(f"setting {body['name']} is not shown through the gate")
        return
    word = _WORDS.get(node, node.removesuffix("Stmt"))
    raise UnsupportedConstruct(f"{word} is not passed on by the gate; whoever owns the database runs it past the gate")


def _zone_offset(body: Tree) -> str | None:
    """The offset of ``SET TIME ZONE INTERVAL '+01:00' HOUR TO MINUTE``, as Sequelize says it; None for all else."""
    match body:
        case {"kind": "VAR_SET_VALUE", "name": "timezone", "args": [{"TypeCast": {"arg": arg, "typeName": type_}}]}:
            names = [each["String"]["sval"] for each in type_["names"]]
            literal = arg.get("A_Const", {}).get("sval", {}).get("sval", "")
            units = [each.get("A_Const", {}).get("ival", {}).get("ival") for each in type_.get("typmods", ())]
            plain = names == ["pg_catalog", "interval"] and units == [_HOUR_TO_MINUTE]
            return literal if plain and _OFFSET.fullmatch(literal) else None
        case _:
            return None


def may_not_change(name: str) -> Refused:
    """The refusal to change a setting, and what to do instead where there is something."""
    instead = "; name relations with their schema" if name == "search_path" else ""
    return Refused(f"setting {name or 'ALL'} may not be changed through the gate{instead}")


def check_zone(value: str) -> None:
    """Refused, unless a session may have this TimeZone: one that gives no name of a zone another meaning."""
    if _RENAMES_ZONES.search(value) and not _FIXED_ZONE.fullmatch(value.lower()):
        raise Refused(
            "TimeZone takes a zone's name (Europe/Berlin) or an offset in hours, and no abbreviation of your own"
        )


def _check_set(body: Tree) -> None:
    name = body.get("name", "").lower()
    if body["kind"] == "VAR_SET_MULTI" and name in _ABOUT_TRANSACTIONS:
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
    if name == "timezone":
        check_zone(_value(body))
    if body["kind"] in ("VAR_SET_VALUE", "VAR_SET_DEFAULT", "VAR_RESET") and name in SETTINGS:
        return
    if body["kind"] == "VAR_RESET_ALL":
        return
    if body["kind"] == "VAR_SET_VALUE" and _value(body) in KEPT_SETTINGS.get(name, ()):
        return
    raise may_not_change(name)


def _writes_within(select: Tree) -> bool:
    ctes = select.get("withClause", {}).get("ctes", ())
    return any(item["CommonTableExpr"]["ctequery"].keys() & WRITES for item in ctes)


def _value(body: Tree) -> str:
    (value,) = body["args"] if len(body.get("args", ())) == 1 else ({},)
    constant = value.get("A_Const", {})
    text: str = constant.get("sval", {}).get("sval", "") or str(constant.get("ival", {}).get("ival", ""))
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
