"""The first draft of a table's policy file: every column, tags where names tell them, and a rule that shows nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from datagate.model.catalog import Column, Relation
from datagate.model.policy import PolicySet

CHOOSE = "choose-a-tag"
"""Stands where a column's name tells no tag: no tag is called so, and the check says which there are."""

_PLAIN = re.compile(r"[a-z_][a-z0-9_]*")
_NOT_PLAIN = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})
_KEY = "identifier"


def first_draft(relation: Relation, policies: PolicySet) -> str:
    """The YAML for a relation that has no policy file yet, in the words of the policies beside it.

    It passes the check once every column has a tag, and shows no row until somebody says which.
    """
    columns = [
        f"  {_scalar(column.name)}: {_tag(column, relation, policies.tags)}  # {column.type_text}"
        for column in relation.columns
    ]
    role = min(policies.roles, default="a-role-of-datagate.yaml")
    return "\n".join(
        [
            f"relation: {_scalar(str(relation.name))}",
            "owner: somebody@example.org  # whom to ask about this file",
            "why: Who is meant to see what, and for what.",
            "# data_subject: the column that says whom a row is about",
            f"columns:  # tags: {', '.join(sorted(policies.tags))}",
            *columns,
            "rules:",
            "  - permit: nobody-yet",
            f"    to: {{role: {role}}}",
            "    rows: 'false'  # which rows they see",
            f"    show: [{', '.join(_scalar(column.name) for column in relation.columns)}]",
            "",
        ]
    )


def _tag(column: Column, relation: Relation, tags: Iterable[str]) -> str:
    """The tag all of whose words the column's name has, the longest first; that of keys for keys."""
    words = set(re.split(r"[^a-z0-9]+", column.name.lower()))
    told = [tag for tag in tags if words >= set(re.split(r"[^a-z0-9]+", tag.lower()))]
    if not told and _KEY in tags and (column.name in relation.primary_key or column.name.endswith("_id")):
        return _KEY
    return max(told, key=lambda tag: (len(tag), tag), default=CHOOSE)


def _scalar(text: str) -> str:
    """A text as YAML has it; JSON's spelling is one of YAML's."""
    plain = all(_PLAIN.fullmatch(part) and part not in _NOT_PLAIN for part in text.split("."))
    return text if plain else json.dumps(text, ensure_ascii=False)
