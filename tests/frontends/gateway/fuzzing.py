"""Mutated bytes for everything that reads a peer's bytes: each target gives something, or a violation of the protocol.

``python -m tests.frontends.gateway.fuzzing TARGET [libFuzzer options]`` has atheris, where it is installed, look for
bytes that do neither, guided by what they reach: ``-runs=1000000``.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise

from datagate.errors import DatagateError, OperationalError, ProtocolViolation
from datagate.frontends.gateway.answers import TableFilter
from datagate.frontends.gateway.attempts import Attempts
from datagate.frontends.gateway.hearer import Hearer
from datagate.frontends.gateway.local import read_local
from datagate.frontends.gateway.login import Channel, Doorkeeper, Tokens
from datagate.frontends.gateway.options import read_options
from datagate.frontends.gateway.protocol import backend, frontend
from datagate.frontends.gateway.protocol.frames import FrameSplitter, StartupSplitter
from datagate.frontends.gateway.protocol.oauth import read_bearer
from datagate.frontends.gateway.protocol.phases import Phase, judge
from datagate.frontends.gateway.protocol.scram import PLAIN, ScramServer, Verifier
from datagate.frontends.gateway.protocol.startup import Startup, read_opening
from datagate.frontends.gateway.relay import Expectation, Relay, Step
from datagate.frontends.gateway.rowcount import RowCount
from datagate.frontends.gateway.upstream import Upstream
from datagate.frontends.gateway.users import User
from datagate.model.caller import Caller

READERS: dict[int, Callable[[bytes], object]] = {
    frontend.QUERY: frontend.read_query,
    frontend.PARSE: frontend.read_parse,
    frontend.BIND: frontend.read_bind,
    frontend.DESCRIBE: frontend.read_named,
    frontend.CLOSE: frontend.read_named,
    frontend.EXECUTE: frontend.read_execute,
    frontend.PASSWORD: frontend.read_sasl_initial,
}
VERIFIER = Verifier.of("secret", b"salt" * 4, 4096)


def chunks(data: bytes, cuts: list[int]) -> Iterator[bytes]:
    """Bytes in pieces."""
    places = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    for start, end in pairwise(places):
        yield data[start:end]


def read_all(data: bytes, cuts: list[int]) -> list[object]:
    """The messages in some bytes that come in chunks; stops at the first violation."""
    splitter = FrameSplitter(frontend.TYPES)
    found: list[object] = []
    try:
        for chunk in chunks(data, cuts):
            for kind, body in splitter.feed(chunk):
                reader = READERS.get(kind)
                found.append((kind, reader(body) if reader is not None else body))
    except ProtocolViolation as error:
        found.append(error.sqlstate)
    return found


# What is to be tried: each raises a ProtocolViolation for a violation, and nothing else.


def a_conversation(data: bytes, cuts: list[int]) -> None:
    """Messages of a client that has logged in."""
    found = read_all(data, cuts)
    for each in found:
        if isinstance(each, tuple):
            judge(Phase.READY, each[0])
        else:
            raise ProtocolViolation(str(each))


def an_opening(data: bytes, cuts: list[int]) -> None:
    """A start-up packet, with its options."""
    splitter = StartupSplitter()
    for chunk in chunks(data, cuts):
        body = splitter.feed(chunk)
        if body is not None:
            opening = read_opening(body)
            if isinstance(opening, Startup):
                read_options(opening.parameters)


class Users:
    """A store with one user."""

    def find(self, name: str) -> User | None:
        return User(name="ana", verifier=VERIFIER, purposes=()) if name == "ana" else None

    def secret(self) -> bytes:
        return bytes(32)


class NoTokens:
    """Takes none."""

    def caller(self, token: str) -> Caller:
        raise OperationalError(f"not {len(token)}")


def a_login(data: bytes, cuts: list[int]) -> None:
    """The messages of a login; nobody gets in."""
    keeper = Doorkeeper(
        users=Users(),  # type: ignore[arg-type] # what a login needs of them
        attempts=Attempts(lambda: 0.0),
        nonce=lambda: b"nonce",
        tokens=Tokens(NoTokens(), "https://login.example"),
    )
    exchange = keeper.exchange("ana", "", Channel("127.0.0.1", True, b"binding"))
    next(exchange)
    splitter = FrameSplitter(frontend.TYPES)
    try:
        for chunk in chunks(data, cuts):
            for kind, body in splitter.feed(chunk):
                judge(Phase.LOGIN, kind)
                step = exchange.send(body)
                while not isinstance(step, bytes):
                    step = exchange.send(step())
    except StopIteration:
        raise AssertionError("somebody got in") from None
    except OperationalError as error:
        raise ProtocolViolation(error.message) from None


def a_proof(data: bytes, _cuts: list[int]) -> None:
    """SCRAM's first and last message, cut at the first newline."""
    first, _, final = data.partition(b"\n")
    server = ScramServer(VERIFIER, b"nonce", None)
    server.challenge(PLAIN, first)
    assert server.proof(final) is None


