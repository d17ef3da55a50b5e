"""The oracle's masks: what each mask makes of one value, in plain Python; shares nothing with the SQL.

Values come as psycopg loads them. JSON documents may come as JSON text too (which keeps all digits), and always leave
as JSON text. Dates and network addresses may come, and then leave, as PostgreSQL's text under DateStyle ISO and time
zone UTC, since Python's dates hold no infinity, no BC and no year beyond 9999.
"""

from __future__ import annotations

import hmac
import ipaddress
import json
import re
import struct
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Context, Decimal
from fractions import Fraction
from math import floor
from uuid import UUID

from datagate.model.mask import Mask, MaskKind

Keys = Mapping[str, bytes]
_EXACT = Context(prec=500)
_INTEGER_BITS = {"int2": 16, "int4": 32, "int8": 64}
_MOMENT = re.compile(r"(\d+)-(\d\d)-(\d\d)(?: (\d\d:\d\d:\d\d(?:\.\d+)?))?(\+00)?( BC)?")


def mask_value(
    mask: Mask,
    value: object,
    column_type: str,
    *,
    tag: str,
    keys: Keys,
    sql: Callable[[str], object] | None = None,
) -> object:
    """The masked value; ``sql`` gives the value of a steward's expression in the row at hand."""
    if value is None:
        return None
    match mask.kind:
        case MaskKind.HIDE:
            raise AssertionError("a hidden column has no cells")
        case MaskKind.NULL:
            return None
        case MaskKind.REDACT:
            shown = mask.option("value")
            return "***" if shown is None else shown
        case MaskKind.KEEP_FIRST | MaskKind.KEEP_LAST | MaskKind.EMAIL | MaskKind.ZIP3:
            assert isinstance(value, str)
            return _text(mask, value.rstrip(" ") if column_type == "bpchar" else value)
        case MaskKind.HASH:
            return _mac(mask, keys, canonical(value, column_type).encode()).hex()
        case MaskKind.PSEUDONYM:
            return _pseudonym(mask, value, column_type, tag, keys)
        case MaskKind.TRUNCATE:
            return _truncate(str(mask.option("unit")), value, column_type)
        case MaskKind.ROUND:
            return _round(Decimal(str(mask.option("to"))), value, column_type)
        case MaskKind.BUCKET:
            return _bucket(mask, value, column_type)
        case MaskKind.IP_PREFIX:
            return _ip_prefix(mask, value, column_type)
        case MaskKind.JSON:
            return _json(mask, value if isinstance(value, str) else dump(value), column_type, tag, keys)
        case MaskKind.SQL:
            assert sql is not None, "a sql mask needs the row"
            return sql(str(mask.option("expression")))


def masked_type(mask: Mask, column_type: str) -> str:
    """The internal name of the masked value's type."""
    if mask.kind is MaskKind.HASH:
        return "text"
    if mask.kind is MaskKind.PSEUDONYM and column_type in _INTEGER_BITS:
        return "int8"
    assert mask.kind is not MaskKind.SQL, "the type of a sql mask is its expression's"
    return column_type


def _number(mask: Mask, name: str, default: int | None = None) -> int:
    value = mask.option(name)
    if value is None:
        assert default is not None
        return default
    assert isinstance(value, int)
    return value


def _text(mask: Mask, text: str) -> str:
    if mask.kind is MaskKind.ZIP3:
        return text[:3]
    if mask.kind is MaskKind.EMAIL:
        _, at, domain = text.rpartition("@")
        return "***@" + domain if at else "***"
    n = _number(mask, "n")
    if n == 0 or len(text) <= n:
        return "*" * len(text)
    stars = "*" * (len(text) - n)
    return text[:n] + stars if mask.kind is MaskKind.KEEP_FIRST else stars + text[-n:]


def _mac(mask: Mask, keys: Keys, message: bytes) -> bytes:
    return hmac.digest(keys[str(mask.option("key") or "default")], message, "sha256")


def _pseudonym(mask: Mask, value: object, column_type: str, tag: str, keys: Keys) -> object:
    domain = mask.option("domain")
    name = tag if domain is None else str(domain)
    mac = _mac(mask, keys, b"pseudonym\0" + name.encode() + b"\0" + canonical(value, column_type).encode())
    if column_type == "uuid":
        return UUID(int=int.from_bytes(mac[:16], "big") & ~(0xF << 76) & ~(0xF << 60) | 8 << 76 | 8 << 60)
    if column_type in _INTEGER_BITS or column_type == "numeric":
        number = int.from_bytes(mac[:8], "big") % 2**63
        return Decimal(number) if column_type == "numeric" else number
    return mac[:16].hex()


def canonical(value: object, column_type: str) -> str:
    """Text that equal values share."""
    if column_type == "bpchar":
        return str(value).rstrip(" ")
    if column_type == "numeric":
        return _plain(Decimal(str(value)))
    if column_type in {"date", "timestamp", "timestamptz"}:
        text = _moment_text(value).replace("+00", "")
        return text if text.endswith("infinity") else text.replace(" ", "T", 1) if ":" in text else text
    if column_type in {"inet", "cidr"}:
        return _network_text(ipaddress.ip_interface(str(value)), always_bits=True)
    return str(value)


