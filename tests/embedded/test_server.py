"""The embedded PostgreSQL as a program uses it: temporary and lasting servers, settings, refusals."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest
from tests.embedded.support import ask, eventually

from uno_jobs.embedded import EmbeddedPostgres
from uno_jobs.embedded.account import server_account
from uno_jobs.errors import EmbeddedError, IncompatibleData, ServerNotStarted


async def test_a_temporary_server_is_fast_and_leaves_nothing():
    with EmbeddedPostgres.temporary() as server:
        state, url = server.state_folder, server.url
        assert await ask(url, "SELECT 1") == 1
        assert await ask(server.socket_url, "SHOW fsync") == "off"
        assert await ask(server.url, "SHOW max_connections") == "200"
        assert (await ask(server.url, "SHOW server_version")).startswith(server.version)
        assert not server.joined
    assert not state.exists()
    with pytest.raises(ConnectionRefusedError):
        await ask(url, "SELECT 1")


async def test_only_the_owner_gets_in():
    with EmbeddedPostgres.temporary() as server:
        with pytest.raises(asyncpg.InvalidPasswordError):
            await ask(server.url.replace("postgres:", "postgres:wrong", 1), "SELECT 1")
        assert await ask(server.url, "SHOW listen_addresses") == "127.0.0.1"
        folder = Path((await ask(server.url, "SHOW unix_socket_directories")).strip('"'))
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        password = await ask(server.url, "SELECT rolpassword FROM pg_authid WHERE rolname = 'postgres'")
        assert password.startswith("SCRAM-SHA-256$")


async def test_a_lasting_server_keeps_its_data_its_port_and_its_password(project):
    with EmbeddedPostgres.dev(project) as server:
        url = server.url
        assert url.endswith("/app")
        assert await ask(url, "SHOW fsync") == "on"
        assert await ask(url, "SHOW synchronous_commit") == "on"
        await ask(url, "CREATE TABLE kept AS SELECT 42 AS answer")
    with EmbeddedPostgres.dev(project) as again:
        assert again.url == url
        assert await ask(url, "SELECT answer FROM kept") == 42
    assert (project / ".gitignore").read_text() == "*\n"


async def test_a_port_that_is_taken_meanwhile_is_changed(project):
    with EmbeddedPostgres.dev(project) as server:
        port = int(server.url.rpartition(":")[2].partition("/")[0])
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", port))
        other.listen()
        with EmbeddedPostgres.dev(project) as moved:
            assert f":{port}/" not in moved.url
            assert await ask(moved.url, "SELECT 1") == 1


async def test_a_second_user_in_the_same_process_joins(project):
    first = EmbeddedPostgres.dev(project).start()
    with EmbeddedPostgres.dev(project) as second:
        assert second.joined
        assert second.url == first.url
        first.stop()
        first.stop()  # a second time does nothing
        assert await ask(second.url, "SELECT 1") == 1


def test_start_twice_is_start_once():
    server = EmbeddedPostgres.temporary()
    assert server.start() is server.start()
    server.stop()


async def test_settings_reach_the_server():
    settings = {"wal_level": "logical", "max_connections": 17, "jit": False}
    with EmbeddedPostgres.temporary(settings=settings) as server:
        assert await ask(server.url, "SHOW wal_level") == "logical"
        assert await ask(server.url, "SHOW max_connections") == "17"
        assert await ask(server.url, "SHOW jit") == "off"


async def test_a_library_can_be_preloaded():
    with EmbeddedPostgres.temporary(settings={"shared_preload_libraries": "pg_stat_statements"}) as server:
        await ask(server.url, "CREATE EXTENSION pg_stat_statements")
        assert await ask(server.url, "SELECT count(*) FROM pg_stat_statements") >= 0


@pytest.mark.parametrize("name", ["port", "listen_addresses", "hba_file"])
def test_a_setting_of_the_launchers_own_is_refused(name):
    with pytest.raises(EmbeddedError, match=name):
        EmbeddedPostgres.temporary(settings={name: "1"})


def test_a_setting_that_is_no_name_is_refused():
    with pytest.raises(EmbeddedError, match="no name of a PostgreSQL setting"):
        EmbeddedPostgres.temporary(settings={"a b": "1"})


async def test_a_wrong_setting_shows_the_servers_log_and_harms_nothing(project):
    with pytest.raises(ServerNotStarted, match='invalid value for parameter "max_connections": "many"') as caught:
        EmbeddedPostgres.dev(project, settings={"max_connections": "many"}).start()
    assert "FATAL" in caught.value.log
    with EmbeddedPostgres.dev(project) as server:
        assert await ask(server.url, "SELECT 1") == 1


def test_a_wrong_setting_of_a_temporary_server_leaves_nothing():
    server = EmbeddedPostgres.temporary(settings={"shared_preload_libraries": "no_such_library"})
    with pytest.raises(ServerNotStarted, match="no_such_library"):
        server.start()
    with pytest.raises(EmbeddedError, match="not started"):
        _ = server.url


@pytest.mark.parametrize("what", ["url", "socket_url", "version", "state_folder", "binaries"])
def test_before_the_start_there_is_nothing_to_ask(what):
    with pytest.raises(EmbeddedError, match="not started"):
        getattr(EmbeddedPostgres.temporary(), what)


def test_windows_is_refused(monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(EmbeddedError, match="WSL"):
        EmbeddedPostgres.dev()


async def test_a_left_over_pid_file_with_a_living_process_is_no_hindrance(project):
    with EmbeddedPostgres.dev(project) as server:
        data = server.state_folder / "data"
    # After a crash the system has given the id to a process that has nothing to do with it: us.
    (data / "postmaster.pid").write_text(f"{os.getpid()}\n{data}\n1\n5432\n{data}\nlocalhost\n1 1\nready   \n")
    with EmbeddedPostgres.dev(project) as again:
        assert await ask(again.url, "SELECT 1") == 1


def test_a_server_of_somebody_elses_on_the_same_data_is_left_alone(project):
    with EmbeddedPostgres.dev(project) as server:
        data, postgres = server.state_folder / "data", server.binaries / "postgres"
    account = server_account()
    by_hand = subprocess.Popen(
        [postgres, "-D", data, "-c", "listen_addresses=", "-c", f"unix_socket_directories={data}"],
        user=account and account.uid,
        group=account and account.gid,
        extra_groups=[] if account else None,
        stderr=subprocess.DEVNULL,
        cwd="/",
    )
    try:
        eventually(lambda: "ready" in _text(data / "postmaster.pid"))
        with pytest.raises(EmbeddedError, match=f"somebody else's runs on .*process {by_hand.pid}"):
            EmbeddedPostgres.dev(project).start()
    finally:
        by_hand.terminate()
        by_hand.wait()


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""


async def test_the_password_is_made_anew_when_its_file_is_lost(project):
    with EmbeddedPostgres.dev(project) as server:
        url, state = server.url, server.state_folder
    (state / "last.json").unlink()
    with EmbeddedPostgres.dev(project) as again:
        assert again.url != url
        assert await ask(again.url, "SELECT 1") == 1


def test_data_of_a_version_that_is_not_at_hand_are_refused(project):
    with EmbeddedPostgres.dev(project) as server:
        data = server.state_folder / "data"
    (data / "PG_VERSION").write_text("14\n")
    with pytest.raises(IncompatibleData, match=r"made by PostgreSQL 14, which is not at hand(.|\n)*remove"):
        EmbeddedPostgres.dev(project).start()


async def test_data_choose_the_binaries_of_their_own_version(project, every_binaries):
    if len({found.major for found in every_binaries}) < 2:
        pytest.skip("needs two versions of PostgreSQL")
    preferred, *_, last = every_binaries
    with EmbeddedPostgres.dev(project, binaries=last.folder) as server:
        assert server.major == last.major
    with EmbeddedPostgres.dev(project) as again:
        assert again.major == last.major
        assert await ask(again.url, "SELECT 1") == 1
    with pytest.raises(IncompatibleData, match=f"PostgreSQL {preferred.version}, not {last.major}"):
        EmbeddedPostgres.dev(project, binaries=preferred.folder).start()


async def test_every_version_at_hand_serves(every_binaries):
    for found in every_binaries:
        with EmbeddedPostgres.temporary(binaries=found.folder) as server:
            assert int(await ask(server.url, "SHOW server_version_num")) // 10000 == found.major


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
async def test_as_root_nothing_of_ours_is_opened_to_others(project, open_folder):
    closed = open_folder / "closed"
    closed.mkdir(mode=0o700)
    folder = closed / ".uno-jobs"
    with EmbeddedPostgres.dev(folder) as server:
        try:
            state = Path((folder / "postgres.path").read_text().strip())
            assert server.state_folder == state
            assert state.parent == Path("/var/lib/uno-jobs")
            assert (state / "data").stat().st_uid != 0
            assert await ask(server.url, "SELECT 1") == 1
            assert stat.S_IMODE(closed.stat().st_mode) == 0o700
        finally:
            server.stop()
            shutil.rmtree(state)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to make a folder of another user's")
def test_as_root_the_data_of_a_user_are_left_alone(project):
    (project / "postgres").mkdir(parents=True)
    os.chown(project / "postgres", 65534, 65534)
    with pytest.raises(IncompatibleData, match="made by the user"):
        EmbeddedPostgres.dev(project).start()
