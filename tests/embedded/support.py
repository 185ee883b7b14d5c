"""Helpers of these tests: processes that use a server, a short way to ask it, waiting without guessing."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import asyncpg
import psutil

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# Opens the server of a folder, says where it is, and keeps it until stdin ends.
HOLD = """
import dataclasses, json, signal, sys
# Who started the tests may have had it ignored, as a shell has for what runs in its background.
signal.signal(signal.SIGINT, signal.default_int_handler)
from uno_jobs.embedded import EmbeddedPostgres
from uno_jobs.embedded.sharing import running_server
with EmbeddedPostgres.dev(sys.argv[1], binaries=sys.argv[2]) as server:
    about = dataclasses.asdict(running_server(server.state_folder))
    about |= {"url": server.url, "socket_url": server.socket_url, "joined": server.joined}
    about |= {"state": str(server.state_folder)}
    print(json.dumps(about), flush=True)
    sys.stdin.read()
"""


class Holder:
    """A process of its own that uses a folder's server until it is told to leave."""

    def __init__(self, folder: Path, binaries: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(folder), str(binaries)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def ready(self) -> About:
        """Wait until it has the server."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "it ended without the server"
        return About(**json.loads(line))

    def leave(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        assert self.process.wait(60) == 0

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(60)

    def clean_up(self) -> None:
        self.kill()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


@dataclass
class About:
    """What a holder says of its server."""

    url: str
    socket_url: str
    joined: bool
    state: str
    port: int
    password: str
    database: str
    socket_folder: str
    version: str
    binaries: str
    supervisor_pid: int
    server_pid: int


def eventually(what: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait until *what* holds."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.01)


def alive(pid: int) -> bool:
    """Whether a process runs (one that is dead and not yet reaped does not)."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def ask(url: str, query: str) -> Any:
    """The first value of the first row that *query* gives."""
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()
