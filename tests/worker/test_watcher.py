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
    own: bool = True,
) -> float | None:
    """Observe once a second; returns after how many seconds the worker was declared dead."""
    for second in range(int(seconds) + 1):
        beat = 100 + second if moving else 0
        asked = worker in watcher.suspects()
        ours = int(clock.now) if own else 7
        if watcher.observe(connection, ours, [(worker, beat, holds, locked if asked else None)], clock.now):
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
    assert watcher.observe(2, 1, [(worker, 0, True, False)], clock.now) == {}
    clock.now += 2
    assert watcher.observe(2, 2, [(worker, 0, True, False)], clock.now) == {}
    clock.now += 2
    assert watcher.observe(2, 3, [(worker, 0, True, False)], clock.now) == {}


def test_an_observer_that_stood_still_does_not_judge_an_old_reply_by_a_new_time() -> None:
    clock, worker = Clock(), uuid4()
    watcher = Watcher(clock)
    assert watcher.observe(1, 1, [(worker, 7, True, None)], clock.now) == {}
    clock.now += 0.4
    asked = clock.now
    clock.now += 16  # a task held the event loop while the reply lay in the socket
    assert watcher.observe(1, 2, [(worker, 7, True, None)], asked) == {}


def test_while_its_own_beat_stands_still_an_observer_judges_nobody() -> None:
    # The server answers, but takes no writes: its standby is away, its disk is full.
    clock, worker = Clock(), uuid4()
    watcher = Watcher(clock)
    assert beats(watcher, clock, worker, 60, moving=False, locked=False, own=False) is None
    # Writes go through again; the others' supervisors may need a moment longer than ours.
    assert beats(watcher, clock, worker, 13, moving=False, locked=False) is None
    assert beats(watcher, clock, worker, 60, moving=True, locked=True) is None


def test_a_stall_that_nobody_saw_is_seen_by_what_was_not_seen() -> None:
    # The answer to one look came after 20 s, and by then our own beat had moved again.
    clock, worker = Clock(), uuid4()
    watcher = Watcher(clock)
    assert watcher.observe(1, 7, [(worker, 0, False, None)], clock.now) == {}
    clock.now += 20
    for own in range(8, 22):
        assert watcher.observe(1, own, [(worker, 0, False, None)], clock.now) == {}
        clock.now += 1


def test_an_observer_that_looks_seldom_judges_all_the_same() -> None:
    # Its tasks hold the event loop for seconds; its supervisor beats all the while.
    clock, worker = Clock(), uuid4()
    watcher = Watcher(clock)
    dead: dict[UUID, str] = {}
    for own in range(0, 40, 5):
        dead |= watcher.observe(1, own, [(worker, 0, False, None)], clock.now)
        clock.now += 5
    assert list(dead) == [worker]


def test_an_observer_that_is_not_known_to_live_judges_nobody() -> None:
    clock, worker = Clock(), uuid4()
    watcher = Watcher(clock)
    for _ in range(60):
        assert watcher.observe(1, None, [(worker, 0, False, None)], clock.now) == {}
        clock.now += 1
