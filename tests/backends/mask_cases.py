"""Which masks are tried on which types, on which values; and how a server is asked for masked values."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType
from uuid import UUID

import psycopg
from psycopg import RawCursor

from datagate.backends.postgres.masks import mask_expression
from datagate.model.fragment import Binding, Fragment
from datagate.model.mask import Mask, MaskKind, MaskOption
from datagate.model.source import NOWHERE
from datagate.stores.keyring import Keyring

TAG = "customer"
KEYS: Mapping[str, bytes] = MappingProxyType(
    {"default": bytes(range(32)), "long": hashlib.sha512(b"long").digest() + b"more than one block"}
)
KEYRING = Keyring(KEYS)
Connection = psycopg.Connection[tuple[object, ...]]

HUGE = "9" * 131072
TEXTS = (
    "",
    " ",
    "a",
    "Ann",
    "Ännchen",
    "e\u0301",
    "👩\u200d👩\u200d👧 family",
    "ann.lee@bank.example",
    '"a@b"@bank.example',
    "@",
    "ann@",
    "@bank.example",
    "üser@пример.рф",
    "10115",
    'it\'s \\ 100 % "quoted" $1 ${x}',
    "two\nlines@x\ny",
    "blanks  ",
    "漢字かな交じり文",
    "x" * 5000,
)
INTEGERS = MappingProxyType(
    {
        "int2": ("0", "1", "-1", "49", "50", "-50", "149", "150", "32767", "-32768", "32750", "-32750"),
        "int4": ("0", "500", "-500", "499", "2147483647", "-2147483648", "2147483500", "-2147483500", "123456"),
        "int8": ("0", "9223372036854775807", "-9223372036854775808", "-500", "500", "4611686018427387904"),
    }
)
NUMERICS = (
    *("0", "0.00", "-0.5", "0.5", "500", "-500", "499.99999999999999999999", "1234.5600", "NaN", "Infinity"),
    *("-Infinity", "1e99", "-1e99", "1e100", "-1e131071", HUGE, "-" + HUGE, "1e-16383", "0.00000000000000000049"),
)
FLOATS = MappingProxyType(
    {
        "float8": (
            *("0", "-0", "0.5", "-0.5", "500", "-500", "1499.999", "NaN", "Infinity", "-Infinity", "5e-324"),
            *(
                "1.7976931348623157e308",
                "-1.7976931348623157e308",
                "9007199254740993",
                "0.1",
                "2.2250738585072014e-308",
            ),
        ),
        "float4": (
            *("0", "0.5", "-0.5", "500", "-500", "0.1", "NaN", "Infinity", "-Infinity", "1e-45", "3.4028235e38"),
            *("-3.4028235e38", "16777216", "1234567.5"),
        ),
    }
)
DATES = (
    *("infinity", "-infinity", "2024-02-29", "1999-12-31", "1970-01-01", "0001-01-01", "0001-12-31 BC"),
    *(
        "4712-01-01 BC",
        "4713-12-31 BC",
        "4714-11-24 BC",
        "294276-12-31",
        "294277-01-01",
        "5874897-12-31",
        "0044-03-15 BC",
    ),
)
CLOCKS = ("00:00:00", "23:59:59.999999", "12:34:56.7")
TIMESTAMPS = (
    *(
        "infinity",
        "-infinity",
        "4714-11-24 00:00:00 BC",
        "4713-12-31 23:59:59.999999 BC",
        "294276-12-31 23:59:59.999999",
    ),
    *(f"{day} {clock}" for day in ("2024-02-29", "1970-01-01", "0001-01-01", "2026-11-23") for clock in CLOCKS),
    *("0044-03-15 10:00:00.5 BC", "4712-01-01 00:00:00 BC"),
)
ZONED = (
    *(f"{text.removesuffix(' BC')}+00{' BC' * text.endswith(' BC')}" if ":" in text else text for text in TIMESTAMPS),
)
ADDRESSES = (
    *(
        "192.168.17.34",
        "10.1.2.3/8",
        "0.0.0.0/0",
        "255.255.255.255",
        "10.0.0.0/30",
        "2001:db8:1:2:3:4:5:6",
        "::1",
        "::",
    ),
    *("::ffff:10.1.2.3", "::10.1.2.3", "fe80::1/64", "2001:db8::/32", "1:0:2:0:3:0:4:0", "::/0", "1:0:0:2:0:0:0:3"),
    *("::1:0", "::ffff:0:1", "1:2:3:4:5:6::"),
)
NETWORKS = ("192.168.17.34/32", "10.0.0.0/8", "0.0.0.0/0", "2001:db8::/32", "::/0", "::1/128", "10.1.2.0/25", "1::/96")
UUIDS = (
    "00000000-0000-0000-0000-000000000000",
    "ffffffff-ffff-ffff-ffff-ffffffffffff",
    "0192f0c4-7c1e-7a3b-9d2e-1a2b3c4d5e6f",
)
JSONS = (
    "{}",
    "[]",
    "null",
    "7",
    '"ann@x.example"',
    '{"contact": {"phone": "+49 30 123456", "mail": "ann@x.example"}, "balance": 1499.5, "note": "call", "vip": true}',
    '{"contact": [{"phone": "+49 30 123456"}], "balance": "many", "note": ["a"]}',
    '{"contact": "ann@x.example", "balance": null, "note": null}',
    '{"contact": null}',
    '{"contact": {"phone": {"home": 1}, "mail": false}, "balance": {}, "note": {"a": 1}}',
    '{"contact": {"phone": 493012345, "mail": 17}, "balance": -500, "note": 0.0}',
    '{"contact": {"phone": "", "mail": ""}, "balance": 1e200, "a \\"q\\" \\\\ \'s\'": "quoted", "note": ""}',
    '{"other": {"contact": {"phone": "seen"}}, "contact": {"more": [1, 2]}}',
    '{"contact": {"phone": "👩 \\u00e4\\ud83d\\ude00", "mail": "\\\\u0000"}}',
)
# What a json column can hold and jsonb cannot, and what looks like it.
ODD_JSONS = (
    '{"note": "\\u0000"}',
    '{"note": "\\ud83d"}',
    '{"note": "\\ude00\\ud83d"}',
    '{"note": "\\ud83d\\\\\\ude00"}',
    '{"note": "\\\\ud83d\\ude00"}',
    '{"note": "\\\\\\u0000"}',
    '{"note": "\\\\u0000 \\ud83d\\ude00"}',
    '{"\\u0000": 1}',
    '{"other": ["\\ud83d"]}',
    '{"balance": 1e999999}',
    '{"balance": 1e-999999}',
    '{"balance": 1E+00005}',
    '{"balance": ' + "9" * 255 + "}",
    '{"balance": ' + "9" * 254 + "}",
    '{"balance": 0.' + "9" * 300 + "}",
    '{"note": "1e999999 \\" 1e999999", "balance": 5}',
    '{"note": "' + "9" * 400 + '"}',
    '{"note": 1, "note": "twice"}',
    '{"note" : "blanks" ,\n "balance":\t1.50 }',
    '["\\u0000"]',
    '"\\ud83d"',
)


def mask(kind: MaskKind, **options: MaskOption) -> Mask:
    return Mask(kind, tuple(options.items()), NOWHERE)


def json_paths(**paths: Mask) -> Mask:
    return mask(MaskKind.JSON, paths=tuple((path.replace("__", "."), inner) for path, inner in paths.items()))


K = MaskKind
NULL, HASH, PSEUDONYM = mask(K.NULL), mask(K.HASH), mask(K.PSEUDONYM)
ROUNDS = (mask(K.ROUND, to=1000), mask(K.ROUND, to=Decimal(1)), mask(K.ROUND, to=7), mask(K.ROUND, to=10**18))
FRACTIONS = (mask(K.ROUND, to=Decimal("0.05")), mask(K.ROUND, to=Decimal("0.3")), mask(K.ROUND, to=Decimal("1e-18")))
BUCKETS = (mask(K.BUCKET, edges=(-50, 0, 18, 65)), mask(K.BUCKET, edges=(Decimal(0),)))
TEXT_MASKS = (
    NULL,
    HASH,
    PSEUDONYM,
    mask(K.HASH, key="long"),
    mask(K.PSEUDONYM, domain="iban", key="long"),
    mask(K.PSEUDONYM, domain="o'brien \\ é"),
    mask(K.REDACT),
    mask(K.REDACT, value=""),
    mask(K.REDACT, value='it\'s \\ "hidden" 👀'),
    *(mask(kind, n=n) for kind in (K.KEEP_FIRST, K.KEEP_LAST) for n in (0, 1, 4)),
    mask(K.EMAIL),
    mask(K.ZIP3),
)
UNITS = tuple(mask(K.TRUNCATE, unit=unit) for unit in ("year", "quarter", "month", "week", "day"))
NETWORK_MASKS = (
    *(NULL, HASH, mask(K.IP_PREFIX), mask(K.IP_PREFIX, v4=0, v6=0), mask(K.IP_PREFIX, v4=32, v6=128)),
    mask(K.IP_PREFIX, v4=20, v6=33),
)
JSON_MASKS = (
    NULL,
    json_paths(
        contact__phone=mask(K.KEEP_LAST, n=2), contact__mail=mask(K.EMAIL), balance=ROUNDS[0], note=mask(K.REDACT)
    ),
    json_paths(contact=mask(K.HIDE), balance=HASH, note=NULL),
    json_paths(contact__phone=PSEUDONYM, balance=PSEUDONYM, note=mask(K.HIDE)),
    json_paths(contact__phone__home=mask(K.BUCKET, edges=(1,)), balance=BUCKETS[0], note=mask(K.ZIP3)),
    mask(K.JSON, paths=(("a \"q\" \\ 's'", mask(K.REDACT, value="\\")), ("contact.mail", mask(K.HIDE)))),
)
MASKS: Mapping[str, tuple[Mask, ...]] = MappingProxyType(
    {
        **dict.fromkeys(("text", "varchar", "bpchar"), TEXT_MASKS),
        **dict.fromkeys(("int2", "int4", "int8"), (NULL, HASH, PSEUDONYM, *ROUNDS, *BUCKETS)),
        "numeric": (NULL, HASH, PSEUDONYM, *ROUNDS, *FRACTIONS, *BUCKETS, mask(K.BUCKET, edges=(Decimal("0.1"), 7))),
        **dict.fromkeys(
            ("float4", "float8"), (NULL, *ROUNDS, *FRACTIONS, *BUCKETS, mask(K.BUCKET, edges=(Decimal("0.1"), 7)))
        ),
        **dict.fromkeys(("date", "timestamp", "timestamptz"), (NULL, HASH, *UNITS)),
        "uuid": (NULL, HASH, PSEUDONYM),
        **dict.fromkeys(("inet", "cidr"), NETWORK_MASKS),
        **dict.fromkeys(("json", "jsonb"), JSON_MASKS),
        **dict.fromkeys(("bool", "bytea", "time", "interval", "_text", "point", "int4range"), (NULL,)),
    }
)
VALUES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        **dict.fromkeys(("text", "varchar", "bpchar"), TEXTS),
        **INTEGERS,
        "numeric": NUMERICS,
        **FLOATS,
        "date": DATES,
        "timestamp": TIMESTAMPS,
        "timestamptz": ZONED,
        "uuid": UUIDS,
        "inet": ADDRESSES,
        "cidr": NETWORKS,
        "jsonb": JSONS,
        "json": (*JSONS, *ODD_JSONS),
        "bool": ("t", "f"),
        "bytea": ("\\x00ff",),
        "time": ("12:00",),
        "interval": ("1 day",),
        "_text": ("{a,b}",),
        "point": ("(1,2)",),
        "int4range": ("[1,2)",),
    }
)
CASES = [(type_name, each) for type_name, masks in MASKS.items() for each in masks]
CASE_IDS = [f"{type_name}-{each.kind.value}-{number}" for number, (type_name, each) in enumerate(CASES)]


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server made of a value: the value as it prints it, and each mask's text and type."""

    raw: str | None
    masked: tuple[str | None, ...]
    types: tuple[str, ...]


