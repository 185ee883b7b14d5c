"""Making chains and groups: values, spellings, and what is refused."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uno_jobs.errors import InvalidOption, InvalidWorkflow
from uno_jobs.queue import Queue
from uno_jobs.queue.handles import JobHandle
from uno_jobs.tasks import Chain, Group, TaskRegistry, chain, group, task


async def process_image(image_id: str) -> dict[str, str]:
    return {"processed_image_id": image_id}


async def resize_image(image_id: str, size: str) -> None: ...


def test_steps_may_be_bare_tasks() -> None:
    a, b = task(process_image), task(resize_image)
    assert chain(a, b.s("small")) == Chain((a.s(), b.s("small")))
    assert group([a, b]) == Group((a.s(), b.s()))


def test_a_list_of_steps_and_steps_one_by_one_are_the_same() -> None:
    a, b = task(process_image), task(resize_image)
    assert chain([a, b]) == chain(a, b) == chain(one for one in (a, b))
    assert group([a, b]) == group(a, b) == group(one for one in (a, b))
    assert group([a]) == group(a)
    assert group([]) == group() == Group(())


def test_a_chain_in_a_chain_stands_for_its_steps() -> None:
    a, b = task(process_image), task(resize_image)
    assert chain(a, chain(b, a), b) == chain(a, b, a, b)
    assert chain(chain(a)) == chain(a)
    # A group in a group stays: it gives a list.
    assert len(group([a, group([b, a])]).members) == 2


def test_workflows_do_not_change() -> None:
    a = task(process_image)
    given = [a.s()]
    made = group(given)
    given.append(a.s("b"))
    assert made == group([a])
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.members = ()  # type: ignore[misc]


def test_the_bar_is_another_spelling() -> None:
    a, b = task(process_image), task(resize_image)
    assert a.s() | b.s() == chain(a, b)
    assert a | b == chain(a, b)
    assert group([a, a]) | b.s("small") == chain(group([a, a]), b.s("small"))
    assert a | group([b, b]) | a.si("x") == chain(a, group([b, b]), a.si("x"))


with TaskRegistry.isolated():
    LEAVES = [task(process_image).s("x"), task(resize_image), task(name="third")(process_image)]
steps = st.recursive(
    st.sampled_from(LEAVES),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(group), st.lists(inner, min_size=1, max_size=3).map(lambda some: chain(*some))
    ),
    max_leaves=12,
)


@settings(deadline=None)
@given(steps, steps, steps)
def test_the_bar_is_associative(a: Any, b: Any, c: Any) -> None:
    assert (a | b) | c == a | (b | c) == chain(a, b, c)


def test_reprs_are_short() -> None:
    a = task(process_image)
    assert repr(chain(a.s("x"), group([a, a]), chain(a))) == (
        "chain(process_image.s('x'), group of 2, process_image.s())"
    )
    assert repr(group([a, a | a])) == "group([process_image.s(), chain of 2])"
    assert len(repr(group([a.s("x")] * 10_000))) < 200


@pytest.mark.parametrize(
    ("thing", "hint"),
    [
        (lambda: None, "decorate it with @task"),
        ("process_image", "TaskRegistry.get_task"),
        ({"a": 1}, "not {'a': 1}$"),
        (None, "not None$"),
    ],
)
def test_what_is_no_step_is_named(thing: Any, hint: str) -> None:
    a = task(process_image)
    with pytest.raises(InvalidWorkflow, match=f"step 2 of a chain must be a task.*{hint}"):
        chain(a, thing)
    with pytest.raises(InvalidWorkflow, match=f"member 1 of a group must be a task.*{hint}"):
        group([thing])
    with pytest.raises(InvalidWorkflow, match=f"member 1 of a group must be a task.*{hint}"):
        group(thing)
    with pytest.raises(InvalidWorkflow, match=f"step 2 of a chain must be a task.*{hint}"):
        a.s() | thing


def test_a_list_in_a_chain_is_told_to_be_a_group() -> None:
    a = task(process_image)
    with pytest.raises(InvalidWorkflow, match=r"step 2 .* wrap steps that run side by side in group"):
        chain(a, [a, a])  # type: ignore[arg-type, list-item]


def test_a_call_is_told_from_a_signature() -> None:
    a = task(process_image)
    call = a("x")
    with pytest.raises(InvalidWorkflow, match=r"a call: bind arguments with task.s\(...\)"):
        chain(call)  # type: ignore[arg-type]
    call.close()


def test_options_without_a_signature_are_told_to_become_one() -> None:
    a = task(process_image)
    with pytest.raises(InvalidWorkflow, match=r"add .s\(...\) to task.options"):
        chain(a, a.options(queue="slow"))  # type: ignore[arg-type]


def test_a_handle_is_no_step() -> None:
    a = task(process_image)
    handle = JobHandle(Queue("postgresql://nowhere/none"), "0190b6ae-0000-7000-8000-000000000000")
    with pytest.raises(InvalidWorkflow, match="a job that is enqueued already"):
        chain(a, handle)  # type: ignore[arg-type]


def test_a_chain_needs_a_step() -> None:
    for nothing in ((), ([],)):
        with pytest.raises(InvalidWorkflow, match="at least one step"):
            chain(*nothing)


def test_a_step_may_run_on_failure() -> None:
    a = task(process_image)
    assert a.options(on_parent_failure="run").s().runs_on_failure
    assert not a.options(on_parent_failure="cancel").s().runs_on_failure
    assert not a.s().runs_on_failure
    with pytest.raises(InvalidOption, match="on_parent_failure must be 'cancel' or 'run', not 'stop'"):
        a.options(on_parent_failure="stop")  # type: ignore[arg-type]


async def test_a_single_job_has_no_parents() -> None:
    bound = task(process_image).options(on_parent_failure="run")
    with pytest.raises(InvalidOption, match="for a step of a workflow"):
        await bound.enqueue("x")
    with pytest.raises(InvalidOption, match="for a step of a workflow"):
        bound.enqueue_sync("x")
