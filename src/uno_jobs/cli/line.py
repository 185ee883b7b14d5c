"""A line about what is under way, on standard error."""

from __future__ import annotations

import sys
import time
from typing import Final

QUIET: Final = 5.0
"""Seconds between lines where there is no terminal whose line could be written anew."""


class Line:
    """One line of a terminal that is written anew; elsewhere a line now and then. On standard error."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._shown = ""
        self._next = 0.0

    def show(self, text: str) -> None:
        """Show a text in place of the one before."""
        if text == self._shown:
            return
        now = time.monotonic()
        if self._terminal:
            sys.stderr.write(f"\r\x1b[K{text}")
        elif now >= self._next:
            sys.stderr.write(f"{text}\n")
            self._next = now + QUIET
        sys.stderr.flush()
        self._shown = text

    def end(self) -> None:
        """Leave the line clear."""
        if self._terminal and self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
        self._shown = ""
