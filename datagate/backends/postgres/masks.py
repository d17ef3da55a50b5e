"""What each mask is on PostgreSQL: an expression over the column that hides what it hides, and its type.

Laws that every kind keeps, shown by the tests by value:

- NULL stays NULL.
- Total: no value of the column's type makes the expression raise, since an error would tell of a hidden value. (A
  ``sql`` mask is the steward's; nothing is known of it.) This assumes a database in UTF-8.
- Immutable or stable, from PostgreSQL 15 on, with built-in functions only, all qualified (see ``mask_types``).
- The column's type is kept, but for ``hash`` (text) and ``pseudonym`` of integers (int8, all of one size so that keys
  of different width still join). Length modifiers are dropped; a domain gives its base type.
- The text survives libpg_query's deparser unchanged, since the verifier compares trees.

Keys travel as bytea bindings ``key.<name>.inner`` and ``key.<name>.outer``: the key XOR ipad and opad of RFC 2104.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from datagate.backends.postgres.mask_json import json_mask, json_masks
from datagate.backends.postgres.mask_numbers import bucket, round_number
from datagate.backends.postgres.mask_types import (
    C_COLLATION,
    INTEGER_RANGES,
    MOMENT_TYPES,
    NETWORK_TYPES,
    TEXT_TYPES,
    as_text,
    by_utc,
    call,
    canonical_text,
    cast,
    choose,
    constant,
    from_text,
    literal,
    misfit,
    null_of,
    operate,
    unless_null,
    whole_number,
    words,
)
from datagate.model.fragment import Binding, Fragment
from datagate.model.mask import Mask, MaskKind
from datagate.model.values import ValueType

SqlExpression = Callable[[str], tuple[Fragment, str]]

HIDDEN = "***"
STAR = "*"
TRUNCATE_UNITS = ("year", "quarter", "month", "week", "day")
_KEY_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_MOST_CHARACTERS = 10_000_000
# date_trunc must not leave the range of timestamp, which starts on 4714-11-24 BC and ends with the year 294276.
_FIRST_SAFE_YEAR = "4712-01-01 BC"
_LAST_TIMESTAMP_DAY = "294276-12-31"


def mask_expression(
    mask: Mask, operand: Fragment, column_type: str, *, tag: str, sql_expression: SqlExpression | None = None
) -> tuple[Fragment, str]:
    """SQL for the masked value of ``operand``, and the internal name of its type.

    Args:
        mask: The mask.
        operand: The raw value: a column of the guarded relation, or another mask's expression.
        column_type: The operand's internal type name (``varchar``, ``int4``, ``_text``), a domain's base type.
        tag: The column's tag, the default domain of a pseudonym.
        sql_expression: Gives a steward's checked expression over the row's columns, and its type.

    Raises:
        ValueError: The mask does not fit the type, or an option is wrong; says what, why and how to mend it.
    """
    match mask.kind:
        case MaskKind.HIDE:
            raise ValueError("the mask hide takes the column away and has no expression; leave the column out")
        case MaskKind.NULL:
            return null_of(operand, column_type), column_type
        case MaskKind.REDACT | MaskKind.KEEP_FIRST | MaskKind.KEEP_LAST | MaskKind.EMAIL | MaskKind.ZIP3:
            return _text_mask(mask, operand, column_type), column_type
        case MaskKind.HASH:
            return _hash(mask, operand, column_type), "text"
        case MaskKind.PSEUDONYM:
            return _pseudonym(mask, operand, column_type, tag)
        case MaskKind.TRUNCATE:
            return _truncate(mask, operand, column_type), column_type
        case MaskKind.ROUND:
            return round_number(mask, operand, column_type), column_type
        case MaskKind.BUCKET:
            return bucket(mask, operand, column_type), column_type
        case MaskKind.IP_PREFIX:
            return _ip_prefix(mask, operand, column_type), column_type
        case MaskKind.JSON:
            return json_mask(mask, operand, column_type, tag=tag, value_mask=mask_expression), column_type
        case MaskKind.SQL:
            return _sql(mask, operand, sql_expression)


def chain_expression(
    masks: Sequence[Mask],
    operand: Fragment,
    column_type: str,
    *,
    tag: str,
    sql_expression: SqlExpression | None = None,
) -> tuple[Fragment, str]:
    """Several masks, first applied first; none: the operand itself."""
    for mask in masks:
        operand, column_type = mask_expression(mask, operand, column_type, tag=tag, sql_expression=sql_expression)
    return operand, column_type


def result_type(mask: Mask, column_type: str, *, sql_expression: SqlExpression | None = None) -> str:
    """The internal type name of the masked value; ``hide`` fits every type and leaves it, so does ``sql`` unread.

    Raises:
        ValueError: As `mask_expression`.
    """
    if mask.kind is MaskKind.HIDE:
        return column_type
    if mask.kind is MaskKind.SQL and sql_expression is None:
        _expression(mask)
        return column_type
    return mask_expression(mask, Fragment.of("x"), column_type, tag="tag", sql_expression=sql_expression)[1]


def is_total(mask: Mask) -> bool:
    """Whether the mask never raises, whatever value it is given: true of all but the steward's own SQL."""
    if mask.kind is MaskKind.JSON:
        return all(is_total(inner) for _, inner in json_masks(mask))
    return mask.kind is not MaskKind.SQL


