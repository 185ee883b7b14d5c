"""What the steps of whole workflows receive: the Tasks document's, and any, by the rules read plainly."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from uno_jobs.errors import InvalidArguments
from uno_jobs.tasks import Chain, Group, Signature, TaskRegistry, chain, group, task
from uno_jobs.tasks.graph import lay_out

from .simulation import simulate


async def process_image(image_id: str) -> dict:  # type: ignore[type-arg]
    return {"processed_image_id": f"proc_{image_id}"}


async def generate_thumbnail(processed_image_id: str) -> dict:  # type: ignore[type-arg]
    return {"thumbnail_id": f"thumb_{processed_image_id}"}


async def update_metadata(thumbnail_id: str, processed_image_id: str) -> dict:  # type: ignore[type-arg]
    return {"status": "complete"}


async def resize_image(image_id: str, size: str) -> dict:  # type: ignore[type-arg]
    return {"resized_id": f"{image_id}_{size}"}


with TaskRegistry.isolated():
    PROCESS, THUMBNAIL, UPDATE, RESIZE = map(task, [process_image, generate_thumbnail, update_metadata, resize_image])


@pytest.fixture(autouse=True)
def registered(registry: Any) -> None:
    for one in (PROCESS, THUMBNAIL, UPDATE, RESIZE, LEAF):
        registry.add(one)


# --- the Tasks document ------------------------------------------------------------------------------------------


def test_the_documents_chain() -> None:
    run = simulate(chain(PROCESS, THUMBNAIL, UPDATE), ["image_123"])
    assert run.received == [
        ("process_image", {"image_id": "image_123"}),
        ("generate_thumbnail", {"processed_image_id": "proc_image_123"}),
        ("update_metadata", {"thumbnail_id": "thumb_proc_image_123", "processed_image_id": "proc_image_123"}),
    ]
    assert run.result == {"status": "complete"}
    assert run.warnings == []


def test_the_documents_group() -> None:
    run = simulate(group([RESIZE.s("image_123", size) for size in ("small", "medium", "large")]))
    assert run.received == [
        ("resize_image", {"image_id": "image_123", "size": size}) for size in ("small", "medium", "large")
    ]
    assert run.result == [{"resized_id": f"image_123_{size}"} for size in ("small", "medium", "large")]


def test_the_documents_complex_workflow() -> None:
    sizes = ("small", "medium", "large")
    run = simulate(chain(PROCESS.s("image_123"), group([RESIZE.s(size) for size in sizes]), UPDATE.s()))
    resized = [{"resized_id": f"proc_image_123_{size}"} for size in sizes]
    assert run.received == [
        ("process_image", {"image_id": "image_123"}),
        *[("resize_image", {"image_id": "proc_image_123", "size": size}) for size in sizes],
        ("update_metadata", {"thumbnail_id": resized, "processed_image_id": "proc_image_123"}),
    ]
    assert run.result == {"status": "complete"}
    (warning,) = run.warnings
    assert "'update_metadata'" in warning
    assert "'thumbnail_id'" in warning


def test_a_first_step_that_is_not_complete_is_refused_before_anything_runs() -> None:
    with pytest.raises(InvalidArguments, match=r"'process_image'.*missing 'image_id'"):
        simulate(chain(PROCESS, THUMBNAIL))
    with pytest.raises(InvalidArguments, match=r"'generate_thumbnail'.*missing 'processed_image_id'"):
        simulate(chain(PROCESS.s("image_123"), THUMBNAIL.si()))


def test_what_users_of_celery_expect(registry: Any) -> None:
    @task
    async def add(x: int, y: int) -> int:
        return x + y

    @task
    async def total(numbers: list[int]) -> int:
        return sum(numbers)

    assert simulate(chain(add.s(2, 2), add.s(4), add.s(8))).result == 16
    assert simulate(group(add.s(number, number) for number in range(10)) | total).result == 90
    assert simulate(group(add.s(4) for _ in range(2)), [], {"y": 1}).result == [5, 5]
    # Where its arguments are complete, a step needs no .si().
    assert simulate(chain(add.s(2, 2), add.s(1, 1))).result == 2


# --- any workflow ------------------------------------------------------------------------------------------------


def leaf(name: str, keys: list[str]) -> Any:
    return dict.fromkeys(keys, name) or name


with TaskRegistry.isolated():
    LEAF = task(leaf)

# However busy the machine is.
LAW = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
leaves = st.tuples(st.lists(st.sampled_from("abc"), max_size=2, unique=True), st.booleans())
shapes = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.tuples(st.just("group"), st.lists(inner, max_size=4)),
        st.tuples(st.just("chain"), st.lists(inner, min_size=1, max_size=4)),
    ),
    max_leaves=25,
)


def build(shape: Any, counter: list[int]) -> Any:
    """Make a workflow of a shape; its leaves are numbered in order."""
    kind, inner = shape
    if kind == "group":
        return group([build(one, counter) for one in inner])
    if kind == "chain":
        return chain(*[build(one, counter) for one in inner])
    counter[0] += 1
    name = f"leaf{counter[0] - 1}"
    return (LEAF.si if inner else LEAF.s)(name=name, keys=kind)


NOTHING: Any = object()


def explain(step: Any, previous: Any, flow: dict[str, Any], seen: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Say what a step results in and what the flow is after it, by the documentation's words, recursively."""
    if isinstance(step, Signature):
        name, keys = step.kwargs["name"], step.kwargs["keys"]
        seen[name] = NOTHING if step.immutable or previous is NOTHING else (previous, flow)
        result = dict.fromkeys(keys, name) or name
        return result, {**flow, **result} if isinstance(result, dict) else flow
    if isinstance(step, Chain):
        for one in step.steps:
            previous, flow = explain(one, previous, flow, seen)
        return previous, flow
    assert isinstance(step, Group)
    return [explain(one, previous, flow, seen)[0] for one in step.members], flow


