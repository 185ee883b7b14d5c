"""Worker processes are started, watched, restarted and stopped; without a database, since that may be away."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.supervisor.conftest import LIMIT, is_alive, until
from uno_jobs.supervisor.backoff import FIRST, HEALTHY, LONGEST, Backoff
from uno_jobs.supervisor.slot import End, describe
from uno_jobs.supervisor.supervisor import exit_status


@pytest.mark.parametrize("signal_", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_a_signal_drains_every_worker_once(supervise: Any, signal_: signal.Signals) -> None:
    supervised = await supervise(processes=3)
    await supervised.wait_noted("registered", 3)
    supervised.send(signal_)
    assert await supervised.end() == 0
    assert supervised.noted("signal") == [["SIGTERM", "1"]] * 3
    assert len(supervised.noted("started")) == 3


async def test_a_second_signal_is_passed_on_too(supervise: Any) -> None:
    supervised = await supervise("stubborn", processes=2)
    await supervised.wait_noted("registered", 2)
    supervised.send(signal.SIGINT)
    await supervised.wait_noted("signal", 2)
    supervised.send(signal.SIGTERM)
    assert await supervised.end() == 0
    assert sorted(supervised.noted("signal")) == [["SIGTERM", "1"]] * 2 + [["SIGTERM", "2"]] * 2


async def test_the_terminal_reaches_workers_only_through_the_supervisor(supervise: Any) -> None:
    supervised = await supervise(processes=2)
    workers = [int(pid) for _, pid in await supervised.wait_noted("registered", 2)]
    assert {os.getpgid(pid) for pid in workers} == set(workers)
    os.killpg(os.getpgid(supervised.process.pid), signal.SIGINT)
    assert await supervised.end() == 0
    assert supervised.noted("signal") == [["SIGTERM", "1"]] * 2


async def test_a_worker_that_dies_is_started_again(supervise: Any) -> None:
    supervised = await supervise()
    ((_, pid),) = await supervised.wait_noted("registered")
    os.kill(int(pid), signal.SIGKILL)
    _, (_, second) = await supervised.wait_noted("registered", 2)
    assert second != pid
    assert await supervised.stop() == 0


async def test_what_a_dead_worker_had_started_dies_with_it(supervise: Any) -> None:
    supervised = await supervise("child")
    ((child,),) = await supervised.wait_noted("child")
    ((_, pid),) = supervised.noted("registered")
    os.kill(int(pid), signal.SIGKILL)
    await until(lambda: not is_alive(int(child)))
    await supervised.wait_noted("registered", 2)
    await supervised.stop()


async def test_what_a_worker_had_started_ends_with_it_also_when_it_ends_well(supervise: Any) -> None:
    supervised = await supervise("child")
    ((child,),) = await supervised.wait_noted("child")
    assert await supervised.stop() == 0
    await until(lambda: not is_alive(int(child)))


async def test_workers_that_refuse_are_not_started_again(supervise: Any) -> None:
    supervised = await supervise("exit=3", processes=2)
    assert await supervised.end() == 3
    assert len(supervised.noted("started")) == 2


async def test_until_empty_ends_when_the_workers_have(supervise: Any) -> None:
    supervised = await supervise("exit=0", processes=2, until_empty=True)
    assert await supervised.end() == 0
    assert len(supervised.noted("started")) == 2


async def test_until_empty_starts_what_crashed_again(supervise: Any) -> None:
    supervised = await supervise("once", until_empty=True)
    await supervised.wait_noted("registered", 2)
    assert await supervised.stop() == 0


async def test_a_signal_ends_the_wait_for_a_restart(supervise: Any) -> None:
    supervised = await supervise("exit=9")
    await supervised.wait_noted("started", 3)
    supervised.send(signal.SIGTERM)
    assert await supervised.end() == 1


async def test_a_worker_that_heeds_no_signal_is_killed_after_its_grace(supervise: Any) -> None:
    supervised = await supervise("", command=[sys.executable, "-c", DEAF], grace=-4.0)
    await supervised.wait_noted("started")
    supervised.send(signal.SIGTERM)
    assert await supervised.end() == 1


DEAF = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
open(os.environ["FAKE_LOG"], "a").write("started\\n")
time.sleep(600)
"""


async def test_a_worker_that_closes_its_socket_is_replaced(supervise: Any) -> None:
    supervised = await supervise("mute")
    (_, first), (_, second), *_ = await supervised.wait_noted("registered", 2)
    assert first != second
    assert not is_alive(int(first))
    supervised.process.kill()


async def test_a_worker_that_says_what_is_no_event_is_replaced(supervise: Any) -> None:
    supervised = await supervise("babble")
    (_, first), (_, second), *_ = await supervised.wait_noted("registered", 2)
    assert first != second
    # The supervisor is whole. How its cut-off workers end is their affair: cleanly, or not.
    assert await supervised.stop() in (0, 1)


