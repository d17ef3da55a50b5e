"""SQLAlchemy's reflection asks the catalogs in words that the gate refuses to everybody; here they are said otherwise.

A name cast to ``regclass`` finds any relation, hidden ones too, so the gate does not let a parameter be cast to it.
SQLAlchemy writes such casts for three catalogs of PostgreSQL's own, whose OIDs never change, and around
``pg_get_serial_sequence``, for the start and step of identity columns; those are not reflected. It asks for one
setting, the access method of tables where none is named, which is PostgreSQL's own default here.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import BindParameter, Cast, Function
from sqlalchemy.dialects.postgresql import REGCLASS
from sqlalchemy.dialects.postgresql.base import PGCompiler
from sqlalchemy.dialects.postgresql.psycopg import PGCompiler_psycopg

_CATALOGS = {"pg_catalog.pg_class": 1259, "pg_catalog.pg_constraint": 2606, "pg_catalog.pg_type": 1247}
_ARMS = " ".join(f"WHEN '{name}' THEN {oid}" for name, oid in _CATALOGS.items())


class CarefulCompiler(PGCompiler):
    """PostgreSQL's compiler, without casts to regclass where reflection writes them."""

    def visit_cast(self, cast: Cast[Any], **kwargs: Any) -> str:
        """Render a cast; two kinds of cast to regclass become what they stand for."""
        if isinstance(cast.type, REGCLASS):
            inner = cast.clause
            if isinstance(inner, BindParameter) and inner.value in _CATALOGS:
                # By the value at run time: a compiled statement is used again with other values.
                return f"CAST(CASE CAST({self.process(inner, **kwargs)} AS TEXT) {_ARMS} END AS OID)"
            if isinstance(inner, Function) and inner.name == "pg_get_serial_sequence":
                return "CAST(NULL AS OID)"
        rendered: str = super().visit_cast(cast, **kwargs)  # type: ignore[no-untyped-call]
        return rendered

    def visit_function(self, func: Function[Any], add_to_result_map: Any = None, **kwargs: Any) -> str:
        """Render a call; the one setting that reflection reads becomes its default."""
        arguments = list(func.clauses)
        if func.name == "current_setting" and len(arguments) == 1:
            (setting,) = arguments
            if isinstance(setting, BindParameter) and setting.value == "default_table_access_method":
                return "CAST('heap' AS TEXT)"
        rendered: str = super().visit_function(func, add_to_result_map, **kwargs)
        return rendered


class ReflectionCompiler(CarefulCompiler, PGCompiler_psycopg):
    """The same for psycopg."""
