"""The check of unfinished jobs: what it tells, what it reads, and that it reads only."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel

from tests.pgbouncer import needs_pgbouncer, pgbouncer
from tests.storage.lab import Lab
from uno_jobs.deploy import Kind, Problem, Report, check_jobs, checking
from uno_jobs.queue import Queue
from uno_jobs.storage import migrations
from uno_jobs.tasks import TaskRegistry, chain, group, task

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from tests.roles import Roles
    from uno_jobs.tasks.registry import Registry

pytestmark = pytest.mark.server_versions


@pytest.fixture
async def lab(database_url: str) -> AsyncIterator[Lab]:
    lab = await Lab.open(database_url)
    yield lab
    await lab.close()


@pytest.fixture
async def queue(database_url: str) -> AsyncIterator[Queue]:
    async with Queue(database_url) as queue:
        yield queue


class Order(BaseModel):
    id: int


with TaskRegistry.isolated() as OLD:

    @task
    async def make(order: Order) -> dict[str, int]:
        return {"order_id": order.id}

    @task
    async def price(order_id: int, discount: float = 0) -> dict[str, float]:
        return {"price": 1.0}

    @task
    async def send(price: float, order_id: int) -> None: ...


@pytest.fixture(autouse=True)
def old_code_enqueues() -> Iterator[None]:
    with TaskRegistry.isolated() as here:
        for one in OLD.all():
            here.add(one)
        yield


def release(*functions: Callable[..., Any], **options: Any) -> Registry:
    """Return the tasks of another release."""
    with TaskRegistry.isolated() as registry:
        for function in functions:
            TaskRegistry.register(function, **options)
    return registry


def summary(report: Report) -> list[tuple[str, str, int]]:
    return [(one.task, one.kind.value, one.jobs) for one in report.problems]


async def test_all_is_fine_with_the_code_that_enqueued(lab: Lab, queue: Queue) -> None:
    await queue.enqueue(make, args=[Order(id=1)])
    await queue.enqueue(chain(make.s(Order(id=1)), price, send))
    await queue.enqueue(chain(group([price.s(1), price.s(2, discount=0.5)]), group([price.si(1), send.s(7)])))
    report = await check_jobs(lab.url, registry=OLD)
    assert report == Report(checked=8, left_out=0, complete=True, problems=())
    assert report.failing == 0
    assert await check_jobs(lab.url, registry=OLD, queues=["other"]) == Report(
        checked=0, left_out=0, complete=True, problems=()
    )


async def test_each_reason_is_told_once_with_count_and_examples(lab: Lab, queue: Queue) -> None:
    ids = [(await queue.enqueue(price, args=[number], kwargs={"discount": 0.5})).id for number in range(7)]
    one = await queue.enqueue(price, args=[1])

    async def price_(order_id: int, discount: int = 0) -> None: ...

    report = await check_jobs(lab.url, registry=release(price_, name="price"))
    [problem] = report.problems
    assert problem == Problem(
        kind=Kind.ARGUMENTS,
        task="price",
        version="1.0",
        error_type="uno_jobs.errors.InvalidArguments",
        reason=(
            "task 'price' (version 1.0): parameter 'discount': Input should be a valid integer, got a number with a "
            "fractional part (got float)"
        ),
        jobs=7,
        examples=tuple(sorted(ids)[:5]),
    )
    assert one.id not in problem.examples
    assert (report.checked, report.failing) == (8, 7)


async def test_tasks_and_versions_that_the_code_does_not_have(lab: Lab, queue: Queue) -> None:
    await queue.enqueue(make, args=[Order(id=1)])
    await queue.enqueue(price, args=[1])
    newer = release(price.function, name="price", version="2.0")
    report = await check_jobs(lab.url, registry=newer)
    assert summary(report) == [("make", "unknown task", 1), ("price", "unknown version", 1)]
    assert report.problems[1].reason == "task 'price' has no version '1.0' here; it has '2.0'"
    ours = await check_jobs(lab.url, registry=newer, known_only=True)
    assert summary(ours) == [("price", "unknown version", 1)]
    assert (ours.checked, ours.left_out) == (1, 1)
    upgrading = release(
        price.function, name="price", version="2.0", upgrade_from={"1.0": lambda args, kwargs: (args, kwargs)}
    )
    assert summary(await check_jobs(lab.url, registry=upgrading, known_only=True)) == []


async def test_a_task_that_cannot_be_used(lab: Lab, queue: Queue) -> None:
    await queue.enqueue(price, args=[1])

    async def price_(order_id: Missing, discount: float = 0) -> None: ...  # pyright: ignore  # noqa: F821

    report = await check_jobs(lab.url, registry=release(price_, name="price"))
    assert summary(report) == [("price", "definition", 1)]
    assert "'Missing' is not defined" in report.problems[0].reason


async def test_a_model_that_raises_what_it_likes_is_told_of(lab: Lab, queue: Queue) -> None:
    await queue.enqueue(price, args=[1])

    class Odd(BaseModel):
        @classmethod
        def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
            from pydantic_core import core_schema

            def refuse(value: object) -> object:
                raise RuntimeError("out of order")

            return core_schema.no_info_plain_validator_function(refuse)

    async def price_(order_id: Odd, discount: float = 0) -> None: ...

    price_.__annotations__["order_id"] = Odd
    report = await check_jobs(lab.url, registry=release(price_, name="price"))
    assert [(one.error_type, one.reason) for one in report.problems] == [("RuntimeError", "out of order")]


async def test_a_step_that_waits_needs_what_the_flow_can_still_give_it(lab: Lab, queue: Queue) -> None:
    await queue.enqueue(chain(make.s(Order(id=1)), price.s(discount=0.5), send))

    async def renamed(price: float, customer_id: int) -> None: ...

    async def optional(price: float, customer_id: int = 0) -> None: ...

    async def stricter(order_id: int, discount: int = 0) -> None: ...

    async def fewer(order_id: int) -> None: ...

    def with_(**changed: Any) -> Registry:
        now = {"make": make.function, "price": price.function, "send": send.function} | changed
        with TaskRegistry.isolated() as registry:
            for name, function in now.items():
                TaskRegistry.register(function, name=name)
        return registry

    [lacks] = (await check_jobs(lab.url, registry=with_(send=renamed))).problems
    assert (lacks.task, lacks.error_type) == ("send", "uno_jobs.errors.BindingError")
    assert "nothing gives it 'customer_id'" in lacks.reason
    assert (await check_jobs(lab.url, registry=with_(send=optional))).problems == ()
    [refuses] = (await check_jobs(lab.url, registry=with_(price=stricter))).problems
    assert "parameter 'discount': Input should be a valid integer" in refuses.reason
    [left_over] = (await check_jobs(lab.url, registry=with_(price=fewer))).problems
    assert "has no parameter 'discount'" in left_over.reason


async def test_a_step_whose_parents_have_ended_is_checked_with_what_they_returned(lab: Lab, queue: Queue) -> None:
    await queue.enqueue(chain(make.s(Order(id=1)), price, send))
    hand = await lab.hand()
    [first] = await hand.claim(known=["make@1.0"])
    await hand.succeed([first["id"]], json.dumps({"order_id": "a7"}))

    report = await check_jobs(lab.url, registry=OLD)
    assert summary(report) == [("price", "arguments", 1)]
    assert "parameter 'order_id': Input should be a valid integer" in report.problems[0].reason
    assert report.problems[0].reason.endswith("(earlier steps gave 'order_id')")
    assert report.checked == 2


async def test_a_job_that_runs_is_checked_as_well(lab: Lab, queue: Queue) -> None:
    await queue.enqueue(price, args=[1], kwargs={"discount": 0.5})
    hand = await lab.hand()
    assert len(await hand.claim(known=["price@1.0"])) == 1

    async def price_(order_id: int) -> None: ...

    assert summary(await check_jobs(lab.url, registry=release(price_, name="price"))) == [("price", "arguments", 1)]


async def test_reasons_that_differ_with_every_value_do_not_pile_up(lab: Lab, queue: Queue) -> None:
    await queue.enqueue_many([price.s(number) for number in range(30)])

    def tell(args: list[Any], kwargs: dict[str, Any]) -> Any:
        raise ValueError(f"order {args[0]} is lost")

    lossy = release(price.function, name="price", version="2.0", upgrade_from={"1.0": tell})
    report = await check_jobs(lab.url, registry=lossy)
    assert len(report.problems) == 21
    assert (report.problems[0].reason, report.problems[0].jobs) == ("other reasons than the 20 that are listed", 10)
    assert report.failing == 30


@pytest.mark.parametrize(("page", "size"), [(1, 10**6), (3, 10**6), (1000, 1), (1000, 30)])
async def test_every_job_is_met_once_whatever_a_page_holds(
    lab: Lab, queue: Queue, monkeypatch: pytest.MonkeyPatch, page: int, size: int
) -> None:
    monkeypatch.setattr(checking, "PAGE", page)
    monkeypatch.setattr(checking, "PAGE_BYTES", size)
    await queue.enqueue_many([price.s(number) for number in range(10)])
    await queue.enqueue_many([price.options(queue="mail").s(number) for number in range(2)])
    seen: list[tuple[int, int]] = []
    report = await check_jobs(lab.url, registry=OLD, progress=lambda *counts: seen.append(counts))
    assert (report.checked, report.complete) == (12, True)
    assert seen[-1] == (12, 0)
    assert seen == sorted(set(seen))
    assert (await check_jobs(lab.url, registry=OLD, queues=["mail"])).checked == 2
    for limit, complete in ((1, False), (11, False), (12, True), (13, True)):
        some = await check_jobs(lab.url, registry=OLD, limit=limit)
        assert (some.checked, some.complete) == (min(limit, 12), complete)


async def test_it_waits_for_nobody_and_changes_nothing(lab: Lab, queue: Queue) -> None:
    await queue.enqueue(chain(make.s(Order(id=1)), price))
    before = await lab.eye.fetch("SELECT xmin, ctid, * FROM uno_jobs.live_jobs ORDER BY id")
    session = await lab.session()
    async with session.transaction():
        await session.execute("SELECT FROM uno_jobs.live_jobs FOR UPDATE")
        await session.execute("SELECT FROM uno_jobs.jobs FOR UPDATE")
        await session.execute("LOCK TABLE uno_jobs.live_jobs, uno_jobs.jobs IN EXCLUSIVE MODE")
        assert (await check_jobs(lab.url, registry=OLD)).checked == 2
    assert await lab.eye.fetch("SELECT xmin, ctid, * FROM uno_jobs.live_jobs ORDER BY id") == before


async def test_a_reader_may_check(lab: Lab, queue: Queue, roles: Roles) -> None:
    await queue.enqueue(price, args=[1])
    assert (await check_jobs(roles.reader, registry=OLD)).checked == 1


@needs_pgbouncer
async def test_through_a_pooler(lab: Lab, queue: Queue, tmp_path: Path) -> None:
    await queue.enqueue_many([price.s(number) for number in range(3)])
    with pgbouncer(lab.url, tmp_path) as url:
        assert (await check_jobs(url, registry=OLD, pooled=True)).checked == 3


async def test_in_a_schema_of_another_name(empty_database_url: str) -> None:
    await asyncio.to_thread(migrations.upgrade, empty_database_url, "Weird Name-2")
    async with Queue(empty_database_url, schema="Weird Name-2") as queue:
        await queue.enqueue(price, args=[1])
    assert (await check_jobs(empty_database_url, "Weird Name-2", registry=OLD)).checked == 1