def a_bearer(data: bytes, _cuts: list[int]) -> None:
    """OAUTHBEARER's first message."""
    read_bearer(data)


class Told(Hearer):
    """Takes what a relay tells."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []

    def hear(self, parts: list[bytes]) -> None:
        self.parts += parts

    def ended(self, status: int) -> None:
        pass

    def completed(self, tag: bytes, asked: str) -> None:
        pass

    def failed(self) -> None:
        pass

    def instead(self, diagnostics: backend.Diagnostics) -> bytes | None:
        del diagnostics
        return None

    def copies_in(self) -> None:
        pass

    def fatal(self, diagnostics: backend.Diagnostics) -> bytes:
        return backend.error(diagnostics)

    def rights_changed(self, expectation: Expectation) -> bool:
        return expectation.shown

    def skips(self) -> None:
        pass

    def settled(self) -> None:
        pass

    def answered(self, head: Expectation, data: bytes, tag: int) -> None:
        pass

    def spreads(self, head: Expectation) -> None:
        pass

    def stale(self, expectation: Expectation) -> bool:
        return expectation.shown

    def lost(self) -> None:
        pass


class Aborting(Upstream):
    """A connection that notes its end."""

    ended = False

    def abort(self) -> None:
        self.ended = True


def an_answer(data: bytes, cuts: list[int]) -> None:
    """What a server sends, in whatever chunks, as an answer; and the client's bytes count as rows the same."""
    told = Told()
    upstream = Aborting(1, b"key", {}, 0)
    relay = Relay(told, TableFilter(lambda oid: oid % 2 == 0))
    for step in (Step.PARSE, Step.BIND, Step.DESCRIBE_PORTAL, Step.EXECUTE, Step.SYNC, Step.SIMPLE):
        relay.expect(Expectation(step))
    upstream.attach(relay)
    for chunk in chunks(data, cuts):
        upstream.data_received(chunk)
        if upstream.ended:
            raise ProtocolViolation("the server does not keep to the protocol")
    count = RowCount(lambda: None)
    passed = b"".join(count.take(chunk) for chunk in chunks(data, cuts))
    assert data.startswith(passed)


def a_local_statement(data: bytes, _cuts: list[int]) -> None:
    """A text that may be a statement of the gateway's own."""
    local = read_local(data.decode("utf-8", "replace"))
    if local is None:
        raise ProtocolViolation("none")
    local.description(b"")


@dataclass(frozen=True)
class Target:
    """What is tried, and what the mutants come from."""

    read: Callable[[bytes, list[int]], None]
    seeds: tuple[bytes, ...]


