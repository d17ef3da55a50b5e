"""The JSON Schema for editors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from datagate.policy import json_schema
from datagate.policy.document import Plain, read_document
from datagate.policy.meanings import MEANINGS
from datagate.policy.report import Report

ROOT = Path(__file__).parents[2]
GOOD = [*sorted((ROOT / "policies").rglob("*.yaml")), *sorted((ROOT / "fixtures" / "policies" / "base").glob("*.yaml"))]
BROKEN = ["keys-unknown/datagate.yaml", "keys-unknown/customers.yaml", "forms-wrong/customers.yaml",
          "forms-wrong/datagate.yaml", "empties/customers.yaml"]  # fmt: skip


def plain(path: Path) -> Plain:
    """A file's value."""
    node = read_document(path.read_bytes(), path.name, Report())
    assert node is not None
    return node.plain()


def validator() -> Any:
    """A validator for the schema, which is itself one."""
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_good_files_fit(path: Path) -> None:
    """What loads fits the schema, also as an ordinary YAML reader sees it."""
    errors = [error.message for error in validator().iter_errors(plain(path))]
    assert errors == []
    by_hand = yaml.safe_load(path.read_text(encoding="utf-8"))
    # PyYAML reads the key ``on`` as true; editors follow YAML 1.2.
    if "{True:" not in repr(by_hand) and "True:" not in repr(by_hand):
        assert validator().is_valid(by_hand)


@pytest.mark.parametrize("name", BROKEN)
def test_files_of_a_wrong_form_do_not(name: str) -> None:
    """An editor tells of unknown keys, wrong values and empty ones."""
    assert not validator().is_valid(plain(ROOT / "fixtures" / "policies" / name))


@pytest.mark.parametrize("key", ["rows", "for", "to", "when", "show", "masks"])
def test_no_key_takes_null(key: str) -> None:
    """Null stands in no file but as the mask of that name."""
    permit: dict[str, object] = {"permit": "p", "show": "all", "masks": {"a": None}}
    file = {"relation": "s.t", "owner": "o", "why": "w", "columns": {"a": "plain"}, "rules": [permit]}
    assert validator().is_valid(file)
    permit[key] = None
    assert not validator().is_valid(file)


def test_every_key_is_explained() -> None:
    """Each shape says what it is."""
    definitions = json_schema()["$defs"]
    assert all(entry.get("description") for entry in definitions.values() if entry.get("type") == "object")


def test_editors_say_what_each_key_means() -> None:
    """Every key has its sentence, and no sentence is about a key that is gone."""
    shapes = json_schema()["$defs"]
    said = {
        name: {key: entry["description"] for key, entry in shape["properties"].items()}
        for name, shape in shapes.items()
    }
    assert said == MEANINGS
