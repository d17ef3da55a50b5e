"""Compiles the condition that a row's data subject consents, read where the statement reads.

The nearest answer counts: what is asked at the purpose itself, else at its parent, and so on up. For data subjects
whose key is a whole number the state keeps, beside the answers, one row of bits for each purpose and 1,024 data
subjects (`datagate.stores.blocks`), current in the same transaction: an aggregate over all joins these few rows, and
looks an answer up only where the bits cannot say it: where the block no longer holds by the statement's clock, and of
a yes that is limited.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from datagate.backends.postgres.mask_types import literal
from datagate.errors import InternalError
from datagate.model.decision import ConsentLive
from datagate.model.fragment import Binding, Fragment
from datagate.model.values import ValueType

BLOCK_BITS = 10
"""A block has two to this many data subjects."""

_PARTIES = 2
_NOW = "pg_catalog.statement_timestamp()"
_IN_FORCE = (
    f" AND k.valid_from OPERATOR(pg_catalog.<=) {_NOW}"
    f" AND (k.valid_until IS NULL OR k.valid_until OPERATOR(pg_catalog.>) {_NOW})"
)


@dataclass(frozen=True, slots=True)
class ConsentSource:
    """Where a statement reads consents.

    ``relation``: a FROM item with the answers, in the columns of ``datagate.consents``. ``blocks``, ``numbers``: the
    relations with their bits, and with the numbers of all blocks; None where there are none.
    """

    relation: str
    blocks: str | None = None
    numbers: str | None = None


CONSENTS = ConsentSource('"datagate"."consents"', '"datagate"."consent_blocks"', '"datagate"."consent_numbers"')
"""The state's own."""


def consent_condition(consent: ConsentLive, source: ConsentSource | None, key: str, *, whole: bool) -> Fragment:
    """Closed text of the condition; never true for a key that is NULL.

    Args:
        consent: what is asked.
        source: where consents are read; None where those who consent travel as a list.
        key: the data subject's key, qualified.
        whole: whether the key is of a type of whole numbers.
    """
    as_text = f"{key}::pg_catalog.text"
    if source is None:
        asked = json.dumps([consent.purposes[0], consent.recipients, consent.tags])
        consenting = Binding(f"consenting.{asked}", ValueType.TEXT_ARRAY)
        return Fragment.of(f"{as_text} OPERATOR(pg_catalog.=) ANY(", consenting, ")")
    purposes = [Binding(f"purpose.{purpose}", ValueType.TEXT) for purpose in consent.purposes]
    if whole and source.blocks is not None:
        return _by_blocks(source, f"{key}::pg_catalog.int8", purposes, consent)
    own = f"k.data_subject_number OPERATOR(pg_catalog.=) {key}"
    if not whole:
        own = f"k.data_subject OPERATOR(pg_catalog.=) {as_text}"
    return _by_answers(source.relation, own, purposes, _limits(consent))


def _limits(consent: ConsentLive) -> Fragment:
    """That a yes takes in what is asked; never NULL."""
    named = [
        Fragment.of("k.recipients OPERATOR(pg_catalog.&&) ", Binding(name, ValueType.TEXT_ARRAY))
        for name in consent.recipients
    ]
    tags = ", ".join(map(literal, consent.tags))
    return Fragment.of(
        " AND (k.categories IS NULL OR k.categories OPERATOR(pg_catalog.@>)"
        f" ARRAY[{tags}]::pg_catalog.text[]) AND (k.recipients IS NULL OR ",
        Fragment.join(" AND ", named),
        ")",
    )


