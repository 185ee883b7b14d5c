"""Values to JSON text that PostgreSQL's jsonb accepts unchanged, or an error that says why not."""

from __future__ import annotations

import json
import math
import re
from typing import Any, Final, NoReturn, cast

import orjson
import pydantic_core
from pydantic_core import SchemaSerializer, core_schema

from uno_jobs.errors import NotSerializable

MAX_DEPTH: Final = 128
"""Deepest nesting that is stored: parsers on the way refuse more (the tightest stops at 200)."""

# Subclasses of str, int, dict and dataclasses go through pydantic, which knows what is declared on them.
_OPTIONS: Final = orjson.OPT_PASSTHROUGH_SUBCLASS | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME
# An escaped NUL: \u0000 behind an even number of backslashes.
_NUL: Final = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
_ANYTHING: Final = SchemaSerializer(core_schema.any_schema())
_JSON_STRING: Final = re.compile(r'"(?:[^"\\]|\\.)*"')


def to_jsonable(value: object) -> Any:
    """Turn a Python value into dicts, lists and plain values, as pydantic would.

    Models and dataclasses are written by their fields' names, without computed fields, so that what is
    written can be read again.
    """
    return pydantic_core.to_jsonable_python(value, by_alias=False, round_trip=True)


def to_json(value: object) -> str:
    """Serialise a value to JSON text that can be stored and read back.

    Args:
        value: Plain JSON values, and whatever pydantic knows: models, dataclasses, dates, UUIDs, Decimals,
            Enums, sets, bytes that are UTF-8.

    Returns:
        Compact JSON text without NUL, lone surrogates, NaN or Infinity. Integers have no limit up to 4,300
        digits.

    Raises:
        NotSerializable: The value, or something in it, cannot be stored; the message says what.
    """
    try:
        raw = orjson.dumps(value, default=to_jsonable, option=_OPTIONS)
    except TypeError:
        return _slowly(value)
    text = raw.decode()
    # orjson and pydantic write NaN and Infinity as null without a word: where there is a null, look again.
    if "null" in text:
        check_finite(value)
    if "\\u0000" in text:
        _refuse_nul(text)
    if len(text) > MAX_DEPTH:
        _refuse_depth(text)
    return text


def from_json(text: str) -> Any:
    """Parse JSON text, integers of any size exact.

    Raises:
        ValueError: It is not JSON.
    """
    return pydantic_core.from_json(text)


def check_text(text: str, what: str) -> str:
    """Return ``text`` if PostgreSQL can store it.

    Raises:
        NotSerializable: It holds a NUL or a lone surrogate; the message begins with ``what``.
    """
    if "\x00" in text:
        raise NotSerializable(f"{what} contains a NUL character, which PostgreSQL cannot store: remove it")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise NotSerializable(
            f"{what} contains a lone surrogate, which is not valid Unicode: decode the text with errors='replace'"
        ) from None
    return text


def check_finite(value: object) -> None:
    """Look for NaN and Infinity in a value that has a JSON form.

    Raises:
        NotSerializable: There is one.
    """
    rest = [value]
    while rest:
        one = rest.pop()
        if isinstance(one, float):
            if not math.isfinite(one):
                raise NotSerializable("NaN and Infinity cannot be JSON: use None or a text")
        elif isinstance(one, dict):
            rest.extend(cast("dict[object, object]", one).values())
        elif isinstance(one, list | tuple | set | frozenset):
            rest.extend(cast("list[object]", one))
        elif one is not None and not isinstance(one, str | int | bytes):
            # A model or the like: into its parts, which are still Python's here, not yet JSON's.
            parts = _ANYTHING.to_python(one, round_trip=True)
            if isinstance(parts, float | dict | list | tuple | set | frozenset):
                rest.append(cast("object", parts))


def scrub_text(text: str) -> str:
    """Make any text storable: NUL and lone surrogates are written as escapes (``\\x00``, ``\\ud800``)."""
    if "\x00" in text:
        text = text.replace("\x00", "\\x00")
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode()
    return text


def _slowly(value: object) -> str:
    """What orjson refuses: integers over 64 bits, keys that are no strings, surrogates, foreign types."""
    try:
        plain = to_jsonable(value)
    except Exception as error:  # noqa: BLE001 - serializers of users may raise anything; it is chained
        _refuse(value, error)
    try:
        text = json.dumps(plain, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
        text.encode()
    except UnicodeEncodeError:
        raise NotSerializable("a text contains a lone surrogate, which is not valid Unicode") from None
    except RecursionError:
        raise NotSerializable(f"it is nested deeper than {MAX_DEPTH} levels") from None
    except (TypeError, ValueError) as error:
        _refuse(value, error)
    if "null" in text:
        check_finite(value)
    if "\\u0000" in text:
        _refuse_nul(text)
    _refuse_depth(text)
    return text


def _refuse(value: object, error: Exception) -> NoReturn:
    if isinstance(error, UnicodeDecodeError) or "utf-8" in str(error):
        reason = "text or bytes that are not valid UTF-8 cannot be JSON (base64 makes bytes storable)"
    elif "JSON compliant" in str(error):
        reason = "NaN and Infinity cannot be JSON: use None or a text"
    elif "digits" in str(error):
        reason = "an integer has more than 4,300 digits"
    elif "ircular reference" in str(error) or "depth" in str(error) or isinstance(error, RecursionError):
        reason = f"it refers to itself, or is nested deeper than {MAX_DEPTH} levels"
    else:
        reason = str(error) or type(error).__name__
    raise NotSerializable(f"a {type(value).__name__} cannot be stored as JSON: {reason}") from error


def _refuse_nul(text: str) -> None:
    if _NUL.search(text):
        raise NotSerializable("a text contains a NUL character, which PostgreSQL cannot store: remove it")


def _refuse_depth(text: str) -> None:
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return
    depth = deepest = 0
    for sign in _JSON_STRING.sub("", text):
        if sign in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif sign in "]}":
            depth -= 1
    if deepest > MAX_DEPTH:
        raise NotSerializable(f"it is nested deeper than {MAX_DEPTH} levels")
