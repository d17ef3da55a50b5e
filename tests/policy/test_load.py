"""Directories."""

from __future__ import annotations

from pathlib import Path

import pytest

from datagate.errors import PolicyError
from datagate.policy import load_policies
from datagate.policy.load import version_of
from tests.policy.reader import SmallReader


def test_the_version_is_of_names_and_bytes(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The same files elsewhere have the same version; a changed comment or name has another."""
    version = load_policies(shop, SmallReader()).version
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    for path in shop.iterdir():
        (elsewhere / path.name).write_bytes(path.read_bytes())
    assert load_policies(elsewhere, SmallReader()).version == version
    (elsewhere / "orders.yaml").rename(elsewhere / "order.yaml")
    renamed = load_policies(elsewhere, SmallReader()).version
    with (elsewhere / "order.yaml").open("a") as file:
        file.write("# a remark\n")
    remarked = load_policies(elsewhere, SmallReader()).version
    assert len({version, renamed, remarked}) == 3


def test_versions_do_not_run_together() -> None:
    """Bytes moved from one file's name to its text, or to the next file, make another version."""
    versions = {
        version_of(files) for files in ({"a": b"bc"}, {"ab": b"c"}, {"a": b"b", "c": b""}, {"a": b"", "b": b"c"}, {})
    }
    assert len(versions) == 5


def test_files_in_subdirectories_count(shop: Path) -> None:
    """A relation's file may lie anywhere below."""
    (shop / "sales").mkdir()
    (shop / "orders.yaml").rename(shop / "sales" / "orders.yaml")
    assert len(load_policies(shop, SmallReader()).relations) == 2


def test_a_directory_without_words(shop: Path) -> None:
    """Without ``datagate.yaml`` that is the one problem: what its words would have been is no further news."""
    (shop / "datagate.yaml").unlink()
    with pytest.raises(PolicyError) as caught:
        load_policies(shop, SmallReader())
    (problem,) = caught.value.problems
    assert problem.what == "missing; write it (purposes, roles, tags)"


def test_no_directory(tmp_path: Path) -> None:
    """A directory that is not there is a PolicyError, not an empty policy."""
    with pytest.raises(PolicyError, match="no such directory"):
        load_policies(tmp_path / "nowhere", SmallReader())


def test_what_cannot_be_read(shop: Path) -> None:
    """A file that cannot be read is a problem, never a policy left out."""
    (shop / "dir.yaml").mkdir()
    with pytest.raises(PolicyError, match=r"dir.yaml:1:1: cannot be read"):
        load_policies(shop, SmallReader())
