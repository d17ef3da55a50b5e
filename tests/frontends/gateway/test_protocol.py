"""The protocol without sockets: any bytes in any chunks; and an independent reader of the same bytes agrees."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pygwire import BackendMessageDecoder, FrontendMessageDecoder
from pygwire import messages as oracle
from pygwire.constants import ConnectionPhase

from datagate.errors import ProtocolViolation
from datagate.frontends.gateway.protocol import backend, frontend
from datagate.frontends.gateway.protocol.frames import StartupSplitter
from datagate.frontends.gateway.protocol.startup import Startup, read_opening
from tests.frontends.gateway.fuzzing import read_all

NAMES = st.binary(max_size=8).map(lambda raw: raw.replace(b"\0", b"a"))
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)


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
