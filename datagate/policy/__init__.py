"""PAP: policy files, YAML with line numbers, read into a PolicySet and checked.

The room is blind to engines: what SQL means (``PredicateReader``) and which type a mask gives (``MaskTypes``) it asks
through protocols that backends implement.
"""

from datagate.policy.check import MaskTypes, check_catalog, check_functions, check_types
from datagate.policy.examples import (
    ExampleCase,
    ExampleMandate,
    ExampleRow,
    Examples,
    MandateState,
    Party,
    Seen,
    compare,
)
from datagate.policy.file_shapes import json_schema
from datagate.policy.first_draft import first_draft
from datagate.policy.load import PolicySource, load_examples, load_policies, read_source
from datagate.policy.predicate import PredicateFault, PredicateParts, PredicateReader
from datagate.policy.report import suggestion

__all__ = [
    "ExampleCase",
    "ExampleMandate",
    "ExampleRow",
    "Examples",
    "MandateState",
    "MaskTypes",
    "Party",
    "PolicySource",
    "PredicateFault",
    "PredicateParts",
    "PredicateReader",
    "Seen",
    "check_catalog",
    "check_functions",
    "check_types",
    "compare",
    "first_draft",
    "json_schema",
    "load_examples",
    "load_policies",
    "read_source",
    "suggestion",
]
