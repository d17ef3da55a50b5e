"""Ends statements in flight when their callers' rights end: one listening connection for each gate, and one thread.

Law: the lookout may cancel too much, never too little. A statement that begins after a change is held to it by its own
check, so all that is left are statements that began before. While the channel is lost nothing is assumed: sessions read
their facts anew for each statement, and when it is back, all that ran meanwhile is asked for.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TypeVar
from weakref import WeakSet

from datagate.errors import OperationalError
from datagate.gate.watched import Flight, Stake, Watched
from datagate.model.facts import Facts
from datagate.model.names import PrincipalId, Purpose
from datagate.stores.listening import Asking, Heard, Listening
from datagate.stores.signals import POLICIES_PARTY
from datagate.stores.store import StateStore

Answer = TypeVar("Answer")

_LOG = logging.getLogger("datagate.lookout")
_AGAIN = 0.02
_LONGEST = 60.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 5.0
_FIRST_CONNECTION = 5.0
_SIDE_BY_SIDE = 16
_MOST_KNOWN = 10_000


def _deafen() -> None:
    """The threads that hear stay in the process that this one was forked from."""
    for lookout in _LOOKOUTS:
        lookout.deafen()


_LOOKOUTS: WeakSet[Lookout] = WeakSet()
os.register_at_fork(after_in_child=_deafen)


class Lookout:
    """Watches the flights of one gate; runs as long as there are any. Thread-safe.

    Args:
        state: What to listen to.
        reread: Called, in a thread of its own, when the policies are to be read again.
        widens: Says whether a role given to a caller in person, of these facts, can take nothing from him.
        clock: The gate's own clock, or None for the state's.
    """

    def __init__(
        self,
        state: StateStore,
        reread: Callable[[], object],
        widens: Callable[[str, Facts], bool],
        clock: Callable[[], datetime] | None = None,
    ) -> None:
        self._state, self._reread, self._widens, self._clock = state, reread, widens, clock
        _LOOKOUTS.add(self)
        self._lock = threading.Lock()
        self._watched: WeakSet[Watched] = WeakSet()
        self._begin()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._thread: threading.Thread | None = None
        self._hears = False
        self._settled = threading.Event()
        self._asking: Asking | None = None
        self._policies_epoch: int | None = None
        self._reading: tuple[datetime, float] | None = None
        self._next: float | None = None
        self._last_cancel = 0.0
        self._known: dict[PrincipalId, int] = {}
        self._cancels = ThreadPoolExecutor(_SIDE_BY_SIDE, "datagate-cancel")
        self._cancelling: set[int] = set()
        self._wake: socket.socket | None = None

    @property
    def sound(self) -> bool:
        """Whether every change is heard of; where not, nothing that was read before may be assumed."""
        return self._hears

    def deafen(self) -> None:
        """Assume nothing more of what is heard."""
        self._hears = False

    def watch(self, watched: Watched) -> None:
        """Watch a session from now on; the first waits until the lookout listens, or cannot."""
        with self._lock:
            if self._process != os.getpid():
                # The thread stayed in the process that this one was forked from, and so must its connections.
                self._inherited = (self._thread, self._asking)
                self._watched = WeakSet()
                self._begin()
            self._watched.add(watched)
            if self._thread is None:
                waker, self._wake = socket.socketpair()
                self._wake.setblocking(False)
                self._settled.clear()
                ends = (waker, self._wake)
                self._thread = threading.Thread(target=self._run, args=ends, name="datagate-lookout", daemon=True)
                self._thread.start()
            settled = self._settled
        settled.wait(_FIRST_CONNECTION)

    def leave(self, watched: Watched) -> None:
        """Watch a session no longer; the last one takes the lookout's connections with it."""
        with self._lock:
            if self._process != os.getpid():
                return
            self._watched.discard(watched)
            thread = self._thread if not self._watched else None
            if thread is not None:
                self._thread = None
                self._rouse()
        if thread is not None and thread is not threading.current_thread():
            thread.join(_FIRST_CONNECTION)

    def expects(self, valid_until: datetime) -> None:
        """Look again in time for an instant at which something ends by itself."""
        if self._next is None or self._in_seconds(valid_until) + time.monotonic() < self._next:
            self._rouse()

    def epochs(self, parties: Iterable[PrincipalId]) -> Mapping[PrincipalId, int]:
        """How far these parties have come, by a connection that is open already; OperationalError without the state."""
        wanted = sorted(set(parties))
        return self._ask(lambda asking: asking.epochs(wanted), lambda state: state.epochs(wanted))

    def turned(self, purposes: Sequence[Purpose], since: datetime) -> bool:
        """Whether an answer for these purposes narrowed by itself since an instant; OperationalError as above."""
        if not purposes:
            return False
        until = self._clock() if self._clock is not None else None
        return self._ask(
            lambda asking: asking.turned(purposes, since, until),
            lambda state: state.turned(purposes, since, until if until is not None else state.now()),
        )

    def asked_now(self) -> datetime:
        """What time it is where rights are judged, asked there."""
        return self._clock() if self._clock is not None else self._ask(Asking.now, StateStore.now)

    def _ask(self, asked: Callable[[Asking], Answer], otherwise: Callable[[StateStore], Answer]) -> Answer:
        asking = self._asking
        if asking is not None and self._process == os.getpid():
            try:
                return asked(asking)
            except OperationalError:
                # One's own connection may break where a new one still can be had.
                self._asking = None
                asking.close()
        return otherwise(self._state)

    def now(self) -> datetime:
        """What time it is where rights are judged, whatever this machine's clock is set to meanwhile."""
        if self._clock is not None:
            return self._clock()
        if self._reading is None:
            return datetime.now(UTC)
        instant, at = self._reading
        return instant + timedelta(seconds=time.monotonic() - at)

    def _rouse(self) -> None:
        if self._wake is None:
            return
        try:
            self._wake.send(b"!")
        except OSError:
            # Full: it will wake as it is. Closed: nobody waits.
            return

    def _in_seconds(self, instant: datetime) -> float:
        return (instant - self.now()).total_seconds()

    def _run(self, waker: socket.socket, wake: socket.socket) -> None:
        """The thread: connect, listen until that fails, and try again after a while."""
        pause = _FIRST_PAUSE
        try:
            while self._goes_on():
                try:
                    if self._state.tells_changes:
                        with closing(self._state.listen()) as listening:
                            self._catch_up(listening)
                            pause = _FIRST_PAUSE
                            self._listen(listening, waker)
                except OperationalError as error:
                    _LOG.warning("not listening to the state, trying again in %.2f s: %s", pause, error)
                self._hears = False
                self._settled.set()
                if self._goes_on():
                    waker.settimeout(min(pause, self._timeout(pending=self._repeat())))
                    _drain(waker)
                    self._expire()
                    pause = min(pause * 2, _LONGEST_PAUSE)
        finally:
            self._hears = False
            self._settled.set()
            asking, self._asking = self._asking, None
            if asking is not None:
                asking.close()
            waker.close()
            wake.close()

    def _goes_on(self) -> bool:
        with self._lock:
            if self._thread is threading.current_thread() and not self._watched:
                # Those that were watched are gone without a word.
                self._thread = None
            return self._thread is threading.current_thread()

    def _catch_up(self, listening: Listening) -> None:
        """Begin to hear, and ask for what changed while nobody did."""
        asking, self._asking = self._asking, self._state.ask()
        if asking is not None:
            asking.close()
        self._reading = (self._asking.now(), time.monotonic())
        values = listening.epochs([POLICIES_PARTY])
        self._hears = True
        self._settled.set()
        if self._policies_epoch not in (None, values[POLICIES_PARTY]):
            self._call_reread()
        self._policies_epoch = values[POLICIES_PARTY]
        self._end_all(listening)

    def _listen(self, listening: Listening, waker: socket.socket) -> None:
        while self._goes_on():
            pending = self._repeat()
            timeout = self._timeout(pending=pending)
            heard = listening.hear(waker.fileno(), timeout)
            if self._reading is None or time.monotonic() - self._reading[1] > _LONGEST:
                # The state's clock may be set, too, and this machine may have slept.
                self._reading = (listening.now(), time.monotonic())
                if self._consents():
                    threading.Thread(target=self._renew, name="datagate-consents", daemon=True).start()
            waker.settimeout(0)
            _drain(waker)
            if heard is not None:
                self._told(listening, heard)
            self._expire()

    def _told(self, listening: Listening, heard: Heard) -> None:
        if heard.policies or POLICIES_PARTY in heard.parties:
            self._policies_epoch = listening.epochs([POLICIES_PARTY])[POLICIES_PARTY]
            self._call_reread()
        if heard.everybody:
            self._end_all(listening)
        elif heard.parties:
            self._revoke([each for each in self._all() if (stake := each.stake) and stake.consents & heard.parties])
            self._end(listening, heard)

    def _end_all(self, listening: Listening) -> None:
        """Cancel whose epochs are not what they were, and all who ask for any consent."""
        self._known.clear()
        self._revoke([each for each in self._all() if (stake := each.stake) and stake.consents])
        flying = self._flying(self._all())
        values = listening.epochs({party for _, stake in flying for party in stake.parties}) if flying else {}
        self._revoke([each for each, stake in flying if sum(values[party] for party in stake.parties) != stake.total])

    def _end(self, listening: Listening, heard: Heard) -> None:
        """Cancel those whose epochs advanced. What was told is enough, but of parties that nothing was heard of yet.

        Epochs only grow: where those that are known come to more than a stake's total, one of them advanced since. One
        that is known too low was told of after all, and what was told of it is yet to be heard.
        """
        if len(self._known) > _MOST_KNOWN:
            self._known.clear()
        for party, value in heard.epochs.items():
            self._known[party] = max(value, self._known.get(party, 0))
        flying = [
            (each, stake)
            for each, stake in self._flying(self._all())
            if stake.parties & heard.parties and not self._is_widened(stake, heard)
        ]
        self._revoke([each for each, stake in flying if self._is_past(stake)])
        unheard = {party for _, stake in flying for party in stake.parties if party not in self._known}
        if unheard:
            self._known |= listening.epochs(unheard)
            self._revoke([each for each, stake in flying if self._is_past(stake)])

    def _is_widened(self, stake: Stake, heard: Heard) -> bool:
        """Whether all that happened to a caller in person is that roles came which take nothing away."""
        (party, *others) = stake.parties
        given = heard.roles.get(party) if not others and not stake.facts.chain else None
        return given is not None and all(self._widens(role, stake.facts) for role in given)

    def _is_past(self, stake: Stake) -> bool:
        return sum(self._known.get(party, 0) for party in stake.parties) > stake.total

    @staticmethod
    def _flying(watched: Iterable[Watched]) -> list[tuple[Watched, Stake]]:
        """Those of whom a statement is under way, with what it stands on."""
        return [
            (each, stake)
            for each in watched
            if (flight := each.flight) is not None and flight.under_way and (stake := each.stake) is not None
        ]

    def _repeat(self) -> bool:
        """Cancel again what is still under way: a cancel that comes before its statement does nothing."""
        flying = [each for each in self._all() if (flight := each.flight) is not None and flight.revoked]
        flying = [each for each in flying if (flight := each.flight) is not None and flight.under_way]
        if flying and time.monotonic() - self._last_cancel >= _AGAIN:
            self._revoke(flying)
        return bool(flying)

    def _expire(self) -> None:
        """Cancel what stands on what ended by itself."""
        now = self.now()
        ended = [
            each
            for each in self._all()
            if (stake := each.stake) is not None and stake.valid_until is not None and stake.valid_until <= now
        ]
        self._revoke([each for each in ended if (flight := each.flight) is not None and not flight.revoked])

    def _revoke(self, ended: list[Watched]) -> None:
        """Cancel what is under way of these, side by side: one that takes long keeps no other waiting."""
        flights = [flight for each in ended if (flight := each.flight) is not None and flight.under_way]
        if not flights:
            return
        self._last_cancel = time.monotonic()
        for flight in flights:
            flight.withhold()
        for flight in flights:
            if id(flight) not in self._cancelling:
                self._cancelling.add(id(flight))
                self._cancels.submit(self._cancel, flight)

    def _cancel(self, flight: Flight) -> None:
        try:
            flight.revoke()
        finally:
            self._cancelling.discard(id(flight))

    def _consents(self) -> frozenset[PrincipalId]:
        """All parties that tell of withdrawn consents to anybody who is watched."""
        return frozenset(party for each in self._all() if (stake := each.stake) is not None for party in stake.consents)

    def _timeout(self, *, pending: bool) -> float:
        now = self.now()
        ends = [stake.valid_until for each in self._all() if (stake := each.stake) is not None]
        seconds = [(end - now).total_seconds() for end in ends if end is not None and end > now]
        timeout = min([_AGAIN if pending else _LONGEST, *seconds])
        self._next = time.monotonic() + timeout
        return max(timeout, 0.001)

    def _all(self) -> list[Watched]:
        with self._lock:
            return list(self._watched)

    def _renew(self) -> None:
        """Have the bits of consents that the clock has ended read anew; until then statements look each answer up."""
        try:
            with closing(self._state.ask()) as asking:
                asking.renew_blocks()
        except OperationalError as error:
            _LOG.warning("consents that ended are not read anew, so that statements take longer: %s", error)

    def _call_reread(self) -> None:
        threading.Thread(target=self._reread, name="datagate-policies", daemon=True).start()


def _drain(waker: socket.socket) -> None:
    """Wait to be woken, as long as the socket's timeout says; then read all that came."""
    try:
        waker.recv(4096)
    except (TimeoutError, BlockingIOError):
        return