def _text_mask(mask: Mask, operand: Fragment, column_type: str) -> Fragment:
    """The masks on text: see each branch."""
    if column_type not in TEXT_TYPES:
        raise misfit(mask, column_type, "text (text, varchar, char)")
    text = as_text(operand, column_type)
    match mask.kind:
        case MaskKind.REDACT:
            value = unless_null(operand, constant(words(mask, "value", HIDDEN), "text"))
        case MaskKind.EMAIL:
            value = _email(text)
        case MaskKind.ZIP3:
            # The rest goes without a trace. A value of three characters or fewer tells no more than any other.
            value = call("left", text, "3")
        case _:
            value = _keep(mask, text)
    return from_text(value, column_type)


def _keep(mask: Mask, text: Fragment) -> Fragment:
    """The first or last n characters, a star for each other; a value of n characters or fewer is all stars."""
    kept = whole_number(mask, "n", 0, _MOST_CHARACTERS)
    length = call("length", text)
    stars = call("repeat", literal(STAR), length)
    if kept == 0:
        return stars
    rest = call("repeat", literal(STAR), operate(length, "-", str(kept)))
    first = mask.kind is MaskKind.KEEP_FIRST
    shown = call("left" if first else "right", text, str(kept))
    value = operate(shown, "||", rest) if first else operate(rest, "||", shown)
    return choose((operate(length, ">", str(kept)), value), otherwise=stars)


def _email(text: Fragment) -> Fragment:
    """``***@`` and what follows the last @ (a quoted local part may hold one); without any @, ``***``."""
    # Collation C: PostgreSQL before 18 refuses to search under a nondeterministic one.
    place = call("strpos", Fragment.of("(", call("reverse", text), C_COLLATION, ")"), literal("@"))
    domain = call("right", text, operate(place, "-", "1"))
    return choose(
        (operate(place, ">", "0"), operate(literal(f"{HIDDEN}@"), "||", domain)),
        (Fragment.of(text, " IS NOT NULL"), literal(HIDDEN)),
    )


def _mac(mask: Mask, message: Fragment, prefix: bytes = b"") -> Fragment:
    """HMAC-SHA-256 (RFC 2104) of the prefix and a text in UTF-8, as bytea."""
    name = words(mask, "key", "default")
    if _KEY_NAME.fullmatch(name) is None:
        raise ValueError(f"the mask {mask.kind.value} names a key {name!r}; use letters, digits, _ and -")
    inner = Fragment.of(Binding(f"key.{name}.inner", ValueType.BYTEA))
    outer = Fragment.of(Binding(f"key.{name}.outer", ValueType.BYTEA))
    if prefix:
        inner = operate(inner, "||", constant(f"\\x{prefix.hex()}", "bytea"))
    octets = call("convert_to", message, literal("UTF8"))
    return call("sha256", operate(outer, "||", call("sha256", operate(inner, "||", octets))))


def _hash(mask: Mask, operand: Fragment, column_type: str) -> Fragment:
    """Lower-case hex of the keyed hash of the value's canonical text."""
    text = canonical_text(operand, column_type)
    if text is None:
        raise misfit(mask, column_type, "text, integers, numeric, uuid, dates, timestamps and network addresses")
    return call("encode", _mac(mask, text), literal("hex"))


