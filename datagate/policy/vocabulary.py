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
    """The declared words.

    ``lost``: the keys of ``datagate.yaml`` below which something was wrong, so that an unknown word is no news.
    """

    purposes: PurposeTree = field(default_factory=lambda: PurposeTree({}))
    roles: frozenset[str] = frozenset()
    attributes: Mapping[str, ValueType] = field(default_factory=dict)
    tags: frozenset[str] = frozenset()
    functions: frozenset[str] = frozenset()
    scopes: frozenset[str] = frozenset()
    statements: Mapping[str, frozenset[str]] = field(default_factory=dict)
    lost: frozenset[str] = frozenset()

    def check(self, kind: str, name: str, node: Node, report: Report) -> bool:
        """Whether a role, purpose, tag or scope is declared; report it if not."""
        words: Mapping[str, tuple[str, Iterable[str]]] = {
            "role": ("roles", self.roles),
            "purpose": ("purposes", self.purposes.parents),
            "tag": ("tags", self.tags),
            "scope": ("scopes", self.scopes),
        }
        key, known = words[kind]
        if name in known:
            return True
        if key not in self.lost:
            near = suggestion(name, known)
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
    for kind, roles in shape.statements.items():
        for place, role in enumerate(roles):
            if role not in shape.roles:
                near = suggestion(role, shape.roles)
                report.add(node.at("statements", kind, place).source, f"unknown role {role!r}; {near}")
    return Vocabulary(
        purposes=purposes,
        statements={kind: frozenset(roles) for kind, roles in shape.statements.items()},
        roles=frozenset(shape.roles),
        attributes={name: ValueType(value) for name, value in shape.attributes.items()},
        tags=frozenset(shape.tags),
        functions=frozenset(shape.functions),
        scopes=frozenset(shape.scopes),
        lost=_lost(configuration),
    )


NOTHING_READ = Vocabulary(lost=frozenset(ConfigurationFile.model_fields))
"""The vocabulary where ``datagate.yaml`` cannot be read at all."""


def _lost(configuration: Validated[ConfigurationFile]) -> frozenset[str]:
    # A misspelt key stands for one of the others, and nobody knows which.
    keys = ConfigurationFile.model_fields
    misspelt = any(len(path) == 1 and path[0] not in keys for path in configuration.cut)
    return frozenset(key for key in keys if misspelt or configuration.lost(key))


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
