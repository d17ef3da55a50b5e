"""The shape of a policy file's ``examples``."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from datagate.policy.shapes import KindName, Names, RelationText, Shape, Text

Cells = dict[Text, Any]


class PartyShape(Shape):
    """A principal or actor: its id, its roles, and an entry for each attribute."""

    model_config = ConfigDict(strict=True, extra="allow", frozen=True)

    id: Text | None = None
    role: Names | None = None


class ActorShape(PartyShape):
    """Who is really connected, if it is not a person or not the principal."""

    kind: KindName = "person"


class MandateShape(Shape):
    """The mandate under which the actor acts; its purposes are the case's own if none are given."""

    scope: Text
    parameters: Cells = Field(default_factory=dict)
    purposes: Annotated[list[Text], Field(min_length=1)] | None = None
    state: Literal["live", "expired", "suspended", "revoked"] = "live"


class CaseShape(Shape):
    """One question to the policy and its answer."""

    as_: PartyShape = Field(alias="as")
    why: Text | None = None
    for_: Text | None = Field(default=None, alias="for")
    consents: list[Text] = Field(default_factory=list)
    actor: ActorShape | None = None
    mandate: MandateShape | None = None
    sees: list[Text] | None = None
    hides: list[Text] = Field(default_factory=list)
    cells: dict[Text, Cells] = Field(default_factory=dict)
    denied: Literal[True] | None = None

    @model_validator(mode="after")
    def _check_answer(self) -> CaseShape:
        if (self.sees is None) == (self.denied is None):
            raise PydanticCustomError("answer", "a case has either sees: [rows] or denied: true; write one of them")
        if self.denied and (self.cells or self.hides):
            raise PydanticCustomError("answer", "a denied case shows nothing; remove cells and hides")
        return self


class ExamplesShape(Shape):
    """Rows by name, and what callers see of them.

    ``given`` has rows of other relations (for ``through``); ``types`` the SQL types of columns where the
    values do not tell.
    """

    types: dict[Text, Text] = Field(default_factory=dict)
    given: dict[RelationText, dict[Text, Cells]] = Field(default_factory=dict)
    rows: Annotated[dict[Text, Cells], Field(min_length=1)]
    cases: Annotated[list[CaseShape], Field(min_length=1)]