TYPE_OF = "(SELECT t.typname FROM pg_catalog.pg_type AS t WHERE t.oid = pg_catalog.pg_typeof({}))"


def spell(fragment: Fragment, numbers: dict[Binding, int]) -> str:
    """The text of a fragment, keys as numbered parameters."""
    return fragment.render(
        lambda binding: f"CAST(${numbers.setdefault(binding, len(numbers) + 2)} AS pg_catalog.bytea)"
    )


def inline_key(binding: Binding) -> str:
    """A key as text, for statements that take no parameters."""
    value = KEYRING.binding(binding.name).value
    assert isinstance(value, bytes)
    return f"pg_catalog.decode('{value.hex()}', 'hex')"


def ask(connection: Connection, type_name: str, values: Sequence[str | None], masks: Sequence[Mask]) -> list[Answer]:
    """Mask the values on the server, several masks in one statement."""
    numbers: dict[Binding, int] = {}
    operand = Fragment.of('g."Value"')
    expressions = [spell(mask_expression(each, operand, type_name, tag=TAG)[0], numbers) for each in masks]
    shown = ", ".join(['g."Value"', *expressions, *map(TYPE_OF.format, expressions)])
    source = f'SELECT CAST(v AS pg_catalog.{type_name}) AS "Value" FROM pg_catalog.unnest($1::text[]) AS v'
    keys = [KEYRING.binding(binding.name).value for binding in numbers]
    with RawCursor(connection) as cursor:
        result = cursor.execute(f"SELECT {shown} FROM ({source}) AS g", [list(values), *keys]).pgresult
        assert result is not None
        rows = [
            [
                None if (cell := result.get_value(row, place)) is None else cell.decode()
                for place in range(result.nfields)
            ]
            for row in range(result.ntuples)
        ]
    middle = 1 + len(masks)
    return [Answer(row[0], tuple(row[1:middle]), tuple(str(cell) for cell in row[middle:])) for row in rows]


def load(type_name: str, text: str | None) -> object:
    """A printed value as the oracle takes it."""
    if text is None:
        return None
    if type_name.startswith("int") and type_name in INTEGERS:
        return int(text)
    if type_name == "numeric":
        return Decimal(text)
    if type_name in FLOATS:
        return float(text)
    return UUID(text) if type_name == "uuid" else text


def comparable(type_name: str, value: object) -> object:
    """A value by which equal things compare equal, NaN with NaN too, JSON as documents."""
    if value is None:
        return None
    if type_name in {"json", "jsonb"}:
        return json.loads(str(value), parse_float=Decimal, parse_int=Decimal)
    if isinstance(value, float | Decimal) and value != value:
        return "NaN"
    if type_name == "float4" and isinstance(value, float):
        return struct.pack("f", value)
    return value
