"""A wrong call raises a named error that says what to do, before the database is touched."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from uno_jobs import Queue
from uno_jobs.errors import (
    ConfigurationError,
    EnqueueError,
    InvalidArguments,
    InvalidOption,
    LargePayloadWarning,
    NotSerializable,
    PayloadTooLarge,
)

if TYPE_CHECKING:
    from tests.queue.conftest import Database

Tasks = SimpleNamespace


@pytest.fixture
def nowhere() -> Queue:
    """A queue whose database does not exist: what raises anything else has touched it."""
    return Queue("postgresql://nobody@127.0.0.1:1/nowhere")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"run_at": datetime(2026, 1, 1)}, r"run_at must know its time zone.*datetime\.now\(UTC\)"),
        ({"run_at": "2026-01-01"}, "run_at must be an aware datetime"),
        ({"run_at": date(2026, 1, 1)}, "run_at must be an aware datetime"),
        ({"run_at": datetime.max.replace(tzinfo=timezone(timedelta(hours=-5)))}, "run_at is out of range"),
        ({"run_at": datetime.now(UTC), "delay": 5}, "delay.*or run_at.*not both"),
        ({"run_at": datetime.now(UTC), "delay": 0}, "delay.*or run_at.*not both"),
        ({"delay": -1}, "delay must be seconds"),
        ({"delay": timedelta(seconds=-1)}, "delay must be seconds"),
        ({"delay": "60"}, "delay must be seconds"),
        ({"delay": float("nan")}, "delay must be seconds"),
        ({"expires": 0}, "expires must be seconds .* above 0"),
        ({"priority": "urgent"}, "priority must be 'critical'"),
        ({"priority": 10}, "priority must be 'critical'"),
        ({"priority": True}, "priority must be 'critical'"),
        ({"queue": ""}, "queue must have 1 to 128 characters"),
        ({"queue": "q" * 129}, "queue must have 1 to 128 characters, but has 129"),
        ({"queue": "a\x00b"}, "queue must be printable"),
        ({"queue": 3}, "queue must be a text"),
        ({"metadata": [1]}, "metadata must be a dict"),
        ({"metadata": "x"}, "metadata must be a dict"),
        ({"metadata": {1: 2}}, "metadata must have texts as keys"),
        ({"unique_key": ""}, "unique_key must have 1 to 2,000 bytes"),
        ({"unique_key": "k" * 2001}, "unique_key must have 1 to 2,000 bytes"),
        ({"unique_key": "\x00"}, "unique_key contains a NUL"),
        ({"unique_key": 5}, "unique_key must be a text"),
        ({"on_duplicate": "ignore"}, "on_duplicate must be 'return' or 'raise' or 'replace'"),
        ({"id": "abc"}, "id must be a UUID"),
        ({"id": 5}, "id must be a UUID"),
        ({"notify": "no"}, "notify must be True or False"),
        ({"version": 2}, "version must be a text"),
        ({"prioritty": 1}, "no option 'prioritty'.*'priority'"),
    ],
)
async def test_options(options: dict[str, Any], said: str, nowhere: Queue, tasks: Tasks) -> None:
    with pytest.raises(InvalidOption, match=said):
        await nowhere.enqueue(tasks.add, [1], **options)
    with pytest.raises(InvalidOption, match=said):
        await nowhere.enqueue("unknown_here", [1], **options)


@pytest.mark.parametrize(
    ("args", "kwargs", "said"),
    [
        (["x"], {}, "'add' .*parameter 'a'"),
        ([], {}, "missing 'a'"),
        ([1, 2, 3], {}, "at most 2 positional"),
        ([1], {"a": 1}, "given twice"),
        ([1], {"c": 1}, "no parameter 'c'"),
        ("12", {}, "args must be a list"),
        (1, {}, "args must be a list"),
        ([1], [2], "kwargs must be a dict"),
        ([1], {2: 3}, "kwargs must have texts as keys"),
    ],
)
async def test_arguments(args: Any, kwargs: Any, said: str, nowhere: Queue, tasks: Tasks) -> None:
    with pytest.raises(InvalidArguments, match=said):
        await nowhere.enqueue(tasks.add, args, kwargs)


async def test_what_is_no_task(nowhere: Queue, tasks: Tasks) -> None:
    async def plain() -> None: ...

    for wrong, said in (
        (plain, "decorate it with @task"),
        (None, "must be a task"),
        (3, "must be a task"),
        ("", "name must have 1 to"),
    ):
        with pytest.raises(InvalidOption, match=said):
            await nowhere.enqueue(wrong)  # type: ignore[call-overload] - the point


async def test_the_last_of_a_long_bulk_is_checked_before_the_database_is_touched(nowhere: Queue, tasks: Tasks) -> None:
    """Naively the first thousands are stored while the others are checked."""
    with pytest.raises(InvalidArguments, match="parameter 'a'") as caught:
        await nowhere.enqueue_many([*(tasks.add.s(n, 1) for n in range(2_500)), tasks.add.s("x", 1)])
    assert caught.value.__notes__ == ["in item 2500 of enqueue_many"]


async def test_what_cannot_be_json(nowhere: Queue, tasks: Tasks) -> None:
    from uno_jobs import task

    @task
    async def anything(value: Any) -> None: ...

    for value, said in (
        (object(), "'value'"), ("a\x00b", "NUL"), ("\ud800", "surrogate"), (float("nan"), "NaN"), (b"\xff", "UTF-8"),
        ({"deep": ["a\x00"]}, "NUL"),
    ):  # fmt: skip
        with pytest.raises(NotSerializable, match=said):
            await nowhere.enqueue(anything, [value])
        with pytest.raises(NotSerializable, match="metadata"):
            await nowhere.enqueue(anything, [1], metadata={"key": value})
        with pytest.raises(NotSerializable, match=f"metadata.*{said if said != chr(39) + 'value' + chr(39) else ''}"):
            await nowhere.enqueue("unknown_here", [1], metadata={"key": value})


async def test_large_payloads(queue: Queue, nowhere: Queue, database: Database, tasks: Tasks) -> None:
    with pytest.warns(LargePayloadWarning, match="have 300,007 bytes") as caught:
        await queue.enqueue(tasks.send, ["é" * 150_000 + "x"])
    assert caught[0].filename == __file__
    await queue.enqueue(tasks.send, ["x" * 299_000])
    assert await database.count() == 2
    with pytest.raises(PayloadTooLarge, match=r"1,000,004 bytes, over the limit of 1,000,000 \(max_payload_size\)"):
        await nowhere.enqueue(tasks.send, ["x" * 999_998])
    with pytest.raises(PayloadTooLarge, match="over the limit"):
        await nowhere.enqueue_many([tasks.send.options(metadata={"m": "x" * 999_990}).s("y")])
    small = Queue("postgresql://nobody@127.0.0.1:1/nowhere", max_payload_size=100)
    with pytest.raises(PayloadTooLarge, match="over the limit of 100"):
        await small.enqueue(tasks.send, ["x" * 99])


async def test_a_delay_of_nothing_is_none(queue: Queue, database: Database, tasks: Tasks) -> None:
    await queue.enqueue(tasks.add, [1], delay=0)
    await queue.enqueue(tasks.add, [Decimal(1)], delay=timedelta(0))
    await queue.enqueue(tasks.add, [1], run_at=datetime(1, 1, 1, tzinfo=UTC))
    aware = datetime(2100, 1, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    await queue.enqueue(tasks.add, [1], run_at=aware)
    jobs = await database.jobs()
    assert [job["state"] for job in jobs] == ["ready", "ready", "ready", "scheduled"]
    assert jobs[3]["scheduled_at"] == aware


def test_every_error_is_one_of_ours() -> None:
    for cls in (InvalidArguments, InvalidOption, NotSerializable, PayloadTooLarge):
        assert issubclass(cls, EnqueueError)


async def test_a_database_that_is_named_does_not_fail_for_an_unrelated_variable(
    database: Database, tasks: Tasks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "mysql://elsewhere/app")
    async with Queue(database.url) as queue:
        assert not (await queue.enqueue(tasks.add, [1])).is_duplicate
    with pytest.raises(ConfigurationError, match="DATABASE_URL"):
        Queue()
