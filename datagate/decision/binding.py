"""Placeholders get their values: by name and type, from the standing in which a rule is read."""

from __future__ import annotations

from collections.abc import Mapping

from datagate.decision.standing import Party, Standing
from datagate.decision.values import fit
from datagate.model.decision import Denial, DenyReason, Where
from datagate.model.policy import Predicate
from datagate.model.values import AttributeValue, TypedValue, ValueType

# What every party is known by; never attributes, whatever a policy declares.
RESERVED = frozenset({"id", "kind"})


class Ledger:
    """Collects the values that predicates need; ``denial`` keeps the first that could not be had."""

    def __init__(self, attributes: Mapping[str, ValueType]) -> None:
        self.values: dict[str, TypedValue] = {}
        self.denial: Denial | None = None
        self._attributes = attributes

    def where(self, predicate: Predicate, standing: Standing) -> Where:
        """The predicate with each placeholder tied to a binding; what is missing or misfits denies."""
        bindings: list[tuple[str, str]] = []
        for placeholder in predicate.placeholders:
            # The statement's own timestamp: the engine knows it, and it must be the one that the data is read at.
            if placeholder == "now":
                continue
            name = self._bind(placeholder, standing)
            if isinstance(name, DenyReason):
                self.deny(name, f"{predicate.source}: :{placeholder} ({standing.label})")
            else:
                bindings.append((placeholder, name))
        return Where(predicate, tuple(bindings))

    def recipients(self, party: Party) -> str:
        """The binding that holds what a party is known by where a consent names recipients: its id, and its roles."""
        name = f"recipients.{party.prefix}"
        names = tuple(sorted({str(party.id), *party.entitlements.roles}))
        self.values[name] = TypedValue(ValueType.TEXT_ARRAY, names)
        return name

    def deny(self, reason: DenyReason, detail: str) -> None:
        """Remember a denial, if it is the first."""
        if self.denial is None:
            self.denial = Denial(reason, detail)

    def _bind(self, placeholder: str, standing: Standing) -> str | DenyReason:
        found = self._look_up(placeholder, standing)
        if isinstance(found, DenyReason):
            return found
        name, value_type, value = found
        typed = fit(value_type, value)
        if typed is None:
            return DenyReason.BAD_ATTRIBUTE
        self.values[name] = typed
        return name

    def _look_up(self, placeholder: str, standing: Standing) -> tuple[str, ValueType, AttributeValue] | DenyReason:
        head, _, tail = placeholder.partition(".")
        match head, tail:
            case "purpose", "":
                if not standing.purposes:
                    return DenyReason.MISSING_ATTRIBUTE
                return "purpose", ValueType.TEXT, standing.purposes[0]
            case "actor", "kind":
                return "actor.kind", ValueType.TEXT, standing.kind.value
            case "principal", _:
                return self._of_party(standing.principal, tail)
            case "actor", _:
                return self._of_party(standing.actor, tail)
            case "mandate", _:
                return _of_mandate(standing, tail)
        return DenyReason.MISSING_ATTRIBUTE

    def _of_party(self, party: Party, attribute: str) -> tuple[str, ValueType, AttributeValue] | DenyReason:
        name = f"{party.prefix}.{attribute}"
        if attribute == "id":
            return name, ValueType.TEXT, party.id
        attributes = party.entitlements.attributes
        if attribute in RESERVED or attribute not in self._attributes or attribute not in attributes:
            return DenyReason.MISSING_ATTRIBUTE
        return name, self._attributes[attribute], attributes[attribute]


def _of_mandate(standing: Standing, parameter: str) -> tuple[str, ValueType, AttributeValue] | DenyReason:
    link = standing.link
    if link is None:
        return DenyReason.MISSING_PARAMETER
    types = dict(link.scope.parameters)
    if parameter not in types or parameter not in link.mandate.parameters:
        return DenyReason.MISSING_PARAMETER
    return f"mandate.{link.index}.{parameter}", types[parameter], link.mandate.parameters[parameter]