def _pseudonym(mask: Mask, operand: Fragment, column_type: str, tag: str) -> tuple[Fragment, str]:
    """A stand-in that is equal for equal values of one domain, and tells nothing of values of another.

    Text gives 32 hex digits; integers a positive int8 of 63 bits; numeric the same number as an equal integer; uuid a
    uuid of version 8 (RFC 9562). Equal means equal canonical text, also across types of one family.
    """
    domain = words(mask, "domain", tag)
    if not domain:
        raise ValueError("the mask pseudonym has no domain: the column has no tag; give a tag or domain: a name")
    literal(domain)
    text = canonical_text(operand, column_type)
    fits = column_type in TEXT_TYPES or column_type in INTEGER_RANGES or column_type in {"numeric", "uuid"}
    if text is None or not fits:
        raise misfit(mask, column_type, "text, integers, numeric and uuid")
    # No text holds a NUL, so that neither a hash nor another domain can have the same message.
    digits = call("encode", _mac(mask, text, b"pseudonym\0" + domain.encode() + b"\0"), literal("hex"))
    if column_type in TEXT_TYPES:
        return from_text(call("left", digits, "32"), column_type), column_type
    if column_type == "uuid":
        versioned = call("overlay", call("overlay", call("left", digits, "32"), literal("8"), "13"), literal("8"), "17")
        return cast(versioned, "uuid"), "uuid"
    bits = cast(operate(literal("x"), "||", call("left", digits, "16")), "bit(64)")
    number = operate(cast(bits, "int8"), "&", constant(str(2**63 - 1), "int8"))
    return (cast(number, "numeric"), "numeric") if column_type == "numeric" else (number, "int8")


def _truncate(mask: Mask, operand: Fragment, column_type: str) -> Fragment:
    """The start of the year, quarter, month, week (Monday) or day, by the clock of UTC; infinities stay.

    What lies before 4712 BC becomes -infinity, a date after the year 294276 infinity, so that order is kept.
    """
    if column_type not in MOMENT_TYPES:
        raise misfit(mask, column_type, "date, timestamp and timestamptz")
    unit = mask.option("unit")
    if unit not in TRUNCATE_UNITS:
        raise ValueError(f"the mask truncate knows no unit {unit!r}; write one of {', '.join(TRUNCATE_UNITS)}")
    unit_text = literal(str(unit))
    zone = "+00" if column_type == "timestamptz" else ""
    first = constant(_FIRST_SAFE_YEAR.replace(" ", f" 00:00:00{zone} ") if zone else _FIRST_SAFE_YEAR, column_type)
    too_early = (operate(operand, "<", first), constant("-infinity", column_type))
    if column_type == "date":
        if unit == "day":
            return cast(operand, "date")
        day = cast(call("date_trunc", unit_text, cast(operand, "timestamp")), "date")
        too_late = (operate(operand, ">", constant(_LAST_TIMESTAMP_DAY, "date")), constant("infinity", "date"))
        return choose(too_early, too_late, otherwise=day)
    start = call("date_trunc", unit_text, by_utc(operand) if zone else operand)
    return choose(too_early, otherwise=by_utc(start) if zone else start)


def _ip_prefix(mask: Mask, operand: Fragment, column_type: str) -> Fragment:
    """The network of at most ``v4`` or ``v6`` bits that the address lies in."""
    if column_type not in NETWORK_TYPES:
        raise misfit(mask, column_type, "network addresses (inet, cidr)")
    four, six = whole_number(mask, "v4", 0, 32, default=24), whole_number(mask, "v6", 0, 128, default=48)
    most = choose((operate(call("family", operand), "=", "4"), str(four)), otherwise=str(six))
    bits = Fragment.of("LEAST(", call("masklen", operand), ", ", most, ")")
    network = call("network", call("set_masklen", operand, bits))
    return network if column_type == "cidr" else cast(network, "inet")


def _expression(mask: Mask) -> str:
    """What the steward wrote."""
    text = mask.option("expression")
    if not isinstance(text, str) or not text.strip():
        raise ValueError('the mask sql needs an expression; write for example {sql: "left(city, 1)"}')
    return text


def _sql(mask: Mask, operand: Fragment, sql_expression: SqlExpression | None) -> tuple[Fragment, str]:
    """The steward's expression; NULL where the operand is."""
    text = _expression(mask)
    if sql_expression is None:
        raise ValueError("the mask sql has no type without its table; check it where the table's columns are known")
    expression, type_name = sql_expression(text)
    return unless_null(operand, Fragment.of("(", expression, ")")), type_name
