"""The chain: canonical bytes, and everything that verification has to find."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from datagate.audit import Completion, Ed25519Key, Ed25519Verifier, HmacKey, JsonLinesSink
from datagate.audit.chain import Link, canonical, link
from datagate.audit.files import rotated
from datagate.audit.signing import Signer
from datagate.audit.verify import Fault, Verdict, lines_of, verify_files
from tests.audit.records import KEY, NOW, record

_TEXT = st.text(st.characters(exclude_categories=["Cs"]))
_KEY = st.text(st.characters(max_codepoint=127))
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | _TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(_KEY, inner),
)


@given(_VALUES)
def test_our_spelling_is_the_canonical_one(value: object) -> None:
    """For the values that entries have, our encoder writes what RFC 8785 prescribes."""
    assert canonical(value) == rfc8785.dumps(value)  # type: ignore[arg-type] # it is one of those


def test_an_entry_joined_from_bytes_is_canonical() -> None:
    """An entry's line is its own canonical JSON, with the hash in its place."""
    end, line = link(Link(), canonical({"id": "a", "kind": "decision", "time": "t"}))
    assert rfc8785.dumps(json.loads(line)) == line[:-1]
    assert json.loads(line)["hash"] == end.hash


def write(path: Path, number: int = 30, *, signer: Signer | None = KEY, every: int = 10) -> list[str]:
    """A journal of so many statements; its ids."""
    sink = JsonLinesSink(path, signer=signer, checkpoint_every=every)
    kept = [sink.record(record(each), NOW) for each in range(number)]
    for each in kept:
        sink.complete(each, Completion(1, 5), NOW)
    sink.close()
    return kept


def faults(verdict: Verdict) -> set[Fault]:
    return {each.fault for each in verdict.findings}


def test_an_untouched_chain_verifies(tmp_path: Path) -> None:
    """What was written verifies without findings, every decision finished and the checkpoints signed."""
    write(tmp_path / "a")
    verdict = verify_files(tmp_path / "a", KEY)
    assert (verdict.findings, verdict.unfinished) == ((), 0)
    assert verdict.checkpoints >= 6
    assert verdict.intact


@pytest.mark.parametrize("place", range(0, 68, 7))
def test_every_kind_of_tampering_is_found(tmp_path: Path, place: int) -> None:
    """A changed, removed, doubled or exchanged line is found wherever it stands; so is a cut at the end."""
    path = tmp_path / "a"
    write(path)
    lines = path.read_bytes().splitlines(keepends=True)
    changed = lines[place].replace(b'"time":"2026', b'"time":"2025')
    other = [*lines[:place], lines[place + 1], lines[place], *lines[place + 2 :]] if place + 1 < len(lines) else []
    for bad, expected in (
        ([*lines[:place], changed, *lines[place + 1 :]], {Fault.CHANGED}),
        (lines[:place] + lines[place + 1 :], {Fault.GAP, Fault.TRUNCATED}),
        ([*lines[:place], lines[place], *lines[place:]], {Fault.ORDER}),
        (other, {Fault.GAP, Fault.ORDER, Fault.TRUNCATED}),
        (lines[:place], {Fault.TRUNCATED}),
    ):
        path.write_bytes(b"".join(bad))
        verdict = verify_files(path, KEY)
        assert not verdict.intact
        assert faults(verdict) & expected, (place, verdict.findings)


def test_every_changed_byte_is_found(tmp_path: Path) -> None:
    """No byte of an entry can be changed unseen, nor one of the spelling alone."""
    path = tmp_path / "a"
    write(path, 2)
    whole = path.read_bytes()
    for place in range(whole.index(b"\n")):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert not verify_files(path, KEY).intact, place


def test_a_chain_made_anew_is_found(tmp_path: Path) -> None:
    """Whoever does not hold the key can make a chain that fits, but neither its checkpoints nor its head."""
    write(tmp_path / "a", signer=HmacKey(b"x" * 32))
    assert verify_files(tmp_path / "a", None).intact
    assert faults(verify_files(tmp_path / "a", KEY)) == {Fault.FORGED}
    write(tmp_path / "b", signer=None)
    assert faults(verify_files(tmp_path / "b", KEY)) == {Fault.UNSIGNED, Fault.FORGED}


def test_the_public_half_verifies(tmp_path: Path) -> None:
    """With Ed25519, who verifies needs not be able to sign."""
    private = Ed25519Key(b"s" * 32)
    write(tmp_path / "a", signer=private)
    assert verify_files(tmp_path / "a", Ed25519Verifier(bytes.fromhex(private.name.partition(":")[2]))).intact
    other = Ed25519Key(b"t" * 32)
    assert not verify_files(tmp_path / "a", Ed25519Verifier(bytes.fromhex(other.name.partition(":")[2]))).intact


def test_a_rollback_needs_an_anchor(tmp_path: Path) -> None:
    """Files and head put back together verify; an end that was kept elsewhere shows it."""
    path = tmp_path / "a"
    write(path, 5)
    old = {each: each.read_bytes() for each in tmp_path.iterdir()}
    write(path, 5)
    seen = verify_files(path, KEY).end
    for each, content in old.items():
        each.write_bytes(content)
    assert verify_files(path, KEY).intact
    assert faults(verify_files(path, KEY, seen)) == {Fault.TRUNCATED}


def test_a_removed_head_is_found(tmp_path: Path) -> None:
    """Without its head nobody can say where a chain ended."""
    write(tmp_path / "a", 3)
    Path(f"{tmp_path / 'a'}.head").unlink()
    assert faults(verify_files(tmp_path / "a", KEY)) == {Fault.TRUNCATED}


def test_a_full_file_is_followed_by_another(tmp_path: Path) -> None:
    """The chain goes on through rotated files; one that is missing is a gap."""
    sink = JsonLinesSink(tmp_path / "a", signer=KEY, rotate_at=5000)
    for number in range(60):
        sink.record(record(number), NOW)
    sink.close()
    full = rotated(tmp_path / "a")
    assert len(full) > 3
    assert verify_files(tmp_path / "a", KEY).intact
    full[1].unlink()
    assert Fault.GAP in faults(verify_files(tmp_path / "a", KEY))


def test_threads_and_sinks_share_one_chain(tmp_path: Path) -> None:
    """Several sinks on one file, with several threads each, make one whole chain that has every record."""
    sinks = [JsonLinesSink(tmp_path / "a", signer=KEY, rotate_at=20_000) for _ in range(3)]
    kept: list[str] = []

    def work(sink: JsonLinesSink) -> None:
        for number in range(25):
            kept.append(sink.record(record(number), NOW))
            sink.complete(kept[-1], Completion(0, 1), NOW)

    threads = [threading.Thread(target=work, args=(sink,)) for sink in sinks for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for sink in sinks:
        sink.close()
    verdict = verify_files(tmp_path / "a", KEY)
    assert (verdict.findings, verdict.unfinished) == ((), 0)
    found = [json.loads(line.content) for line in lines_of(tmp_path / "a")]
    assert sorted(each["id"] for each in found if each["kind"] == "decision") == sorted(kept)
    assert len(set(kept)) == 300


def test_no_literal_is_kept(tmp_path: Path) -> None:
    """The caller's text is in no file, with the setting for texts on or off."""
    for name, text in (("a", False), ("b", True)):
        sink = JsonLinesSink(tmp_path / name, text=text)
        sink.record(record(), NOW)
        sink.close()
        content = (tmp_path / name).read_text()
        assert "secret" not in content
        assert ('"text"' in content) is text