_COLUMN = backend.Column(b"name", 16384, 1, 25, -1, -1, 0)
TARGETS: Mapping[str, Target] = {
    "conversation": Target(
        a_conversation,
        (
            frontend.parse(b"s", b"select $1", (23,))
            + frontend.bind(b"", b"s", (1,), (b"1234",), b"\0\0")
            + frontend.describe(frontend.PORTAL, b"")
            + frontend.execute(b"", 10)
            + frontend.SYNC_MESSAGE,
            frontend.query(b"select 1") + frontend.copy_data(b"abc") + frontend.copy_done(),
            frontend.close(frontend.STATEMENT, b"s") + frontend.FLUSH_MESSAGE + frontend.TERMINATE_MESSAGE,
        ),
    ),
    "opening": Target(
        an_opening,
        (
            frontend.startup({"user": "ana", "database": "bank", "options": "-c datagate.purpose=tax --a-b=c"}),
            frontend.startup({"user": "ana", "_pq_.x": "1"}, minor=2),
            frontend.ssl_request(),
            frontend.cancel(7, b"12345678"),
        ),
    ),
    "login": Target(
        a_login,
        (
            frontend.sasl_initial("SCRAM-SHA-256", b"n,,n=,r=abc")
            + frontend.sasl_response(b"c=biws,r=abcnonce,p=" + b"A" * 43 + b"="),
            frontend.sasl_initial("OAUTHBEARER", b"n,,\x01auth=Bearer abc.def\x01\x01")
            + frontend.sasl_response(b"\x01"),
        ),
    ),
    "proof": Target(a_proof, (b"n,,n=,r=abc\nc=biws,r=abcnonce,p=" + b"A" * 43 + b"=", b"y,,n=ana,r=x,m=1\n")),
    "bearer": Target(a_bearer, (b"n,,\x01auth=Bearer abc.def-_~+/==\x01host=x\x01\x01", b"n,,\x01auth=\x01\x01")),
    "answer": Target(
        an_answer,
        (
            backend.PARSE_COMPLETE_MESSAGE
            + backend.BIND_COMPLETE_MESSAGE
            + backend.row_description([_COLUMN])
            + backend.data_row([b"x", None])
            + backend.command_complete("SELECT 1")
            + backend.ready(backend.IDLE),
            backend.error({"S": "ERROR", "V": "ERROR", "C": "22012", "M": "division by zero"})
            + backend.ready(backend.FAILED),
            backend.parameter_status(b"TimeZone", b"UTC") + backend.notice({"C": "00000", "M": "hello"}),
        ),
    ),
    "local": Target(
        a_local_statement, (b"SET datagate.purpose = 'tax'", b"show datagate.mandate;", b"RESET datagate.end_user")
    ),
}


def mutated(seeds: tuple[bytes, ...], chance: random.Random) -> bytes:
    """A seed with some of its bytes changed, doubled or taken away."""
    data = bytearray(chance.choice(seeds))
    for _ in range(chance.randint(1, 6)):
        place = chance.randrange(len(data))
        match chance.randrange(3):
            case 0:
                data[place] = chance.randrange(256)
            case 1:
                data[place:place] = data[place : place + chance.randint(1, 9)]
            case _ if len(data) > 9:
                del data[place : place + chance.randint(1, 4)]
    return bytes(data)


def try_mutants(name: str, number: int, seed: int) -> int:
    """Read so many mutants in chunks; how many were violations."""
    chance = random.Random(f"{name} {seed}")
    target = TARGETS[name]
    violations = 0
    for _ in range(number):
        data = mutated(target.seeds, chance)
        cuts = [chance.randrange(len(data) + 1), chance.randrange(len(data) + 1)]
        with failing_with(name, data, cuts):
            try:
                target.read(data, cuts)
            except ProtocolViolation:
                violations += 1
    return violations


@contextmanager
def failing_with(name: str, data: bytes, cuts: list[int]) -> Iterator[None]:
    """Say which bytes it was."""
    try:
        yield
    except BaseException as error:
        error.add_note(f"{name}: {data!r}, cut at {cuts}")
        raise


def main() -> None:
    """Let atheris look."""
    import atheris

    name = sys.argv.pop(1)
    target = TARGETS[name]

    def one(data: bytes) -> None:
        provider = atheris.FuzzedDataProvider(data)
        cuts = [provider.ConsumeIntInRange(0, 200), provider.ConsumeIntInRange(0, 200)]
        try:
            target.read(provider.ConsumeBytes(provider.remaining_bytes()), cuts)
        except DatagateError as error:
            if not isinstance(error, ProtocolViolation):
                raise

    atheris.instrument_all()
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
