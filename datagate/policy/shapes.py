"""The shapes of both kinds of policy file, as pydantic models: what keys there are and what kind of value each takes.

What a name means (whether a role, tag or column is known) is checked later; here is only form. A null stands nowhere
but as the mask of that name: ``rows: null`` must not come to mean "all rows". An empty list or mapping stands nowhere
at all, since the models keep "empty" for "everyone" and "any".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from datagate.policy.report import suggestion


class Shape(BaseModel):
    """A mapping with known keys, none of them null."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    @model_validator(mode="wrap")
    @classmethod
    def _check_keys(cls, value: Any, handler: Callable[[Any], Shape]) -> Shape:
        known = [field.alias or name for name, field in cls.model_fields.items()]
        found: list[InitErrorDetails] = []
        if isinstance(value, dict):
            found = [
                _detail(PydanticCustomError("no_value", "null is no value here; remove the key"), (key,), None)
                for key, entry in value.items()
                if entry is None and key in known
            ]
        try:
            shape = handler(value)
        except ValidationError as error:
            for fault in error.errors(include_url=False):
                kind, what = fault["type"], fault["msg"]
                if kind == "extra_forbidden":
                    key = str(fault["loc"][-1])
                    kind, what = "unknown_key", f"unknown key {key!r}; {suggestion(key, known)}"
                about = {**fault.get("ctx", {}), "what": what}
                found.append(_detail(PydanticCustomError(kind, "{what}", about), fault["loc"], fault["input"]))
        else:
            if not found:
                return shape
        raise ValidationError.from_exception_data(cls.__name__, found)


def _detail(error: PydanticCustomError, loc: tuple[int | str, ...], value: object) -> InitErrorDetails:
    return InitErrorDetails(type=error, loc=loc, input=value)


def _number(value: object) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise PydanticCustomError("number_type", "a number is wanted here, without quotes")
    return Decimal(value)


def _by_type(**tags: type) -> Callable[[object], str | None]:
    """Choose a union's member by the type of the YAML value."""

    def choose(value: object) -> str | None:
        for tag, kind in tags.items():
            if isinstance(value, kind):
                return f"<{tag}>"
        return None

    return choose


def either(message: str, **tags: type) -> Discriminator:
    """A union whose member is chosen by the value's type, with a message for all other types."""
    return Discriminator(_by_type(**tags), custom_error_type="form", custom_error_message=message)


NOTHING = type(None)
Text = Annotated[str, StringConstraints(min_length=1)]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_.\-]*$")]
KeyName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_\-]*$")]
Word = Annotated[str, StringConstraints(pattern=r"^[a-z_][a-z0-9_]*$")]
RelationText = Annotated[str, StringConstraints(pattern=r"^[^.\s][^.]*\.[^.]*[^.\s]$")]
Number = Annotated[Decimal, BeforeValidator(_number), WithJsonSchema({"type": "number"}), Field(allow_inf_nan=False)]
TypeName = Literal[
    "text", "int", "bigint", "numeric", "bool", "date", "timestamptz", "uuid", "bytea",
    "text[]", "int[]", "bigint[]", "numeric[]", "date[]", "uuid[]",
]  # fmt: skip
ActionName = Literal["select", "insert", "update", "delete"]
KindName = Literal["person", "service", "agent"]

Names = Annotated[
    Annotated[Text, Tag("<one>")] | Annotated[list[Text], Field(min_length=1), Tag("<many>")],
    either("a name or a list of names is wanted here", one=str, many=list),
]
Kinds = Annotated[
    Annotated[KindName, Tag("<one>")] | Annotated[list[KindName], Field(min_length=1), Tag("<many>")],
    either("person, service, agent, or a list of these is wanted here", one=str, many=list),
]
ColumnNames = Annotated[
    Annotated[Literal["all"], Tag("<all>")] | Annotated[list[Text], Field(min_length=1), Tag("<many>")],
    either("all, or a list of columns, is wanted here", all=str, many=list),
]


class HashShape(Shape):
    """Options of ``hash``."""

    key: KeyName = "default"


class PseudonymShape(Shape):
    """Options of ``pseudonym``; the domain is the column's tag if none is given."""

    domain: Name | None = None
    key: KeyName = "default"


