"""The budget of CPU time: what may be used, saved up and owed, on a clock of the test's own."""

from __future__ import annotations

import pytest

from uno_jobs.runners.limits.budget import BURST, OWED, PORTION, CpuBudget


def simulate(limit: float, cores: float, seconds: float, late: float = 0.0) -> list[tuple[float, float]]:
    """Run a group that always keeps ``cores`` busy under a budget; returns (time, used so far) at each look."""
    now = used = 0.0
    budget = CpuBudget(limit, now)
    seen = [(now, used)]
    while now < seconds:
        step = max(budget.wait(int(cores)), 0.005) + late
        spent = 0.0 if budget.stopped else step * cores
        now, used = now + step, used + spent
        budget.spend(now, spent)
        seen.append((now, used))
    return seen


@pytest.mark.parametrize(("limit", "cores"), [(0.5, 1), (0.5, 4), (0.1, 1), (0.02, 2), (1.5, 2), (3.0, 4)])
def test_that_a_busy_group_uses_its_limit_and_no_more(limit: float, cores: int) -> None:
    """Over five seconds the share is the limit, to a few hundredths."""
    now, used = simulate(limit, cores, 5.0)[-1]
    assert limit * 0.95 <= used / now <= limit * 1.05


@pytest.mark.parametrize("cores", [1, 2])
def test_that_every_second_is_within_the_limit(cores: int) -> None:
    """There is no second in which half a core is exceeded by more than a tenth."""
    seen = simulate(0.5, cores, 5.0)
    for begin, before in seen:
        for now, used in seen:
            if 1.0 <= now - begin <= 1.1:
                assert (used - before) / (now - begin) <= 0.55


def test_that_what_late_looks_let_through_is_worked_off() -> None:
    """Looks that come 0.3 s late let too much through; the average holds all the same."""
    now, used = simulate(0.5, 2, 30.0, late=0.3)[-1]
    assert used / now <= 0.55


def test_that_an_idle_group_saves_up_little() -> None:
    """After ten idle seconds a group may run ahead by a tenth of a second's worth, not by five seconds' worth."""
    budget = CpuBudget(0.5, 0.0)
    budget.spend(10.0, 0.0)
    assert budget.wait(1) == pytest.approx(0.5 * BURST)


def test_that_a_late_waking_is_made_up_for_in_part() -> None:
    """A group that stood still for too long may use some of what it was kept from."""
    budget = CpuBudget(0.5, 0.0)
    budget.spend(0.1, 0.2)
    assert budget.stopped
    debt = 0.2 - 0.5 * (BURST + 0.1)
    assert budget.wait(1) == pytest.approx((0.5 * PORTION + debt) / 0.5)
    budget.spend(20.0, 0.0)
    assert not budget.stopped
    assert budget.wait(1) == pytest.approx(0.5 * OWED)


def test_that_a_limit_of_more_cores_than_are_used_stops_nothing() -> None:
    """Two cores' worth for one busy thread: it is never stopped."""
    budget = CpuBudget(2.0, 0.0)
    for step in range(1, 1000):
        budget.spend(step / 100, 0.01)
        assert not budget.stopped
