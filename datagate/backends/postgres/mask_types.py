"""The words that masks are spelled with: types, casts, calls and literals that no search_path can capture.

Every function, operator and type is qualified with ``pg_catalog``, and the constructs in which PostgreSQL looks up an
operator by its bare name (``CASE x WHEN``, ``IN``, ``BETWEEN``, ``NULLIF``, ``IS DISTINCT FROM``) are not used.
"""

from __future__ import annotations

from types import MappingProxyType

from datagate.model.fragment import Binding, Fragment
from datagate.model.mask import Mask

Piece = str | Binding | Fragment

TEXT_TYPES = frozenset({"text", "varchar", "bpchar"})
INTEGER_RANGES = MappingProxyType(
    {"int2": (-(2**15), 2**15 - 1), "int4": (-(2**31), 2**31 - 1), "int8": (-(2**63), 2**63 - 1)}
)
FLOAT_TYPES = frozenset({"float4", "float8"})
MOMENT_TYPES = frozenset({"date", "timestamp", "timestamptz"})
NETWORK_TYPES = frozenset({"inet", "cidr"})
JSON_TYPES = frozenset({"json", "jsonb"})
# Types whose NULL is written as a cast; every other type (an enum, a domain, a row type, an array) has a schema that is
# not known here, and takes its type from the operand.
NAMED_TYPES = frozenset(
    {"numeric", "bool", "bytea", "uuid", "time", "timetz", "interval"}
    | TEXT_TYPES
    | set(INTEGER_RANGES)
    | FLOAT_TYPES
    | MOMENT_TYPES
    | NETWORK_TYPES
    | JSON_TYPES
)

FALSE = "false"
NULL = "NULL"
C_COLLATION = ' COLLATE pg_catalog."C"'


def literal(text: str) -> str:
    """A string constant that reads the same under every setting of ``standard_conforming_strings``.

    Raises:
        ValueError: For characters that PostgreSQL's text cannot hold (NUL, lone surrogates).
    """
    if "\0" in text:
        raise ValueError("the text holds a NUL character, which PostgreSQL cannot store; leave it out")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("the text holds half of a surrogate pair, which is not Unicode text; leave it out") from None
    quoted = text.replace("'", "''")
    return "E'" + quoted.replace("\\", "\\\\") + "'" if "\\" in quoted else f"'{quoted}'"


def cast(piece: Piece, type_name: str) -> Fragment:
    """The piece, as a type of pg_catalog."""
    if type_name == "bpchar":
        # libpg_query's deparser spells a cast to bpchar as CHAR, which is bpchar(1). The length coercion function
        # with no length is the same cast.
        return call("bpchar", piece, "-1", FALSE)
    return Fragment.of("CAST(", piece, f" AS pg_catalog.{type_name})")


def constant(text: str, type_name: str) -> Fragment:
    """A typed constant."""
    return cast(literal(text), type_name)


def call(function: str, *arguments: Piece) -> Fragment:
    """``pg_catalog.function(...)``."""
    pieces: list[Piece] = []
    for argument in arguments:
        pieces += [", ", argument] if pieces else [argument]
    return Fragment.of(f"pg_catalog.{function}(", *pieces, ")")


def operate(left: Piece, operator: str, right: Piece) -> Fragment:
    """``(left OPERATOR(pg_catalog.operator) right)``."""
    return Fragment.of("(", left, f" OPERATOR(pg_catalog.{operator}) ", right, ")")


def choose(*cases: tuple[Piece, Piece], otherwise: Piece | None = None) -> Fragment:
    """``CASE WHEN ... THEN ... END``; without ``otherwise``, NULL when no case holds."""
    pieces: list[Piece] = ["CASE"]
    for condition, value in cases:
        pieces += [" WHEN ", condition, " THEN ", value]
    if otherwise is not None:
        pieces += [" ELSE ", otherwise]
    return Fragment.of(*pieces, " END")


def unless_null(operand: Piece, value: Piece) -> Fragment:
    """The value, but NULL where the operand is NULL."""
    return choose((Fragment.of(operand, " IS NOT NULL"), value))


def null_of(operand: Fragment, type_name: str) -> Fragment:
    """NULL of the operand's type."""
    if type_name in NAMED_TYPES:
        return cast(NULL, type_name)
    return choose((FALSE, operand))


def as_text(operand: Fragment, type_name: str) -> Fragment:
    """The operand as ``text``; trailing blanks of a ``bpchar`` mean nothing and go."""
    return operand if type_name == "text" else cast(operand, "text")


def from_text(value: Fragment, type_name: str) -> Fragment:
    """A ``text`` value as one of the text-like types."""
    return value if type_name == "text" else cast(value, type_name)


def by_utc(moment: Fragment) -> Fragment:
    """A timestamptz as the timestamp that clocks of UTC show, or the other way round.

    Not by the zone's name: PostgreSQL 18 looks it up among the abbreviations of the session's own TimeZone first, so
    that ``SET TimeZone = '<UTC>+5'`` gives UTC another meaning.
    """
    return call("timezone", constant("0", "interval"), moment)


def canonical_text(operand: Fragment, type_name: str) -> Fragment | None:
    """Text that is equal where values are equal, whatever the session's settings; None for a type that has none."""
    if type_name in TEXT_TYPES or type_name in INTEGER_RANGES or type_name in NETWORK_TYPES or type_name == "uuid":
        return as_text(operand, type_name)
    if type_name == "numeric":
        return cast(call("trim_scale", operand), "text")
    if type_name in MOMENT_TYPES:
        # JSON spells moments in ISO 8601 under every DateStyle.
        plain = by_utc(operand) if type_name == "timestamptz" else operand
        return operate(call("to_jsonb", plain), "#>>", constant("{}", "_text"))
    return None


def misfit(mask: Mask, type_name: str, fits: str) -> ValueError:
    """The error for a mask on a column of the wrong type."""
    return ValueError(
        f"the mask {mask.kind.value} does not fit type {type_name}: it masks {fits}; "
        "use null or hide, which fit every type, or a sql mask"
    )


def whole_number(mask: Mask, name: str, lowest: int, highest: int, default: int | None = None) -> int:
    """An integer option within bounds, or the error that says so."""
    value = mask.option(name)
    if value is None and default is not None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value <= highest:
        raise ValueError(
            f"the mask {mask.kind.value} needs {name}, a whole number from {lowest} to {highest}, not {value!r}; "
            f"write for example {{{mask.kind.value}: {max(lowest, 4)}}}"
        )
    return value


def words(mask: Mask, name: str, default: str) -> str:
    """A text option, or its default."""
    value = mask.option(name)
    if value is None:
        return default
    if not isinstance(value, str):
        raise ValueError(  # noqa: TRY004 - a wrong policy value, not a wrong call
            f"the mask {mask.kind.value} needs {name} as text, not {value!r}; put it in quotes"
        )
    return value
