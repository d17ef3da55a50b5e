"""Names of relations and the NewTypes of ids."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NewType

PrincipalId = NewType("PrincipalId", str)
MandateId = NewType("MandateId", str)
Purpose = NewType("Purpose", str)


@dataclass(frozen=True, slots=True, order=True)
class RelationName:
    """A relation, always with its schema; exact spelling, as the catalog keeps it."""

    schema: str
    name: str

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"

    @classmethod
    def parse(cls, text: str) -> RelationName:
        """Read ``schema.name`` (policy spelling: exact case, no quotes); ValueError without exactly one dot."""
        schema, dot, name = text.partition(".")
        if not dot or not schema or not name or "." in name:
            raise ValueError(f"{text!r} is not of the form schema.name")
        return cls(schema, name)
