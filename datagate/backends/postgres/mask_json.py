"""Masks inside JSON documents: each dotted path has a mask of its own. Fails closed on shapes nobody expected.

- A path whose key is absent changes nothing; a JSON null stays.
- What stands on the way to a path and is no object (an array, a string) becomes JSON null, and so does a whole document
  that is no object: the steward said where the value lies, and it might lie there in another shape.
- A string takes the mask as text, a number as numeric. Where the mask does not fit that, and for booleans, arrays and
  objects, the value becomes JSON null. ``redact`` replaces whatever is there, ``hide`` removes the key.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Protocol

from datagate.backends.postgres.mask_types import (
    C_COLLATION,
    FALSE,
    JSON_TYPES,
    call,
    cast,
    choose,
    constant,
    literal,
    misfit,
    operate,
)
from datagate.model.fragment import Fragment
from datagate.model.mask import Mask, MaskKind

# A json column holds text that jsonb may refuse; these bounds are within what jsonb takes, and masks stay total. Only
# the last few levels of nesting that max_stack_depth lets into the table at all (some 14,000) are beyond a mask.
_LARGEST_JSON_TEXT = 16_000_000
_PAIR = r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_BAD_ESCAPE = r"\\u(?:0000|[dD][89a-fA-F])"
_STRING = r'"(?:[^"\\]|\\.)*"'
_BAD_NUMBER = r"[0-9]{255}|[eE][-+]?[0-9]{4}"

_NEEDS_PATHS = "the mask json needs paths, each with its mask; write for example {json: {contact.phone: redact}}"

_JSON_NULL = literal("null")

Path = tuple[str, ...]


class ValueMask(Protocol):
    """How one text or number is masked: `masks.mask_expression`."""

    def __call__(self, mask: Mask, operand: Fragment, column_type: str, *, tag: str) -> tuple[Fragment, str]:
        """SQL for the masked value, and its type."""


def json_masks(mask: Mask) -> tuple[tuple[Path, Mask], ...]:
    """The option ``paths`` of a json mask, checked and split at the dots.

    Raises:
        ValueError: A path is empty, or lies at or below another one.
    """
    pairs: list[tuple[Path, Mask]] = []
    given = mask.option("paths")
    for pair in given if isinstance(given, tuple) else ():
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise ValueError(_NEEDS_PATHS)
        dotted, inner = pair
        if not isinstance(dotted, str) or not isinstance(inner, Mask):
            raise ValueError(_NEEDS_PATHS)  # noqa: TRY004 - a wrong policy value, not a wrong call
        path = tuple(dotted.split("."))
        if not all(path):
            raise ValueError(f"the JSON path {dotted!r} has an empty step; write keys with single dots between them")
        pairs.append((path, inner))
    if not pairs:
        raise ValueError(_NEEDS_PATHS)
    ordered = sorted(path for path, _ in pairs)
    for shorter, longer in pairwise(ordered):
        if longer[: len(shorter)] == shorter:
            raise ValueError(
                f"the JSON path {'.'.join(longer)} lies at or below {'.'.join(shorter)}; mask only one of them"
            )
    return tuple(pairs)


def json_mask(mask: Mask, operand: Fragment, column_type: str, *, tag: str, value_mask: ValueMask) -> Fragment:
    """The document with its paths masked, in the column's own type."""
    if column_type not in JSON_TYPES:
        raise misfit(mask, column_type, "JSON documents (json, jsonb)")
    pairs = json_masks(mask)
    document = operand if column_type == "jsonb" else cast(operand, "jsonb")
    masked = _clear_the_way(document, [path for path, _ in pairs])
    for path, inner in pairs:
        masked = _mask_path(masked, document, path, inner, tag, value_mask)
    is_object = operate(call(f"{column_type}_typeof", operand), "=", literal("object"))
    hidden = (Fragment.of(operand, " IS NOT NULL"), constant("null", column_type))
    if column_type == "jsonb":
        return choose((is_object, masked), hidden)
    return choose((is_object, choose(_unfit_for_jsonb(operand), otherwise=cast(masked, "json"))), hidden)


