"""From relation files to relation policies: header, columns, rules in order, and what holds between files."""

from __future__ import annotations

from collections.abc import Mapping

from datagate.model.names import RelationName
from datagate.model.policy import RelationPolicy, Rule, Through
from datagate.model.source import SourceRef
from datagate.policy.file_shapes import ConfigurationFile, RelationFile
from datagate.policy.predicate import PredicateReader
from datagate.policy.report import Report
from datagate.policy.rules import Draft, Drafts, RuleCompiler
from datagate.policy.scopes import restricts_for
from datagate.policy.shapes import PermitShape
from datagate.policy.validation import Validated
from datagate.policy.vocabulary import Vocabulary


def draft_of(file: Validated[RelationFile], vocabulary: Vocabulary, report: Report) -> Draft:
    """Check a file's columns, tags and data subject."""
    shape, node = file.shape, file.node
    columns = node.at("columns")
    for column, tag in shape.columns.items():
        vocabulary.check("tag", tag, columns.at(column), report)
    subject = shape.data_subject
    draft = Draft(RelationName.parse(shape.relation), shape.columns, file)
    if subject is not None:
        draft.check_column(subject, node.at("data_subject").source, report)
    elif shape.audit.keys:
        report.add(node.at("audit").source, "the audit keeps keys of data subjects: say which column, data_subject: …")
    return draft


def compile_relation(
    draft: Draft,
    drafts: Drafts,
    vocabulary: Vocabulary,
    configuration: Validated[ConfigurationFile] | None,
    reader: PredicateReader,
    report: Report,
) -> RelationPolicy:
    """One relation's policy; what is wrong is reported and left out."""
    shape, node = draft.file.shape, draft.file.node
    compiler = RuleCompiler(draft, drafts, vocabulary, reader, report)
    rules: list[Rule] = []
    for rule, entry in zip(shape.rules, node.at("rules").items(), strict=False):
        if isinstance(rule, PermitShape):
            rules.append(compiler.permit(rule, entry))
        else:
            rules.append(compiler.restrict(rule, entry))
    if configuration is not None:
        rules.extend(restricts_for(compiler, configuration))
    for compiled in rules:
        _check_name(compiled.name, compiled.source, rules, report)
    return RelationPolicy(
        relation=draft.relation,
        columns=tuple(shape.columns.items()),
        data_subject=shape.data_subject,
        rules=tuple(rules),
        owner=shape.owner,
        why=shape.why,
        source=node.at("relation").key,
        audit_keys=shape.audit.keys,
    )


def _check_name(name: str, source: SourceRef, rules: list[Rule], report: Report) -> None:
    for rule in rules:
        if rule.name == name and rule.source < source:
            report.add(source, f"rule {name!r} stands twice (first at {rule.source}); rename one")
            return


# The decision point follows no reference through more relations than this.
MAX_REFERENCES = 16


def check_circles(policies: Mapping[RelationName, RelationPolicy], report: Report) -> None:
    """Report every ``through`` that leads back to its own relation: nothing would decide whether its row is visible."""
    throughs = {
        relation: [rule.rows for rule in policy.rules if isinstance(rule.rows, Through)]
        for relation, policy in policies.items()
    }
    for relation, edges in throughs.items():
        for edge in edges:
            if _reaches(edge.relation, relation, throughs):
                report.add(edge.source, f"rows through {edge.relation} come back to {relation}; break the circle")
            elif _depth(edge.relation, throughs) >= MAX_REFERENCES:
                report.add(edge.source, f"rows through more than {MAX_REFERENCES} relations; refer to a nearer one")


def _reaches(start: RelationName, goal: RelationName, throughs: Mapping[RelationName, list[Through]]) -> bool:
    seen: set[RelationName] = set()
    ahead = [start]
    while ahead:
        here = ahead.pop()
        if here == goal:
            return True
        if here not in seen:
            seen.add(here)
            ahead.extend(edge.relation for edge in throughs.get(here, []))
    return False


def _depth(start: RelationName, throughs: Mapping[RelationName, list[Through]]) -> int:
    """How many references can follow one another from a relation; MAX_REFERENCES for "that many or more"."""
    layer = {start}
    for depth in range(MAX_REFERENCES):
        layer = {edge.relation for relation in layer for edge in throughs.get(relation, [])}
        if not layer:
            return depth
    return MAX_REFERENCES
