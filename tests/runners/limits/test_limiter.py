"""The limiter: control groups where they can be had, watching elsewhere, and one line in the log that says which."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
from typing import TYPE_CHECKING

import pytest

from uno_jobs.runners.limits.cgroup import CgroupTree, CgroupUnavailable, Surroundings
from uno_jobs.runners.limits.limiter import Limiter
from uno_jobs.runners.limits.limits import Limits

from .programs import SPIN, until
from .test_cgroup import Tree, process

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .programs import Program

    Start = Callable[[str], Program]


def no_groups(_: Callable[[int], bool]) -> CgroupTree:
    """Refuse control groups."""
    raise CgroupUnavailable("there are none")


def dead() -> asyncio.Future[None]:
    """Return what is done when a child is dead."""
    return asyncio.get_running_loop().create_future()


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """A delegated group with this process in it."""
    made = Tree(tmp_path / "cgroup" / "app")
    (made.root / "cgroup.procs").write_text(f"{os.getpid()}\n")
    return made


@pytest.fixture
def limiter(tmp_path: Path, tree: Tree) -> Limiter:
    """A limiter that has it."""
    around = Surroundings(proc=process(tmp_path, "/app"), systemd=tmp_path / "none", files=tree)
    return Limiter(os.getpid(), claim=lambda is_ours: CgroupTree.claim(is_ours, around))


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what was logged."""
    return [record.getMessage() for record in caplog.records if record.name == "uno_jobs.runners"]


async def test_that_it_watches_where_there_are_no_groups(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    """It says so once, and stops the group itself."""
    caplog.set_level(logging.INFO)
    limiter = Limiter(os.getpid(), claim=no_groups)
    one, other = start(SPIN), start(SPIN)
    guards = [await limiter.guard(each.pid, Limits(cpu_limit=0.05), each.kill, dead()) for each in (one, other)]
    await until(lambda: one.state() == "T")
    await until(lambda: other.state() == "T")
    for guard in guards:
        guard.stop()
        assert not guard.killed_by_kernel()
    assert messages(caplog) == ["limits are held by watching processes: no control groups"]
    await limiter.close()


async def test_that_groups_hold_what_they_can(
    start: Start, tree: Tree, limiter: Limiter, caplog: pytest.LogCaptureFixture
) -> None:
    """The child gets a group, its limits are written for each job, and the group goes when it has ended."""
    caplog.set_level(logging.INFO)
    program = start(SPIN)
    group = tree.root / f"uno-jobs-{program.pid}"
    end = dead()
    guard = await limiter.guard(program.pid, Limits(512_000_000, 0.05), program.kill, end)
    assert group.joinpath("cpu.max").read_text() == "5000 100000\n"
    used = program.cpu()
    await until(lambda: program.cpu() > used + 0.5)  # these files hold nothing, and the warden leaves it to them
    assert not guard.killed_by_kernel()
    group.joinpath("memory.events").write_text("oom_kill 1\n")
    assert guard.killed_by_kernel()
    assert (guard.stop() or 0) > 1_000_000
    guard = await limiter.guard(program.pid, Limits(), program.kill, dead())
    assert group.joinpath("cpu.max").read_text() == "max 100000\n"
    assert not guard.killed_by_kernel()
    guard.stop()
    assert messages(caplog) == ["limits are held by control groups"]
    end.set_result(None)
    await until(lambda: not group.exists())
    await limiter.close()


async def test_that_a_child_without_limits_gets_no_group(start: Start, tree: Tree, limiter: Limiter) -> None:
    """Nor does anything else happen to the groups."""
    program = start(SPIN)
    guard = await limiter.guard(program.pid, Limits(), program.kill, dead())
    guard.stop()
    assert tree.log == []


async def test_that_it_watches_when_a_group_refuses(
    start: Start, tree: Tree, limiter: Limiter, caplog: pytest.LogCaptureFixture
) -> None:
    """A kernel that takes a limit no more, or makes no more groups: the limit is held all the same."""
    program, later = start(SPIN), start(SPIN)
    write = tree.write

    def refuse(path: Path, value: str) -> None:
        if path.name == "cpu.max":
            raise OSError(errno.EINVAL, "Invalid argument")
        if value == str(later.pid):
            raise OSError(errno.EBUSY, "Device or resource busy")
        write(path, value)

    tree.write = refuse  # type: ignore[method-assign]
    guards = [await limiter.guard(each.pid, Limits(cpu_limit=0.05), each.kill, dead()) for each in (program, later)]
    await until(lambda: program.state() == "T")
    await until(lambda: later.state() == "T")
    for guard in guards:
        guard.stop()
    assert [text.partition(";")[0] for text in messages(caplog)] == [
        "a control group refused a limit",
        "a control group cannot be made",
    ]


async def test_that_strangers_are_told_from_ours(start: Start, tree: Tree, limiter: Limiter) -> None:
    """The own processes are those below the supervisor; with another in the group it is left alone."""
    program = start(SPIN)
    (tree.root / "cgroup.procs").write_text(f"{os.getpid()}\n{program.pid}\n1\n")
    guard = await limiter.guard(program.pid, Limits(cpu_limit=0.5), program.kill, dead())
    guard.stop()
    assert tree.log == []
