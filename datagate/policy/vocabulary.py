"""The words that ``datagate.yaml`` declares: purposes, roles, attributes, tags, functions, and the scopes' names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from datagate.model.names import Purpose
from datagate.model.policy import PurposeTree
from datagate.model.source import SourceRef
from datagate.model.values import ValueType
from datagate.policy.document import Node
from datagate.policy.file_shapes import ConfigurationFile, PurposeShape
from datagate.policy.report import Report, suggestion
from datagate.policy.validation import Validated

CONFIGURATION = "datagate.yaml"
RESERVED = frozenset({"id", "kind", "role"})
"""What principals and actors have of themselves; no attribute may be called so."""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The declared words. ``whole``: none was lost to a problem, so an unknown word is truly unknown."""

    purposes: PurposeTree = field(default_factory=lambda: PurposeTree({}))
    roles: frozenset[str] = frozenset()
    attributes: Mapping[str, ValueType] = field(default_factory=dict)
    tags: frozenset[str] = frozenset()
    functions: frozenset[str] = frozenset()
    scopes: frozenset[str] = frozenset()
    whole: bool = True

    def check(self, kind: str, name: str, node: Node, report: Report) -> bool:
        """Whether a role, purpose, tag or scope is declared; report it if not."""
        known: Mapping[str, Iterable[str]] = {
            "role": self.roles,
            "purpose": self.purposes.parents,
            "tag": self.tags,
            "scope": self.scopes,
        }
        if name in known[kind]:
            return True
        if self.whole:
            near = suggestion(name, known[kind])
            report.add(node.source, f"unknown {kind} {name!r}; {near} (declare it in {CONFIGURATION}?)")
        return False


def read_vocabulary(configuration: Validated[ConfigurationFile], report: Report) -> Vocabulary:
    """The words of a configuration file."""
    shape, node = configuration.shape, configuration.node
    planted: dict[Purpose, _Planted] = {}
    _plant(node.at("purposes"), shape.purposes, None, planted, report)
    purposes = PurposeTree({purpose: place.parent for purpose, place in planted.items()})
    _check_prefixes(purposes, planted, report)
    for name, entry in node.at("attributes").entries():
        if name in RESERVED:
            report.add(entry.key, f"attribute {name!r} is built in; choose another name")
    return Vocabulary(
        purposes=purposes,
        roles=frozenset(shape.roles),
        attributes={name: ValueType(value) for name, value in shape.attributes.items()},
        tags=frozenset(shape.tags),
        functions=frozenset(shape.functions),
        scopes=frozenset(shape.scopes),
        whole=configuration.whole,
    )


@dataclass(frozen=True, slots=True)
class _Planted:
    parent: Purpose | None
    source: SourceRef


def _plant(
    node: Node,
    purposes: Mapping[str, str | PurposeShape],
    parent: Purpose | None,
    planted: dict[Purpose, _Planted],
    report: Report,
) -> None:
    for name, shape in purposes.items():
        entry = node.at(name)
        purpose = Purpose(name)
        if purpose in planted:
            report.add(entry.key, f"purpose {name!r} stands twice in the tree; remove one")
            continue
        planted[purpose] = _Planted(parent, entry.key)
        if isinstance(shape, PurposeShape):
            _plant(entry.at("contains"), shape.contains, purpose, planted, report)


def _check_prefixes(tree: PurposeTree, planted: Mapping[Purpose, _Planted], report: Report) -> None:
    """A purpose named like a part of another stands below it: a yes to the one must not miss the other."""
    for purpose, place in planted.items():
        prefix = purpose.rpartition(".")[0]
        if prefix and Purpose(prefix) in tree and Purpose(prefix) not in tree.chain(purpose):
            report.add(
                place.source, f"purpose {purpose!r} is named like a part of {prefix!r}; put it under its contains"
            )
