"""What stands in the place of catalog columns that tell of what is hidden: statistics, texts, counts."""

from __future__ import annotations

from collections.abc import Mapping

from datagate.backends.postgres.catalog_filters import seen_constraint
from datagate.model.fragment import Fragment

NODE_TREE = "NULL::pg_catalog.pg_node_tree"
TEXTS = "NULL::pg_catalog.text[]"

_IS_INDEX = "g.relkind OPERATOR(pg_catalog.=) ANY ('{i,I}'::pg_catalog.\"char\"[])"

_BLOCKS = dict.fromkeys(
    (f"{part}_blks_{what}" for part in ("heap", "idx", "toast", "tidx") for what in ("read", "hit")),
    "NULL::pg_catalog.int8",
)

HIDDEN_COLUMNS: Mapping[str, Mapping[str, str | Fragment]] = {
    # Statistics tell of hidden rows: they are those of a table that was never looked at, and of an index made on an
    # empty one. Bounds are values.
    "pg_class": {
        "relpages": f"CASE WHEN {_IS_INDEX} THEN 1::pg_catalog.int4 ELSE 0::pg_catalog.int4 END",
        "reltuples": f"CASE WHEN {_IS_INDEX} THEN 0::pg_catalog.float4 ELSE (-1)::pg_catalog.float4 END",
        "relchecks": Fragment.of(
            "(SELECT pg_catalog.count(*) FROM pg_catalog.pg_constraint AS k WHERE k.conrelid OPERATOR(pg_catalog.=)"
            " g.oid AND k.contype OPERATOR(pg_catalog.=) 'c' AND ",
            seen_constraint("k"),
            ")::pg_catalog.int2",
        ),
        "relallvisible": "0::pg_catalog.int4",
        "relallfrozen": "0::pg_catalog.int4",
        "relpartbound": NODE_TREE,
    },
    "pg_attribute": {"attmissingval": "NULL::pg_catalog.text", "attstattarget": "NULL::pg_catalog.{type}"},
    # The trees of views and rules name all columns of the relations in them, hidden ones too.
    "pg_rewrite": {"ev_qual": NODE_TREE, "ev_action": NODE_TREE},
    "pg_roles": {"rolconfig": TEXTS, "rolvaliduntil": "NULL::pg_catalog.timestamptz"},
    "pg_extension": {"extconfig": "NULL::pg_catalog.oid[]", "extcondition": TEXTS},
    "pg_foreign_data_wrapper": {"fdwoptions": TEXTS},
    "pg_foreign_table": {"ftoptions": TEXTS},
    # The text is what the statement became on its way; the rest is the gate's own connection, and not the client's.
    "pg_stat_activity": {
        "query": "NULL::pg_catalog.text",
        "query_id": "NULL::pg_catalog.int8",
        "client_addr": "NULL::pg_catalog.inet",
        "client_hostname": "NULL::pg_catalog.text",
        "client_port": "NULL::pg_catalog.int4",
    },
    # Asked by Sequelize and others for names and comments.
    "pg_statio_all_tables": _BLOCKS,
    "pg_settings": {
        "sourcefile": "NULL::pg_catalog.text",
        "sourceline": "NULL::pg_catalog.int4",
        "reset_val": "g.setting",
        "boot_val": "g.setting",
    },
}
"""What stands in a column's place; its type stays, so that what takes the column still does. ``{type}`` is that type,
where versions of the server have different ones."""
