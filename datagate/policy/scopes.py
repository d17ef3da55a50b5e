"""From ``datagate.yaml``: the scopes of mandates, and the restricts that go by tag over every table."""

from __future__ import annotations

from collections.abc import Sequence

from datagate.model.policy import Action, Rule, Scope, ScopeRelation
from datagate.model.values import ValueType
from datagate.policy.document import Node
from datagate.policy.file_shapes import ConfigurationFile, GlobalRestrictShape, ScopeRelationShape, ScopeShape
from datagate.policy.predicate import PredicateReader, read_predicate
from datagate.policy.report import Report, suggestion
from datagate.policy.rules import TAG, Draft, Drafts, RuleCompiler, conditions
from datagate.policy.validation import Validated
from datagate.policy.vocabulary import Vocabulary


class ScopeCompiler:
    """Compiles the scopes against the relations' columns."""

    def __init__(
        self,
        drafts: Drafts,
        vocabulary: Vocabulary,
        reader: PredicateReader,
        report: Report,
    ) -> None:
        self._drafts = drafts
        self._vocabulary = vocabulary
        self._reader = reader
        self._report = report

    def scope(self, name: str, shape: ScopeShape, node: Node) -> Scope:
        """One scope; names that are wrong are reported and left out."""
        relations = {}
        for spelled, entry in shape.relations.items():
            place = node.at("relations", spelled)
            draft = self._drafts.find(spelled, place.key, self._report)
            if draft is not None:
                relations[draft.relation] = self._relation(draft, entry, place, shape)
        return Scope(
            name=name,
            parameters=tuple((key, ValueType(value)) for key, value in shape.parameters.items()),
            relations=relations,
            intersect_actor=shape.intersect_actor,
            source=node.key,
        )

    def _relation(self, draft: Draft, shape: ScopeRelationShape, node: Node, scope: ScopeShape) -> ScopeRelation:
        columns = None if isinstance(shape.columns, str) else shape.columns
        for column, item in zip(columns or (), node.at("columns").items(), strict=False):
            draft.check_column(column, item.source, self._report)
        names = draft.names(self._vocabulary, mask=False, parameters=scope.parameters)
        rows = shape.rows
        return ScopeRelation(
            columns=None if columns is None else frozenset(columns),
            actions=frozenset(map(Action, shape.actions)),
            rows=None if rows is None else read_predicate(rows, node.at("rows"), names, self._reader, self._report),
        )


def check_restricts(configuration: Validated[ConfigurationFile], vocabulary: Vocabulary, report: Report) -> None:
    """Check what does not depend on a relation: names, and that masks go by known tags."""
    for shape, node in restricts(configuration):
        conditions(shape, node, vocabulary, report)
        if not shape.masks:
            report.add(node.source, "this restrict restricts nothing; write masks by tag")
        for key, entry in node.at("masks").entries() if shape.masks else ():
            tag = key.removeprefix(TAG)
            if key == tag:
                report.add(entry.key, f"mask on {key!r}; here masks go by tag: write tag:NAME")
            elif tag not in vocabulary.tags and "tags" not in vocabulary.lost:
                report.add(entry.key, f"unknown tag {tag!r}; {suggestion(tag, vocabulary.tags)}")


def restricts(configuration: Validated[ConfigurationFile]) -> Sequence[tuple[GlobalRestrictShape, Node]]:
    """The restricts over every table, each with its place."""
    return list(zip(configuration.shape.restricts, configuration.node.at("restricts").items(), strict=False))


def restricts_for(compiler: RuleCompiler, configuration: Validated[ConfigurationFile]) -> list[Rule]:
    """The restricts over every table, as they are for one relation."""
    found = (compiler.everywhere(shape, node) for shape, node in restricts(configuration))
    return [rule for rule in found if rule is not None]
