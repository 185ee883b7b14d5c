"""SQL files: cut into statements, since a prepared statement holds one."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

# What may hold a semicolon that ends nothing: a dollar-quoted body, a string, a quoted name, a comment.
_TOKEN: Final = re.compile(r"(\$\w*\$).*?\1|'(?:[^']|'')*'|\"[^\"]*\"|--[^\n]*|;", re.DOTALL)


def split_statements(sql: str) -> Iterator[str]:
    """Yield the statements of a SQL file, each without its semicolon."""
    start = 0
    for match in _TOKEN.finditer(sql):
        if match.group() == ";":
            yield sql[start : match.start()].strip()
            start = match.end()
    if re.sub(r"--[^\n]*", "", sql[start:]).strip():
        yield sql[start:].strip()
