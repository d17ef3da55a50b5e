"""From ``datagate.yaml``: the services that are believed when they say who the principal is."""

from __future__ import annotations

from collections.abc import Mapping

from datagate.model.names import PrincipalId, Purpose
from datagate.model.policy import Trust
from datagate.policy.file_shapes import ConfigurationFile
from datagate.policy.report import Report
from datagate.policy.validation import Validated
from datagate.policy.vocabulary import Vocabulary


def read_services(
    configuration: Validated[ConfigurationFile], vocabulary: Vocabulary, report: Report
) -> Mapping[PrincipalId, Trust]:
    """Whom each may name, and for what; names that are wrong are reported."""
    services = {}
    for name, shape in configuration.shape.services.items():
        node = configuration.node.at("services", name)
        for place, purpose in enumerate(shape.for_):
            vocabulary.check("purpose", purpose, node.at("for", place), report)
        for place, role in enumerate(shape.asserts.roles):
            vocabulary.check("role", role, node.at("asserts", "roles", place), report)
        if not (shape.asserts.roles or shape.asserts.principals):
            report.add(node.at("asserts").source, "this service may name nobody; write principals: […] or roles: […]")
        if name in shape.asserts.principals:
            place = shape.asserts.principals.index(name)
            report.add(
                node.at("asserts", "principals", place).source, f"{name!r} needs no trust to be itself; remove it"
            )
        services[PrincipalId(name)] = Trust(
            principals=frozenset(map(PrincipalId, shape.asserts.principals)),
            roles=frozenset(shape.asserts.roles),
            purposes=frozenset(map(Purpose, shape.for_)),
            source=node.key,
        )
    return services
