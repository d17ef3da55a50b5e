"""Which of PostgreSQL's own functions a caller may use.

Immutable built-ins are allowed as a class: their result depends on nothing but their arguments (PostgreSQL manual,
chapter 36.7). What is stable or volatile is allowed only by name here. Whatever reads relations, files, settings or
other sessions behind the parser's back is left out, so it is refused; user-defined functions must be named by policy.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from datagate.backends.postgres.statements import SETTINGS

STABLE_FUNCTIONS: frozenset[str] = frozenset(
    """
    now statement_timestamp transaction_timestamp clock_timestamp timeofday age date_part date_trunc extract
    timezone date time timetz timestamp timestamptz interval make_timestamptz isfinite overlaps to_char to_date
    to_timestamp to_number numeric money generate_series random setseed random_normal gen_random_uuid uuidv4 uuidv7
    date_add date_subtract concat concat_ws format array_to_string quote_literal quote_nullable convert convert_from
    convert_to length array_agg string_agg any_value xmlagg to_json to_jsonb row_to_json array_to_json json_agg
    jsonb_agg json_object_agg jsonb_object_agg json_agg_strict jsonb_agg_strict json_object_agg_strict
    jsonb_object_agg_strict json_object_agg_unique jsonb_object_agg_unique json_object_agg_unique_strict
    jsonb_object_agg_unique_strict json_build_array json_build_object jsonb_build_array jsonb_build_object
    json_populate_record json_populate_recordset json_to_record json_to_recordset jsonb_populate_record
    jsonb_populate_recordset jsonb_to_record jsonb_to_recordset jsonb_path_exists_tz jsonb_path_match_tz
    jsonb_path_query_tz jsonb_path_query_array_tz jsonb_path_query_first_tz to_tsvector to_tsquery plainto_tsquery
    phraseto_tsquery websearch_to_tsquery json_to_tsvector jsonb_to_tsvector ts_headline enum_first
    enum_last enum_range unnest pg_typeof pg_column_size pg_get_keywords pg_client_encoding getdatabaseencoding
    pg_char_to_encoding pg_encoding_to_char pg_collation_for current_database current_schema current_schemas
    current_catalog current_user session_user user version pg_backend_pid pg_is_in_recovery pg_is_other_temp_schema
    pg_my_temp_schema pg_options_to_table bernoulli system current_date current_time current_timestamp localtime
    localtimestamp xml_is_well_formed pg_encoding_max_length txid_current_if_assigned pg_current_xact_id_if_assigned
    pg_advisory_unlock_all pg_indexam_has_property
    pg_advisory_lock pg_advisory_lock_shared pg_advisory_xact_lock pg_advisory_xact_lock_shared
    pg_try_advisory_lock pg_try_advisory_lock_shared pg_try_advisory_xact_lock pg_try_advisory_xact_lock_shared
    pg_advisory_unlock pg_advisory_unlock_shared
    """.split()
)
"""Stable and volatile built-ins without a view of anything but their arguments, the clock and the own session.

Advisory locks are shared by all who use the database; of those with two keys the verifier lets none of ours pass.
"""

SETTING_FUNCTIONS: frozenset[str] = frozenset(f"set_config({name})" for name in SETTINGS if name != "client_encoding")
"""``set_config`` of a setting that callers may also SET, which the verifier allows where a constant names it."""

DENIED_FUNCTIONS: frozenset[str] = frozenset(
    {"pg_partition_root", "satisfies_hash_partition", "makeaclitem", "ts_lexize"}
)
"""Declared immutable, and yet they open a relation, read a file or name a role."""

CATALOG_FUNCTIONS: Mapping[str, str] = MappingProxyType(
    {
        "format_type": "pg_type",
        "pg_get_constraintdef": "pg_constraint",
        "pg_get_expr": "pg_class",
        "pg_get_indexdef": "pg_class",
        "pg_get_partkeydef": "pg_partitioned_table",
        "pg_get_viewdef": "pg_rewrite",
        "pg_get_ruledef": "pg_rewrite",
        "pg_get_triggerdef": "pg_trigger",
        "pg_get_statisticsobjdef_columns": "pg_statistic_ext",
        "pg_get_statisticsobjdef": "pg_statistic_ext",
        "pg_get_functiondef": "pg_proc",
        "pg_get_function_arguments": "pg_proc",
        "pg_get_function_identity_arguments": "pg_proc",
        "pg_get_function_arg_default": "pg_proc",
        "pg_get_function_result": "pg_proc",
        "pg_function_is_visible": "pg_proc",
        "pg_get_userbyid": "pg_roles",
        "pg_relation_is_publishable": "pg_class",
        "pg_relation_is_updatable": "pg_class",
        "pg_column_is_updatable": "pg_class",
        "col_description": "pg_description",
        "obj_description": "pg_description",
        "current_setting": "pg_settings",
        "pg_table_is_visible": "pg_class",
        "pg_type_is_visible": "pg_type",
        "pg_collation_is_visible": "pg_collation",
        "pg_opclass_is_visible": "pg_opclass",
        "pg_operator_is_visible": "pg_operator",
        "pg_opfamily_is_visible": "pg_opfamily",
        "pg_conversion_is_visible": "pg_conversion",
        "pg_statistics_obj_is_visible": "pg_statistic_ext",
        "pg_ts_config_is_visible": "pg_ts_config",
        "pg_ts_dict_is_visible": "pg_ts_dict",
        "pg_ts_parser_is_visible": "pg_ts_parser",
        "pg_ts_template_is_visible": "pg_ts_template",
        "pg_get_function_sqlbody": "pg_proc",
        "pg_index_column_has_property": "pg_class",
        "pg_index_has_property": "pg_class",
        "shobj_description": "pg_shdescription",
        "::regclass": "pg_class",
        "::regtype": "pg_type",
        "::regnamespace": "pg_namespace",
        "::regproc": "pg_proc",
        "::regrole": "pg_roles",
    }
)
"""Functions that look a catalog object up by OID: by name, the catalog that must show the OID to the caller.

``::regclass`` and its like stand for casts of an OID to those types, which show the name of what has it. Such a call
goes out as ``CASE WHEN (oid IN (SELECT oid FROM <guarded catalog>)) IS NOT TRUE THEN NULL ELSE f(oid, …) END``.
"""

OID_ARGUMENT: Mapping[str, int] = MappingProxyType({"pg_get_expr": 1})
"""Which argument is the OID, where it is not the first."""

OID_COLUMN: Mapping[str, str] = MappingProxyType(
    {
        "pg_partitioned_table": "partrelid",
        "pg_rewrite": "ev_class",
        "pg_description": "objoid",
        "pg_shdescription": "objoid",
        "pg_settings": "name",
        "pg_get_ruledef": "oid",
    }
)
"""Which column of the catalog holds it, where that is not ``oid``: by function, else by catalog."""

NUMBER_ARGUMENT: Mapping[str, tuple[int, str]] = MappingProxyType({"col_description": (1, "objsubid")})
"""A further argument that must stand in the same row: which one, and in which column."""
