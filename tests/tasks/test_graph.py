"""Workflows laid out: nodes, edges, joins, flow, first arguments, limits."""

from __future__ import annotations

from typing import Any

import pytest

from uno_jobs.errors import InvalidOption, InvalidWorkflow, TaskNotFound
from uno_jobs.tasks import Signature, TaskRegistry, chain, group, task
from uno_jobs.tasks.graph import Graph, lay_out


@pytest.fixture
def step() -> Any:
    @task
    async def step(name: str = "", size: int = 0) -> dict[str, str]:
        return {name: name}

    return step


def drawn(graph: Graph) -> list[str]:
    """Write each node as ``0 a``, ``2 b after 1``, ``3 join of 1, 2``, with ``flow 0`` where it comes from another."""
    lines: list[str] = []
    for index, node in enumerate(graph.nodes):
        what = "join" if node.signature is None else node.args[0]
        link = {None: "", "chain": " after ", "member": " of "}[node.kind]
        line = f"{index} {what}{link}{', '.join(map(str, node.parents))}"
        if node.flow_from is not None and (node.kind, node.parents) != ("chain", (node.flow_from,)):
            line += f" flow {node.flow_from}"
        lines.append(line + (" runs" if node.run_on_failure else ""))
    return lines


def test_a_chain(step: Any) -> None:
    graph = lay_out(chain(step.s("a"), step.s("b"), step.s("c")))
    assert drawn(graph) == ["0 a", "1 b after 0", "2 c after 1"]
    assert [node.follows for node in graph.nodes] == [False, True, True]
    assert graph.edges == 2


def test_a_single_step(step: Any) -> None:
    assert drawn(lay_out(step.s("a"))) == ["0 a"]
    assert drawn(lay_out(step, ["a"])) == ["0 a"]
    assert drawn(lay_out(chain(step), ["a"])) == ["0 a"]


def test_a_group_before_one_step_needs_no_join(step: Any) -> None:
    graph = lay_out(chain(step.s("a"), group([step.s("b"), step.s("c")]), step.s("d"), step.s("e")))
    assert drawn(graph) == ["0 a", "1 b after 0", "2 c after 0", "3 d of 1, 2 flow 0", "4 e after 3"]


def test_a_group_at_the_end_is_joined(step: Any) -> None:
    assert drawn(lay_out(group([step.s("a"), step.s("b")]))) == ["0 a", "1 b", "2 join of 0, 1"]
    graph = lay_out(chain(step.s("a"), group([step.s("b")])))
    assert drawn(graph) == ["0 a", "1 b after 0", "2 join of 1 flow 0"]


def test_a_group_before_a_group_is_joined_and_its_list_is_not_in_the_flow(step: Any) -> None:
    graph = lay_out(
        chain(step.s("a"), group([step.s("b"), step.s("c")]), group([step.s("d"), step.s("e")]), step.s("f"))
    )
    assert drawn(graph) == [
        "0 a", "1 b after 0", "2 c after 0", "3 join of 1, 2 flow 0",
        "4 d after 3 flow 0", "5 e after 3 flow 0", "6 f of 4, 5 flow 0",
    ]  # fmt: skip


def test_an_empty_group_is_a_join_without_members(step: Any) -> None:
    assert drawn(lay_out(group([]))) == ["0 join"]
    assert drawn(lay_out(chain(step.s("a"), group([]), step.s("b")))) == ["0 a", "1 join after 0", "2 b after 1 flow 0"]
    assert drawn(lay_out(chain(group([]), group([])))) == ["0 join", "1 join after 0"]
    assert not any(node.follows for node in lay_out(chain(group([]), group([]))).nodes)


def test_a_group_in_a_group_is_joined_and_a_chain_gives_its_last(step: Any) -> None:
    graph = lay_out(
        chain(
            step.s("a"),
            group([group([step.s("b"), step.s("c")]), chain(step.s("d"), step.s("e")), group([])]),
            step.s("f"),
        )
    )
    assert drawn(graph) == [
        "0 a", "1 b after 0", "2 c after 0", "3 join of 1, 2 flow 0", "4 d after 0", "5 e after 4",
        "6 join after 0", "7 f of 3, 5, 6 flow 0",
    ]  # fmt: skip


