"""What the demo brings along: the bank and its policies, beside this module in a wheel, in the repository otherwise."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any, Protocol, cast

import psycopg

from datagate.errors import OperationalError

_HERE = Path(__file__).parent
_CHECKOUT = _HERE.parents[2]
_BANK = "datagate_demo_bank"


class Loader(Protocol):
    """The bank's ``generate`` module, as far as the demo needs it."""

    def load(self, connection: psycopg.Connection[Any], customers: int = ...) -> object:
        """Create the schema ``bank`` and fill it."""
        ...


def policies_directory() -> Path:
    """The bank's policies."""
    return _found("policies", _CHECKOUT / "policies")


def bank() -> Loader:
    """The bank's generator, which is no part of any package that is installed."""
    if _BANK not in sys.modules:
        directory = _found("bank", _CHECKOUT / "fixtures" / "bank")
        spec = spec_from_file_location(_BANK, directory / "__init__.py", submodule_search_locations=[str(directory)])
        if spec is None or spec.loader is None:
            raise OperationalError(f"the demo's bank in {directory} cannot be read; install datagate anew")
        sys.modules[_BANK] = module_from_spec(spec)
    return cast("Loader", import_module(f"{_BANK}.generate"))


def _found(name: str, in_checkout: Path) -> Path:
    for candidate in (_HERE / name, in_checkout):
        if candidate.is_dir():
            return candidate
    raise OperationalError(f"the demo's {name} are neither in {_HERE} nor in {in_checkout}; install datagate anew")
