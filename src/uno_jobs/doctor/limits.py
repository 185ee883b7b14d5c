"""From where on a check warns, and from where on it calls what it sees an error."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Pairs: a warning from the first on, an error from the second on. Durations are seconds, shares 0 to 1."""

    snapshot_age: tuple[float, float] = (300.0, 3_600.0)
    """Since when a transaction holds back what vacuum may remove."""
    snapshot_transactions: tuple[int, int] = (1_000_000, 50_000_000)
    """The same for a replication slot or a standby, of which no time is known: transactions since then."""
    dead_rows: tuple[int, int] = (200_000, 2_000_000)
    """Dead rows in the table of unfinished jobs, where they are more than the living ones."""
    clock_skew: tuple[float, float] = (1.0, 30.0)
    """Between this host's clock and the server's."""
    connections: tuple[float, float] = (0.8, 0.95)
    """Share of the connections that the server, the database or the role may have."""
    notify_queue: tuple[float, float] = (0.05, 0.5)
    """Share of the server's queue of notifications that is in use."""
    retention_lag: tuple[float, float] = (3_600.0, 86_400.0)
    """For how long the oldest finished job is past the time that it is kept."""
    dead_workers: float = 3_600.0
    """Workers that died within so many seconds are told of."""