def test_a_member_that_ends_in_a_group(step: Any) -> None:
    graph = lay_out(group([chain(step.s("a"), group([step.s("b"), step.s("c")])), step.s("d")]))
    assert drawn(graph) == ["0 a", "1 b after 0", "2 c after 0", "3 join of 1, 2 flow 0", "4 d", "5 join of 3, 4"]


def test_the_flow_of_a_member_is_its_own(step: Any) -> None:
    member = chain(step.s("b"), group([step.s("c")]), step.s("d"))
    graph = lay_out(chain(step.s("a"), group([member, step.s("e")]), step.s("f")))
    assert drawn(graph) == [
        "0 a", "1 b after 0", "2 c after 1", "3 d of 2 flow 1", "4 e after 0", "5 f of 3, 4 flow 0",
    ]  # fmt: skip


def test_what_takes_nothing_from_before_still_waits(step: Any) -> None:
    first, second = lay_out(chain(step.s("a"), step.si("b"))).nodes
    assert second.parents == (0,)
    assert not first.follows
    assert not second.follows


def test_a_join_waits_for_all_where_what_needs_it_runs_on_failure(step: Any) -> None:
    cleanup = step.options(on_parent_failure="run")
    inner = group([step.s("a"), step.s("b")])
    graph = lay_out(chain(group([inner, step.s("c")]), group([step.s("d"), cleanup.s("e")])))
    assert drawn(graph) == [
        "0 a", "1 b", "2 join of 0, 1 runs", "3 c", "4 join of 2, 3 runs", "5 d after 4", "6 e after 4 runs",
        "7 join of 5, 6",
    ]  # fmt: skip
    # Steps keep their own mind, and joins that nothing of the kind depends on theirs.
    graph = lay_out(chain(group([inner, step.s("c")]), cleanup.s("d"), group([step.s("e")]), step.s("f")))
    assert drawn(graph)[2] == "2 join of 0, 1 runs"
    assert drawn(graph)[4:] == ["4 d of 2, 3 runs", "5 e after 4", "6 f of 5 flow 4"]


def test_steps_keep_their_options(step: Any) -> None:
    (node,) = lay_out(step.options(queue="slow", metadata={"a": 1}).s("a")).nodes
    assert node.signature is not None
    assert node.signature.options == {"queue": "slow", "metadata": {"a": 1}}
    with pytest.raises(InvalidOption, match=r"step.s\('a'\): connection= is given to the enqueue itself"):
        lay_out(chain(step, step.options(connection=object()).s("a")))


# --- first arguments ---------------------------------------------------------------------------------------------


def test_arguments_of_the_enqueue_go_to_the_first_step(step: Any) -> None:
    first, second = lay_out(chain(step.s("a", size=1), step.s("b")), [], {"size": 2}).nodes
    assert (first.args, first.kwargs) == (("a",), {"size": 2})
    assert (second.args, second.kwargs) == (("b",), {})
    first, second = lay_out(chain(step, step), ["a", 3]).nodes
    assert (first.args, second.args) == (("a", 3), ())


def test_arguments_of_the_enqueue_go_to_each_member(step: Any) -> None:
    @task
    async def other(name: str) -> None: ...

    workflow = chain(group([step.s(size=1), chain(other, step), group([step.s(size=2), group([])])]), step)
    nodes = lay_out(workflow, ["a"]).nodes
    given = [node.args for node in nodes if node.signature is not None]
    assert given == [("a",), ("a",), (), ("a",), ()]
    # By name they may stand anywhere.
    nodes = lay_out(group([step.s("a"), other.s()]), [], {"name": "b"}).nodes
    assert [dict(node.kwargs) for node in nodes] == [{"name": "b"}, {"name": "b"}, {}]


