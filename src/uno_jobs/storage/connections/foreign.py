"""What a forked process inherits and must leave alone."""

from __future__ import annotations

from typing import Final

_kept: Final[list[object]] = []


def keep_foreign(inherited: object) -> None:
    """Keep connections of the parent process from being closed or collected here.

    Their sockets are the parent's, and so is its event loop's selector: a connection that is collected takes
    itself out of it, and the parent would never hear of that connection again.
    """
    _kept.append(inherited)
