"""Which relations, functions, operators and types a name may mean, by PostgreSQL's own rules of look-up.

An unqualified name is looked up in the schemas of the search path, pg_catalog first where the path does not hold it
(PostgreSQL manual, 5.10.5). A name that could mean something which is not on a list is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from datagate.model.catalog import Catalog
from datagate.model.names import RelationName
from datagate.verify.mismatch import forbidden

_RUNS_SQL = frozenset(
    """
    ts_stat ts_rewrite query_to_xml query_to_xmlschema query_to_xml_and_xmlschema cursor_to_xml cursor_to_xmlschema
    table_to_xml table_to_xmlschema table_to_xml_and_xmlschema schema_to_xml schema_to_xmlschema
    schema_to_xml_and_xmlschema database_to_xml database_to_xmlschema database_to_xml_and_xmlschema
    """.split()
)
"""Built-ins that run SQL text, or read a relation that a string names: never, whatever a list says."""

_NAMES_THINGS = frozenset(
    """
    aclitem regclass regcollation regconfig regdatabase regdictionary regnamespace regoper regoperator regproc
    regprocedure regrole regtype
    """.split()
)
"""Types whose values are looked up by name in the catalog: casting to one shows whether a thing exists."""


def names_things(type_name: str) -> bool:
    """Whether a type is one of those, or an array of one (whose internal name begins with an underscore)."""
    return type_name.lstrip("_") in _NAMES_THINGS


_SAMPLE_METHODS = frozenset({"bernoulli", "system"})

PLAIN_NAME = re.compile(r"[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_]*)?")
"""A relation's name that a regclass literal may hold: what PostgreSQL reads without folding or quotes."""


class Names:
    """Answers for one statement. ``functions``: bare names for pg_catalog's, ``schema.name`` for others."""

    __slots__ = ("catalog", "functions", "path")

    def __init__(self, catalog: Catalog, functions: frozenset[str]) -> None:
        self.catalog = catalog
        self.functions = functions
        path = catalog.search_path
        self.path = path if "pg_catalog" in path else ("pg_catalog", *path)

    def relation(self, schema: str | None, name: str) -> RelationName | None:
        """The relation that the engine finds; None where there is none."""
        for candidate in self.path if schema is None else (schema,):
            if (found := RelationName(candidate, name)) in self.catalog.relations:
                return found
        return None

    def check_function(self, names: Sequence[str]) -> None:
        """Refuse a call that could reach a function that is not allowed."""
        if not self._function_allowed(names):
            raise forbidden(f"function {'.'.join(names)}()")

    def _function_allowed(self, names: Sequence[str]) -> bool:
        if any("." in name for name in names):
            return False  # "a.b"() is not a.b(), though the lists would spell them alike
        match names:
            case [name]:
                return self.callable_unqualified(name)
            case ["pg_catalog", "json_object"]:  # PostgreSQL 15 reads JSON_OBJECT(...) as an unqualified call
                return self.callable_unqualified("json_object")
            case ["pg_catalog", name]:
                return name in self.functions and name not in _RUNS_SQL
            case [schema, name]:
                return f"{schema}.{name}" in self.functions
            case _:
                return False

    def callable_unqualified(self, name: str) -> bool:
        """Whether every function that the bare name can reach is allowed."""
        if name in _RUNS_SQL or "." in name:
            return False
        if name in self.catalog.user_functions:
            built_in = name in self.functions or self._no_built_in(name)
            return built_in and self._listed_in_path(name)
        return name in self.functions

    def harmless_attribute(self, name: str) -> bool:
        """Whether ``(x).name`` cannot call a function that is not allowed.

        PostgreSQL reads ``(x).f`` as ``f(x)`` where x has no field f (manual, 8.16.5), and as a cast where f is a type:
        ``(x)._t`` is one to an array of rows of t, and would show t's columns.
        """
        if names_things(name) or name in _RUNS_SQL or name.startswith("_"):
            return False
        return self.callable_unqualified(name) or (self._no_built_in(name) and self.harmless_on_record(name))

    def harmless_on_record(self, name: str) -> bool:
        """The same for a whole row of no named type: only what somebody defined for any type could be called."""
        return not names_things(name) and (name not in self.catalog.user_functions or self.callable_unqualified(name))

    def _no_built_in(self, name: str) -> bool:
        known = self.catalog.engine_functions
        return bool(known) and name not in known

    def _listed_in_path(self, name: str) -> bool:
        return all(f"{schema}.{name}" in self.functions for schema in self.path if schema != "pg_catalog")

    def check_operators(self, *names: str) -> None:
        """Refuse an unqualified operator (also one that a construct implies) that somebody's own could stand in for."""
        for name in names:
            if name in self.catalog.user_operators and not self._listed_in_path(name):
                raise forbidden(f"operator {name}, which a user-defined one could stand in for,")

    def check_qualified_operator(self, names: Sequence[str]) -> None:
        """``OPERATOR(schema.op)``: pg_catalog's, or one that is listed."""
        if len(names) == 1:
            self.check_operators(names[0])
        elif len(names) != 2 or (names[0] != "pg_catalog" and ".".join(names) not in self.functions):
            raise forbidden(f"operator {'.'.join(names)}")

    def check_type(self, names: Sequence[str]) -> None:
        """Refuse a type that is not listed, row types, and types whose values name things in the catalog."""
        if names_things(names[-1]) or not self._type_allowed(names):
            raise forbidden(f"type {'.'.join(names)}")

    def _type_allowed(self, names: Sequence[str]) -> bool:
        types = self.catalog.types
        if any("." in name for name in names):
            return False
        match names:
            case [name]:
                candidates: Iterable[str] = self.path
            case [schema, name]:
                candidates = (schema,)
            case _:
                return False
        for schema in candidates:
            if f"{schema}.{name}" in types or (schema == "pg_catalog" and name in types):
                return True
            if RelationName(schema, name) in self.catalog.relations:
                return False  # the name means the row type of that relation
        return False

    def check_sample_method(self, names: Sequence[str]) -> None:
        """TABLESAMPLE names a function: only the two of the engine's own."""
        known = names[-1] in _SAMPLE_METHODS and names[-1] not in self.catalog.user_functions
        if not known or list(names[:-1]) not in ([], ["pg_catalog"]):
            raise forbidden(f"sampling method {'.'.join(names)}")
