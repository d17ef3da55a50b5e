"""The guide for stewards is true: its policy file holds, and it says of every key what editors are told."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import psycopg
import pytest
import yaml
from typer.testing import CliRunner

from datagate.backends.postgres.embedded import EmbeddedPostgres
from datagate.frontends.cli import app
from datagate.model.mask import MaskKind
from datagate.policy.meanings import MEANINGS
from tests.house.source import ROOT

GUIDE = (ROOT / "policies" / "README.md").read_text("utf-8")
TOLD = sorted({"RelationFile", "PermitShape", "WhenShape", "MaskShape", "ExamplesShape", "CaseShape",
               "ConfigurationFile", "ServiceShape", "AssertsShape", "ScopeShape", "ScopeRelationShape"})  # fmt: skip


def table(meanings: Mapping[str, str]) -> str:
    """A table of keys as the guide has it."""
    rows = (f"| `{key}` | {meaning} |\n" for key, meaning in meanings.items())
    return "| --- | --- |\n" + "".join(rows)


@pytest.mark.parametrize("shape", TOLD)
def test_keys_mean_what_it_says(shape: str) -> None:
    """Every key stands in its table, with the sentence that editors show."""
    assert table(MEANINGS[shape]) in GUIDE


def test_the_file_of_all_masks_holds(tmp_path: Path) -> None:
    """What the guide says that masks do is what they do on a real server; no mask is left out."""
    (shown,) = re.findall(r"^```yaml\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
    (tmp_path / "people.yaml").write_text(shown, "utf-8")
    words = yaml.safe_load((ROOT / "policies" / "datagate.yaml").read_text("utf-8"))
    for about_the_bank in ("scopes", "restricts"):
        del words[about_the_bank]
    (tmp_path / "datagate.yaml").write_text(yaml.safe_dump(words), "utf-8")
    done = CliRunner().invoke(app, ["test", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert "guide.people: 1 case, all hold" in done.output
    assert [kind.value for kind in MaskKind if kind.value not in shown + "`hash` `pseudonym`"] == []
    assert all(f"`{kind}`" in GUIDE for kind in ("hide", "hash", "pseudonym"))


@pytest.mark.parametrize("expression", re.findall(r"\(`([^`]+)`, `([^`]+)`\)", GUIDE)[0])
def test_what_hangs_on_settings_is_refused(postgres: EmbeddedPostgres, expression: str, tmp_path: Path) -> None:
    """The spellings that the guide warns of are problems, told with their place."""
    dsn = postgres.create_database("guide")
    with psycopg.connect(dsn) as connection:
        connection.execute("CREATE SCHEMA guide; CREATE TABLE guide.days (day date)")
    (tmp_path / "datagate.yaml").write_text("tags: [plain]\n", "utf-8")
    (tmp_path / "days.yaml").write_text(
        "relation: guide.days\nowner: o\nwhy: w\ncolumns: {day: plain}\nrules:\n"
        f'  - {{permit: p, show: all, rows: "day > {expression}"}}\n',
        "utf-8",
    )
    done = CliRunner().invoke(app, ["check", str(tmp_path), "--dsn", dsn])
    postgres.drop_database("guide")
    assert done.exit_code == 1
    assert "days.yaml:6:" in done.output
