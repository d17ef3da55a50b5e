"""SQLAlchemy's session for one caller.

Law: every statement goes through the caller's engine (`_connection_for_bind` takes no other), and nothing is served
from the identity map that was read before the caller's rights, a consent or the policies changed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any, Self
from weakref import ref

from sqlalchemy import ChunkedIteratorResult, Connection, Delete, Engine, Table, Update, event, inspect
from sqlalchemy.exc import DBAPIError, MissingGreenlet, StatementError
from sqlalchemy.orm import Mapper
from sqlalchemy.orm.attributes import InstrumentedAttribute
from sqlalchemy.orm.exc import ObjectDeletedError

from datagate.errors import InterfaceError, RightsChanged, UndefinedColumn
from datagate.frontends.orm import faults
from datagate.frontends.orm.attributes import keep, watch_all
from datagate.frontends.orm.engine import CallerEngine, GatedEngine
from datagate.frontends.orm.hiding import hide
from datagate.frontends.orm.leaving import Leaving
from datagate.frontends.orm.masks import (
    Masks,
    check_flush,
    named_masked,
    shown_masked,
)
from datagate.frontends.orm.outlook import Lane, Outlook
from datagate.frontends.orm.stamps import stamp_of
from datagate.gate import Footing
from datagate.model.caller import Caller

# Seconds. The state tells of its changes; whether it did is looked at so often:
_GLANCE = 1e-4
# And it is asked in any case when its last answer is older than ten times what asking takes, so that asking costs
# programs that read from memory a tenth at most; within these bounds:
_MOMENT = (1e-4, 5e-3)
_BEFORE_READING = 5e-2
# Masks that were read; the oldest are forgotten.
_GIVEN = 50_000

Clock = Callable[[], float]


class GatedSession(Leaving):
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
        self._holder = ref(self)
        self._known_masks: Masks | None = None
        self._given_masks = Masks()
        self.masked_keys: frozenset[str] = frozenset()
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

    @property
    def connection_callable(self) -> None:
        """None: flushes use the session's own connection; InterfaceError where another is set."""
        return

    @connection_callable.setter
    def connection_callable(self, _callable: object) -> None:
        raise InterfaceError("a gated session flushes by its own connection only")

    def get_bind(self, *args: Any, **kwargs: Any) -> Engine | Connection:
        """The caller's engine or connection; InterfaceError for any other that was asked for or set."""
        found = super().get_bind(*args, **kwargs)
        self._expect_gated(found)
        return found

    def _connection_for_bind(self, engine: Any, execution_options: Any = None, **kw: Any) -> Connection:
        self._expect_gated(engine)
        found: Any = super()._connection_for_bind(engine, execution_options, **kw)
        found.holder = self._holder
        return found  # type: ignore[no-any-return]

    def _execute_internal(self, statement: Any, *args: Any, **kwargs: Any) -> Any:
        """What execute, scalars, get, refresh and every loader come down to."""
        subject = _subject(statement)
        if subject is not None and isinstance(statement, Update | Delete):
            kwargs["execution_options"] = self._following(statement, subject, *args, **kwargs)
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
        if isinstance(found, ChunkedIteratorResult):
            self._follow(found)
        return found

    def _following(self, statement: Any, subject: Mapper[Any], params: Any = None, **kwargs: Any) -> Any:
        """Options of an UPDATE or DELETE: where it may pass over rows that are seen, the database says which it met."""
        options = kwargs.get("execution_options") or {}
        asked = {**self.execution_options, **statement._execution_options, **options}.get("synchronize_session", "auto")
        tables = [table for table in subject.tables if isinstance(table, Table)]
        sights = [self._lane.sight(table) for table in tables]
        if asked not in ("auto", "evaluate") or isinstance(params, list) or None in sights:
            return options
        keys = {each.name for each in subject.primary_key}
        if all(each.writes_all or not keys <= each.columns for each in sights if each is not None):
            return options
        return {**options, "synchronize_session": "fetch"}

    def _follow(self, found: ChunkedIteratorResult[Any]) -> None:
        """Let go of what is loaded from rows that were read before a change which the session has noticed since."""
        chunks, read_on = found.chunks, self._footing

        def current(size: int | None) -> Iterator[Any]:
            for rows in chunks(size):
                if self._footing is not read_on:
                    self._let_go()
                yield rows

        found.chunks = current
        found.iterator = chain.from_iterable(current(None))

    def _read(self, statement: Any, subject: Mapper[Any], *args: Any, **kwargs: Any) -> Any:
        self._known_masks = None
        outlook = self.outlook(subject)
        try:
            return super()._execute_internal(hide(statement, subject, outlook), *args, **kwargs)
        except DBAPIError as error:
            # The rights changed on the way: what is hidden is other columns now.
            self._ask()
            again = self.outlook(subject)
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
        if footing is not self._footing and footing != self._footing:
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
        for transaction in self._transaction._iterate_self_and_parents() if self._transaction is not None else ():
            for state in transaction._deleted:
                state._expire(state.dict, set())

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
        found = self._lane.outlook(mapper.registry)
        if not found.masked_keys <= self.masked_keys:
            self.masked_keys |= found.masked_keys
        return found

    def give(self, key: str, state: Any, value: object) -> None:
        """Remember a mask that the application asked for: its object may be gone when the mask is written."""
        if key not in state.committed_state and key in shown_masked(state.mapper, self.outlook(state.mapper)):
            self._given_masks.note(value, f"{state.mapper.class_.__name__}.{key}")
            self._given_masks.keep_to(_GIVEN)
            self._known_masks = None

    def _get_impl(self, *args: Any, **kwargs: Any) -> Any:
        if len(self.identity_map):
            self.expect_current()
        return super()._get_impl(*args, **kwargs)

    # --- what is written ---------------------------------------------------------------------------------------------

    def _flush(self, objects: Any = None) -> None:
        check_flush(self.new, self.dirty, self.deleted, self.masks, self.outlook)
        try:
            super()._flush(objects)
        finally:
            self._known_masks = None

    def masks(self) -> Masks:
        """The masks that objects of this session show, or showed when the application asked them."""
        known = self._known_masks
        if known is None:
            known = Masks.of(self._given_masks, self.identity_map.values(), self.outlook)
            if self._flushing:
                # Until something else is read: a flush may be of many statements.
                self._known_masks = known
        return known


def _subject(statement: Any) -> Mapper[Any] | None:
    """The mapper of a class that an ORM statement names."""
    subject = getattr(statement, "_propagate_attrs", {}).get("plugin_subject")
    return None if subject is None else subject.mapper


def _is_as_read(state: Any, key: str) -> bool:
    return key in state.manager and key not in state.committed_state


@event.listens_for(GatedSession, "detached_to_persistent")
def _read_anew(session: GatedSession, instance: object) -> None:
    """What was read by another, or at another time, is none of this caller's; what the application set stays."""
    session.receive(inspect(instance))


def masked_columns(instance: object) -> frozenset[str]:
    """The attributes of an object that show masks, and not what the table holds.

    Columns that are shown as they are in some rows only are among them. Empty for an object of an ungated session.
    """
    state: Any = inspect(instance)
    session = state.session
    if isinstance(session, GatedSession):
        return named_masked(state.mapper, session.outlook(state.mapper))
    stamp = stamp_of(state)
    return stamp.masked if stamp is not None else frozenset()
