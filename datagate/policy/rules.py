"""From a rule's shape to the model's rule: every name is checked, tags become columns, predicates are read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from datagate.model.caller import ActorKind
from datagate.model.mask import Mask, MaskKind
from datagate.model.names import Purpose, RelationName
from datagate.model.policy import Effect, RowRule, Rule, Through, When
from datagate.model.source import SourceRef
from datagate.policy.document import Node
from datagate.policy.file_shapes import GlobalRestrictShape, RelationFile
from datagate.policy.masking import MaskCompiler
from datagate.policy.predicate import NamesInSight, PredicateReader, read_predicate
from datagate.policy.report import Report, suggestion
from datagate.policy.shapes import ConditionsShape, MaskShape, PermitShape, RestrictShape, ThroughShape
from datagate.policy.validation import Validated
from datagate.policy.vocabulary import Vocabulary

TAG = "tag:"


@dataclass(frozen=True, slots=True)
class Draft:
    """A relation file whose form has been checked: its relation and its columns with their tags."""

    relation: RelationName
    columns: Mapping[str, str]
    file: Validated[RelationFile]

    @property
    def sure(self) -> bool:
        """Whether an unknown column is truly unknown: no column was lost to a problem."""
        return not self.file.lost("columns")

    def check_column(self, column: str, source: SourceRef, report: Report) -> None:
        """Report a column that there is not."""
        if column not in self.columns and self.sure:
            near = suggestion(column, self.columns)
            report.add(source, f"{self.relation} has no column {column!r}; {near}")

    def names(self, vocabulary: Vocabulary, *, mask: bool, parameters: Iterable[str] | None = None) -> NamesInSight:
        """What an expression over this relation's rows may name; one in a mask has no placeholders."""
        return NamesInSight(
            columns=self.columns,
            functions=vocabulary.functions,
            attributes=None if mask else vocabulary.attributes,
            parameters=parameters,
            unsure=not self.sure or not vocabulary.lost.isdisjoint({"attributes", "functions"}),
        )


@dataclass(frozen=True, slots=True)
class Drafts:
    """All drafts of a directory. ``whole``: every file became one, so that an unknown relation is truly unknown."""

    by_name: Mapping[RelationName, Draft]
    whole: bool

    def find(
        self, spelled: str, source: SourceRef, report: Report, *, besides: RelationName | None = None
    ) -> Draft | None:
        """The draft of a relation; None, with the problem reported, if there is none."""
        name = RelationName.parse(spelled)
        found = self.by_name.get(name)
        if found is None and self.whole:
            known = [str(other) for other in self.by_name if other != besides]
            report.add(source, f"relation {name} has no policy file; {suggestion(spelled, known)}")
        return found


@dataclass(frozen=True, slots=True)
class _Masked:
    mask: Mask
    by_tag: bool


def names_of(spelled: str | Iterable[str]) -> tuple[str, ...]:
    """One name, or several."""
    return (spelled,) if isinstance(spelled, str) else tuple(spelled)