async def test_the_workers_of_a_killed_supervisor_stop(supervise: Any) -> None:
    supervised = await supervise(processes=2)
    pids = [int(pid) for _, pid in await supervised.wait_noted("registered", 2)]
    supervised.process.kill()
    await until(lambda: not any(map(is_alive, pids)))
    assert supervised.noted("orphaned") == [[], []]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux sends a signal at a parent's death")
async def test_a_worker_that_holds_the_interpreter_dies_with_its_supervisor(supervise: Any, tmp_path: Path) -> None:
    (tmp_path / "hog.py").write_text(
        "import os\nopen(os.environ['FAKE_LOG'], 'a').write(f'started {os.getpid()}\\n')\nwhile True: pass\n"
    )
    # As child.command() does, but with the supervisor's own process id, which is known only there.
    program = (
        "import sys, os; p = sys.executable; "
        "os.execv(p, [p, '-m', 'uno_jobs.supervisor.child', '9', str(os.getppid()), 'hog'])"
    )
    os.environ["PYTHONPATH"], before = str(tmp_path), os.environ.get("PYTHONPATH")
    try:
        supervised = await supervise(command=[sys.executable, "-c", program])
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
    ((pid,),) = await supervised.wait_noted("started")
    supervised.process.kill()
    await until(lambda: not is_alive(int(pid)))


async def test_a_child_whose_parent_is_gone_already_does_nothing() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "uno_jobs.supervisor.child", "9", "1234567", "this"
    )
    assert await process.wait() == 4


async def test_a_change_of_the_code_restarts_the_workers(supervise: Any, tmp_path: Path) -> None:
    code = tmp_path / "code"
    code.mkdir()
    (code / "a.py").write_text("")
    supervised = await supervise(processes=2, watch=(str(code),))
    await supervised.wait_noted("registered", 2)
    changed = 0
    # The watch may not stand yet when the workers do.
    async with asyncio.timeout(LIMIT):
        while len(supervised.noted("registered")) < 4:
            changed += 1
            (code / "a.py").write_text(f"a = {changed}")
            (code / "a.txt").write_text("not code")
            await asyncio.sleep(0.5)
    assert ["SIGTERM", "1"] in supervised.noted("signal"), supervised.notes.read_text()
    assert await supervised.stop() == 0


async def test_what_refused_waits_for_a_change(supervise: Any, tmp_path: Path) -> None:
    code = tmp_path / "app.py"
    code.write_text("wrong")
    supervised = await supervise("exit=3", watch=(str(code),))
    await supervised.wait_noted("started")
    async with asyncio.timeout(LIMIT):
        while len(supervised.noted("started")) < 2:
            code.write_text("right")
            await asyncio.sleep(0.3)
    assert await supervised.stop() == 0


async def test_watching_nothing_is_refused(supervise: Any) -> None:
    supervised = await supervise(watch=("no/such/folder",))
    assert await supervised.end() == 1
    assert not supervised.noted("started")


async def test_it_needs_little_memory(supervise: Any) -> None:
    supervised = await supervise()
    await supervised.wait_noted("registered")
    status = Path(f"/proc/{supervised.process.pid}/status").read_text()
    (kilobytes,) = (int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
    assert kilobytes < 40_000
    await supervised.stop()


def test_waits_double_and_begin_anew_after_health() -> None:
    backoff = Backoff()
    waits = [backoff.next(0.1) for _ in range(12)]
    for n, wait in enumerate(waits):
        longest = min(LONGEST, FIRST * 2**n)
        assert longest / 2 <= wait <= longest
    assert backoff.next(HEALTHY) <= FIRST


def test_ends_are_described() -> None:
    assert describe(-9) == "its process was killed by SIGKILL"
    assert describe(5) == "its process exited with status 5"
    assert describe(-250) == "its process was killed by signal 250"


def test_the_exit_status_tells_how_it_ended() -> None:
    assert exit_status([End.CLEAN, End.CLEAN]) == 0
    assert exit_status([End.REFUSED, End.REFUSED]) == 3
    assert exit_status([End.REFUSED, End.CLEAN]) == 1
    assert exit_status([End.FAILED]) == 1


async def test_it_loads_nothing_that_it_does_not_need() -> None:
    code = (
        "import sys, uno_jobs.supervisor.__main__\n"
        "heavy = {'sqlalchemy', 'alembic', 'pydantic', 'typer', 'rich', 'orjson', 'psutil', 'watchfiles', 'anyio'}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code)
    assert await process.wait() == 0


@pytest.mark.skipif(
    not (sys.platform == "linux" and os.geteuid() == 0 and shutil.which("unshare")),
    reason="making a process number 1 takes Linux and root",
)
async def test_as_process_1_it_reaps_what_others_leave_behind(supervise: Any) -> None:
    supervised = await supervise("orphan", prefix=["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"])
    await supervised.wait_noted("orphan")
    await supervised.wait_noted("registered")
    # The worker itself looks for zombies: it sees the same processes as the supervisor.
    await supervised.wait_noted("reaped")
    supervised.process.kill()
