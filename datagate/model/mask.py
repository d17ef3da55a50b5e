"""Masks as a steward names them. What a mask means on an engine is that backend's business."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import Enum

from datagate.model.source import SourceRef

MaskOption = str | int | Decimal | tuple["MaskOption", ...] | tuple[tuple[str, "Mask"], ...]


class MaskKind(Enum):
    """The kinds of mask. HIDE removes the column; all others keep it."""

    HIDE = "hide"
    NULL = "null"
    REDACT = "redact"
    KEEP_FIRST = "keep_first"
    KEEP_LAST = "keep_last"
    EMAIL = "email"
    HASH = "hash"
    PSEUDONYM = "pseudonym"
    TRUNCATE = "truncate"
    ROUND = "round"
    BUCKET = "bucket"
    IP_PREFIX = "ip_prefix"
    ZIP3 = "zip3"
    JSON = "json"
    SQL = "sql"


@dataclass(frozen=True, slots=True)
class Mask:
    """One mask with its options.

    Options by kind (all optional unless marked): redact ``value`` (str, default ``***``); keep_first and
    keep_last ``n`` (int ≥ 0, required); hash ``key`` (key name, default ``default``); pseudonym ``domain``
    (str, default the column's tag) and ``key``; truncate ``unit`` (year, quarter, month, week, day; required);
    round ``to`` (positive Decimal, required); bucket ``edges`` (ascending Decimals, required); ip_prefix
    ``v4`` (int, default 24) and ``v6`` (int, default 48); json ``paths`` (pairs of dotted path and Mask,
    required); sql ``expression`` (str over the row's own columns, required).
    """

    kind: MaskKind
    options: tuple[tuple[str, MaskOption], ...]
    source: SourceRef

    def option(self, name: str) -> MaskOption | None:
        """The value of one option, or None where the steward left it out."""
        for key, value in self.options:
            if key == name:
                return value
        return None