def test_positional_arguments_that_would_mean_different_things_are_refused(step: Any) -> None:
    @task
    async def notify(user_id: str, *more: str) -> None: ...

    with pytest.raises(InvalidWorkflow, match=r"'name' of step\.s\(\) and 'user_id' of notify\.s\(\).*by name"):
        lay_out(chain(group([step, step, notify]), step), ["a"])
    with pytest.raises(InvalidWorkflow, match=r"'name', 'size' of step.s\(\) and 'size', 'too many' of step.s\('a'\)"):
        lay_out(group([step, step.s("a")]), ["b", 1])
    with pytest.raises(InvalidWorkflow, match=r"'user_id' of notify.s\(\) and '\*more' of notify.s\('a'\)"):
        lay_out(group([notify, notify.s("a")]), ["b"])


def test_an_empty_group_takes_no_arguments(step: Any) -> None:
    with pytest.raises(InvalidWorkflow, match="begins with an empty group"):
        lay_out(chain(group([]), step), ["a"])


# --- wrong workflows ---------------------------------------------------------------------------------------------


def test_a_task_that_is_not_registered_is_named(step: Any) -> None:
    workflow = chain(step.s("a"), step.s("b"))
    with TaskRegistry.isolated(), pytest.raises(TaskNotFound, match="no task 'step' is registered"):
        lay_out(workflow)
    with pytest.raises(InvalidWorkflow, match="a signature is of a task, not of 'step'"):
        lay_out(chain(Signature("step")))  # type: ignore[arg-type]


def test_too_many_steps_are_refused_before_they_are_laid_out(step: Any) -> None:
    lay_out(chain(*[step] * 10), max_steps=10)
    lay_out(group([step] * 9), max_steps=10)
    with pytest.raises(InvalidWorkflow, match=r"more than 10 steps, joins included \(max_workflow_steps\)"):
        lay_out(group([step] * 10), max_steps=10)
    workflow = group([step, step])
    for _ in range(60):
        workflow = group([workflow, workflow])
    with pytest.raises(InvalidWorkflow, match="more than 100,000 steps"):
        lay_out(workflow)  # 2^61 of them


def test_too_many_edges_are_refused(step: Any) -> None:
    workflow = chain(step, group([step] * 10), step)
    assert lay_out(workflow, max_edges=20).edges == 20
    with pytest.raises(InvalidWorkflow, match="more than 19 edges"):
        lay_out(workflow, max_edges=19)


# --- large ones --------------------------------------------------------------------------------------------------


def test_edges_grow_with_the_sum_of_the_sizes(step: Any) -> None:
    graph = lay_out(chain(group([step] * 5_000), group([step] * 5_000)))
    assert len(graph.nodes) == 10_002
    assert graph.edges == 15_000


def test_nesting_may_be_deep(step: Any) -> None:
    workflow: Any = step.s("a")
    for _ in range(20_000):
        workflow = chain(group([workflow]), step)
    graph = lay_out(workflow)
    assert len(graph.nodes) == 20_001
    assert repr(workflow) == "chain(group of 1, step.s())"


def test_lists_in_lists_are_limited_to_what_json_can_hold(step: Any) -> None:
    def nested(depth: int) -> Any:
        workflow: Any = step.s("a")
        for _ in range(depth):
            workflow = group([step.s("b"), workflow])
        return workflow

    lay_out(nested(64))
    for depth in (65, 20_000):
        with pytest.raises(InvalidWorkflow, match="more than 64 groups are nested"):
            lay_out(nested(depth))
    # A step between gives what it returns.
    lay_out(chain(group([chain(nested(64), step)]), nested(63)))


def test_the_largest_workflows_are_laid_out(step: Any) -> None:
    # At once, since it is linear; a square of this many would take hours.
    assert lay_out(group([step.s("a")] * 99_999)).edges == 99_999
    assert lay_out(chain(*[step.s("a")] * 100_000)).edges == 99_999
