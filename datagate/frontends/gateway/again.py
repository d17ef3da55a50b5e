"""Runs a statement once more where the caller's rights had changed since they were read, and nothing is lost by it.

That is so where the statement is the first of its transaction, and alone up to its Sync: then the client is told
nothing, and gets what its rights are now. Elsewhere it is told that its rights changed (40001).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from datagate.errors import DatagateError
from datagate.frontends.gateway.prepared import Portal
from datagate.frontends.gateway.protocol import backend, frontend
from datagate.frontends.gateway.relay import SYNC_HIDDEN, Expectation, Step
from datagate.frontends.gateway.sending import Sendable

if TYPE_CHECKING:
    from datagate.frontends.gateway.hearing import Hearing

_REPEATED = frozenset((Step.BIND, Step.SAY, Step.DESCRIBE_PORTAL, Step.EXECUTE))
# What is said of rows that come, or nothing; all else that is said answers another message.
_OF_ROWS = (b"T", b"n", b"")
_SIMPLE = frozenset((Step.PARSE, Step.BIND, Step.SAY, Step.DESCRIBE_SIMPLE, Step.EXECUTE))


class Again:
    """Remembers what is under way, and runs it again."""

    def __init__(self, conversation: Hearing) -> None:
        self._conversation = conversation
        self.wanted = False
        self._under_way = 0
        self._in_transaction = 0
        self._begin: Sendable | None = None
        self._last: Sendable | None = None
        self._text: str | None = None
        self._plan: list[Expectation] = []

    def begins(self, text: str | None, sendable: Sendable) -> None:
        """A statement is about to be sent; ``text``: a simple query's, else it is the run of a portal."""
        self._under_way += 1
        self._in_transaction += 1
        self._text = text
        self._last = sendable

    def completed(self, tag: bytes) -> None:
        """A statement is done."""
        if tag == b"BEGIN" or tag == b"START TRANSACTION":
            self._begin = self._last
            self._in_transaction = 0

    def settled(self, status: int) -> None:
        """All that was sent is answered."""
        self._under_way = 0
        if status == backend.IDLE:
            self._begin = None

    def prepare(self, head: Expectation) -> bool:
        """Whether what failed is run again; then nothing of it is expected any more but its end."""
        relay = self._conversation.relay
        steps = [each.step for each in relay.expected]
        if self.wanted or self._under_way != 1 or relay.rows_seen or not steps or steps[-1] is not Step.SYNC:
            return False
        if self._conversation.way.wishes.uncommitted:
            # What was SET in this transaction would be gone with it.
            return False
        repeated = _SIMPLE if self._text is not None else _REPEATED
        if not repeated.issuperset(steps[:-1]) or head.step not in (Step.BIND, Step.EXECUTE):
            return False
        if self._text is None and head.portal is None:
            return False
        if any(each.step is Step.SAY and each.say[:1] not in _OF_ROWS for each in relay.expected):
            return False
        if relay.status != backend.IDLE and (self._begin is None or self._in_transaction != 1):
            return False
        self._plan = list(relay.expected)[:-1]
        relay.expected.clear()
        relay.expected.append(SYNC_HIDDEN)
        relay.rows_pass = True
        self.wanted = True
        return True

    async def run(self) -> None:
        """Admit it anew and send it once more."""
        conversation, text = self._conversation, self._text
        head = self._plan[0]
        asked = text if text is not None else head.asked
        decision = await conversation.way.decide_elsewhere(asked, assuming=True)
        portal = head.portal
        if (
            portal is not None
            and isinstance(decision, Sendable)
            and not decision.holds(portal.prepared.types, portal.message.values)
        ):
            decision = await conversation.way.decide_elsewhere(asked, assuming=False)
        self.wanted = False
        if conversation.upstream is None:
            return
        if conversation.relay.status != backend.IDLE and self._begin is not None:
            conversation.send_hidden(frontend.query(b"ROLLBACK"))
            conversation.send_hidden(frontend.query(self._begin.text))
        if isinstance(decision, DatagateError):
            conversation.refuse_query(decision)
        elif not isinstance(decision, Sendable):
            raise TypeError("only admitted statements are run again")
        elif text is not None:
            described = not any(each.step in (Step.SAY, Step.DESCRIBE_SIMPLE) for each in self._plan)
            conversation.send_query(text, decision, conversation.way.run, described=described)
        else:
            self._send_portal(portal, decision)

    def _send_portal(self, portal: Portal | None, sendable: Sendable) -> None:
        conversation = self._conversation
        if portal is None:
            return
        portal.statement, portal.run = sendable, conversation.way.run
        conversation.send_bind(portal, sendable, shown=self._plan[0].step is Step.BIND)
        for each in self._plan:
            if each.step is Step.DESCRIBE_PORTAL or (each.step is Step.SAY and each.say):
                conversation.send_describe(portal.message.portal, portal)
            elif each.step is Step.EXECUTE:
                conversation.send_execute(portal.message.portal, each.own, portal)
        conversation.send_sync()
