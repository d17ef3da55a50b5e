"""What a relay tells its client."""

from __future__ import annotations

from typing import TYPE_CHECKING

from datagate.frontends.gateway.protocol import backend

if TYPE_CHECKING:
    from datagate.frontends.gateway.relay import Expectation


class Hearer:
    """What a relay tells its client; the conversation overrides all of it."""

    def hear(self, parts: list[bytes]) -> None:
        """Bytes for the client."""
        raise NotImplementedError

    def ended(self, status: int) -> None:
        """The server is ready again."""
        raise NotImplementedError

    def completed(self, tag: bytes, asked: str) -> None:
        """A statement is done; ``asked``: the caller's text."""
        raise NotImplementedError

    def failed(self) -> None:
        """The server failed something: what it was sent to close may still be open."""
        raise NotImplementedError

    def instead(self, diagnostics: backend.Diagnostics) -> bytes | None:
        """What the client is told in place of the server's error; None: nothing else."""
        raise NotImplementedError

    def copies_in(self) -> None:
        """The server waits for what is copied in."""
        raise NotImplementedError

    def fatal(self, diagnostics: backend.Diagnostics) -> bytes:
        """The server ends the connection; what the client is told."""
        raise NotImplementedError

    def rights_changed(self, expectation: Expectation) -> bool:
        """The caller's rights changed before this was run; whether it is run again, so that no error is told."""
        raise NotImplementedError

    def skips(self) -> None:
        """The server skips all up to the next Sync, which is yet to come."""
        raise NotImplementedError

    def settled(self) -> None:
        """All that came so far is passed on."""
        raise NotImplementedError

    def answered(self, head: Expectation, data: bytes, tag: int) -> None:
        """The whole answer to what was expected at once came; ``tag``: where its CommandComplete begins, 0: not whole.

        The end of a run that waits is waited for first; what is not whole comes again when that is done.
        """
        raise NotImplementedError

    def spreads(self, head: Expectation) -> None:
        """What was expected at once is cut up; what its portal is has to be known from now on."""
        raise NotImplementedError

    def stale(self, expectation: Expectation) -> bool:
        """What was prepared upstream is out of date; whether it is run again."""
        raise NotImplementedError

    def clogged(self, clogged: bool) -> None:
        """The server takes no more of what is sent, or does again."""
        raise NotImplementedError

    def lost(self) -> None:
        """The connection is gone."""
        raise NotImplementedError
