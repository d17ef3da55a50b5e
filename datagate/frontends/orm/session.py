"""SQLAlchemy's session for one caller.

Law: every statement goes through the caller's engine (`_connection_for_bind` takes no other), and nothing is served
from the identity map that was read before the caller's rights, a consent or the policies changed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Self

from sqlalchemy import Connection, Engine, Insert, Update, event, inspect
from sqlalchemy.exc import DBAPIError, MissingGreenlet, StatementError
from sqlalchemy.orm import Mapper, Session
from sqlalchemy.orm.attributes import InstrumentedAttribute
from sqlalchemy.orm.exc import ObjectDeletedError

from datagate.errors import DatagateError, InterfaceError, Refused, RightsChanged, UndefinedColumn
from datagate.frontends.orm import faults
from datagate.frontends.orm.attributes import keep, keeper_of, watch_all
from datagate.frontends.orm.engine import CallerEngine, GatedEngine
from datagate.frontends.orm.hiding import hide
from datagate.frontends.orm.masks import (
    STAMP,
    Masks,
    Stamp,
    check_flush,
    check_mappings,
    check_statement,
    named_masked,
    shown_masked,
)
from datagate.frontends.orm.outlook import Lane, Outlook
from datagate.gate import Footing
from datagate.model.caller import Caller

# Seconds. The state tells of its changes; whether it did is looked at so often:
_GLANCE = 2e-5
# And it is asked in any case when its last answer is older than ten times what asking takes, so that asking costs
# programs that read from memory a tenth at most; within these bounds:
_MOMENT = (1e-4, 5e-3)
_BEFORE_READING = 5e-2

Clock = Callable[[], float]


class GatedSession(Session):
    """A session whose every statement passes the gate for one caller, who is fixed for its life.

    Args:
        bind: of `gate_engine`; or the engine of one caller, or a connection of that.
        caller: in whose name everything runs.
        clock: seconds, for how long ago the state was asked.
        **options: as for `sqlalchemy.orm.Session`.

    Raises:
        InterfaceError: the bind does not pass the gate for this caller.
    """

    def __init__(
        self,
        bind: GatedEngine | Engine | Connection | None = None,
        *,
        caller: Caller,
        clock: Clock = time.monotonic,
        **options: Any,
    ) -> None:
        watch_all()
        self._gated: GatedEngine | None = bind if isinstance(bind, GatedEngine) else None
        engine = bind.as_caller(caller) if isinstance(bind, GatedEngine) else bind
        if engine is None or options.get("binds"):
            raise InterfaceError("a gated session needs one bind, made by gate_engine(engine, gate)")
        self._caller = caller
        self._lane: Lane = self._expect_gated(engine).lane
        self._footing: Footing | None = None
        self.clock = clock
        self._asked_at = self.quiet_until = self._stands_until = float("-inf")
        self._stirs = -1
        self._asking = False
        self._has_let_go = False
        self._options = options
        super().__init__(bind=engine, **options)
        keep(self.hash_key, self)

    @property
    def caller(self) -> Caller:
        """In whose name everything runs."""
        return self._caller

    def acting_for(self, mandate_id: str, *, purpose: str | None = None) -> Self:
        """Another session, of the same actor under a mandate that he holds.

        Under a mandate already: one that was handed on from it. ``purpose``: this session's, unless given.

        Raises:
            Refused: no such mandate is in his hands.
        """
        narrower = self._lane.gate_session.acting_for(mandate_id, purpose=purpose)
        if self._gated is None:
            raise InterfaceError("acting_for needs a session whose bind is of gate_engine, not one caller's")
        return type(self)(self._gated, caller=narrower, clock=self.clock, **self._options)

    # --- the way to the database -------------------------------------------------------------------------------------

    def _expect_gated(self, bind: Any) -> CallerEngine:
        engine = bind.engine if isinstance(bind, Connection) else bind
        if not isinstance(engine, CallerEngine) or engine.caller != self._caller:
            raise InterfaceError("a gated session takes no bind that does not pass the gate for its caller")
        return engine

    def get_bind(self, *args: Any, **kwargs: Any) -> Engine | Connection:
        """The caller's engine or connection; InterfaceError for any other that was asked for or set."""
        found = super().get_bind(*args, **kwargs)
        self._expect_gated(found)
        return found

    def _connection_for_bind(self, engine: Any, execution_options: Any = None, **kw: Any) -> Connection:
        self._expect_gated(engine)
        found: Connection = super()._connection_for_bind(engine, execution_options, **kw)
        return found

    def _execute_internal(self, statement: Any, *args: Any, **kwargs: Any) -> Any:
        """What execute, scalars, get, refresh and every loader come down to."""
        if isinstance(statement, Insert | Update):
            check_statement(statement, args[0] if args else kwargs.get("params"), self._masks)
        subject = _subject(statement)
        reads = subject is not None and (statement.is_select or statement.is_from_statement)
        told = self._lane.told() if reads else None
        if told is not None:
            self._stand_on(told)
        elif self._footing is None or self.clock() - self._asked_at > _BEFORE_READING:
            # Else what is read now would be taken for older than a change that it has seen already.
            self._ask()
        if subject is None or not reads:
            return super()._execute_internal(statement, *args, **kwargs)
        begun, stirs = self.clock(), self._lane.stirs()
        found = self._read(statement, subject, *args, **kwargs)
        if told is not None:
            # The statement has looked at the same as asking would.
            self._stand_on(self._lane.told())
            self._stirs, self._asked_at = stirs, begun
            self._stands(begun)
        return found

    def _read(self, statement: Any, subject: Mapper[Any], *args: Any, **kwargs: Any) -> Any:
        outlook = self._lane.outlook(subject.registry)
        try:
            return super()._execute_internal(hide(statement, subject, outlook), *args, **kwargs)
        except DBAPIError as error:
            # The rights changed on the way: what is hidden is other columns now.
            self._ask()
            again = self._lane.outlook(subject.registry)
            if again is outlook or not isinstance(error.orig, UndefinedColumn):
                raise
        return super()._execute_internal(hide(statement, subject, again), *args, **kwargs)

    # --- what is held ------------------------------------------------------------------------------------------------

    def expect_current(self) -> None:
        """Let go of what is held, if rights, consents or policies changed since; the state is asked."""
        now = self.clock()
        if now < self.quiet_until or self._asking:
            return
        self.quiet_until = now + _GLANCE
        if now < self._stands_until and self._lane.stirs() == self._stirs:
            return
        self._ask()

    def _ask(self) -> None:
        asked_at = self.clock()
        self._asking = True
        try:
            # Looked at before asking: what comes in meanwhile is asked about next time.
            self._stirs = self._lane.stirs()
            self._stand_on(self._lane.footing())
        finally:
            self._asking = False
        self._asked_at = asked_at
        self._stands(asked_at)

    def _stand_on(self, footing: Footing | None) -> None:
        if footing != self._footing:
            if self._footing is not None:
                self._let_go()
            self._footing = footing

    def _stands(self, since: float) -> None:
        """Take what was found to hold then for what holds during a moment, which is short where asking is quick."""
        least, most = _MOMENT
        self._stands_until = since + min(max(10 * (self.clock() - since), least), most)

    def _let_go(self) -> None:
        """Expire everything that was read; what the application has changed stays, to be flushed or not."""
        self._has_let_go = True
        for state in self.identity_map.all_states():
            held = state.dict
            if state.modified:
                state._expire_attributes(held, [key for key in held if _is_as_read(state, key)])
            else:
                state._expire(held, self.identity_map._modified)  # as Session.expire_all does

    def load(self, attribute: InstrumentedAttribute[Any], state: Any) -> Any:
        """The value of an attribute that is not in memory.

        Raises:
            UndefinedColumn: the caller does not see its column.
            RowGone: the caller does not see the row any more.
            RightsChanged: it has to be read again, and an asynchronous session cannot do so here.
        """
        prop: Any = attribute.property
        if prop in self.outlook(state.mapper).hidden:
            raise faults.hidden(prop)
        let_go = self._has_let_go and attribute.key in state.expired_attributes
        try:
            return attribute.impl.get(state, state.dict)
        except ObjectDeletedError:
            fault: Exception = faults.ObjectGone(f"{state.mapper.class_.__name__} {state.key[1]}")
        except (MissingGreenlet, StatementError) as error:
            if not let_go or not isinstance(getattr(error, "orig", error), MissingGreenlet):
                raise
            fault = RightsChanged(f"{prop} has to be read again; await session.refresh(…), or query again")
        raise fault

    def outlook(self, mapper: Mapper[Any]) -> Outlook:
        """What the caller sees of the classes that are mapped together with this one."""
        return self._lane.outlook(mapper.registry)

    def _get_impl(self, *args: Any, **kwargs: Any) -> Any:
        if self.identity_map.all_states():
            self.expect_current()
        return super()._get_impl(*args, **kwargs)

    # --- what is written ---------------------------------------------------------------------------------------------

    def _flush(self, objects: Any = None) -> None:
        check_flush(self.new, self.dirty, self.identity_map.values(), self.outlook)
        super()._flush(objects)

    def _masks(self) -> Masks:
        return Masks(self.identity_map.values(), self.outlook)

    def _bulk_save_mappings(self, mapper: Any, mappings: Any, **kwargs: Any) -> None:
        given = list(mappings)
        found: Any = inspect(mapper)
        check_mappings(found, (each.obj() if kwargs["isstates"] else each for each in given), self._masks())
        super()._bulk_save_mappings(mapper, given, **kwargs)

    # --- what leaves -------------------------------------------------------------------------------------------------

    def _expunge_states(self, states: Any, to_transient: bool = False) -> None:
        self.expect_current()
        super()._expunge_states(states, to_transient)

    def expunge_all(self) -> None:
        """Let all objects go, with what still is to be shown; see `sqlalchemy.orm.Session.expunge_all`."""
        if self.identity_map.all_states():
            try:
                self.expect_current()
            except DatagateError:
                # They go all the same, with nothing in them; closing a session must not fail.
                self._let_go()
        super().expunge_all()

    def stamp(self, state: Any) -> None:
        """Let an object that leaves the session remember what its masks are."""
        outlook = self.outlook(state.mapper)
        keys = shown_masked(state.mapper, outlook)
        values = {key: state.dict[key] for key in keys if key in state.dict and key not in state.committed_state}
        state.info[STAMP] = Stamp(self._caller, self._footing, named_masked(state.mapper, outlook), values)

    def __del__(self) -> None:
        # Objects may outlive a session that nobody closed.
        held = getattr(self, "identity_map", ())
        for state in held.all_states() if held else ():
            try:
                self.stamp(state)
            except DatagateError:
                # Nobody can say by now which of it are masks.
                state._expire(state.dict, set())

    def _merge(self, state: Any, state_dict: Any, **kwargs: Any) -> Any:
        """As SQLAlchemy merges, but masks are not carried over, nor what another sight of a collection left out."""
        other = keeper_of(state)
        if other is not None and other is not self:
            # It is held by another caller's session still.
            other.expect_current()
            other.stamp(state)
        stamp: Stamp | None = state.info.get(STAMP)
        if stamp is None:
            return super()._merge(state, state_dict, **kwargs)
        carried = {key: value for key, value in state_dict.items() if not _is_mask(stamp, key, value)}
        merged = super()._merge(state, carried, **kwargs)
        if stamp.caller != self._caller or stamp.footing != self._footing:
            _expect_no_removal(state.mapper, carried, merged)
        return merged


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


