"""What a session holds cursors and portals to: rights, consents and policies as they were when each was opened."""

from __future__ import annotations

from datagate.errors import ProgrammingError, RightsChanged
from datagate.gate.kept import Kept
from datagate.gate.rights import Rights
from datagate.gate.shared import Shared
from datagate.gate.watched import Pledge
from datagate.model.caller import Caller
from datagate.model.names import PrincipalId
from datagate.stores.signals import consent_parties


class Cursors:
    """The part of a session that opens cursors and reads from them; the session has the rest."""

    _gate: Shared
    _shared: Shared
    _caller: Caller
    _kept: Kept

    def refresh(self) -> None:
        """Forget facts that were read before the caller's rights changed."""
        raise NotImplementedError

    def _current_rights(self) -> Rights:
        raise NotImplementedError

    def _stand(self, consents: frozenset[PrincipalId]) -> None:
        raise NotImplementedError

    def pledge(self) -> Pledge:
        """What has to stay as it is now for a cursor that is declared now and read for long.

        Raises:
            DatagateError: The caller has no rights, or the state cannot be read.
        """
        since, rights = self._gate.lookout.asked_now(), self._current_rights()
        consents = frozenset(consent_parties(rights.answered))
        values = self._gate.lookout.epochs([*rights.facts.epoch.parties, *consents])
        if sum(values[party] for party in set(rights.facts.epoch.parties)) != rights.facts.epoch.value:
            self.refresh()
            raise RightsChanged("the caller's rights changed a moment ago; run the transaction again")
        ends, version = rights.facts.valid_until, self._shared.policies.version
        return Pledge(values, consents, ends, version, since, rights.answered, self._caller.purpose)

    def confirm(self, pledge: Pledge) -> None:
        """Hold what is read from a cursor to the state as it is now.

        Raises:
            RightsChanged: Rights, consents for the caller's purpose, policies or the purpose are not what they were.
        """
        if pledge.purpose != self._caller.purpose:
            raise RightsChanged("the purpose changed since this cursor was opened; close it and open it again")
        lookout = self._gate.lookout
        ended = pledge.valid_until is not None and pledge.valid_until <= lookout.now()
        same_policies = self._gate.current.policies.version == pledge.policy_version
        if (
            ended
            or not same_policies
            or lookout.epochs(pledge.epochs) != pledge.epochs
            or lookout.turned(pledge.purposes, pledge.since)
        ):
            self.refresh()
            raise RightsChanged("rights changed since this cursor was opened; close it and open it again")

    def opened(self, cursor: str) -> None:
        """Note that a frontend opens a cursor of its own making, under the rights of the statement just admitted."""
        self._kept.open(cursor, self.pledge())

    def inherit(self, former: Cursors) -> None:
        """Take over what a former session keeps on the same connection.

        Cursors are held to what they pledged when that session declared them, what was prepared is decided anew, and
        temporary tables exist for the caller alone who made them.
        """
        self._kept = former._kept

    def failed(self) -> None:
        """Note that the server failed a statement, which might have been one that closes or opens a cursor."""
        self._kept.failed()

    def check_cursor(self, cursor: str) -> frozenset[PrincipalId]:
        """RightsChanged where a cursor was opened under rights, consents or policies that are no longer in force.

        The answer tells of withdrawals meanwhile. Any other name may be a portal, and is not fetched from.
        """
        pledge = self._kept.cursors.get(cursor)
        if pledge is None:
            raise ProgrammingError(f'cursor "{cursor}" does not exist', sqlstate="34000")
        self.confirm(pledge)
        self._stand(pledge.consents)
        return pledge.consents