def _clear_the_way(document: Fragment, paths: list[Path]) -> Fragment:
    """Replace by JSON null what is no object and stands above a path; outermost first, so that no step fails."""
    prefixes = {path[:depth] for path in paths for depth in range(1, len(path))}
    cleared = document
    for prefix in sorted(prefixes, key=lambda steps: (len(steps), steps)):
        part = operate(document, "#>", _steps(prefix))
        value = choose((_has_type(part, "object"), part), otherwise=_JSON_NULL)
        cleared = call("jsonb_set", cleared, _steps(prefix), value, FALSE)
    return cleared


def _mask_path(
    masked: Fragment, document: Fragment, path: Path, inner: Mask, tag: str, value_mask: ValueMask
) -> Fragment:
    """One path replaced; the value is taken from the original document, so that the text grows with the paths only."""
    steps = _steps(path)
    if inner.kind is MaskKind.HIDE:
        return operate(masked, "#-", steps)
    part = operate(document, "#>", steps)
    text = operate(document, "#>>", steps)
    cases: list[tuple[Fragment, Fragment]] = []
    if inner.kind is MaskKind.REDACT:
        value, _ = value_mask(inner, text, "text", tag=tag)
        cases.append((operate(call("jsonb_typeof", part), "<>", literal("null")), call("to_jsonb", value)))
    elif inner.kind is not MaskKind.NULL:
        cases = _by_type(part, text, inner, tag, value_mask)
    if not cases:
        return call("jsonb_set", masked, steps, _JSON_NULL, FALSE)
    new_value = Fragment.of("COALESCE(", choose(*cases), f", {_JSON_NULL})")
    return call("jsonb_set", masked, steps, new_value, FALSE)


def _by_type(
    part: Fragment, text: Fragment, inner: Mask, tag: str, value_mask: ValueMask
) -> list[tuple[Fragment, Fragment]]:
    """The mask for a string and for a number, as far as it fits them; an error if it fits neither."""
    if inner.kind in {MaskKind.JSON, MaskKind.SQL}:
        raise ValueError(
            f"the mask {inner.kind.value} cannot stand inside a json mask; name the path with dots instead"
        )
    cases: list[tuple[Fragment, Fragment]] = []
    errors: list[ValueError] = []
    for json_type, type_name, operand in (("string", "text", text), ("number", "numeric", cast(text, "numeric"))):
        try:
            value, _ = value_mask(inner, operand, type_name, tag=tag)
        except ValueError as error:
            errors.append(error)
        else:
            cases.append((_has_type(part, json_type), call("to_jsonb", value)))
    if not cases:
        raise errors[0]
    return cases


def _has_type(part: Fragment, json_type: str) -> Fragment:
    return operate(call("jsonb_typeof", part), "=", literal(json_type))


def _steps(path: Path) -> str:
    """The path as a literal of an array of text."""
    quoted = ('"' + step.replace("\\", "\\\\").replace('"', '\\"') + '"' for step in path)
    return literal("{" + ",".join(quoted) + "}")


def _unfit_for_jsonb(operand: Fragment) -> tuple[Fragment, Fragment]:
    """The case of a json text that a cast to jsonb might refuse: it is hidden whole.

    Such are the escape of NUL, half a surrogate pair, numbers of more than 254 digits or with exponents of more than
    three, and texts beyond 16 MB (PostgreSQL, chapter 8.14). Escaped backslashes and whole pairs are taken out first,
    then whole strings, so that the search for numbers sees numbers only.
    """
    text = Fragment.of("(", cast(operand, "text"), C_COLLATION, ")")
    unescaped = call("replace", text, literal("\\\\"), literal("."))
    paired = call("regexp_replace", unescaped, literal(_PAIR), literal("."), literal("g"))
    numbers = call("regexp_replace", paired, literal(_STRING), literal(""), literal("g"))
    conditions = (
        operate(call("octet_length", text), ">", str(_LARGEST_JSON_TEXT)),
        operate(paired, "~", literal(_BAD_ESCAPE)),
        operate(numbers, "~", literal(_BAD_NUMBER)),
    )
    # CASE, and not OR: the size is to be looked at first.
    null = constant("null", "json")
    return choose(*((condition, "true") for condition in conditions), otherwise=FALSE), null
