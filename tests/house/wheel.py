"""What a built wheel must hold: ``python -m tests.house.wheel WHEEL``; exits 1 and says what is missing or too much."""

from __future__ import annotations

import re
import sys
import zipfile
from pathlib import Path

from tests.house.source import PACKAGE, ROOT, modules

ALONG = {"policies": "policies", "fixtures/bank": "bank"}
"""What the demo takes along: folders of the checkout, and their names beside the command line's modules."""

FRONTEND = "datagate/frontends/cli"
STRANGERS = re.compile(r"^(?:tests|benchmarks|fixtures)/|\.mypy_cache|__pycache__|\.env$|\.pem$|\.key$")


def faults(wheel: Path) -> list[str]:
    """What is wrong with a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
        metadata = archive.read(next(name for name in held if name.endswith(".dist-info/METADATA"))).decode()
    wanted = {str(module.path.relative_to(ROOT)) for module in modules(PACKAGE)} | {"datagate/py.typed"}
    for folder, name in ALONG.items():
        files = [path for path in (ROOT / folder).rglob("*") if path.suffix in {".py", ".sql", ".yaml"}]
        wanted |= {f"{FRONTEND}/{name}/{path.relative_to(ROOT / folder)}" for path in files}
    found = [f"lacks {name}" for name in sorted(wanted - held)]
    found += [f"holds {name}" for name in sorted(held) if STRANGERS.search(name)]
    if not any(name.endswith(".dist-info/licenses/LICENSE") for name in held):
        found.append("lacks the licence")
    if "License-Expression: Apache-2.0" not in metadata or "Requires-Python: >=3.11" not in metadata:
        found.append("its metadata tell neither licence nor Python")
    return found


if __name__ == "__main__":
    wrong = faults(Path(sys.argv[1]))
    print(*(f"{sys.argv[1]} {each}" for each in wrong), sep="\n", end="\n" if wrong else "")  # noqa: T201 - a program
    sys.exit(bool(wrong))
