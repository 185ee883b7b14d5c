"""Who is declared dead, and above all who is not."""

from __future__ import annotations

from uuid import UUID, uuid4

from uno_jobs.worker.watcher import Watcher


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def beats(
    watcher: Watcher,
    clock: Clock,
    worker: UUID,
    seconds: float,
    *,
    moving: bool,
    locked: bool | None,
    connection: int = 1,
    holds: bool = True,
) -> float | None:
    """Observe once a second; returns after how many seconds the worker was declared dead."""
    for second in range(int(seconds) + 1):
        beat = 100 + second if moving else 0
        asked = worker in watcher.suspects()
        if watcher.observe(connection, [(worker, beat, holds, locked if asked else None)], clock.now):
            return second
        clock.now += 1
    return None


def test_a_worker_that_beats_lives() -> None:
    clock = Clock()
    assert beats(Watcher(clock), clock, uuid4(), 100, moving=True, locked=True) is None


def test_a_lost_host_is_dead_when_its_lock_is_gone() -> None:
    clock = Clock()
    assert beats(Watcher(clock), clock, uuid4(), 100, moving=False, locked=False) in (3, 4)


def test_a_stopped_process_keeps_its_lock_and_is_dead_after_15_seconds() -> None:
    clock = Clock()
    assert beats(Watcher(clock), clock, uuid4(), 100, moving=False, locked=True) in (15, 16)


def test_without_a_lock_the_longer_time_counts() -> None:
    clock = Clock()
    assert beats(Watcher(clock), clock, uuid4(), 100, moving=False, locked=False, holds=False) in (15, 16)


def test_after_its_own_reconnect_an_observer_judges_nobody_for_15_seconds() -> None:
    # A failover: all locks are gone at once and all beats stand still, for the observer's reconnect and longer.
    clock, worker = Clock(), uuid4()
    watcher = Watcher(clock)
    assert beats(watcher, clock, worker, 10, moving=True, locked=True) is None
    clock.now += 10
    assert beats(watcher, clock, worker, 14, moving=False, locked=False, connection=2) is None
    assert beats(watcher, clock, worker, 60, moving=True, locked=True, connection=2) is None


def test_what_was_seen_on_an_earlier_connection_does_not_count() -> None:
    clock, worker = Clock(), uuid4()
    watcher = Watcher(clock)
    assert beats(watcher, clock, worker, 14, moving=False, locked=True) is None
    assert watcher.observe(2, [(worker, 0, True, False)], clock.now) == {}
    clock.now += 3
    assert watcher.observe(2, [(worker, 0, True, False)], clock.now) == {}


def test_an_observer_that_stood_still_does_not_judge_an_old_reply_by_a_new_time() -> None:
    clock, worker = Clock(), uuid4()
    watcher = Watcher(clock)
    assert watcher.observe(1, [(worker, 7, True, None)], clock.now) == {}
    clock.now += 0.4
    asked = clock.now
    clock.now += 16  # a task held the event loop while the reply lay in the socket
    assert watcher.observe(1, [(worker, 7, True, None)], asked) == {}
