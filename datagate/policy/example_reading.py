"""From the shape of ``examples`` to the model: every row, column, role, attribute and scope in them must exist."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from datagate.model.caller import ActorKind
from datagate.model.names import Purpose
from datagate.model.policy import Scope
from datagate.model.values import AttributeValue, ValueType
from datagate.policy.cells import attribute_value
from datagate.policy.document import Node
from datagate.policy.example_shapes import ActorShape, CaseShape, ExamplesShape, MandateShape, PartyShape
from datagate.policy.examples import ExampleCase, ExampleMandate, ExampleRow, Examples, MandateState, Party
from datagate.policy.report import Report, suggestion
from datagate.policy.rules import Draft, Drafts, names_of
from datagate.policy.vocabulary import RESERVED, Vocabulary


class ExampleReader:
    """Reads the examples of one relation."""

    def __init__(
        self,
        draft: Draft,
        drafts: Drafts,
        vocabulary: Vocabulary,
        scopes: Mapping[str, Scope],
        report: Report,
    ) -> None:
        self._draft = draft
        self._drafts = drafts
        self._vocabulary = vocabulary
        self._scopes = scopes
        self._report = report

    def read(self, shape: ExamplesShape, node: Node) -> Examples:
        """The examples; what is wrong is reported and left out."""
        self._check_columns(shape.types, node.at("types"), self._draft)
        rows = self._rows(shape.rows, node.at("rows"), self._draft)
        given: list[ExampleRow] = []
        for spelled, entry in shape.given.items():
            place = node.at("given", spelled)
            draft = self._drafts.find(spelled, place.key, self._report, besides=self._draft.relation)
            if draft is self._draft:
                self._report.add(place.key, "the relation's own rows; put them under rows")
            elif draft is not None:
                given.extend(self._rows(entry, place, draft))
        seen: set[str] = set()
        for row in (*rows, *given):
            if row.name in seen:
                self._report.add(row.source, f"row {row.name!r} stands twice; rename one")
            seen.add(row.name)
        cases = node.at("cases").items()
        return Examples(
            relation=self._draft.relation,
            types=dict(shape.types),
            rows=tuple(rows),
            given=tuple(given),
            cases=tuple(
                self._case(case, item, {row.name for row in rows}, seen)
                for case, item in zip(shape.cases, cases, strict=False)
            ),
            source=node.key,
        )

    def _rows(self, rows: Mapping[str, dict[str, Any]], node: Node, draft: Draft) -> list[ExampleRow]:
        out = []
        for name, cells in rows.items():
            self._check_columns(cells, node.at(name), draft)
            out.append(ExampleRow(name, draft.relation, cells, node.at(name).key))
        return out

    def _case(self, shape: CaseShape, node: Node, own: set[str], every: set[str]) -> ExampleCase:
        words, report = self._vocabulary, self._report
        if shape.for_ is not None:
            words.check("purpose", shape.for_, node.at("for"), report)
        self._check_rows(shape.consents, node.at("consents"), every)
        self._check_rows(shape.sees or (), node.at("sees"), own)
        for column, item in zip(shape.hides, node.at("hides").items(), strict=False):
            self._draft.check_column(column, item.source, report)
        for name, cells in shape.cells.items():
            place = node.at("cells", name)
            if name not in (shape.sees or ()):
                report.add(place.key, f"row {name!r} is not among those that the case sees; add it to sees")
            self._check_columns(cells, place, self._draft)
        mandate = None if shape.mandate is None else self._mandate(shape.mandate, node.at("mandate"), shape.for_)
        principal = self._party(shape.as_, node.at("as"), "principal")
        actor = principal
        if mandate is not None:
            actor = self._party(shape.actor or ActorShape(), node.at("actor"), "actor")
        elif shape.actor is not None and shape.actor.model_fields_set - {"kind"}:
            report.add(node.at("actor").key, "an actor of its own needs a mandate; add mandate, or keep only its kind")
        return ExampleCase(
            principal=principal,
            actor=actor,
            actor_kind=ActorKind(shape.actor.kind) if shape.actor else ActorKind.PERSON,
            mandate=mandate,
            purpose=None if shape.for_ is None else Purpose(shape.for_),
            consents=tuple(shape.consents),
            sees=None if shape.sees is None else tuple(shape.sees),
            hides=tuple(shape.hides),
            cells=shape.cells,
            source=node.source,
        )

    def _party(self, shape: PartyShape, node: Node, default: str) -> Party:
        roles = names_of(shape.role or ())
        for role, item in zip(roles, node.at("role").items(), strict=False):
            self._vocabulary.check("role", role, item, self._report)
        attributes = {name: value for name, value in (shape.model_extra or {}).items() if name not in RESERVED}
        typed = self._typed("attribute", attributes, self._vocabulary.attributes, node)
        return Party(shape.id or f"example-{default}", frozenset(roles), typed)

    def _mandate(self, shape: MandateShape, node: Node, purpose: str | None) -> ExampleMandate:
        self._vocabulary.check("scope", shape.scope, node.at("scope"), self._report)
        scope = self._scopes.get(shape.scope)
        parameters: Mapping[str, AttributeValue] = {}
        if scope is not None:
            parameters = self._typed("parameter", shape.parameters, dict(scope.parameters), node.at("parameters"))
        for name, item in zip(shape.purposes or (), node.at("purposes").items(), strict=False):
            self._vocabulary.check("purpose", name, item, self._report)
        purposes = shape.purposes if shape.purposes is not None else [purpose] if purpose else []
        return ExampleMandate(shape.scope, parameters, frozenset(map(Purpose, purposes)), MandateState(shape.state))

    def _typed(
        self, kind: str, values: Mapping[str, object], types: Mapping[str, ValueType], node: Node
    ) -> Mapping[str, AttributeValue]:
        out: dict[str, AttributeValue] = {}
        for name, value in values.items():
            place = node.at(name)
            if name not in types:
                if {"attribute": "attributes", "parameter": "scopes"}[kind] not in self._vocabulary.lost:
                    self._report.add(place.key, f"unknown {kind} {name!r}; {suggestion(name, types)}")
                continue
            try:
                out[name] = attribute_value(value, types[name])
            except ValueError as error:
                self._report.add(place.source, f"{kind} {name!r}: {error}")
        return out

    def _check_rows(self, names: Iterable[str], node: Node, known: set[str]) -> None:
        for name, item in zip(names, node.items(), strict=False):
            if name not in known and not self._draft.file.lost("examples", "rows"):
                self._report.add(item.source, f"no example row {name!r}; {suggestion(name, known)}")

    def _check_columns(self, cells: Iterable[str], node: Node, draft: Draft) -> None:
        for column in cells:
            draft.check_column(column, node.at(column).key, self._report)
