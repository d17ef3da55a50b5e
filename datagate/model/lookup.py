"""Functions that look a catalog object up by its OID."""

from __future__ import annotations

from dataclasses import dataclass

from datagate.model.names import RelationName


@dataclass(frozen=True, slots=True)
class Lookup:
    """Which argument of a function (counted from zero) is an OID, and which column of which catalog must hold it.

    ``also``: a further argument that another column of the same row must hold, such as a column's number.
    """

    argument: int
    relation: RelationName
    column: str
    also: tuple[int, str] | None = None
