"""What limits are, and which of them this system can hold."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from uno_jobs.runners.limits.group import ProcGroup
from uno_jobs.runners.limits.limits import Limits, measure, unsupported
from uno_jobs.runners.limits.portable import PortableGroup
from uno_jobs.tasks.options import build_options

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

BOTH = Limits(256_000_000, 0.5)


def test_the_limits_of_a_task() -> None:
    """Bytes and cores; a task without any has none."""
    options = build_options(
        {"name": "limited", "max_memory": "256MB", "cpu_limit": 0.5}, where="limited", function_is_async=False
    )
    assert Limits.of(options) == BOTH
    assert not Limits()
    assert Limits(cpu_limit=0.5)
    assert Limits(max_memory=1)


def test_that_here_they_can_be_held() -> None:
    """On this system."""
    assert unsupported(BOTH) is None
    assert unsupported(Limits()) is None


def test_that_another_namespaces_processes_are_of_no_use(tmp_path: Path) -> None:
    """A /proc in which this process is not the one that runs."""
    (tmp_path / "1").mkdir()
    (tmp_path / "self").symlink_to("1")
    assert unsupported(BOTH, proc=tmp_path) == (
        f"max_memory and cpu_limit: {tmp_path} shows the processes of another PID namespace: "
        "mount one of this namespace"
    )
    assert unsupported(Limits(), proc=tmp_path) is None


def test_that_an_empty_proc_is_of_no_use(tmp_path: Path) -> None:
    """A folder where /proc should be mounted."""
    reason = unsupported(Limits(max_memory=256_000_000), proc=tmp_path)
    assert reason is not None
    assert reason.startswith("max_memory: ")
    assert "not a process file system" in reason


def test_that_without_proc_psutil_measures(tmp_path: Path) -> None:
    """Where there is no such folder, as outside Linux."""
    assert isinstance(measure(1, proc=tmp_path / "none"), PortableGroup)
    assert unsupported(BOTH, proc=tmp_path / "none") is None


def test_that_cpu_needs_stopping(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without SIGSTOP only memory can be held."""
    monkeypatch.delattr(signal, "SIGSTOP")
    assert unsupported(Limits(max_memory=256_000_000)) is None
    reason = unsupported(BOTH)
    assert reason is not None
    assert reason.startswith("cpu_limit=0.5: ")


def test_that_what_cannot_be_measured_cannot_be_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """A /proc that shows nothing of this process."""
    monkeypatch.setattr(ProcGroup, "_stats", lambda _: {})
    reason = unsupported(BOTH)
    assert reason is not None
    assert "cannot be read here" in reason