class RuleCompiler:
    """Compiles the rules of one relation."""

    def __init__(
        self,
        draft: Draft,
        drafts: Drafts,
        vocabulary: Vocabulary,
        reader: PredicateReader,
        report: Report,
    ) -> None:
        self._draft = draft
        self._drafts = drafts
        self._vocabulary = vocabulary
        self._reader = reader
        self._report = report
        # Where parts were cut out, an empty rule is no news.
        self._unsure = draft.file.lost("rules") or not draft.sure or "tags" in vocabulary.lost
        self._masks = MaskCompiler(draft.names(vocabulary, mask=True), reader, report)

    def permit(self, shape: PermitShape, node: Node) -> Rule:
        """A permit; names that are wrong are reported and left out."""
        masked = self._masks_of(shape, node)
        hidden = {column for column, entry in masked.items() if entry.mask.kind is MaskKind.HIDE}
        shown = frozenset(self._columns(shape.show, node.at("show"), ()))
        for column in sorted(hidden & shown):
            if isinstance(shape.show, list):
                self._report.add(node.at("masks").key, f"{column!r} is both shown and hidden; take it out of show")
        # A mask on a named column shows it; a tag's mask only says how, where the column is shown.
        shown = (shown | {column for column, entry in masked.items() if not entry.by_tag}) - hidden
        masks = {column: entry.mask for column, entry in masked.items() if column in shown}
        rule = self._rule(
            shape,
            node,
            Effect.PERMIT,
            shape.permit,
            show=shown,
            masks=masks,
            insert=frozenset(self._writable(shape.insert, node.at("insert"), masked)),
            update=frozenset(self._writable(shape.update, node.at("update"), masked)),
            delete=shape.delete,
        )
        if not (rule.show or rule.insert or rule.update or rule.delete) and not self._unsure:
            self._report.add(node.source, "this permit permits nothing; write show, insert, update or delete")
        return rule

    def restrict(self, shape: RestrictShape, node: Node) -> Rule:
        """A restrict; names that are wrong are reported and left out."""
        masks = {column: entry.mask for column, entry in self._masks_of(shape, node).items()}
        rule = self._rule(shape, node, Effect.RESTRICT, shape.restrict, masks=masks)
        if rule.rows is None and not masks and not rule.consent and not self._unsure:
            self._report.add(node.source, "this restrict restricts nothing; write rows, consent or masks")
        return rule

    def everywhere(self, shape: GlobalRestrictShape, node: Node) -> Rule | None:
        """A restrict by tags from ``datagate.yaml`` as it is for this relation; None if no column has such a tag."""
        masks: dict[str, Mask] = {}
        for key, spelling in (shape.masks or {}).items():
            for column in self._tagged(key.removeprefix(TAG)):
                mask = self._masks.mask(spelling, node.at("masks", key), self._draft.columns[column])
                if mask is not None:
                    masks[column] = mask
        if not masks:
            return None
        return self._rule(shape, node, Effect.RESTRICT, shape.restrict, masks=masks)

    def _rule(
        self,
        shape: PermitShape | RestrictShape | GlobalRestrictShape,
        node: Node,
        effect: Effect,
        name: str,
        *,
        masks: Mapping[str, Mask],
        show: frozenset[str] = frozenset(),
        insert: frozenset[str] = frozenset(),
        update: frozenset[str] = frozenset(),
        delete: bool = False,
    ) -> Rule:
        check = conditions(shape, node, self._vocabulary, self._report)
        consent = not isinstance(shape, GlobalRestrictShape) and shape.consent is not None
        if consent and self._draft.file.shape.data_subject is None:
            self._report.add(node.at("consent").key, "consent of whom? name the column under data_subject")
        return Rule(
            name=name,
            effect=effect,
            to=check.to,
            purposes=check.purposes,
            when=check.when,
            rows=None if isinstance(shape, GlobalRestrictShape) else self._rows(shape.rows, node.at("rows")),
            consent=consent,
            show=show,
            masks=tuple((column, masks[column]) for column in self._draft.columns if column in masks),
            insert=insert,
            update=update,
            delete=delete,
            source=node.source,
        )

    def _rows(self, rows: str | ThroughShape | None, node: Node) -> RowRule | None:
        if rows is None:
            return None
        if isinstance(rows, ThroughShape):
            return self._through(rows, node)
        names = self._draft.names(self._vocabulary, mask=False)
        return read_predicate(rows, node, names, self._reader, self._report)

    def _through(self, shape: ThroughShape, node: Node) -> Through:
        there = self._drafts.find(shape.through, node.at("through").source, self._report)
        pairs = {shape.on: shape.on} if isinstance(shape.on, str) else shape.on
        on = node.at("on")
        for own, theirs in pairs.items():
            self._draft.check_column(own, on.at(own).key if isinstance(on.content, dict) else on.source, self._report)
            if there is not None:
                there.check_column(theirs, on.at(own).source, self._report)
        return Through(RelationName.parse(shape.through), tuple(pairs.items()), node.source)

    def _masks_of(self, shape: ConditionsShape, node: Node) -> dict[str, _Masked]:
        """The masks by column; a named column's own mask goes before its tag's."""
        spelled = shape.masks or {}
        masks = node.at("masks")
        out: dict[str, _Masked] = {}
        for key, spelling in spelled.items():
            if key.startswith(TAG):
                continue
            self._draft.check_column(key, masks.at(key).key, self._report)
            self._add(out, key, spelling, masks.at(key), by_tag=False)
        for key, spelling in spelled.items():
            tag = key.removeprefix(TAG)
            if key == tag or not self._known_tag(tag, masks.at(key)):
                continue
            columns = self._tagged(tag)
            if not columns and not self._unsure:
                self._report.add(masks.at(key).key, f"no column here has the tag {tag!r}; remove the mask")
            for column in columns:
                if column not in out:
                    self._add(out, column, spelling, masks.at(key), by_tag=True)
        return out

    def _add(
        self, out: dict[str, _Masked], column: str, spelling: str | MaskShape | None, node: Node, *, by_tag: bool
    ) -> None:
        mask = self._masks.mask(spelling, node, self._draft.columns.get(column, ""))
        if mask is not None and column in self._draft.columns:
            out[column] = _Masked(mask, by_tag)

    def _known_tag(self, tag: str, node: Node) -> bool:
        if tag in self._vocabulary.tags or "tags" in self._vocabulary.lost:
            return True
        self._report.add(node.key, f"unknown tag {tag!r}; {suggestion(tag, self._vocabulary.tags)}")
        return False

    def _tagged(self, tag: str) -> list[str]:
        return [column for column, own in self._draft.columns.items() if own == tag]

    def _writable(self, spelled: str | list[str] | None, node: Node, masked: Mapping[str, _Masked]) -> Iterable[str]:
        """The columns that may be written; ``all`` leaves out the masked ones, naming one of those is a mistake."""
        if isinstance(spelled, list):
            for column, item in zip(spelled, node.items(), strict=False):
                if column in masked:
                    self._report.add(item.source, f"{column!r} is masked here, so it cannot be written; drop one")
        return [column for column in self._columns(spelled, node, ()) if column not in masked]

    def _columns(self, spelled: str | list[str] | None, node: Node, default: Iterable[str]) -> Iterable[str]:
        if spelled is None:
            return default
        if isinstance(spelled, str):
            return self._draft.columns
        for column, item in zip(spelled, node.items(), strict=False):
            self._draft.check_column(column, item.source, self._report)
        return [column for column in spelled if column in self._draft.columns]


