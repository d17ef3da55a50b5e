"""Directories of broken policy files, laid over a good one, and the messages that they must give.

``python -m tests.policy.goldens`` writes the messages anew; read the difference by eye.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from datagate.errors import PolicyError
from datagate.policy import load_policies
from tests.policy.reader import SmallReader

ROOT = Path(__file__).parents[2] / "fixtures" / "policies"
BASE = ROOT / "base"
CASES = sorted(path.name for path in ROOT.iterdir() if path.is_dir() and path != BASE)


def lay(case: str, directory: Path) -> None:
    """Copy the good files, then the case's over them."""
    for source in (BASE, ROOT / case):
        shutil.copytree(source, directory, dirs_exist_ok=True)


def messages(directory: Path) -> str:
    """What loading a directory says, with paths from there on; empty if it loads."""
    try:
        load_policies(directory, SmallReader())
    except PolicyError as error:
        return str(error).replace(directory.as_posix() + "/", "") + "\n"
    return ""


def main() -> None:
    """Write every case's ``expected.txt``."""
    for case in CASES:
        with tempfile.TemporaryDirectory() as scratch:
            lay(case, Path(scratch))
            (ROOT / case / "expected.txt").write_text(messages(Path(scratch)), encoding="utf-8")


if __name__ == "__main__":
    main()
