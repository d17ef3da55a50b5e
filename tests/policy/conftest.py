"""Directories of policy files that tests write and change."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from datagate.errors import PolicyError
from datagate.model.policy import PolicySet
from datagate.policy import load_policies
from tests.policy.goldens import lay
from tests.policy.reader import SmallReader

Load = Callable[..., PolicySet]


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """The good files of ``fixtures/policies/base``."""
    lay("base", tmp_path)
    return tmp_path


@pytest.fixture
def load(shop: Path) -> Load:
    """Load the shop with its customers' rules replaced, and keys of ``datagate.yaml`` added."""

    def loading(rules: str, *, configuration: str = "", customers: str = "") -> PolicySet:
        path = shop / "customers.yaml"
        head, _, _ = path.read_text(encoding="utf-8").partition("rules:")
        path.write_text(f"{head}rules:\n{rules}{customers}", encoding="utf-8")
        with (shop / "datagate.yaml").open("a", encoding="utf-8") as file:
            file.write(configuration)
        return load_policies(shop, SmallReader())

    return loading


@pytest.fixture
def faults(load: Load) -> Callable[..., list[str]]:
    """What loading says, without the places; no words: it loads."""

    def failing(rules: str, **more: str) -> list[str]:
        try:
            load(rules, **more)
        except PolicyError as error:
            return [problem.what for problem in error.problems]
        return []

    return failing