class IpPrefixShape(Shape):
    """Options of ``ip_prefix``."""

    v4: Annotated[int, Field(ge=0, le=32)] = 24
    v6: Annotated[int, Field(ge=0, le=128)] = 48


class MaskShape(Shape):
    """A mask with options: one key, the mask's name."""

    redact: str | None = None
    keep_first: Annotated[int, Field(ge=0, le=100_000)] | None = None
    keep_last: Annotated[int, Field(ge=0, le=100_000)] | None = None
    hash: HashShape | None = None
    pseudonym: PseudonymShape | None = None
    truncate: Literal["year", "quarter", "month", "week", "day"] | None = None
    round: Annotated[Number, Field(gt=0)] | None = None
    bucket: Annotated[list[Number], Field(min_length=1)] | None = None
    ip_prefix: IpPrefixShape | None = None
    json_: Annotated[dict[Text, MaskSpelling], Field(min_length=1)] | None = Field(default=None, alias="json")
    sql: Text | None = None

    @model_validator(mode="after")
    def _check_one(self) -> MaskShape:
        if len(self.model_fields_set) != 1:
            raise PydanticCustomError("one_mask", "one mask is wanted here; write exactly one key")
        return self


MaskName = Literal["hide", "null", "redact", "email", "hash", "pseudonym", "ip_prefix", "zip3"]
MaskSpelling = Annotated[
    Annotated[None, Tag("<null>")] | Annotated[MaskName, Tag("<name>")] | Annotated[MaskShape, Tag("<options>")],
    either("a mask is wanted here; write its name, or {name: option}", null=NOTHING, name=str, options=dict),
]
Masks = Annotated[dict[Text, MaskSpelling], Field(min_length=1)]


class ToShape(Shape):
    """Whom a rule is about."""

    role: Names


class WhenShape(Shape):
    """Conditions on the caller."""

    actor_kind: Kinds | None = Field(default=None, alias="actor.kind")
    delegated: bool | None = None
    mandate_scope: Names | None = Field(default=None, alias="mandate.scope")

    @model_validator(mode="after")
    def _check_any(self) -> WhenShape:
        if not self.model_fields_set:
            raise PydanticCustomError("empty", "an empty condition; remove when, or write one")
        return self


class ThroughShape(Shape):
    """Rows visible when the row that they refer to is."""

    through: RelationText
    on: Annotated[
        Annotated[Text, Tag("<same>")] | Annotated[dict[Text, Text], Field(min_length=1), Tag("<pairs>")],
        either("a column, or a mapping of own column to column there, is wanted here", same=str, pairs=dict),
    ]


Rows = Annotated[
    Annotated[Text, Tag("<predicate>")] | Annotated[ThroughShape, Tag("<through>")],
    either("a predicate, or {through: relation, on: column}, is wanted here", predicate=str, through=dict),
]


class ConditionsShape(Shape):
    """What permits and restricts have in common."""

    why: Text | None = None
    to: ToShape | None = None
    for_: Annotated[list[Text], Field(min_length=1)] | None = Field(default=None, alias="for")
    when: WhenShape | None = None
    masks: Masks | None = None


class PermitShape(ConditionsShape):
    """A rule that lets see or change."""

    permit: Name
    rows: Rows | None = None
    consent: Literal["required"] | None = None
    show: ColumnNames | None = None
    insert: ColumnNames | None = None
    update: ColumnNames | None = None
    delete: bool = False


class RestrictShape(ConditionsShape):
    """A rule that narrows what permits let see."""

    restrict: Name
    rows: Rows | None = None
    consent: Literal["required"] | None = None


def _rule_tag(value: object) -> str | None:
    if isinstance(value, Mapping) and ("permit" in value) != ("restrict" in value):
        return "<permit>" if "permit" in value else "<restrict>"
    return None


RuleShape = Annotated[
    Annotated[PermitShape, Tag("<permit>")] | Annotated[RestrictShape, Tag("<restrict>")],
    Discriminator(
        _rule_tag,
        custom_error_type="form",
        custom_error_message="a rule has either permit: NAME or restrict: NAME; write one of them",
    ),
]
