"""What is shipped to run the gateway by: it names options, variables and files that there are."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from typer.main import get_command

from datagate.frontends.cli.application import app
from tests.house.source import ROOT

UNIT, IMAGE = ROOT / "deploy" / "datagate-gateway.service", ROOT / "deploy" / "Dockerfile"


@pytest.mark.parametrize("path", [UNIT, IMAGE], ids=lambda path: str(path.name))
def test_options_and_variables_are_the_commands(path: Path) -> None:
    """Each option and each variable that is written there is one of ``datagate gateway``'s."""
    command = get_command(app).commands["gateway"]  # type: ignore[attr-defined] # it is a group
    options = {option for each in command.params for option in each.opts}
    variables = {str(each.envvar) for each in command.params if each.envvar}
    text = path.read_text()
    begun = text[text.index("ExecStart=") if path is UNIT else text.index('CMD ["gateway"') :]
    written = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", begun.partition("ExecReload")[0]))
    assert written
    assert written <= options
    assert set(re.findall(r"\bDATAGATE_[A-Z]+", text)) <= variables


def test_the_unit_is_one(tmp_path: Path) -> None:
    """Where systemd is at hand it finds nothing wrong with the unit, and little that could be taken away from it."""
    analyze = shutil.which("systemd-analyze")
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/opt/datagate/bin/datagate", "/bin/true"))
    commands = [] if analyze is None else [[analyze, "verify", str(unit)]]
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stderr) == (0, "")
    assert "NoNewPrivileges=yes" in unit.read_text()
    assert "DynamicUser=yes" in unit.read_text()


def test_the_image_copies_what_there_is() -> None:
    """Each file that the image is made of stands in the checkout, and is let through to the build."""
    copied = [
        word
        for line in re.findall(r"^COPY (?!--from)(.+)$", IMAGE.read_text(), re.MULTILINE)
        for word in line.split()[:-1]
    ]
    let_through = set(re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE))
    assert set(copied) == let_through
    assert all((ROOT / name).exists() for name in copied)
