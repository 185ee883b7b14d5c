"""The order of task versions: part by part, numbers as numbers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

_PART: Final = re.compile(r"[0-9]+|[^0-9.\-_+]+")
# What a part begins with: a word sorts before the end of the version, a number after it.
_WORD, _END, _NUMBER = "0", "1", "2"
# Ends a word; lower than anything a version may hold.
_STOP: Final = "\x01"


def sort_text(version: str) -> str:
    """Return a text that sorts versions, in Python and in PostgreSQL under the collation "C".

    Parts are separated by ``.``, ``-``, ``_``, ``+`` or by the change from digits to letters. Numbers compare
    as numbers (1.10 is above 1.9), a further number is above none (1.0.1 above 1.0), a further word below
    (2.0-beta, 2.0rc1 below 2.0). Versions that are equal by this (1.0 and 1.00) are ordered as text.
    """
    parts = [
        # A number's length goes first: of two without leading zeros, the longer is the larger.
        f"{_NUMBER}{len(digits):02}{digits}"
        if (digits := part.lstrip("0") or "0")[0] in "0123456789"
        else f"{_WORD}{part}{_STOP}"
        for part in _PART.findall(version)
    ]
    return f"{''.join(parts)}{_END}{version}"


def highest(versions: Iterable[str]) -> str:
    """Return the highest of some versions.

    Raises:
        ValueError: There is none.
    """
    return max(versions, key=sort_text)
