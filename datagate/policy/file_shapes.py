"""The shapes of the two kinds of policy file, and the JSON Schema that editors check them with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, Tag
from pydantic.json_schema import models_json_schema

from datagate.policy.example_shapes import ExamplesShape
from datagate.policy.meanings import MEANINGS
from datagate.policy.shapes import (
    ActionName,
    ColumnNames,
    ConditionsShape,
    Name,
    RelationText,
    RuleShape,
    Shape,
    Text,
    TypeName,
    Word,
    either,
)


class AuditShape(Shape):
    """What the audit keeps of a relation."""

    keys: bool = False


class RelationFile(Shape):
    """A policy file: one relation, its columns with their tags, its rules, its examples."""

    relation: RelationText
    owner: Text
    why: Text
    data_subject: Text | None = None
    columns: Annotated[dict[Text, Text], Field(min_length=1)]
    audit: AuditShape = Field(default_factory=AuditShape)
    rules: Annotated[list[RuleShape], Field(min_length=1)]
    examples: ExamplesShape | None = None


class PurposeShape(Shape):
    """A purpose with what it contains."""

    why: Text | None = None
    contains: dict[Name, PurposeSpelling] = Field(default_factory=dict)


PurposeSpelling = Annotated[
    Annotated[Text, Tag("<why>")] | Annotated[PurposeShape, Tag("<purpose>")],
    either("a description, or {why: …, contains: {…}}, is wanted here", why=str, purpose=dict),
]

Vocables = Annotated[
    Annotated[list[Name], Tag("<names>")] | Annotated[dict[Name, Text], Tag("<described>")],
    either("a list of names, or a mapping of name to description, is wanted here", names=list, described=dict),
]


def _reading() -> list[ActionName]:
    return ["select"]


class ScopeRelationShape(Shape):
    """What a scope hands over of one relation."""

    columns: ColumnNames
    actions: Annotated[list[ActionName], Field(min_length=1)] = Field(default_factory=_reading)
    rows: Text | None = None


class ScopeShape(Shape):
    """A named shape for mandates."""

    why: Text | None = None
    parameters: dict[Word, TypeName] = Field(default_factory=dict)
    relations: Annotated[dict[RelationText, ScopeRelationShape], Field(min_length=1)]
    intersect_actor: bool = False


class GlobalRestrictShape(ConditionsShape):
    """A restrict over every table: its masks go by tag."""

    restrict: Name


class AssertsShape(Shape):
    """Whom a service may name: principals, and whoever has one of the roles."""

    principals: list[Text] = Field(default_factory=list)
    roles: list[Name] = Field(default_factory=list)


class ServiceShape(Shape):
    """A service that is believed when it says who the principal is, for these purposes and what they contain."""

    why: Text | None = None
    asserts: AssertsShape
    for_: Annotated[list[Name], Field(min_length=1, alias="for")]


StatementKind = Literal["listen", "notify", "lock", "vacuum", "refresh", "checkpoint", "explain-analyze"]
"""Statements that the gate passes on only for roles to which they are granted.

What could undo the gate is not among them: DO, CALL, COPY to programs, SET ROLE, GRANT, and all that makes or changes
what is in the database.
"""


class ConfigurationFile(Shape):
    """``datagate.yaml``: the words that policy files may use."""

    purposes: dict[Name, PurposeSpelling] = Field(default_factory=dict)
    roles: Vocables = Field(default_factory=list)
    attributes: dict[Word, TypeName] = Field(default_factory=dict)
    tags: Vocables = Field(default_factory=list)
    scopes: dict[Name, ScopeShape] = Field(default_factory=dict)
    services: dict[Text, ServiceShape] = Field(default_factory=dict)
    functions: list[RelationText] = Field(default_factory=list)
    statements: dict[StatementKind, list[Name]] = Field(default_factory=dict)
    restricts: list[GlobalRestrictShape] = Field(default_factory=list)


def json_schema() -> dict[str, Any]:
    """A JSON Schema (2020-12) for both kinds of policy file: one with ``relation`` is a relation's."""
    _, schema = models_json_schema(
        [(RelationFile, "validation"), (ConfigurationFile, "validation")],
        by_alias=True,
        title="datagate policy file",
    )
    definitions = {
        name: _described(_without_null(definition), MEANINGS[name]) for name, definition in schema["$defs"].items()
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "datagate policy file",
        "if": {"type": "object", "required": ["relation"]},
        "then": {"$ref": "#/$defs/RelationFile"},
        "else": {"$ref": "#/$defs/ConfigurationFile"},
        "$defs": definitions,
    }


def _without_null(definition: dict[str, Any]) -> dict[str, Any]:
    """Take null from every key's choices and defaults: the models keep it for "left out", files never say it."""
    properties: dict[str, Any] = {}
    for key, entry in definition.get("properties", {}).items():
        choices = [choice for choice in entry.get("anyOf", []) if choice != {"type": "null"}]
        kept = {name: part for name, part in entry.items() if name not in {"anyOf", "default"}}
        if entry.get("default") is not None:
            kept["default"] = entry["default"]
        if len(choices) == 1:
            kept |= choices[0]
        elif choices:
            kept["anyOf"] = choices
        properties[key] = kept
    return {**definition, "properties": properties} if properties else definition


def _described(definition: dict[str, Any], meanings: Mapping[str, str]) -> dict[str, Any]:
    """Say with every key what it means; the name of its attribute here is no title for people."""
    properties = {
        key: {**{name: part for name, part in entry.items() if name != "title"}, "description": meanings[key]}
        for key, entry in definition["properties"].items()
    }
    return {**definition, "properties": properties}
