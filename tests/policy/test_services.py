"""Services that are believed when they say who the principal is: read, checked, decided."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from datagate.errors import PolicyError
from datagate.model.names import PrincipalId, Purpose
from datagate.model.policy import PolicySet
from datagate.policy import load_policies
from datagate.policy.file_shapes import json_schema
from tests.policy.reader import SmallReader

PERMIT = "  - {permit: all, show: all}\n"
Load = Callable[..., PolicySet]


def services(text: str) -> str:
    """The key, after what the file has."""
    return f"\nservices:\n{text}"


def test_trust_is_read(shop: Path, load: Load) -> None:
    """Principals, roles and purposes, with the place of the service's name."""
    read = load_policies(shop, SmallReader())
    role, purpose = min(read.roles), min(read.purposes.parents)
    more = services(f"  superset: {{asserts: {{principals: [ana], roles: [{role}]}}, for: [{purpose}]}}\n")
    trust = load(PERMIT, configuration=more).services[PrincipalId("superset")]
    assert trust.principals == {PrincipalId("ana")}
    assert trust.roles == {role}
    assert trust.purposes == {Purpose(purpose)}
    assert trust.source.file.endswith("datagate.yaml")
    assert trust.source.column == 3


@pytest.mark.parametrize(
    ("entry", "wrong"),
    [
        ("{asserts: {roles: [§nurse]}, for: [PURPOSE]}", "unknown role 'nurse'"),
        ("{asserts: {principals: [ana]}, for: [§fun]}", "unknown purpose 'fun'"),
        ("{asserts: {principals: [§superset]}, for: [PURPOSE]}", "'superset' needs no trust to be itself"),
        ("{asserts: §{}, for: [PURPOSE]}", "this service may name nobody"),
        ("{asserts: {principals: [ana]}, for: §[]}", "empty"),
        ("§{asserts: {principals: [ana]}}", "for"),
        ("{asserts: {principals: [ana], §everybody: true}, for: [PURPOSE]}", "everybody"),
        ("§{for: [PURPOSE]}", "asserts"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(shop: Path, load: Load, entry: str, wrong: str) -> None:
    """Unknown words, nobody to speak for, no purpose; the mark stands where it is wrong."""
    purpose = min(load_policies(shop, SmallReader()).purposes.parents)
    line = f"  superset: {entry.replace('PURPOSE', purpose)}"
    with pytest.raises(PolicyError) as caught:
        load(PERMIT, configuration=services(line.replace("§", "") + "\n"))
    (problem,) = caught.value.problems
    assert wrong in problem.what
    assert problem.source.file.endswith("datagate.yaml")
    assert problem.source.column == line.index("§") + 1


def test_the_schema_knows_services() -> None:
    """Editors check them too."""
    shape = json_schema()["$defs"]["ServiceShape"]
    assert set(shape["required"]) == {"asserts", "for"}
