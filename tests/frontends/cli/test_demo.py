"""`datagate demo`, as somebody reads it who has just installed datagate."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
POLICIES = ROOT / "policies"
REFUSED = "refused: the mandate of this session is not in force  (SQLSTATE 42501)"


def played(*command: str, cwd: Path) -> str:
    """What the demo prints, outside a terminal."""
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "TMPDIR": "/tmp"}  # noqa: S108 - a socket's path is short
    done = subprocess.run(
        [*command, "demo"], cwd=cwd, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@cache
def demo() -> str:
    """The demo of this checkout."""
    return played(sys.executable, "-c", "from datagate.frontends.cli import main; main()", cwd=ROOT)


def scenes(told: str) -> dict[int, str]:
    """The scenes by number; the finale is number 0."""
    body, _, finale = told.partition("\nConsent counts")
    parts = re.split(r"^(\d)  ", body, flags=re.MULTILINE)
    return {0: finale, **{int(number): text for number, text in zip(parts[1::2], parts[2::2], strict=True)}}


def rows(scene: str) -> int:
    """How many of the thousand rows a scene's caller sees."""
    found = re.search(r"^ +([\d,]+) of 1,000 rows", scene, re.MULTILINE)
    assert found, scene
    return int(found[1].replace(",", ""))


def columns(scene: str) -> list[str]:
    """The columns that a scene shows."""
    return re.findall(
        r"^   (\w+) .*\w+\.yaml:\d+ *$", scene.partition("column  ")[2].partition("hidden:")[0], re.MULTILINE
    )


def test_eight_callers() -> None:
    """There are the eight callers of the issue, in its order."""
    titles = [text.splitlines()[0] for number, text in scenes(demo()).items() if number]
    words = ["analyst", "purpose", "customer", "accountant", "assistant", "expired", "revoked", "stranger"]
    assert len(titles) == 8
    assert all(word in title for word, title in zip(words, titles, strict=True))


def test_each_sees_his_own_rows() -> None:
    """The analyst sees some, for a purpose without consent none; the customer and her delegates one."""
    seen = {number: rows(scenes(demo())[number]) for number in (1, 2, 3, 4, 5)}
    assert 100 < seen[1] < 900
    assert [seen[number] for number in (2, 3, 4, 5)] == [0, 1, 1, 1]


def test_each_sees_his_own_columns() -> None:
    """Masks, and what mandates hand over, show in the columns; the customer herself sees all."""
    shown = {number: columns(scenes(demo())[number]) for number in (1, 3, 4, 5)}
    assert "ssn" not in shown[1]
    assert re.search(r"full_name +\*\*\* +.*redact", scenes(demo())[1])
    assert len(shown[3]) == 12
    assert shown[4] == ["customer_id", "full_name", "ssn", "birth_date", "region", "street", "zip"]
    assert shown[5] == ["customer_id", "full_name", "region"]
    assert "hidden: ssn; agents-never-see-national-ids hides it" in scenes(demo())[5]
    assert re.search(r"hidden: ssn, street, phone; .* customers\.yaml:\d+", scenes(demo())[1])


def test_refusals_and_their_reasons() -> None:
    """Expired and revoked mandates and the stranger are refused; only the audit knows which is which."""
    found = scenes(demo())
    assert REFUSED in found[6]
    assert "mandate-ended: mandate assist-" in found[6]
    assert "1 row before" in found[7]
    assert REFUSED in found[7]
    assert "mandate-revoked: mandate assist-new was revoked" in found[7]
    assert 'refused: relation "bank.customers" does not exist  (SQLSTATE 42P01)' in found[8]
    assert "no-permit" in found[8]


def test_withdrawing_a_consent_takes_one_row_away() -> None:
    """The same analyst's count falls by one, from what it was in the first scene."""
    before, after = map(int, re.findall(r"count\(\*\) FROM bank\.customers gives (\d+)", scenes(demo())[0]))
    assert before == rows(scenes(demo())[1])
    assert after == before - 1


def test_every_place_is_where_it_says() -> None:
    """The file and line beside a mask or a condition hold that mask or condition."""
    lines = {path.name: path.read_text().splitlines() for path in POLICIES.glob("*.yaml")}
    places = re.findall(r"^ +(.*?) +(\w+\.yaml):(\d+)", demo(), re.MULTILINE)
    assert len(places) > 40
    for text, name, number in places:
        line = lines[name][int(number) - 1]
        if " redact" in text:
            assert line.strip() == "full_name: redact"
        if "round 1000" in text:
            assert line.strip() == "balance: {round: 1000}"
        if text.startswith("region = ANY"):
            assert line.strip() == "rows: region = ANY(:principal.regions)"
        if text.startswith("rule "):
            assert line.strip().endswith(f": {text.removeprefix('rule ')}")


def test_it_leaves_nothing_behind() -> None:
    """No server of the demo is left, nor its directory."""
    before = set(Path("/tmp").glob("datagate-*"))  # noqa: S108 - where the demo puts it
    played(sys.executable, "-c", "from datagate.frontends.cli import main; main()", cwd=ROOT)
    left = set(Path("/tmp").glob("datagate-*")) - before  # noqa: S108 - as above
    assert not {path for path in left if (path / "server.log").exists() and not _answers(path)}


def _answers(path: Path) -> bool:
    """Whether another test's server, started meanwhile, runs in there."""
    return any(path.glob(".s.PGSQL.*"))


@pytest.mark.slow
def test_the_wheel_plays_it_too(tmp_path: Path) -> None:
    """Built into a wheel and installed elsewhere, without the checkout, the demo brings its bank and policies along."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    build = [*pip, "wheel", "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    environment = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    python = environment / "bin" / "python"
    install = [
        str(python),
        "-m",
        "pip",
        "--disable-pip-version-check",
        "install",
        "--no-deps",
        "--no-index",
        str(wheel),
    ]
    subprocess.run(install, check=True, capture_output=True)
    # The libraries of this environment, without its editable datagate: its own .pth files are not read from there.
    (site,) = environment.glob("lib/python*/site-packages")
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    told = played(str(environment / "bin" / "datagate"), cwd=tmp_path)
    assert f"policies in {site / 'datagate'}" in told
    assert [rows(scenes(told)[number]) for number in (2, 3, 4, 5)] == [0, 1, 1, 1]
    assert told.count("refused:") == 3