def _plain(number: Decimal) -> str:
    """A decimal without exponent, trailing zeros or a negative zero."""
    if not number.is_finite():
        return str(number)
    text = f"{number:f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text


# Moments


def _moment_text(value: object) -> str:
    """As PostgreSQL prints it, in UTC."""
    if isinstance(value, str):
        return value
    if isinstance(value, datetime):
        zone = "" if value.tzinfo is None else "+00"
        plain = value if value.tzinfo is None else value.astimezone(UTC)
        fraction = f".{plain.microsecond:06}".rstrip("0") if plain.microsecond else ""
        return f"{plain.year:04}-{plain:%m-%d %H:%M:%S}{fraction}{zone}"
    assert isinstance(value, date)
    return f"{value.year:04}-{value:%m-%d}"


def _truncate(unit: str, value: object, column_type: str) -> object:
    text = _moment_text(value)
    masked = _truncate_text(unit, text, column_type)
    if isinstance(value, str):
        return masked
    if isinstance(value, datetime):
        return datetime.fromisoformat(masked)
    return date.fromisoformat(masked)


def _truncate_text(unit: str, text: str, column_type: str) -> str:
    if text.endswith("infinity"):
        return text
    found = _MOMENT.fullmatch(text)
    assert found is not None, text
    year, month, day = int(found[1]), int(found[2]), int(found[3])
    year = 1 - year if found[6] else year
    if unit == "day" and column_type == "date":
        return text
    if year < -4711:
        return "-infinity"
    if column_type == "date" and year > 294276:
        return "infinity"
    year, month, day = _start(unit, year, month, day)
    clock = "" if column_type == "date" else " 00:00:00" + ("+00" if column_type == "timestamptz" else "")
    return f"{year if year > 0 else 1 - year:04}-{month:02}-{day:02}{clock}" + ("" if year > 0 else " BC")


def _start(unit: str, year: int, month: int, day: int) -> tuple[int, int, int]:
    match unit:
        case "year":
            return year, 1, 1
        case "quarter":
            return year, month - (month - 1) % 3, 1
        case "month":
            return year, month, 1
        case "week":
            # The calendar and the week repeat every 400 years.
            cycles, within = divmod(year - 2000, 400)
            monday = date(within + 2000, month, day)
            monday -= timedelta(days=monday.weekday())
            return monday.year + 400 * cycles, monday.month, monday.day
        case "day":
            return year, month, day
    raise AssertionError(unit)


# Numbers


def _float4(value: float) -> float:
    return float(struct.unpack("f", struct.pack("f", value))[0])


def _nearest(value: Decimal, step: Decimal) -> Decimal:
    """Nearest multiple, halves away from zero."""
    count = floor(abs(Fraction(value)) / Fraction(step) + Fraction(1, 2))
    return _EXACT.multiply(Decimal(count), step).copy_sign(value)


def _round(step: Decimal, value: object, column_type: str) -> object:
    if column_type in _INTEGER_BITS:
        assert isinstance(value, int)
        limit = 2 ** (_INTEGER_BITS[column_type] - 1)
        candidate = int(_nearest(Decimal(value), step))
        if -limit <= candidate < limit:
            return candidate
        return candidate - int(step) if candidate > 0 else candidate + int(step)
    if column_type == "numeric":
        assert isinstance(value, Decimal)
        if value.is_nan() or value.is_infinite():
            return value
        if value.adjusted() >= 100:
            return Decimal("Infinity").copy_sign(value)
        return _nearest(value, step)
    assert isinstance(value, float)
    exact = _float4(value) if column_type == "float4" else value
    if not abs(exact) < float(step * 2**53):
        return exact
    rounded = float(_nearest(Decimal(f"{exact:.15g}"), step)) + 0.0  # no negative zero
    return _float4(rounded) if column_type == "float4" else rounded


def _bucket(mask: Mask, value: object, column_type: str) -> object:
    edges = mask.option("edges")
    assert isinstance(edges, tuple)
    assert isinstance(value, int | float | Decimal)
    value = _float4(float(value)) if column_type == "float4" else value
    shown: int | float | Decimal | None = None
    for edge in edges:
        assert isinstance(edge, int | Decimal)
        own: int | float | Decimal = Decimal(edge)
        if column_type in _INTEGER_BITS:
            own = int(edge)
        elif column_type == "float8":
            own = float(edge)
        elif column_type == "float4":
            own = _float4(float(edge))
        if value != value or value >= own:  # NaN sorts above all
            shown = own
    return shown


# Network addresses


def _ip_prefix(mask: Mask, value: object, column_type: str) -> object:
    address = ipaddress.ip_interface(str(value))
    bits = _number(mask, "v4", 24) if address.version == 4 else _number(mask, "v6", 48)
    network = ipaddress.ip_network((address.ip, min(bits, address.network.prefixlen)), strict=False)
    if isinstance(value, str):
        whole = ipaddress.ip_interface(f"{network.network_address}/{network.prefixlen}")
        return _network_text(whole, always_bits=column_type == "cidr")
    if column_type == "cidr":
        return network
    if network.prefixlen == network.max_prefixlen:
        return network.network_address
    return ipaddress.ip_interface(str(network))


