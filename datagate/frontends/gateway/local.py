"""Statements that the gateway itself answers: SET, RESET and SHOW of the settings that say who is calling."""

from __future__ import annotations

import re
from dataclasses import dataclass

from datagate.errors import DatagateError, Refused
from datagate.frontends.gateway.identity import WISHES
from datagate.frontends.gateway.protocol import backend
from datagate.frontends.gateway.way import Way

_TEXT_OID, _UNKNOWN_LENGTH = 25, -1
_NAMES = "|".join(re.escape(name) for name in WISHES)
_SET = re.compile(
    rf"\s*SET\s+(?:SESSION\s+)?(?P<name>{_NAMES})\s*(?:=|\bTO\b)\s*"
    r"(?:'(?P<literal>[^'\\]*)'|(?P<word>[A-Za-z_][\w.-]*))\s*;?\s*",
    re.IGNORECASE,
)
_SHOW = re.compile(rf"\s*(?P<verb>SHOW|RESET)\s+(?P<name>{_NAMES})\s*;?\s*", re.IGNORECASE)
_MENTION = "datagate."


@dataclass(frozen=True, slots=True)
class Local:
    """One such statement. ``value``: what is set; empty for RESET; None for SHOW."""

    tag: str
    name: str
    value: str | None

    def checked(self, way: Way) -> Local | DatagateError:
        """Itself, or why this login may not set that."""
        try:
            if self.value is not None:
                way.check_wish(self.name, self.value)
        except Refused as error:
            return error
        return self

    def description(self, results: bytes) -> bytes:
        """What Describe answers; ``results``: the formats asked for, as they stood in Bind."""
        if self.value is not None:
            return backend.NO_DATA_MESSAGE
        # The binary format of a text is the text.
        code = int.from_bytes(results[2:4], "big") if len(results) >= 4 else 0
        column = backend.Column(self.name.encode(), 0, 0, _TEXT_OID, _UNKNOWN_LENGTH, -1, code)
        return backend.row_description([column])

    def run(self, way: Way) -> bytes:
        """Do it: the row, if there is one, and the tag."""
        if self.value is not None:
            way.wish(self.name, self.value)
            return backend.command_complete(self.tag)
        return backend.data_row([way.shown(self.name).encode()]) + backend.command_complete(self.tag)


def read_local(text: str) -> Local | None:
    """The statement that a text is, or None where it is not one of these."""
    if _MENTION not in text and _MENTION not in text.lower():
        return None
    found = _SET.fullmatch(text)
    if found is not None:
        value = found["literal"] if found["literal"] is not None else found["word"]
        return Local("SET", found["name"].lower(), "" if value.upper() == "DEFAULT" and found["word"] else value)
    found = _SHOW.fullmatch(text)
    if found is None:
        return None
    verb = found["verb"].upper()
    return Local(verb, found["name"].lower(), None if verb == "SHOW" else "")
