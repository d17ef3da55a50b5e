"""Whatever happens to a policy file, it loads or is refused with a place."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from datagate.errors import PolicyError, Problem
from datagate.policy import load_policies
from tests.policy.reader import SmallReader

BANK = Path(__file__).parents[2] / "policies"
NAMES = ["datagate.yaml", "customers.yaml", "accounts.yaml"]
FILES = {name: (BANK / name).read_bytes() for name in NAMES}
WORDS = sorted({word for raw in FILES.values() for word in raw.split()})
SPLINTERS = [
    b"{", b"}", b"[", b"]", b":", b": ", b"- ", b"'", b'"', b"|\n", b">\n", b"&a ", b"*a", b"!!str ", b"<<: ", b"? ",
    b"#", b"\t", b"\n", b"\r", b"---\n", b"%YAML 1.2\n", b"null", b"~", b"NO", b"1e3", b"0x", b"\x00", b"\xff",
    b"\xef\xbb\xbf", "é\U0001f600\u2028".encode(), b'"\\ud800"', b'"\\UFFFFFFFF"', b"$1", b"::", b":principal.x", b";",
    b"--", b"/*", b"tag:", b"all", b"9" * 5000, b"[" * 500, b"{a: " * 500,
]  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn) -> dict[str, bytes]:
    """The bank's files with some bytes cut, copied, moved or put in."""
    files = dict(FILES)
    for _ in range(draw(st.integers(1, 3))):
        name = draw(st.sampled_from(NAMES))
        raw = files[name]
        start = draw(st.integers(0, len(raw)))
        end = min(len(raw), start + draw(st.sampled_from([0, 0, 1, 5, 40, 400])))
        other = draw(st.sampled_from(list(FILES.values())))
        there = draw(st.integers(0, len(other)))
        piece = draw(
            st.one_of(
                st.sampled_from(SPLINTERS),
                st.sampled_from(WORDS),
                st.binary(max_size=4),
                st.text(max_size=4).map(lambda text: text.encode("utf-8", "surrogatepass")),
                st.just(other[there : there + 60]),
                st.just(b""),
            )
        )
        files[name] = raw[:start] + piece + raw[end:]
    return files


def problems_of(directory: Path) -> tuple[Problem, ...]:
    """The problems of a directory; none: it loads."""
    try:
        load_policies(directory, SmallReader())
    except PolicyError as error:
        return error.problems
    return ()


@settings(max_examples=120, deadline=None)
@given(mutated())
def test_a_changed_file_loads_or_is_refused_with_a_place(files: dict[str, bytes]) -> None:
    """No text makes the reader fail in another way, and no problem is without a line of an existing file."""
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        for name, raw in files.items():
            (directory / name).write_bytes(raw)
        problems = problems_of(directory)
    assert list(problems) == sorted(problems)
    for problem in problems:
        raw = files[Path(problem.source.file).name]
        # YAML ends lines at CR, NEL, LS and PS too.
        ends = sum(raw.count(end) for end in (b"\n", b"\r", b"\xc2\x85", b"\xe2\x80\xa8", b"\xe2\x80\xa9"))
        assert 1 <= problem.source.line <= ends + 2
        assert problem.source.column >= 1
        assert str(problem).encode()