def _network_text(address: ipaddress.IPv4Interface | ipaddress.IPv6Interface, *, always_bits: bool) -> str:
    """As PostgreSQL prints it: a single zero group is not shortened, embedded IPv4 addresses are dotted."""
    bits = address.network.prefixlen
    suffix = f"/{bits}" if always_bits or bits != address.network.max_prefixlen else ""
    if isinstance(address, ipaddress.IPv4Interface):
        return f"{address.ip}{suffix}"
    groups = [int.from_bytes(address.ip.packed[i : i + 2], "big") for i in range(0, 16, 2)]
    zeros = max((re.finditer("0+", "".join("x0"[group == 0] for group in groups))), key=_width, default=None)
    dotted = str(ipaddress.IPv4Address(address.ip.packed[12:]))
    if zeros is None or _width(zeros) < 2:
        return ":".join(f"{group:x}" for group in groups) + suffix
    if zeros.start() == 0 and (_width(zeros) == 6 or (_width(zeros) == 5 and groups[5] == 0xFFFF)):
        return ("::" if _width(zeros) == 6 else "::ffff:") + dotted + suffix
    before = ":".join(f"{group:x}" for group in groups[: zeros.start()])
    after = ":".join(f"{group:x}" for group in groups[zeros.end() :])
    return f"{before}::{after}{suffix}"


def _width(run: re.Match[str]) -> int:
    return run.end() - run.start()


# JSON


class _Unfit(Exception):
    """A document that only the type json can hold."""


def _json(mask: Mask, text: str, column_type: str, tag: str, keys: Keys) -> str:
    try:
        document = _read(text, only_jsonb=column_type == "json")
    except _Unfit:
        return "null"
    if not isinstance(document, dict):
        return "null"
    pairs = mask.option("paths")
    assert isinstance(pairs, tuple)
    for pair in pairs:
        assert isinstance(pair, tuple)
        dotted, inner = pair
        assert isinstance(dotted, str)
        assert isinstance(inner, Mask)
        _mask_at(document, dotted.split("."), inner, tag, keys)
    return dump(document)


def _read(text: str, *, only_jsonb: bool) -> object:
    def number(token: str) -> Decimal:
        if only_jsonb and re.search(r"\d{255}|[eE][-+]?\d{4}", token):
            raise _Unfit
        return Decimal(token)

    def fit(document: object) -> None:
        if isinstance(document, str) and any(char == "\0" or "\ud800" <= char <= "\udfff" for char in document):
            raise _Unfit
        for child in [*document, *document.values()] if isinstance(document, dict) else ():
            fit(child)
        for child in document if isinstance(document, list) else ():
            fit(child)

    if only_jsonb and len(text.encode()) > 16_000_000:
        raise _Unfit
    document: object = json.loads(text, parse_float=number, parse_int=number)
    if isinstance(document, dict):
        fit(json.loads(text, parse_float=number, parse_int=number, object_pairs_hook=lambda pairs: [*map(list, pairs)]))
    return document


def _mask_at(holder: dict[str, object], steps: list[str], inner: Mask, tag: str, keys: Keys) -> None:
    first, *rest = steps
    if first not in holder or holder[first] is None:
        if not rest and inner.kind is MaskKind.HIDE:
            holder.pop(first, None)
        return
    value = holder[first]
    if rest:
        if isinstance(value, dict):
            _mask_at(value, rest, inner, tag, keys)
        else:
            holder[first] = None
    elif inner.kind is MaskKind.HIDE:
        del holder[first]
    else:
        holder[first] = _masked_leaf(inner, value, tag, keys)


def _masked_leaf(inner: Mask, value: object, tag: str, keys: Keys) -> object:
    if inner.kind is MaskKind.REDACT:
        return mask_value(inner, "", "text", tag=tag, keys=keys)
    on_text = {MaskKind.KEEP_FIRST, MaskKind.KEEP_LAST, MaskKind.EMAIL, MaskKind.ZIP3}
    on_numbers = {MaskKind.ROUND, MaskKind.BUCKET}
    both = {MaskKind.HASH, MaskKind.PSEUDONYM}
    if isinstance(value, str) and inner.kind in on_text | both:
        return mask_value(inner, value, "text", tag=tag, keys=keys)
    if isinstance(value, Decimal) and inner.kind in on_numbers | both:
        masked = mask_value(inner, value, "numeric", tag=tag, keys=keys)
        return str(masked) if isinstance(masked, Decimal) and not masked.is_finite() else masked
    return None


def dump(document: object) -> str:
    """JSON text, with decimals in full."""
    if isinstance(document, Decimal):
        return f"{document:f}"
    if isinstance(document, dict):
        return "{" + ", ".join(f"{json.dumps(key)}: {dump(value)}" for key, value in document.items()) + "}"
    if isinstance(document, list):
        return "[" + ", ".join(map(dump, document)) + "]"
    return json.dumps(document)
