"""From ``datagate.yaml``: the scopes of mandates, and the restricts that go by tag over every table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from datagate.model.names import RelationName
from datagate.model.policy import Action, Rule, Scope, ScopeRelation
from datagate.model.values import ValueType
from datagate.policy.document import Node
from datagate.policy.file_shapes import ConfigurationFile, GlobalRestrictShape, ScopeRelationShape, ScopeShape
from datagate.policy.predicate import NamesInSight, PredicateReader, read_predicate
from datagate.policy.report import Report, suggestion
from datagate.policy.rules import TAG, Draft, RuleCompiler, conditions
from datagate.policy.validation import Validated
from datagate.policy.vocabulary import Vocabulary


class ScopeCompiler:
    """Compiles the scopes against the relations' columns."""

    def __init__(
        self,
        drafts: Mapping[RelationName, Draft],
        vocabulary: Vocabulary,
        reader: PredicateReader,
        report: Report,
        *,
        every_file_read: bool,
    ) -> None:
        self._drafts = drafts
        self._vocabulary = vocabulary
        self._reader = reader
        self._report = report
        self._sure = every_file_read

    def scope(self, name: str, shape: ScopeShape, node: Node) -> Scope:
        """One scope; names that are wrong are reported and left out."""
        relations = {}
        for spelled, entry in shape.relations.items():
            relation = RelationName.parse(spelled)
            place = node.at("relations", spelled)
            draft = self._drafts.get(relation)
            if draft is not None:
                relations[relation] = self._relation(draft, entry, place, shape)
            elif self._sure:
                known = [str(other) for other in self._drafts]
                self._report.add(place.key, f"relation {relation} has no policy file; {suggestion(spelled, known)}")
        return Scope(
            name=name,
            parameters=tuple((key, ValueType(value)) for key, value in shape.parameters.items()),
            relations=relations,
            intersect_actor=shape.intersect_actor,
            source=node.key,
        )

    def _relation(self, draft: Draft, shape: ScopeRelationShape, node: Node, scope: ScopeShape) -> ScopeRelation:
        columns = None if isinstance(shape.columns, str) else frozenset(shape.columns)
        sure = draft.file.whole and self._vocabulary.whole
        if columns is not None and sure:
            for item in node.at("columns").items():
                if item.content not in draft.columns:
                    name = str(item.content)
                    near = suggestion(name, draft.columns)
                    self._report.add(item.source, f"{draft.relation} has no column {name!r}; {near}")
        words = self._vocabulary
        names = NamesInSight(draft.columns, words.functions, words.attributes, scope.parameters, not sure)
        rows = shape.rows
        return ScopeRelation(
            columns=columns,
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
            elif tag not in vocabulary.tags and vocabulary.whole:
                report.add(entry.key, f"unknown tag {tag!r}; {suggestion(tag, vocabulary.tags)}")


def restricts(configuration: Validated[ConfigurationFile]) -> Sequence[tuple[GlobalRestrictShape, Node]]:
    """The restricts over every table, each with its place."""
    return list(zip(configuration.shape.restricts, configuration.node.at("restricts").items(), strict=False))


def restricts_for(compiler: RuleCompiler, configuration: Validated[ConfigurationFile]) -> list[Rule]:
    """The restricts over every table, as they are for one relation."""
    found = (compiler.everywhere(shape, node) for shape, node in restricts(configuration))
    return [rule for rule in found if rule is not None]
