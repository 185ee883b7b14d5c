"""Jobs that never wait are over when they have been started, where Python can (3.12)."""

from __future__ import annotations

import sys
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from tests.worker.conftest import running, use_a_task_factory
from uno_jobs.runners.invocation import Plans
from uno_jobs.tasks import task
from uno_jobs.worker.executor import Executor
from uno_jobs.worker.holdings import Holding, Holdings

if TYPE_CHECKING:
    from tests.worker.conftest import Database

CAN = sys.version_info >= (3, 12)
AT = b"\0" * 8


def row(name: str, number: int) -> Any:
    """What a claim returns of a job."""
    return (
        uuid.uuid4(), "default", 5, number, None, name, "1.0", f"[{number}]", "{}", None, 1, 0, 0, False,
        AT, None, AT, None, None,
    )  # fmt: skip


@pytest.mark.parametrize("factory", [False, True], ids=["tasks of asyncio's", "tasks of the application's"])
async def test_what_never_waits_costs_no_turn_of_the_loop(database: Database, factory: bool) -> None:
    left: list[int] = []

    @task
    async def quick(number: int) -> int:
        return number

    if factory:
        use_a_task_factory()
    async with running(database.url) as worker:
        dispatch = worker.executor.dispatch

        def looks(rows: Any, lease: int) -> None:
            dispatch(rows, lease)
            left.append(len(worker.holdings.running))

        worker.claimer._dispatch = looks
        (id_,) = await database.put(quick, 1)
        await database.wait_for(id_, "succeeded")
    assert left == [0 if CAN and not factory else 1]


@pytest.mark.skipif(not CAN, reason="before Python 3.12 a job runs in its turn of the event loop")
async def test_a_job_that_ends_the_process_leaves_the_others_of_its_claim_known() -> None:
    ended: list[Holding] = []
    holdings = Holdings(10, {})

    @task
    async def may_interrupt(number: int) -> None:
        if number == 2:
            raise KeyboardInterrupt

    def end(holding: Holding) -> None:
        holdings.ended(holding)
        ended.append(holding)

    executor = Executor(holdings, Plans(), None, end, None)  # pyright: ignore[reportArgumentType] - nobody asks it
    rows = [row("may_interrupt", number) for number in range(1, 6)]
    with pytest.raises(KeyboardInterrupt):
        executor.dispatch(rows, 7)
    assert [one.job.id for one in ended] == [rows[0][0], rows[1][0]]
    assert {one.job.id for one in holdings.running} == {one[0] for one in rows[2:]}
