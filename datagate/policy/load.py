"""Read a directory of policy files: all of them, or a PolicyError that names everything that is wrong."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from datagate.errors import PolicyError, Problem
from datagate.model.names import PrincipalId, RelationName
from datagate.model.policy import PolicySet, RelationPolicy, Scope, Trust
from datagate.model.source import SourceRef
from datagate.policy.document import read_document
from datagate.policy.example_reading import ExampleReader
from datagate.policy.examples import Examples
from datagate.policy.file_shapes import ConfigurationFile, RelationFile
from datagate.policy.predicate import PredicateReader
from datagate.policy.relations import check_circles, compile_relation, draft_of
from datagate.policy.report import Report
from datagate.policy.rules import Draft, Drafts
from datagate.policy.scopes import ScopeCompiler, check_restricts
from datagate.policy.services import read_services
from datagate.policy.validation import Validated, validate
from datagate.policy.vocabulary import CONFIGURATION, NOTHING_READ, Vocabulary, read_vocabulary


@dataclass(frozen=True, slots=True)
class PolicySource:
    """A directory of policy files, read and checked: the policies, and the examples that must hold of them."""

    directory: Path
    policies: PolicySet
    examples: tuple[Examples, ...]


def load_policies(directory: Path, predicates: PredicateReader) -> PolicySet:
    """The policies of a directory; PolicyError with all problems, sorted."""
    return read_source(directory, predicates).policies


def load_examples(directory: Path, predicates: PredicateReader) -> tuple[Examples, ...]:
    """The examples of a directory's files, by relation; PolicyError with all problems, sorted."""
    return read_source(directory, predicates).examples


def read_source(directory: Path, predicates: PredicateReader) -> PolicySource:
    """Policies and examples of a directory; PolicyError with all problems, sorted."""
    report = Report()
    files = _read_files(directory, report)
    configuration: Validated[ConfigurationFile] | None = None
    relations: list[Validated[RelationFile]] = []
    for name, raw in files.items():
        node = read_document(raw, (directory / name).as_posix(), report)
        if node is None:
            continue
        if name == CONFIGURATION:
            configuration = validate(ConfigurationFile, node, report)
        else:
            file = validate(RelationFile, node, report)
            if file is not None:
                relations.append(file)
    vocabulary = NOTHING_READ if configuration is None else read_vocabulary(configuration, report)
    drafts = _drafts(relations, vocabulary, report, expected=len(files) - 1)
    policies = {
        relation: compile_relation(draft, drafts, vocabulary, configuration, predicates, report)
        for relation, draft in drafts.by_name.items()
    }
    check_circles(policies, report)
    scopes: Mapping[str, Scope] = {}
    services: Mapping[PrincipalId, Trust] = {}
    if configuration is not None:
        services = read_services(configuration, vocabulary, report)
        check_restricts(configuration, vocabulary, report)
        compiler = ScopeCompiler(drafts, vocabulary, predicates, report)
        scopes = {
            name: compiler.scope(name, shape, configuration.node.at("scopes", name))
            for name, shape in configuration.shape.scopes.items()
        }
    examples = _examples(drafts, vocabulary, scopes, report)
    report.raise_if_any()
    return PolicySource(directory, _policy_set(version_of(files), vocabulary, scopes, services, policies), examples)


def version_of(files: Mapping[str, bytes]) -> str:
    """SHA-256 over relative paths and bytes, each with its length, so that no two directories read alike."""
    digest = hashlib.sha256()
    for name in sorted(files):
        for part in (name.encode("utf-8", "surrogateescape"), files[name]):
            digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()


def _policy_set(
    version: str,
    vocabulary: Vocabulary,
    scopes: Mapping[str, Scope],
    services: Mapping[PrincipalId, Trust],
    policies: Mapping[RelationName, RelationPolicy],
) -> PolicySet:
    return PolicySet(
        version=version,
        purposes=vocabulary.purposes,
        roles=vocabulary.roles,
        attributes=vocabulary.attributes,
        tags=vocabulary.tags,
        scopes=scopes,
        functions=vocabulary.functions,
        statements=vocabulary.statements,
        services=services,
        relations=policies,
    )


def _read_files(directory: Path, report: Report) -> dict[str, bytes]:
    """Every YAML file below the directory, by relative path; each is read once, so that the hash fits the rules."""
    files: dict[str, bytes] = {}
    if not directory.is_dir():
        raise PolicyError([Problem(SourceRef(directory.as_posix(), 1, 1), "no such directory; name one with policies")])
    for path in sorted(directory.rglob("*")):
        name = path.relative_to(directory).as_posix()
        if path.suffix.lower() not in {".yaml", ".yml"}:
            continue
        place = SourceRef(path.as_posix(), 1, 1)
        if path.suffix != ".yaml":
            report.add(place, "policy files end in .yaml; rename it")
            continue
        try:
            files[name] = path.read_bytes()
        except OSError as error:
            report.add(place, f"cannot be read ({error.strerror}); mend the file's rights, or remove it")
    if CONFIGURATION not in files:
        report.add(SourceRef((directory / CONFIGURATION).as_posix(), 1, 1), "missing; write it (purposes, roles, tags)")
    return files


def _drafts(files: list[Validated[RelationFile]], vocabulary: Vocabulary, report: Report, *, expected: int) -> Drafts:
    drafts: dict[RelationName, Draft] = {}
    for file in files:
        draft = draft_of(file, vocabulary, report)
        first = drafts.setdefault(draft.relation, draft)
        if first is not draft:
            where = first.file.node.source.file
            report.add(file.node.at("relation").source, f"relation {draft.relation} has a policy in {where}; merge")
    return Drafts(drafts, len(files) == expected)


def _examples(
    drafts: Drafts, vocabulary: Vocabulary, scopes: Mapping[str, Scope], report: Report
) -> tuple[Examples, ...]:
    out: list[Examples] = []
    for draft in drafts.by_name.values():
        shape = draft.file.shape.examples
        if shape is not None:
            reader = ExampleReader(draft, drafts, vocabulary, scopes, report)
            out.append(reader.read(shape, draft.file.node.at("examples")))
    return tuple(out)
