"""The schema's name and age, and how SQL files are made to speak of it."""

from __future__ import annotations

import functools
import re
from typing import Final

from uno_jobs.errors import ConfigurationError

DEFAULT_SCHEMA: Final = "uno_jobs"

REVISION: Final = 1
"""The number of the newest migration that this code brings."""

MIN_REVISION: Final = 1
"""The oldest schema that this code can work on: one release back, so that code may be deployed before the migration."""

_PLACE: Final = re.compile(r"\buno_jobs\b")


@functools.lru_cache(maxsize=64)
def quote_schema(name: str) -> str:
    """Return a schema's name as SQL writes it.

    Raises:
        ConfigurationError: It cannot be a schema's name here.
    """
    if not 1 <= len(name.encode()) <= 63 or name.startswith("pg_"):
        raise ConfigurationError(f"a schema's name has 1 to 63 bytes and does not begin with pg_: {name!r} will not do")
    if re.search(r"[\"'\\$%:;\x00-\x1f]", name):
        raise ConfigurationError(
            f"a schema's name may not contain quotes, backslashes or any of $ % : ; as {name!r} does"
        )
    # All others are quoted: a plain word may be a reserved one, as user and order are.
    return name if name == DEFAULT_SCHEMA else f'"{name}"'


def render(sql: str, schema: str) -> str:
    """Return SQL written for the schema ``uno_jobs`` so that it speaks of another.

    The SQL files name their schema in full, as one reads it in psql; each whole word ``uno_jobs`` is that name.
    """
    return sql if schema == DEFAULT_SCHEMA else _PLACE.sub(lambda _: quote_schema(schema), sql)