@LAW
@given(shapes)
def test_layout_means_what_the_documentation_says(shape: Any) -> None:
    workflow = build(shape, [0])
    seen: dict[str, Any] = {}
    with TaskRegistry.isolated() as registry:
        registry.add(LEAF)
        run = simulate(workflow)
    assert run.result == explain(workflow, NOTHING, {}, seen)[0]
    nodes = [node for node in run.graph.nodes if node.signature is not None]
    assert [node.kwargs["name"] for node in nodes] == list(seen)  # each once, in order
    for node in nodes:
        before = seen[node.kwargs["name"]]
        assert node.follows == (before is not NOTHING)
        if node.follows:
            assert run.before(node) == before


def sizes(step: Any, *, one_step_follows: bool = False) -> tuple[int, int]:
    """Return the numbers of leaves in a workflow and of groups that need a join."""
    if isinstance(step, Signature):
        return 1, 0
    if isinstance(step, Chain):
        following = [*step.steps[1:], None]
        inner = [
            sizes(one, one_step_follows=isinstance(after, Signature))
            for one, after in zip(step.steps, following, strict=True)
        ]
    else:
        inner = [sizes(one) for one in step.members]
    joined = isinstance(step, Group) and not (step.members and one_step_follows)
    return sum(one[0] for one in inner), sum(one[1] for one in inner) + joined


@LAW
@given(shapes)
def test_laws_of_the_layout(shape: Any) -> None:
    workflow = build(shape, [0])
    with TaskRegistry.isolated() as registry:
        registry.add(LEAF)
        nodes, edges = lay_out(workflow)
    leaves, joins = sizes(workflow)
    assert sum(node.is_join for node in nodes) == joins
    assert len(nodes) == leaves + joins
    assert edges == sum(len(node.parents) for node in nodes) <= 2 * len(nodes)
    children: dict[int, list[int]] = {}
    for index, node in enumerate(nodes):
        assert len(set(node.parents)) == len(node.parents)
        assert all(parent < index for parent in node.parents)
        assert (node.kind is None) == (not node.parents)
        assert node.kind == "member" or len(node.parents) <= 1
        assert node.flow_from is None or (node.flow_from < index and not nodes[node.flow_from].is_join)
        for parent in node.parents:
            children.setdefault(parent, []).append(index)
    # All leads to the last, whose result is the workflow's.
    assert [index for index in range(len(nodes)) if index not in children] == [len(nodes) - 1]