def _subject(statement: Any) -> Mapper[Any] | None:
    """The mapper of a class that an ORM statement names."""
    subject = getattr(statement, "_propagate_attrs", {}).get("plugin_subject")
    return None if subject is None else subject.mapper


def _is_as_read(state: Any, key: str) -> bool:
    return key in state.manager and key not in state.committed_state


@event.listens_for(GatedSession, "persistent_to_detached")
def _stamp(session: GatedSession, instance: object) -> None:
    session.stamp(inspect(instance))


@event.listens_for(GatedSession, "detached_to_persistent")
def _read_anew(session: GatedSession, instance: object) -> None:
    """What was read by another, or at another time, is none of this caller's; what the application set stays."""
    state: Any = inspect(instance)
    stamp: Stamp | None = state.info.get(STAMP)
    if stamp is not None and stamp.caller == session.caller and stamp.footing == session._footing:
        return
    held = state.dict
    read = [
        key
        for key in held
        if key in state.manager and (key not in state.committed_state or (stamp and _is_mask(stamp, key, held[key])))
    ]
    state._expire_attributes(held, read)


def masked_columns(instance: object) -> frozenset[str]:
    """The attributes of an object that show masks, and not what the table holds.

    Columns that are shown as they are in some rows only are among them. Empty for an object of an ungated session.
    """
    state: Any = inspect(instance)
    session = state.session
    if isinstance(session, GatedSession):
        return named_masked(state.mapper, session.outlook(state.mapper))
    stamp: Stamp | None = state.info.get(STAMP)
    return stamp.masked if stamp is not None else frozenset()
