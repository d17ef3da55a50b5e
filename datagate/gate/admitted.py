"""What comes out of the gate."""

from __future__ import annotations

from dataclasses import dataclass

from datagate.audit import AuditRecord
from datagate.backends.postgres.statements import StatementKind
from datagate.model.decision import Decision
from datagate.model.fragment import Binding
from datagate.model.names import PrincipalId
from datagate.sql.knowledge import Assumption


@dataclass(frozen=True, slots=True)
class Admitted:
    """A statement as the gate lets it through.

    ``text``: verified SQL with ``$n`` parameters, the only text that may be sent. ``parameters``: policy values,
    to be appended to the caller's own. ``caller_parameters``: the highest ``$n`` of the caller's own text.
    ``assumptions``: what must hold of the caller's parameters, else the statement is admitted anew without assuming.
    ``shows_rows``: False where the rows that come back are the gate's own, and are to be dropped: the statement writes,
    and has no RETURNING. ``copies``: it is COPY … TO STDOUT, whose rows come by the copy protocol. ``consents``: the
    parties of the state that tell of withdrawals which the statement obeys.
    """

    kind: StatementKind
    text: str
    parameters: tuple[object, ...]
    caller_parameters: int
    assumptions: frozenset[Assumption]
    shows_rows: bool = True
    copies: bool = False
    consents: frozenset[PrincipalId] = frozenset()


@dataclass(frozen=True, slots=True)
class Known:
    """An admitted statement with its record, for when it is asked again under the same rights."""

    admitted: Admitted
    record: AuditRecord


@dataclass(frozen=True, slots=True)
class Explained:
    """An admitted statement with what stands behind it, for stewards: decisions by relation, and the rendering."""

    admitted: Admitted
    bindings: tuple[Binding, ...]
    decisions: tuple[Decision, ...]
    rendering: str
