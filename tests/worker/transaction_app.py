"""Tasks with transactions of their own, for the children of the workers in the tests."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from sqlalchemy import text

from uno_jobs.context import get_current_job
from uno_jobs.tasks import task

INSERT = "INSERT INTO effects VALUES ('done')"


@task(max_retries=1, retry_delay=0)
def works(kind: Any, fails: bool = False) -> str:
    job = get_current_job()
    with job.transaction(kind) as tx:
        _ = tx.session.execute(text(INSERT)) if kind == "session" else tx.connection.execute(INSERT)
        tx.set_result(f"in {os.getppid()}")
        if fails and job.attempt == 1:
            raise ValueError("not this time")
    return f"in {os.getppid()}"


@task(timeout=60, timeout_action="terminate")
async def asynchronous(kind: Any) -> None:
    async with get_current_job().transaction(kind) as tx:
        await (tx.session.execute(text(INSERT)) if kind == "session" else tx.connection.execute(INSERT))


@task
def waits_inside(inside: str, go: str) -> None:
    with get_current_job().transaction() as tx:
        tx.session.execute(text(INSERT))
        Path(inside).touch()
        while not Path(go).exists():
            time.sleep(0.005)


@task(timeout=60, terminate_grace=5)
def goes_on_after(committed: str, go: str) -> None:
    with get_current_job().transaction(result="committed") as tx:
        tx.session.execute(text(INSERT))
    Path(committed).touch()
    while not Path(go).exists():
        time.sleep(0.005)
    raise ValueError("too late")


@task
def dies_after() -> None:
    with get_current_job().transaction(result="committed") as tx:
        tx.session.execute(text(INSERT))
    os.kill(os.getpid(), signal.SIGKILL)
