"""Joins the server of a folder, or starts it: many processes share one, and the last to leave ends it."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from uno_jobs.embedded.locks import POLL_SECONDS, FileLock, is_held, locked
from uno_jobs.errors import EmbeddedError, ServerNotStarted

if TYPE_CHECKING:
    from collections.abc import Callable

    from uno_jobs.embedded.supervisor import Plan

LEAVE_SECONDS = 0.3
LEFT_OVER_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Running:
    """What a running server's supervisor wrote down about it."""

    port: int
    password: str
    database: str
    socket_folder: str
    version: str
    binaries: str
    supervisor_pid: int
    server_pid: int


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in *path*; empty if there is none, or if it is damaged."""
    try:
        content = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return cast("dict[str, Any]", content) if isinstance(content, dict) else {}


def running_server(state: Path) -> Running | None:
    """The server that runs in *state*, if one does and its supervisor lives."""
    found = read_json(state / "running.json")
    if found and is_held(state / "supervisor.lock"):
        with contextlib.suppress(TypeError):
            return Running(**found)
    return None


def join_or_start(state: Path, plan: Callable[[], Plan], *, timeout: float) -> tuple[FileLock, Running, bool]:
    """Become a user of the server in *state*; start it first, after *plan*, if it does not run.

    Returns the lock that makes us a user, the server, and whether it was running already.

    Raises:
        ServerNotStarted: it did not come up; carries its log.
        EmbeddedError: a server of before neither serves nor ends.
    """
    deadline = time.monotonic() + timeout
    left_over_since: float | None = None
    with locked(state / "start.lock", deadline):
        while True:
            users = FileLock.try_shared(state / "users.lock")  # None: its last user has left, and it is stopping
            if users is not None:
                try:
                    server = FileLock.try_alone(state / "server.lock")
                    if server is not None:
                        return users, _start(state, plan, server, timeout), False
                    running = running_server(state)
                except BaseException:
                    users.release()
                    raise
                if running is not None:
                    return users, running, True
                users.release()
            now = time.monotonic()
            if is_held(state / "supervisor.lock"):
                left_over_since = None
            else:
                left_over_since = left_over_since or now
                if now - left_over_since > LEFT_OVER_SECONDS:
                    _stop_left_over(state)
                    left_over_since = now
            if now > deadline:
                raise EmbeddedError(
                    f"the server in {state} neither serves nor ends after {timeout:g} s; "
                    f"see {state / 'server.log'}, and end its processes by hand"
                )
            time.sleep(POLL_SECONDS)


def leave(state: Path, users: FileLock, *, alone: bool) -> None:
    """Stop being a user; if we were the last, wait until the server has stopped.

    *alone* says that nobody else can be a user.
    """
    if not users.release():
        return
    give_up = time.monotonic() + (60.0 if alone else LEAVE_SECONDS)
    stopping = alone
    while time.monotonic() < give_up and state.exists():
        if not stopping:
            # Refused: the supervisor has it alone, so we were the last.
            others = FileLock.try_shared(state / "users.lock")
            if others is None:
                stopping, give_up = True, time.monotonic() + 60.0
            else:
                others.release()
        elif not is_held(state / "supervisor.lock", missing=True):  # a missing one: all of it is being deleted
            return
        time.sleep(POLL_SECONDS)


def _start(state: Path, plan: Callable[[], Plan], server: FileLock, timeout: float) -> Running:
    """Start a supervisor with the server in it. *server* is held, so nothing of an earlier server lives."""
    try:
        (state / "running.json").unlink(missing_ok=True)
        _refuse_foreign_server(state / "data")
        complete = plan()
        reader, writer = os.pipe()
        try:
            complete["report_fd"], complete["server_lock_fd"] = writer, server.fd
            with open(state / "server.log", "ab", opener=_private) as log:
                subprocess.run(
                    # By its path, isolated and without site: it needs little, and starts quickly.
                    [sys.executable, "-I", "-S", str(Path(__file__).with_name("supervisor.py"))],
                    input=json.dumps(complete).encode(),
                    stdout=log,
                    stderr=log,
                    cwd="/",
                    pass_fds=(writer, server.fd),
                    start_new_session=True,  # a Ctrl-C in the terminal is not for it
                    check=False,  # it reports what went wrong, or its error stands in the log
                )
        finally:
            os.close(writer)
        report = _read_report(reader, timeout)
    finally:
        server.close()
    running = running_server(state)
    if report == {"ready": True} and running is not None:
        return running
    said = str(report.get("failed") or (state / "server.log").read_text(errors="replace")[-5000:])
    raise ServerNotStarted(f"the embedded PostgreSQL did not start:\n{said}", log=said)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _read_report(reader: int, timeout: float) -> dict[str, Any]:
    report = b""
    deadline = time.monotonic() + timeout
    try:
        while True:
            readable, _, _ = select.select([reader], [], [], max(0.0, deadline - time.monotonic()))
            if not readable:
                return {"failed": f"it was not ready within {timeout:g} s"}
            part = os.read(reader, 65536)
            if not part:
                return json.loads(report) if report else {}
            report += part
    finally:
        os.close(reader)


def _postmaster(data: Path) -> int | None:
    """The id of the living process that serves *data* by its postmaster.pid, else None."""
    try:
        pid = int((data / "postmaster.pid").read_text().splitlines()[0])
    except (FileNotFoundError, ValueError, IndexError):
        return None
    import psutil  # only where a crash left such a file

    with contextlib.suppress(psutil.Error, OSError):
        process = psutil.Process(pid)
        # The id may have been given out again: a server's working directory is its data folder.
        if process.name().startswith("postgres") and data.samefile(process.cwd()):
            return pid
    return None


def _refuse_foreign_server(data: Path) -> None:
    pid = _postmaster(data)
    if pid is not None:
        raise EmbeddedError(f"a server of somebody else's runs on {data} (process {pid}): stop it first")


def _stop_left_over(state: Path) -> None:
    """End a server whose supervisor was killed, where the kernel did not do so (Linux does)."""
    pid = _postmaster(state / "data")
    if pid is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGINT)
