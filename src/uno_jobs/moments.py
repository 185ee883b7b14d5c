"""Times as PostgreSQL's protocol sends them, microseconds since 2000 in eight bytes, made a ``datetime`` when needed.

To make one takes as long as to read ten other columns of a claimed job, and most tasks never look at the time.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

_ORIGIN: Final = datetime(2000, 1, 1, tzinfo=UTC)
_FIRST: Final = datetime.min.replace(tzinfo=UTC)
_LAST: Final = datetime.max.replace(tzinfo=UTC)


def moment(value: datetime | bytes) -> datetime:
    """Return the time, whether it was read already or is still as it was sent (``timestamptz_send``).

    Those that a ``datetime`` cannot hold, -infinity and infinity among them, are the first or the last that it can.
    """
    if isinstance(value, datetime):
        return value
    microseconds = int.from_bytes(value, signed=True)
    try:
        return _ORIGIN + timedelta(microseconds=microseconds)
    except OverflowError:
        return _LAST if microseconds > 0 else _FIRST
