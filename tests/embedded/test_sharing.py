"""Many processes, one server: who starts it, who ends it, and what violence leaves behind."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
from tests.embedded.support import About, Holder, alive, ask, eventually

from uno_jobs.embedded import EmbeddedPostgres
from uno_jobs.embedded.locks import is_held

if TYPE_CHECKING:
    from collections.abc import Callable

    Hold = Callable[[], Holder]

ON_LINUX = sys.platform.startswith("linux")


def ended(server: About) -> bool:
    """Whether nothing of the server lives any more."""
    return not is_held(Path(server.state) / "server.lock") and not alive(server.server_pid)


async def works(url: str) -> bool:
    """Whether the server answers at last; not yet while it starts again."""
    try:
        return await ask(url, "SELECT 1") == 1
    except (OSError, ConnectionError):
        return False
    except Exception as error:
        if type(error).__name__ in {"CannotConnectNowError", "ConnectionDoesNotExistError"}:
            return False
        raise


async def test_a_second_process_joins_and_the_last_one_ends_the_server(hold: Hold):
    first = hold()
    started = first.ready()
    second = hold()
    joined = second.ready()
    assert (started.joined, joined.joined) == (False, True)
    assert joined.url == started.url
    first.leave()
    assert await ask(joined.url, "SELECT 1") == 1
    assert await ask(joined.socket_url, "SELECT 1") == 1
    second.leave()
    assert ended(started)


def test_killed_users_end_the_server(hold: Hold):
    users = [hold(), hold()]
    server, _ = [user.ready() for user in users]
    users[0].kill()
    assert alive(server.server_pid)
    users[1].kill()
    eventually(lambda: ended(server))
    hold().ready()


@pytest.mark.skipif(not ON_LINUX, reason="other systems end such a server at the next start")
def test_a_killed_supervisor_takes_the_server_along(hold: Hold):
    server = hold().ready()
    os.kill(server.supervisor_pid, signal.SIGKILL)
    eventually(lambda: ended(server))


async def test_after_a_killed_supervisor_the_next_start_works_at_once(hold: Hold):
    server = hold().ready()
    await ask(server.url, "CREATE TABLE kept (n int)")
    os.kill(server.supervisor_pid, signal.SIGKILL)
    again = hold().ready()
    assert not again.joined
    assert await ask(again.url, "SELECT count(*) FROM kept") == 0


async def test_a_crashed_server_comes_back_at_the_same_place(hold: Hold):
    server = hold().ready()
    await ask(server.url, "CREATE TABLE kept (n int)")
    os.kill(server.server_pid, signal.SIGKILL)
    eventually(lambda: not alive(server.server_pid))
    while not await works(server.url):
        pass
    assert await ask(server.url, "SELECT count(*) FROM kept") == 0
    joined = hold().ready()
    assert joined.joined
    assert joined.url == server.url


async def test_everything_killed_at_once_leaves_nothing_in_the_way(hold: Hold):
    user = hold()
    server = user.ready()
    await ask(server.url, "CREATE TABLE kept (n int)")
    for pid in (user.process.pid, server.supervisor_pid, server.server_pid):
        os.kill(pid, signal.SIGKILL)
    again = hold().ready()
    assert not again.joined
    assert await ask(again.url, "SELECT count(*) FROM kept") == 0


async def test_a_server_stopped_in_good_order_is_started_by_the_next_user(hold: Hold):
    server = hold().ready()
    os.kill(server.server_pid, signal.SIGINT)
    eventually(lambda: ended(server))
    assert not hold().ready().joined


async def test_an_interrupted_start_leaves_nothing_in_the_way(hold: Hold, project: Path):
    def begun() -> bool:
        states = [project / "postgres", *(Path(file.read_text().strip()) for file in project.glob("postgres.path"))]
        return any((state / "data.new").exists() for state in states)

    starter = hold()
    eventually(begun)
    starter.kill()
    server = hold().ready()
    assert await ask(server.url, "SELECT 1") == 1


async def test_an_initdb_killed_half_way_leaves_nothing_in_the_way(hold: Hold, project: Path):
    starter = hold()
    found: list[psutil.Process] = []

    def initdb_runs() -> bool:
        for process in psutil.process_iter(["name", "cmdline"]):
            if process.info["name"] == "initdb" and _state_of(project) in " ".join(process.info["cmdline"] or []):
                found.append(process)
        return bool(found)

    eventually(initdb_runs)
    found[0].kill()
    assert starter.process.wait(60) != 0
    server = hold().ready()
    assert await ask(server.url, "SELECT 1") == 1


def _state_of(project: Path) -> str:
    pointer = project / "postgres.path"
    return pointer.read_text().strip() if pointer.exists() else str(project)


def test_of_many_simultaneous_starts_one_starts_and_the_others_join(hold: Hold):
    servers = [holder.ready() for holder in [hold() for _ in range(5)]]
    assert sorted(server.joined for server in servers) == [False, True, True, True, True]
    assert len({server.url for server in servers}) == 1


ROUNDS = """
import asyncio, sys, asyncpg
from uno_jobs.embedded import EmbeddedPostgres
async def ask(url):
    connection = await asyncpg.connect(url)
    await connection.execute("INSERT INTO visits VALUES (1)")
    await connection.close()
