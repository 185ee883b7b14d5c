"""The way back from edges to chains and groups."""

from __future__ import annotations

import random
import time
from collections import Counter
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cli.steps import a_step, steps_of, written
from uno_jobs import TaskRegistry
from uno_jobs.cli.shape import GroupShape, shape, walk
from uno_jobs.tasks import chain, group, task

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def t() -> Iterator[Any]:
    """Tasks named a to f."""
    with TaskRegistry.isolated():
        yield SimpleNamespace(**{name: define(name) for name in "abcdef"})


def define(name: str) -> Any:
    async def work(*args: Any) -> None: ...

    return task(name=name)(work)


def test_chains_and_groups_are_found_again(t: Any) -> None:
    a, b, c, d, e, f = t.a, t.b, t.c, t.d, t.e, t.f
    for workflow, expected in (
        (chain(a, b, c), "a > b > c"),
        (group([a, b, c]), "[a, b, c]"),
        (chain(a, group([b, c]), d), "a > [b, c] > d"),
        (chain(a, group([b, chain(c, d)]), e), "a > [b, c > d] > e"),
        (chain(group([a, b]), group([c, d]), e), "[a, b] > [c, d] > e"),
        (chain(a, group([b, group([c, d])]), e), "a > [b, [c, d]] > e"),
        (group([group([a, b]), group([c, d])]), "[[a, b], [c, d]]"),
        (group([chain(a, group([b, c]), d), chain(e, f)]), "[a > [b, c] > d, e > f]"),
        (chain(a, group([chain(b, group([c, d])), e]), f), "a > [b > [c, d], e] > f"),
        (chain(a, group([b, group([])]), c), "a > [b, ] > c"),
        # A group of one, and an empty one in a chain, make no edges of their own.
        (chain(a, group([b]), c), "a > b > c"),
        (chain(a, group([]), c), "a > c"),
        (group([]), ""),
    ):
        assert written(shape(steps_of(workflow))) == expected


def test_a_step_that_was_added_at_run_time_comes_after_its_parent() -> None:
    before = [a_step(1, "a"), a_step(2, "b", [1])]
    assert written(shape([*before[:1], a_step(2, "b", [1, 3]), a_step(3, "new", [1])])) == "a > new > b"
    two = [a_step(1, "a"), a_step(2, "b", [1, 3, 4]), a_step(3, "new", [1]), a_step(4, "newer", [1])]
    assert written(shape(two)) == "a > [new, newer] > b"
    in_a_group = [
        a_step(1, "a"), a_step(2, "b", [1]), a_step(3, "c", [1]), a_step(4, "d", [2, 3, 5]), a_step(5, "new", [2])
    ]  # fmt: skip
    assert written(shape(in_a_group)) == "a > [b > new, c] > d"


def test_edges_that_no_group_can_make_lose_no_step() -> None:
    crossing = [
        a_step(1, "a"), a_step(2, "b"), a_step(3, "c", [1, 2]), a_step(4, "d", [1]), a_step(5, "e", [3, 4]),
    ]  # fmt: skip
    assert written(shape(crossing)) == "[a, b, c, d] > e"
    gone = [a_step(2, "b", [1]), a_step(3, "c", [2])]
    assert written(shape(gone)) == "b > c"


@given(st.data())
def test_whatever_the_edges_each_step_is_shown_once_and_counted(data: Any) -> None:
    count = data.draw(st.integers(1, 14))
    steps = [
        a_step(
            number,
            data.draw(st.sampled_from(["t", "t", None])),
            data.draw(st.sets(st.integers(0, number - 1), max_size=4)) if number else (),
            state=data.draw(st.sampled_from(["waiting", "running", "succeeded", "failed"])),
        )
        for number in range(count)
    ]
    made = shape(steps)
    shown = list(walk(made))
    assert sorted(step.id for step in shown) == [step.id for step in steps if step.task is not None]
    assert made.states == Counter(step.state for step in shown)


def test_a_workflow_of_any_nesting_and_size_is_laid_out(t: Any) -> None:
    deep: Any = t.b
    for _ in range(400):
        deep = group([t.a, chain(t.c, deep, t.f)])
    assert sum(shape(steps_of(chain(t.d, deep, t.e))).states.values()) == 2 + 400 * 3 + 1
    started = time.process_time()
    wide = shape(steps_of(chain(t.a, group(chain(t.b, t.c) for _ in range(20_000)), group(t.d for _ in range(20_000)))))
    assert [len(part.members) for part in wide.parts if isinstance(part, GroupShape)] == [20_000, 20_000]
    long = shape(steps_of(chain(t.a for _ in range(20_000))))
    assert len(long.parts) == 20_000
    # It takes a second; what grows with the square of the steps takes minutes.
    assert time.process_time() - started < 30


def test_the_order_of_members_is_that_of_the_group(t: Any) -> None:
    names = list("abcdef") * 3
    random.Random(7).shuffle(names)
    made = shape(steps_of(chain(t.a, group(getattr(t, name) for name in names), t.b)))
    assert written(made) == f"a > [{', '.join(names)}] > b"
