"""Deaths by the kernel's out-of-memory killer, told from files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from uno_jobs.runners.limits.oom import OomKills

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A /proc of a process in a group of each version."""
    own = tmp_path / "proc" / "self"
    own.mkdir(parents=True)
    (own / "cgroup").write_text("4:memory:/app\n3:cpu,cpuacct:/app\n0::/app\n")
    (own / "mountinfo").write_text(
        f"31 30 0:27 / {tmp_path}/cpu rw - cgroup cgroup rw,cpu,cpuacct\n"
        f"32 30 0:28 / {tmp_path}/memory rw - cgroup cgroup rw,memory\n"
        f"33 30 0:29 / {tmp_path}/unified rw - cgroup2 cgroup2 rw\n"
    )
    (tmp_path / "proc" / "vmstat").write_text("nr_free_pages 1\noom_kill 4\n")
    for name in ("memory", "unified"):
        (tmp_path / name / "app").mkdir(parents=True)
    return tmp_path / "proc"


def test_that_version_2_is_asked_first(proc: Path, tmp_path: Path) -> None:
    """Its events are those of the own group."""
    (tmp_path / "unified" / "app" / "memory.events").write_text("oom 3\noom_kill 2\n")
    (tmp_path / "memory" / "app" / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 7\n")
    assert OomKills(proc=proc).count() == 2


def test_that_version_1_is_asked_next(proc: Path, tmp_path: Path) -> None:
    """Where memory is counted by version 1."""
    (tmp_path / "memory" / "app" / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 7\n")
    assert OomKills(proc=proc).count() == 7


def test_that_the_whole_system_is_asked_last(proc: Path) -> None:
    """The root of all groups has no counter of its own."""
    assert OomKills(proc=proc).count() == 4


def test_that_nothing_is_counted_without_counters(tmp_path: Path) -> None:
    """Then no death is the kernel's doing."""
    assert OomKills(proc=tmp_path).count() == 0


def test_that_a_kill_is_counted(proc: Path, tmp_path: Path) -> None:
    """The count is read each time; a group that goes away counts no more."""
    events = tmp_path / "unified" / "app" / "memory.events"
    events.write_text("oom_kill 2\n")
    kills = OomKills(proc=proc)
    assert kills.count() == 2
    events.write_text("oom_kill 3\n")
    assert kills.count() == 3
    events.unlink()
    assert kills.count() == 0
