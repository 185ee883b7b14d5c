"""PostgreSQL servers of a test's own: to restart, crash, fill up and fail over as no shared one may be."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import psutil

from uno_jobs.embedded.account import run_as, server_account
from uno_jobs.embedded.binaries import find_binaries
from uno_jobs.embedded.locks import FileLock
from uno_jobs.embedded.places import temporary_state
from uno_jobs.embedded.supervisor import free_port

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

LIMIT = 60.0
"""Seconds after which a server has failed to do what it was told."""
USER = "postgres"


class Postgres:
    """One server on 127.0.0.1, without a password. A context manager; it has a data folder before it is started.

    Args:
        folder: Where to keep its data, in a folder of its own below; a temporary one if not given.
        of: The server to be a standby of, which has to run. Else the data are new.
        binaries: The folder of its programs; those that are found first, if not given.
    """

    def __init__(self, folder: Path | None = None, *, of: Postgres | None = None, binaries: Path | None = None) -> None:
        self._account = server_account()
        self._programs = find_binaries(binaries, account=self._account).folder
        self._folder = folder or temporary_state(self._account)
        # Who starts a temporary server elsewhere removes old folders that nobody holds.
        self._held = FileLock.try_alone(self._folder / "users.lock")
        assert self._held is not None
        self.port = free_port()
        self.data = self._folder / "data"
        self.data.mkdir(mode=0o700)
        if self._account is not None:
            os.chown(self.data, self._account.uid, self._account.gid)
        self._process: subprocess.Popen[bytes] | None = None
        if of is None:
            self._run(
                "initdb", "--no-sync", "-A", "trust", "-U", USER, "--locale=C", "-E", "UTF8", "-D", str(self.data)
            )
        else:
            self._run("pg_basebackup", "-d", of.url, "-D", str(self.data), "-R", "-c", "fast", "--no-sync")

    def __enter__(self) -> Postgres:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self.stop(signal.SIGQUIT)
        shutil.rmtree(self._folder)
        assert self._held is not None
        self._held.release()

    @property
    def url(self) -> str:
        return self.url_of("postgres")

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def url_of(self, database: str) -> str:
        return f"postgresql://{USER}@{self.address}/{database}"

    def start(self, *settings: str) -> None:
        """Start it and wait until it takes connections.

        After a crash its last processes may still hold its memory, and it has to be tried again.
        """
        options = ("fsync=off", "max_connections=60", f"port={self.port}", "unix_socket_directories=", *settings)
        command = [str(self._programs / "postgres"), "-D", str(self.data)]
        for option in options:
            command += ["-c", option]
        deadline = time.monotonic() + LIMIT
        while True:
            self._process = subprocess.Popen(
                command,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                start_new_session=True,
                **self._as_account(),
            )
            while self._process.poll() is None:
                if self._answers():
                    return
                assert time.monotonic() < deadline, "the server does not come up"
                time.sleep(0.02)
            assert time.monotonic() < deadline, f"the server ended with {self._process.returncode}"
            time.sleep(0.05)

    def stop(self, kind: signal.Signals = signal.SIGINT) -> None:
        """Stop it: SIGINT is PostgreSQL's fast shutdown, SIGQUIT its immediate one, SIGKILL a crash."""
        process, self._process = self._process, None
        assert process is not None
        backends = psutil.Process(process.pid).children() if psutil.pid_exists(process.pid) else []
        process.send_signal(kind)
        process.wait(LIMIT)
        psutil.wait_procs(backends, LIMIT)

    def promote(self) -> None:
        """Make a standby the one that takes writes, and wait until it does."""
        self._run("pg_ctl", "promote", "-w", "-D", str(self.data))

    def _answers(self) -> bool:
        _, refused = run_as(None, [str(self._programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)])
        return not refused

    def _run(self, program: str, *arguments: str) -> None:
        said, wrong = run_as(self._account, [str(self._programs / program), *arguments])
        assert not wrong, f"{program}: {wrong}\n{said}"

    def _as_account(self) -> dict[str, int | Sequence[int]]:
        if self._account is None:
            return {}
        return {"user": self._account.uid, "group": self._account.gid, "extra_groups": []}


def several(*servers: Postgres, database: str) -> str:
    """A URL that names several servers, and wants the one that takes writes."""
    hosts = ",".join(server.address for server in servers)
    return f"postgresql://{USER}@{hosts}/{database}?target_session_attrs=read-write"