def _by_answers(relation: str, own: str, purposes: list[Binding], limits: Fragment) -> Fragment:
    """By the answers alone."""

    def answer(purpose: Binding, wanted: Fragment) -> Fragment:
        asked = Fragment.of(f"EXISTS (SELECT 1 FROM {relation} AS k WHERE k.purpose OPERATOR(pg_catalog.=) ", purpose)
        return Fragment.of(asked, f" AND {own} AND ", wanted, ")")

    *nearer, root = purposes
    yes, no = Fragment.of("k.granted", _IN_FORCE, limits), Fragment.of("NOT (k.granted", limits, ")", _IN_FORCE)
    out = answer(root, yes)
    for purpose in reversed(nearer):
        out = Fragment.of(answer(purpose, yes), " OR (NOT ", answer(purpose, no), " AND (", out, "))")
    return out


def _by_blocks(source: ConsentSource, number: str, purposes: list[Binding], consent: ConsentLive) -> Fragment:
    """By the bits of the data subject's block, for each purpose up to the root."""
    block = f"({number} OPERATOR(pg_catalog.>>) {BLOCK_BITS})"
    bit = f"({number} OPERATOR(pg_catalog.&) {2**BLOCK_BITS - 1}::pg_catalog.int8)"
    last = len(purposes) - 1
    answers = [
        _answer(f"k_{index}", bit, _looked_up(f"k_{index}", purpose, number, consent), last=index == last)
        for index, purpose in enumerate(purposes)
    ]
    if not last:
        return Fragment.of(
            f"EXISTS (SELECT 1 FROM {source.blocks} AS k_0 WHERE k_0.purpose OPERATOR(pg_catalog.=) ",
            *purposes,
            f" AND k_0.block OPERATOR(pg_catalog.=) {block} AND ",
            *answers,
            ")",
        )
    # A block with an answer for any purpose is among the numbers; where one has none, its columns are NULL.
    joins = [
        Fragment.of(
            f" LEFT JOIN {source.blocks} AS k_{index} ON k_{index}.block OPERATOR(pg_catalog.=) k_n.block"
            f" AND k_{index}.purpose OPERATOR(pg_catalog.=) ",
            purpose,
        )
        for index, purpose in enumerate(purposes)
    ]
    return Fragment.of(
        f"EXISTS (SELECT 1 FROM {source.numbers} AS k_n",
        *joins,
        f" WHERE k_n.block OPERATOR(pg_catalog.=) {block} AND COALESCE(",
        Fragment.join(", ", answers),
        "))",
    )


def _answer(block: str, bit: str, looked_up: Fragment, *, last: bool) -> Fragment:
    """What is answered to one purpose: true, false, or NULL where nothing is, which is a no where no other is asked.

    The call that looks an answer up stands in it once: a point look-up feels it even where it is not made.
    """

    def is_set(bits: str, wanted: int = 1) -> str:
        return f"pg_catalog.get_bit({block}.{bits}, {bit}) OPERATOR(pg_catalog.=) {wanted}"

    ended = f"pg_catalog.statement_timestamp() OPERATOR(pg_catalog.>=) {block}.holds_until"
    unsaid, said = is_set("yes", 0), is_set("yes")
    if not last:
        unsaid = f"{unsaid} AND {is_set('no', 0)}"
        said = f"CASE WHEN {said} THEN true WHEN {is_set('no')} THEN false END"
    return Fragment.of(
        f"CASE WHEN {ended} OR {block}.asked IS NOT NULL AND {unsaid} THEN ", looked_up, f" ELSE {said} END"
    )


def _looked_up(block: str, purpose: Binding, number: str, consent: ConsentLive) -> Fragment:
    """The call that looks one answer up, where the block does not hold, or its bits say so."""
    tags = ", ".join(map(literal, consent.tags))
    recipients = [Binding(name, ValueType.TEXT_ARRAY) for name in consent.recipients]
    if not 0 < len(recipients) <= _PARTIES:
        raise InternalError("a consent is asked for a principal and an actor, or for one of them")
    return Fragment.of(
        "datagate.answered(",
        purpose,
        f", {number}, {block}.holds_until, {block}.asked, ARRAY[{tags}]::pg_catalog.text[], ",
        recipients[0],
        ", ",
        recipients[-1],
        ")",
    )
