"""What a client asks for at its start: parameters, and ``options`` as on a server's command line."""

from __future__ import annotations

import re
from collections.abc import Mapping

from datagate.errors import ProtocolViolation
from datagate.frontends.gateway.identity import WISHES

_WORD = re.compile(r"(?:[^\s\\]|\\.)+", re.DOTALL)
_OURS = frozenset((*WISHES, "datagate.login"))


def read_options(parameters: Mapping[str, str]) -> dict[str, str]:
    """All settings by name: those of ``options`` first, so that parameters of their own prevail.

    Raises:
        ProtocolViolation: ``options`` holds something other than ``-c name=value`` or ``--name=value``; a setting of
            datagate's that there is not.
    """
    found: dict[str, str] = {}
    words = [re.sub(r"\\(.)", r"\1", word) for word in _WORD.findall(parameters.get("options", ""))]
    place = 0
    while place < len(words):
        word = words[place]
        if word == "-c" and place + 1 < len(words):
            place += 1
            setting = words[place]
        elif (word.startswith("-c") and len(word) > 2) or word.startswith("--"):
            setting = word[2:]
        else:
            raise ProtocolViolation("options may be: -c name=value, --name=value", sqlstate="22023")
        name, equals, value = setting.partition("=")
        if not equals or not name:
            raise ProtocolViolation("options may be: -c name=value, --name=value", sqlstate="22023")
        found[name.replace("-", "_") if word.startswith("--") else name] = value
        place += 1
    found.update((name, value) for name, value in parameters.items() if name != "options")
    unknown = [name for name in found if name.startswith("datagate.") and name not in _OURS]
    if unknown:
        raise ProtocolViolation(
            f"there is no setting {unknown[0]}; there are {', '.join(sorted(_OURS))}", sqlstate="42704"
        )
    return found
