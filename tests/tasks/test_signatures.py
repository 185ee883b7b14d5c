"""Signatures, and the way from a task to the queue."""

from __future__ import annotations

import dataclasses
import sys
from types import ModuleType
from typing import Any

import pytest

from uno_jobs.errors import InvalidOption, WrongColour
from uno_jobs.tasks import Signature, task


async def resize_image(image_id: str, size: str) -> dict[str, str]:
    return {"resized_id": f"{image_id}_{size}"}


class AsyncQueue:
    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []

    async def enqueue(self, **call: Any) -> str:
        self.calls.append(call)
        return "handle"


class BlockingQueue:
    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []

    def enqueue(self, **call: Any) -> str:
        self.calls.append(call)
        return "handle"


@pytest.fixture
def default_queues(monkeypatch: pytest.MonkeyPatch) -> tuple[AsyncQueue, BlockingQueue]:
    """The process's default queues, replaced by ones that take notes."""
    later, now = AsyncQueue(), BlockingQueue()
    module = ModuleType("uno_jobs.queue.default")
    module.get_default_queue = lambda: later  # type: ignore[attr-defined]
    module.get_default_sync_queue = lambda: now  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "uno_jobs.queue.default", module)
    return later, now


def test_signatures_bind_arguments() -> None:
    made = task(resize_image)
    assert made.s("small") == Signature(made, ("small",), {}, immutable=False)
    assert made.si("a", size="b") == Signature(made, ("a",), {"size": "b"}, immutable=True)
    assert repr(made.si("a", size="b")) == "resize_image.si('a', size='b')"
    with_options = made.options(queue="slow").s("small")
    assert with_options.options == {"queue": "slow"}
    assert made.options(priority="low").si().immutable


def test_signatures_are_frozen() -> None:
    signature = task(resize_image).s("small")
    with pytest.raises(dataclasses.FrozenInstanceError):
        signature.args = ()  # type: ignore[misc]


async def test_enqueue_goes_through_the_default_queue(
    default_queues: tuple[AsyncQueue, BlockingQueue],
) -> None:
    made = task(resize_image)
    assert await made.enqueue("a", size="b") == "handle"
    assert await made.options(queue="slow", delay=3).enqueue("a", "b") == "handle"
    assert default_queues[0].calls == [
        {"task": made, "args": ["a"], "kwargs": {"size": "b"}},
        {"task": made, "args": ["a", "b"], "kwargs": {}, "queue": "slow", "delay": 3},
    ]


def test_enqueue_sync_goes_through_the_default_sync_queue(
    default_queues: tuple[AsyncQueue, BlockingQueue],
) -> None:
    made = task(resize_image)
    assert made.enqueue_sync("a", "b") == "handle"
    assert made.options(metadata={"user": 1}).enqueue_sync("a", size="b") == "handle"
    assert default_queues[1].calls == [
        {"task": made, "args": ["a", "b"], "kwargs": {}},
        {"task": made, "args": ["a"], "kwargs": {"size": "b"}, "metadata": {"user": 1}},
    ]


async def test_via_names_the_queue() -> None:
    made = task(resize_image)
    later, now = AsyncQueue(), BlockingQueue()
    await made.options(via=later).enqueue("a", "b")
    made.options(via=now).enqueue_sync("a", "b")
    assert later.calls == now.calls == [{"task": made, "args": ["a", "b"], "kwargs": {}}]


async def test_a_queue_of_the_other_colour_is_refused_before_it_is_called() -> None:
    made = task(resize_image)
    later, now = AsyncQueue(), BlockingQueue()
    with pytest.raises(WrongColour, match=r"BlockingQueue is synchronous: use task.enqueue_sync"):
        await made.options(via=now).enqueue("a", "b")
    with pytest.raises(WrongColour, match=r"AsyncQueue is asynchronous: await task.enqueue"):
        made.options(via=later).enqueue_sync("a", "b")
    assert later.calls == now.calls == []


def test_an_unknown_option_is_named_with_the_nearest() -> None:
    with pytest.raises(InvalidOption, match=r"'prioritty'.*'priority'"):
        task(resize_image).options(prioritty="high")  # type: ignore[call-arg]