@dataclass(frozen=True, slots=True)
class Conditions:
    """Whom and what for a rule is: roles, purposes, and what must hold of the caller."""

    to: frozenset[str]
    purposes: frozenset[Purpose]
    when: When


def conditions(shape: ConditionsShape, node: Node, vocabulary: Vocabulary, report: Report) -> Conditions:
    """Read ``to``, ``for`` and ``when``; unknown names are reported."""
    roles = names_of(shape.to.role) if shape.to else ()
    for role, item in zip(roles, node.at("to", "role").items(), strict=False):
        vocabulary.check("role", role, item, report)
    purposes = shape.for_ or []
    for purpose, item in zip(purposes, node.at("for").items(), strict=False):
        vocabulary.check("purpose", purpose, item, report)
    when = shape.when
    if when is None:
        return Conditions(frozenset(roles), frozenset(map(Purpose, purposes)), When())
    scopes = None if when.mandate_scope is None else names_of(when.mandate_scope)
    for scope, item in zip(scopes or (), node.at("when", "mandate.scope").items(), strict=False):
        vocabulary.check("scope", scope, item, report)
    kinds = None if when.actor_kind is None else frozenset(map(ActorKind, names_of(when.actor_kind)))
    return Conditions(
        frozenset(roles),
        frozenset(map(Purpose, purposes)),
        When(
            actor_kinds=kinds,
            delegated=when.delegated,
            scopes=None if scopes is None else frozenset(scopes),
        ),
    )
