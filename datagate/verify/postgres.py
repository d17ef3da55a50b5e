"""PostgreSQL: may ``final`` be sent in the place of ``original``?

Both texts are read by the engine's own parser, and the two trees are walked side by side (``walk``). They must be equal
everywhere, node by node and value by value, and made of nothing but what ``grammar`` and ``names`` list. Of that there
are seven exceptions, and each has its proof where it is made:

1. where the original names a relation (which by the engine's rules of scope is no WITH item), the final text must have
   the guard prescribed for that relation, under the name by which the original knows it (``_range_var``); the caller's
   own ONLY and TABLESAMPLE stand inside; a fence may stand around (``fence``);
2. or, for a view without a policy of its own, the view's query, walked in the same way against the view's own text;
3. ``schema.table.column`` may be ``table.column`` in the final text (``ranges``);
4. GROUP BY may have further columns that the primary key in it determines (``_group_by``);
5. a call that looks a catalog object up by OID must be held to the guard of that catalog (``_lookup``);
6. the check of the caller's rights must stand above the whole, as an OFFSET that skips nothing (``freshness``);
7. a write is held to the rows that it may touch, and its new rows to what they must satisfy (``writes``).

So nothing was lost and nothing was added, and no relation is read but through its guard.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from datagate.model.catalog import Catalog
from datagate.model.guard import TargetKey, TargetTexts
from datagate.model.lookup import Lookup
from datagate.model.names import RelationName
from datagate.verify.freshness import unchecked
from datagate.verify.mismatch import Mismatch, MismatchKind, too_deep
from datagate.verify.names import Names
from datagate.verify.prescription import Prescription
from datagate.verify.things import check_things
from datagate.verify.tree import QUERIES, WRITES, kind_of, read
from datagate.verify.writes import WriteWalk

__all__ = ["Mismatch", "MismatchKind", "Prescription", "verify"]


def verify(
    original: str,
    final: str,
    *,
    catalog: Catalog,
    prescriptions: Mapping[RelationName, Prescription],
    functions: frozenset[str],
    lookups: Mapping[str, Lookup] = MappingProxyType({}),
    check: str | None = None,
    targets: Mapping[TargetKey, TargetTexts] = MappingProxyType({}),
) -> None:
    """Return if the final text may be sent in the place of the original; else raise Mismatch.

    Args:
        original: the caller's statement, before rewriting.
        final: the text that would be sent.
        catalog: the engine's catalog, with the search path of the session.
        prescriptions: what stands in for each relation that the statement reads; any other is refused.
        functions: allowed functions: bare names for pg_catalog's, ``schema.name`` for others (and for operators
            that are user-defined: ``schema.=``).
        lookups: functions of pg_catalog that are allowed only with their OID held to a guarded catalog.
        check: the check of the caller's rights that must stand above the whole query, as its OFFSET; in a write, in
            the condition or the check of rows.
        targets: what each write of the statement is held to; any other is refused.
    """
    before, after = read(original, QUERIES | WRITES), read(final, QUERIES | WRITES)
    try:
        check_things(before, lookups)
        writes = kind_of(before) in WRITES
        walk = WriteWalk(Names(catalog, functions), prescriptions, lookups, targets, check if writes else None)
        if check is not None and not writes:
            after, parameters = unchecked(before, after, check)
            walk.guard_parameters |= parameters
        walk.statement(before, after)
    except RecursionError:
        raise too_deep() from None
