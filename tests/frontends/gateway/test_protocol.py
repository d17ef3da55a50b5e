"""The protocol without sockets: any bytes in any chunks; and an independent reader of the same bytes agrees."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pygwire import BackendMessageDecoder, FrontendMessageDecoder
from pygwire import messages as oracle
from pygwire.constants import ConnectionPhase

from datagate.errors import ProtocolViolation
from datagate.frontends.gateway.protocol import backend, frontend
from datagate.frontends.gateway.protocol.frames import FrameSplitter, StartupSplitter
from datagate.frontends.gateway.protocol.startup import Startup, read_opening

NAMES = st.binary(max_size=8).map(lambda raw: raw.replace(b"\0", b"a"))
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
READERS: dict[int, Callable[[bytes], object]] = {
    frontend.QUERY: frontend.read_query,
    frontend.PARSE: frontend.read_parse,
    frontend.BIND: frontend.read_bind,
    frontend.DESCRIBE: frontend.read_named,
    frontend.CLOSE: frontend.read_named,
    frontend.EXECUTE: frontend.read_execute,
    frontend.PASSWORD: frontend.read_sasl_initial,
}


def read_all(data: bytes, cuts: list[int]) -> list[object]:
    """The messages in some bytes that come in chunks; stops at the first violation."""
    splitter = FrameSplitter(frontend.TYPES)
    found: list[object] = []
    places = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    try:
        for start, end in pairwise(places):
            for kind, body in splitter.feed(data[start:end]):
                reader = READERS.get(kind)
                found.append((kind, reader(body) if reader is not None else body))
    except ProtocolViolation as error:
        found.append(error.sqlstate)
    return found


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=6))
def test_any_bytes_give_messages_or_a_violation(data: bytes, cuts: list[int]) -> None:
    """However bytes are cut, what is read is the same; nothing but a ProtocolViolation is raised."""
    assert read_all(data, cuts) == read_all(data, [])


@given(st.binary(max_size=120))
def test_any_bytes_at_the_start(data: bytes) -> None:
    """A start-up packet is read, is incomplete, or is a violation."""
    try:
        body = StartupSplitter().feed(data)
        if body is not None:
            read_opening(body)
    except ProtocolViolation as error:
        state = error.sqlstate
    else:
        return
    assert state in ("08P01", "0A000")


def theirs(data: bytes) -> object:
    """What the oracle reads of one front-end message."""
    decoder = FrontendMessageDecoder()
    decoder.phase = ConnectionPhase.READY
    decoder.feed(data)
    (message,) = list(decoder)
    return message


@given(NAMES, TEXTS, st.lists(st.integers(0, 2**31 - 1), max_size=4))
def test_parse_as_the_oracle_reads_it(name: bytes, text: str, types: list[int]) -> None:
    """A Parse that we write is what pygwire reads, and what we read ourselves."""
    ascii_name = name.hex().encode()
    data = frontend.parse(ascii_name, text.encode(), types)
    message = theirs(data)
    assert isinstance(message, oracle.Parse)
    assert (message.statement, message.query, list(message.param_types)) == (ascii_name.decode(), text, types)
    assert frontend.read_parse(data[5:]) == frontend.Parse(ascii_name, text.encode(), tuple(types))


@given(st.lists(st.none() | st.binary(max_size=9), max_size=5), st.booleans())
def test_bind_as_the_oracle_reads_it(values: list[bytes | None], each: bool) -> None:
    """A Bind that we write is what pygwire reads, and what we read ourselves."""
    formats = [place % 2 for place in range(len(values))] if each else []
    data = frontend.bind(b"c", b"s", formats, values, b"\0\1\0\1")
    message = theirs(data)
    assert isinstance(message, oracle.Bind)
    assert (list(message.param_values), list(message.param_formats)) == (values, formats)
    assert frontend.read_bind(data[5:]) == frontend.Bind(b"c", b"s", tuple(formats), tuple(values), b"\0\1\0\1")


@given(st.dictionaries(st.sampled_from("SVCMDHPWq"), TEXTS, max_size=5))
def test_errors_as_the_oracle_reads_them(fields: dict[str, str]) -> None:
    """An ErrorResponse that we write is what pygwire reads, and what we read ourselves."""
    data = backend.error(fields)
    decoder = BackendMessageDecoder()
    decoder.phase = ConnectionPhase.READY
    decoder.feed(data)
    (message,) = list(decoder)
    assert isinstance(message, oracle.ErrorResponse)
    assert dict(message.fields) == fields
    assert backend.read_diagnostics(data[5:]) == fields


def test_protocol_versions() -> None:
    """3.0 and 3.2 are spoken; of a newer one, and of unknown options, the client is told; 2.0 is refused."""
    for minor, spoken, negotiates in ((0, 0, False), (2, 2, False), (1, 0, True), (9999, 2, True)):
        opening = read_opening(frontend.startup({"user": "ana"}, minor=minor)[4:])
        assert isinstance(opening, Startup)
        assert (opening.minor, opening.negotiates) == (spoken, negotiates)
    odd = read_opening(frontend.startup({"user": "ana", "_pq_.what": "1"})[4:])
    assert isinstance(odd, Startup)
    assert odd.unknown == ("_pq_.what",)
    with pytest.raises(ProtocolViolation):
        read_opening(b"\0\2\0\0")


SEEDS = (
    frontend.parse(b"s", b"select $1", (23,))
    + frontend.bind(b"", b"s", (1,), (b"1234",), b"\0\0")
    + frontend.describe(frontend.PORTAL, b"")
    + frontend.execute(b"", 10)
    + frontend.SYNC_MESSAGE,
    frontend.query(b"select 1") + frontend.copy_data(b"abc") + frontend.copy_done() + frontend.TERMINATE_MESSAGE,
    frontend.sasl_initial("SCRAM-SHA-256", b"n,,n=,r=abc") + frontend.password(b"x"),
)


def mutated(chance: random.Random) -> bytes:
    """A seed with some of its bytes changed, doubled or taken away."""
    data = bytearray(chance.choice(SEEDS))
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


def try_mutants(number: int, seed: int) -> int:
    """Read so many mutants in chunks; how many were violations."""
    chance = random.Random(seed)
    violations = 0
    for _ in range(number):
        data = mutated(chance)
        found = read_all(data, [chance.randrange(len(data) + 1), chance.randrange(len(data) + 1)])
        violations += bool(found) and isinstance(found[-1], str)
    return violations


def test_mutants() -> None:
    """20,000 mutated conversations give messages or violations; many of each."""
    assert 1000 < try_mutants(20_000, 7) < 19_000


@pytest.mark.slow
def test_a_million_mutants() -> None:
    """The same a million times."""
    assert 50_000 < try_mutants(1_000_000, 11) < 950_000