for _ in range(int(sys.argv[3])):
    with EmbeddedPostgres.dev(sys.argv[1], binaries=sys.argv[2]) as server:
        asyncio.run(ask(server.url))
"""


async def test_races_of_opening_and_closing(project: Path, binaries):
    with EmbeddedPostgres.dev(project, binaries=binaries.folder) as server:
        await ask(server.url, "CREATE TABLE visits (n int)")
        state = server.state_folder
    command = [sys.executable, "-c", ROUNDS, str(project), str(binaries.folder), "4"]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    with ThreadPoolExecutor(4) as waiting:
        errors = list(waiting.map(lambda process: process.communicate(timeout=120)[1], processes))
    assert errors == [""] * 4
    eventually(lambda: not is_held(state / "server.lock"))
    with EmbeddedPostgres.dev(project, binaries=binaries.folder) as server:
        assert await ask(server.url, "SELECT count(*) FROM visits") == 16


@pytest.mark.chaos
async def test_kills_at_random_moments(hold: Hold, project: Path, binaries):
    dice = random.Random(7)
    with EmbeddedPostgres.dev(project, binaries=binaries.folder) as server:
        await ask(server.url, "CREATE TABLE kept (n int)")
    for _ in range(6):
        user = hold()
        try:
            user.process.wait(dice.uniform(0.02, 0.4))
        except subprocess.TimeoutExpired:
            user.kill()
    with EmbeddedPostgres.dev(project, binaries=binaries.folder) as server:
        assert await ask(server.url, "SELECT count(*) FROM kept") == 0


def test_an_interrupt_from_the_terminal_is_not_for_the_server(hold: Hold):
    first, second = hold(), hold()
    server, _ = first.ready(), second.ready()
    os.killpg(first.process.pid, signal.SIGINT)
    first.process.wait(60)
    assert alive(server.server_pid)
    second.leave()
    assert ended(server)


def test_a_forked_child_neither_keeps_nor_ends_the_server(project: Path, binaries):
    script = """
import os, sys
from uno_jobs.embedded import EmbeddedPostgres
server = EmbeddedPostgres.dev(sys.argv[1], binaries=sys.argv[2]).start()
reader, writer = os.pipe()
child = os.fork()
if child == 0:
    server.stop()
    os.write(writer, b"x")
    os.read(0, 1)
    os._exit(0)
os.read(reader, 1)
from uno_jobs.embedded.locks import is_held
assert is_held(server.state_folder / "supervisor.lock")
state = server.state_folder
server.stop()
assert not is_held(state / "supervisor.lock")
print("ended while the child lives")
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(project), str(binaries.folder)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout == "ended while the child lives\n", done.stderr


def test_a_killed_user_of_a_temporary_server_leaves_nothing(binaries):
    script = """
import sys
from uno_jobs.embedded import EmbeddedPostgres
server = EmbeddedPostgres.temporary(binaries=sys.argv[1]).start()
print(server.state_folder, flush=True)
sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", script, str(binaries.folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as user:
        assert user.stdout is not None
        state = Path(user.stdout.readline().strip())
        assert state.exists()
        user.kill()
    eventually(lambda: not state.exists())
