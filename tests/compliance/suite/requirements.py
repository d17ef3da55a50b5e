"""What the suite may ask of the database: what PostgreSQL has, beyond what SQLAlchemy takes every database to have."""

from __future__ import annotations

from typing import Any

from sqlalchemy.testing import exclusions
from sqlalchemy.testing.requirements import SuiteRequirements

# Left at the suite's default (closed) is what PostgreSQL has not, or what needs more than one database.
_HAS = """
    views materialized_views unique_constraints_reflect_as_index supports_distinct_on
    reflect_table_options reflects_pk_names comment_reflection comment_reflection_full_unicode
    index_reflects_included_columns indexes_with_expressions reflect_indexes_with_expressions
    check_constraint_reflection
    inline_check_constraint_reflection foreign_key_constraint_option_reflection_ondelete
    fk_constraint_option_reflection_ondelete_restrict fk_constraint_option_reflection_ondelete_noaction
    foreign_key_constraint_option_reflection_onupdate fk_constraint_option_reflection_onupdate_restrict
    uuid_data_type json_type array_type ctes ctes_with_update_delete ctes_with_values update_from delete_from
    window_functions tuple_in
""".split()


def _is_gated(config: Any) -> bool:
    return bool(config.db.url.drivername == "postgresql+datagate")


_skip_if: Any = exclusions.skip_if
_open: Any = exclusions.open
_TEMPORARY = _skip_if(_is_gated, "temporary tables come from guarded queries alone")


class Requirements(SuiteRequirements):
    """For both sides alike, but where it says why."""

    @property
    def temp_table_reflection(self) -> Any:
        """Temporary tables are made by CREATE TEMPORARY TABLE … AS through the gate, and by nothing else."""
        return _TEMPORARY

    @property
    def temporary_tables(self) -> Any:
        """As above."""
        return _TEMPORARY

    @property
    def has_temp_table(self) -> Any:
        """As above."""
        return _TEMPORARY

    @property
    def temp_table_names(self) -> Any:
        """As above."""
        return _TEMPORARY


for _name in _HAS:
    if getattr(SuiteRequirements, _name) is not None:  # a name that the suite does not know is an error
        setattr(Requirements, _name, property(lambda _self: _open()))
