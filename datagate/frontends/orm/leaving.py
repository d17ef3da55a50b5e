"""What leaves a session, and what comes into one that another session, or none, has read.

Who leaves keeps a stamp: for whom he was read, when, and his masks. Who comes is read again, unless he was read by the
same caller who saw the same then; masks are never carried over.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import inspect
from sqlalchemy.orm import Mapper, Session

from datagate.errors import DatagateError, Refused
from datagate.frontends.orm.attributes import keeper_of
from datagate.frontends.orm.masks import named_masked, shown_masked
from datagate.frontends.orm.outlook import Outlook
from datagate.frontends.orm.stamps import Seal, Stamp, leave, stamp_of
from datagate.gate import Footing
from datagate.model.caller import Caller


class Leaving(Session):
    """The part of a gated session that lets objects go and come; the session has the rest."""

    _footing: Footing | None

    @property
    def caller(self) -> Caller:
        """In whose name everything runs."""
        raise NotImplementedError

    def expect_current(self) -> None:
        """Let go of what is held, if rights, consents or policies changed since."""
        raise NotImplementedError

    def outlook(self, mapper: Mapper[Any]) -> Outlook:
        """What the caller sees of the classes that are mapped together with this one."""
        raise NotImplementedError

    def _let_go(self) -> None:
        raise NotImplementedError

    def _expunge_states(self, states: Any, to_transient: bool = False) -> None:
        self.expect_current()
        leave(states, self._seal)
        super()._expunge_states(states, to_transient)

    def expunge_all(self) -> None:
        """Let all objects go, with what still is to be shown; see `sqlalchemy.orm.Session.expunge_all`."""
        states = self.identity_map.all_states()
        if states:
            try:
                self.expect_current()
                leave(states, self._seal)
            except DatagateError:
                # They go all the same, with nothing in them; closing a session must not fail.
                self._let_go()
        super().expunge_all()

    def stamp(self, state: Any) -> None:
        """Let an object that leaves the session remember what its masks are."""
        leave([state], self._seal)

    def _seal(self, mapper: Mapper[Any]) -> Seal:
        outlook = self.outlook(mapper)
        return Seal(self.caller, self._footing, named_masked(mapper, outlook), tuple(shown_masked(mapper, outlook)))

    def __del__(self) -> None:
        # Objects may outlive a session that nobody closed.
        held = getattr(self, "identity_map", ())
        states = held.all_states() if held else ()
        try:
            leave(states, self._seal)
        except DatagateError:
            # Nobody can say by now which of it are masks.
            for state in states:
                state._expire(state.dict, set())

    def _merge(self, state: Any, state_dict: Any, *, load: bool, **kwargs: Any) -> Any:
        """As SQLAlchemy merges, but for masks, for what is not shown here as it is, and what another sight left out."""
        other: Any = keeper_of(state)
        if other is not None and other is not self:
            # It is held by another caller's session still.
            other.expect_current()
            other.stamp(state)
        stamp = stamp_of(state)
        outlook = self.outlook(state.mapper)
        unseen = {prop.key for prop in state.mapper.attrs if prop in outlook.hidden} if outlook.hidden else set()
        unseen |= outlook.masked.get(state.mapper, frozenset())
        carried = {
            key: value
            for key, value in state_dict.items()
            if not (stamp is not None and _is_mask(stamp, key, value))
            and (key not in unseen or key in state.committed_state)
        }
        merged = super()._merge(state, carried, load=load, **kwargs)
        if self._read_alike(stamp) or other is self:
            return merged
        if not load:
            _read_again(inspect(merged), None)
        elif stamp is not None:
            _expect_no_removal(state.mapper, carried, merged)
        return merged

    def _read_alike(self, stamp: Stamp | None) -> bool:
        """Whether an object was read by this caller, at a time when he saw what he sees now."""
        return stamp is not None and stamp.caller == self.caller and stamp.footing == self._footing

    def receive(self, state: Any) -> None:
        """What was read by another, or at another time, is none of this caller's; what the application set stays."""
        stamp = stamp_of(state)
        if not self._read_alike(stamp):
            _read_again(state, stamp)


def _read_again(state: Any, stamp: Stamp | None) -> None:
    held = state.dict
    read = [
        key
        for key in held
        if key in state.manager and (key not in state.committed_state or (stamp and _is_mask(stamp, key, held[key])))
    ]
    state._expire_attributes(held, read)


def _is_mask(stamp: Stamp, key: str, value: object) -> bool:
    return key in stamp.values and stamp.values[key] is value


def _expect_no_removal(mapper: Mapper[Any], carried: dict[str, Any], merged: object) -> None:
    """Refuse a merge that would take away what the object's own sight may have left out."""
    state: Any = inspect(merged)
    for relationship in mapper.relationships:
        if relationship.key in carried and state.key is not None:
            history = state.attrs[relationship.key].history
            if any(each is not None for each in history.deleted):
                raise Refused(
                    f"{relationship} was read in another sight, and may leave out what is there; merging it would "
                    "remove that: roll back, and change the objects of this session instead"
                )
