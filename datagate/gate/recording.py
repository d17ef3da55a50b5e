"""What a statement's audit record says of its refusal and of its caller's mandates."""

from __future__ import annotations

from datagate.errors import DatagateError, StatementSyntaxError
from datagate.gate.rights import Rights


def reason_of(error: DatagateError) -> str:
    """Why it was refused, for the audit: the parser's message would quote the text, and so its literals."""
    if isinstance(error, StatementSyntaxError):
        return f"{error.sqlstate}: the text does not parse"
    return error.audit_reason or error.message


def chain_of(rights: Rights | None) -> tuple[tuple[str, str], ...]:
    """Who handed what to whom, from the principal on: the mandate's id and its holder."""
    if rights is None:
        return ()
    return tuple((str(each.id), str(each.holder)) for each in rights.facts.chain)
