"""What each key of a policy file means, in one sentence: the JSON Schema has them for editors, the guide for reading.

By the name of the shape, then by key as it stands in the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

_CONDITIONS = {
    "why": "What the rule is for, in words for people; it changes nothing.",
    "to": "Whom the rule is about; left out, everyone.",
    "for": "The purposes it holds for, with all that they contain; left out, any purpose and none.",
    "when": "Further conditions on the caller, all of which must hold.",
}

_RULE = {
    **_CONDITIONS,
    "rows": "Which rows, as SQL over the row's own columns, or through: the relation that decides; left out, all.",
    "consent": "required: only rows whose data subject consents to the caller's purpose, or to one that contains it.",
}

MEANINGS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "RelationFile": {
            "relation": "The table or view that the file is about, with its schema: bank.customers.",
            "owner": "Whom to ask about this file.",
            "why": "In a sentence, who is meant to see what, and for what.",
            "data_subject": "The column that says whom a row is about; consent and the audit's keys go by it.",
            "columns": "Every column with its tag; one that is missing here, or is new in the table, fails the check.",
            "audit": "What the audit keeps of this relation beyond the statements.",
            "rules": "Permits and restricts; what no permit grants is not there.",
            "examples": "Rows, and what callers see of them: run by datagate test and before the file is loaded.",
        },
        "AuditShape": {"keys": "Whether the audit keeps the data subjects whose rows were returned or changed."},
        "PermitShape": {
            "permit": "The name of a rule that lets see or change; audit and explanations call it so.",
            **_RULE,
            "show": "The columns that are shown: a list, or all.",
            "masks": "By column or tag:NAME, how a column is shown where it is not shown as it is; first rule first.",
            "insert": "The columns that new rows may fill: a list, or all.",
            "update": "The columns that may be changed: a list, or all.",
            "delete": "Whether rows may be deleted.",
        },
        "RestrictShape": {
            "restrict": "The name of a rule that narrows what permits let see.",
            **_RULE,
            "masks": "By column or tag:NAME, what a column is narrowed to, whatever permit shows it.",
        },
        "GlobalRestrictShape": {
            "restrict": "The name of a rule that narrows every relation.",
            **_CONDITIONS,
            "masks": "By tag:NAME, what every column of that tag is narrowed to.",
        },
        "ToShape": {"role": "A role of the principal's, or several, of which one is enough."},
        "WhenShape": {
            "actor.kind": "Who is really connected: person, service, agent, or several of these.",
            "delegated": "Whether an actor acts for somebody else.",
            "mandate.scope": "The scope of the mandate that the caller acts under, or several.",
        },
        "ThroughShape": {
            "through": "The relation that decides: a row is visible where the row that it refers to is.",
            "on": "The column that refers to it, or own column: column there, for each.",
        },
        "MaskShape": {
            "redact": "The text that stands in place of every value.",
            "keep_first": "How many characters stay at the beginning; the others become stars.",
            "keep_last": "How many characters stay at the end; the others become stars.",
            "hash": "A keyed hash, 64 hexadecimal digits: equal for equal values.",
            "pseudonym": "A stand-in of the column's own type: equal for equal values of one domain.",
            "truncate": "The unit to whose beginning a date or moment is moved back, by the clock of UTC.",
            "round": "The step to whose nearest multiple a number is rounded.",
            "bucket": "Ascending edges: a number becomes the greatest edge that is not above it.",
            "ip_prefix": "How many bits of an address stay.",
            "json": "By path (a.b), how parts of a json value are shown; the rest stays.",
            "sql": "An SQL expression over the row's own columns.",
        },
        "HashShape": {"key": "The name of the key in the keyring."},
        "PseudonymShape": {
            "domain": "What the values are of; equal values of one domain stay equal. Left out, the column's tag.",
            "key": "The name of the key in the keyring.",
        },
        "IpPrefixShape": {"v4": "Bits of an IPv4 address.", "v6": "Bits of an IPv6 address."},
        "ConfigurationFile": {
            "purposes": "What data is used for, each with a sentence or with what it contains.",
            "roles": "The roles that principals may have.",
            "attributes": "What else is known of principals, with its type; a predicate names it :principal.NAME.",
            "tags": "Kinds of columns; rules by tag reach every table.",
            "scopes": "What mandates may hand over, by name.",
            "services": "Which services may say who the principal is, as a BI server does for its users.",
            "functions": "Functions of your own that predicates, masks and statements may call, as schema.name.",
            "statements": "By kind of statement, the roles that may run it; others are refused it.",
            "restricts": "Rules that narrow every relation, by tag.",
        },
        "ServiceShape": {
            "why": "What the service is, in words for people.",
            "asserts": "Whom it may name.",
            "for": "The purposes it may name them for, with all that they contain.",
        },
        "AssertsShape": {
            "principals": "Principals, by name.",
            "roles": "Roles: whoever has one of them.",
        },
        "PurposeShape": {
            "why": "What the purpose is, in words for people.",
            "contains": "The purposes within it: who refuses this one refuses those, where nothing nearer says yes.",
        },
        "ScopeShape": {
            "why": "What a mandate of this scope is for, in words for people.",
            "parameters": "What a mandate says when it is issued, with its type; a predicate names it :mandate.NAME.",
            "relations": "The relations that are handed over; all others do not exist for the actor.",
            "intersect_actor": "Whether the actor sees no more than its own entitlements allow, too.",
        },
        "ScopeRelationShape": {
            "columns": "The columns that are handed over, or all that the principal sees.",
            "actions": "What the actor may do with the rows; left out, select alone.",
            "rows": "Which of the principal's rows, as SQL over the row's own columns; left out, all of them.",
        },
        "ExamplesShape": {
            "types": "By column, its SQL type where the values of the examples do not tell it.",
            "given": "Rows of other relations, which rows: {through: …} looks at.",
            "rows": "Rows of this relation, each by a name for the cases; columns left out are NULL.",
            "cases": "Callers, and what each of them sees.",
        },
        "CaseShape": {
            "as": "The principal: its role, and an entry for each attribute that it has.",
            "why": "What the case shows, in words for people.",
            "for": "The caller's purpose.",
            "consents": "The rows whose data subjects have said yes to the purpose.",
            "actor": "Who acts for the principal, if somebody does.",
            "mandate": "The mandate that the actor acts under.",
            "sees": "The rows that are visible.",
            "hides": "Columns that do not exist for this caller.",
            "cells": "By row and column, the value that is shown.",
            "denied": "true: the relation does not exist for this caller.",
        },
        "PartyShape": {"id": "The identity, where a predicate looks at it.", "role": "A role, or several."},
        "ActorShape": {
            "id": "The identity, where a predicate looks at it.",
            "role": "A role, or several.",
            "kind": "person, service or agent.",
        },
        "MandateShape": {
            "scope": "The scope, of datagate.yaml.",
            "parameters": "A value for each parameter of the scope.",
            "purposes": "The purposes that it is for; left out, that of the case.",
            "state": "live, expired, suspended or revoked.",
        },
    }
)
