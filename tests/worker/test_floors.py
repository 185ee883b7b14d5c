"""Where scans begin."""

from __future__ import annotations

from uno_jobs.worker.floors import SKIP, ScanFloors


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_in_health_every_scan_is_full() -> None:
    floors = ScanFloors(Clock())
    assert floors.floors(["q"]) == [0] * 10
    floors.note("q", 5, 100, 300, full=True)
    floors.note("q", 5, 200, 300, full=False)
    assert floors.floors(["q"])[5] == 0


def test_a_dear_full_scan_is_repeated_when_twenty_times_its_excess_has_passed() -> None:
    clock = Clock()
    floors = ScanFloors(clock)
    floors.note("q", 5, 100, 50_000, full=True)
    assert floors.floors(["q"])[5] == 100
    floors.note("q", 5, 150, 1_000, full=False)
    clock.now = 0.97
    assert floors.floors(["q"])[5] == 150
    clock.now = 0.99
    assert floors.floors(["q"])[5] == 0


def test_it_is_due_after_a_minute_however_dear() -> None:
    clock = Clock()
    floors = ScanFloors(clock)
    floors.note("q", 5, 100, 60_000_000, full=True)
    clock.now = 59.9
    assert floors.floors(["q"])[5] == 100
    clock.now = 60.0
    assert floors.floors(["q"])[5] == 0


def test_where_nothing_was_in_sight_a_long_way_is_not_walked_again_at_once() -> None:
    clock = Clock()
    floors = ScanFloors(clock)
    floors.note("q", 5, None, 20_000, full=True)
    assert floors.floors(["q"])[5] == SKIP
    clock.now = 0.4
    assert floors.floors(["q"])[5] == 0


def test_a_full_scan_that_failed_counts_as_having_cost_its_time() -> None:
    clock = Clock()
    floors = ScanFloors(clock)
    floors.note("q", 5, 100, 300, full=True)
    floors.failed(["q"], [0] * 10, 2.0)
    clock.now = 39.9
    assert floors.floors(["q"])[5] == 100
    clock.now = 40.0
    assert floors.floors(["q"])[5] == 0


def test_each_queue_and_priority_has_its_own() -> None:
    floors = ScanFloors(Clock())
    floors.note("b", 1, 7, 50_000, full=True)
    both = floors.floors(["a", "b"])
    assert both[11] == 7
    assert sum(both) == 7
