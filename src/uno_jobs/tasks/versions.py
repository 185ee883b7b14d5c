"""The order of task versions: part by part, numbers as numbers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

_PART: Final = re.compile(r"[0-9]+|[^0-9.\-_+]+")
_WORD, _END, _NUMBER = 0, 1, 2

VersionKey = tuple[tuple[tuple[int, int, str], ...], str]


def version_key(version: str) -> VersionKey:
    """Return a key that sorts versions.

    Parts are separated by ``.``, ``-``, ``_``, ``+`` or by the change from digits to letters. Numbers compare
    as numbers (1.10 is above 1.9), a further number is above none (1.0.1 above 1.0), a further word below
    (2.0-beta, 2.0rc1 below 2.0). Versions that are equal by this (1.0 and 1.00) are ordered as text.
    """
    parts = [
        (_NUMBER, int(part), "") if part[0] in "0123456789" else (_WORD, 0, part) for part in _PART.findall(version)
    ]
    return (*parts, (_END, 0, "")), version


def highest(versions: Iterable[str]) -> str:
    """Return the highest of some versions.

    Raises:
        ValueError: There is none.
    """
    return max(versions, key=version_key)


def sort_text(version: str) -> str:
    """Return a text that sorts, byte by byte, as ``version_key`` does; for the database."""
    parts, text = version_key(version)
    return "\x01".join([*(f"{kind}{number:024d}{word}" for kind, number, word in parts), text])
