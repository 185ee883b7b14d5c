"""Which server the tests run on."""

from __future__ import annotations

import os
import socket
import sys
import tempfile
import threading
import time
import types
from contextlib import contextmanager
from typing import TYPE_CHECKING

import asyncpg
import pytest

from uno_jobs.embedded.account import server_account
from uno_jobs.embedded.binaries import all_binaries
from uno_jobs.errors import BinariesNotFound, ConfigurationError
from uno_jobs.testing import servers
from uno_jobs.testing.servers import docker_engine, other_major, server

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def nothing_chosen(monkeypatch):
    """A machine without Docker on which nothing is chosen."""
    for name in (servers.URL_VARIABLE, servers.CHOICE_VARIABLE, "DOCKER_HOST", "DOCKER_TLS_VERIFY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(servers, "_usual_sockets", list)


@contextmanager
def engine(reply: bytes | None) -> Iterator[str]:
    """A Docker engine as far as ``GET /_ping`` goes; one that never answers where *reply* is None."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder, socket.socket(socket.AF_UNIX) as listener:
        path = f"{folder}/docker.sock"
        listener.bind(path)
        listener.listen()
        over = threading.Event()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                if reply is None:
                    over.wait()
                elif connection.recv(4096).startswith(b"GET /_ping"):
                    connection.sendall(reply)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield path
        finally:
            over.set()
            thread.join()


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK"
REFUSAL = b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize(("reply", "answers"), [(OK, True), (REFUSAL, False), (b"nonsense\r\n\r\n", False)])
def test_a_docker_engine_is_asked_whether_it_is_there(monkeypatch, reply, answers):
    with engine(reply) as path:
        monkeypatch.setattr(servers, "_usual_sockets", lambda: ["/no/such/docker.sock", path])
        assert docker_engine() == (f"unix://{path}" if answers else None)


def test_an_engine_that_hangs_is_not_waited_for(monkeypatch):
    with engine(None) as path:
        monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
        begun = time.monotonic()
        assert docker_engine() is None
        assert time.monotonic() - begun < 10 * servers.PING_SECONDS


def test_an_engine_over_tcp(monkeypatch):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{closed.getsockname()[1]}")
        assert docker_engine() is None
        closed.listen()
        monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
        assert docker_engine() == os.environ["DOCKER_HOST"]


def test_asking_for_docker_where_there_is_none_is_refused(monkeypatch):
    monkeypatch.setenv(servers.CHOICE_VARIABLE, "docker:16")
    with pytest.raises(ConfigurationError, match="no engine answers"), server():
        pass


@pytest.fixture
def broken_container(monkeypatch):
    """An engine that answers, and can start nothing."""

    @contextmanager
    def container(_version: str) -> Iterator[str]:
        raise RuntimeError("no network for the image")
        yield ""

    monkeypatch.setattr(servers, "docker_engine", lambda: "unix:///docker.sock")
    monkeypatch.setattr(servers, "_container", container)
    monkeypatch.setenv("DOCKER_HOST", "unix:///docker.sock")


async def test_an_engine_of_no_use_is_passed_over_with_a_warning(broken_container):
    with pytest.warns(UserWarning, match="no network for the image"), server() as url:
        assert await version(url) >= 15


def test_an_engine_of_no_use_that_was_asked_for_is_an_error(broken_container, monkeypatch):
    monkeypatch.setenv(servers.CHOICE_VARIABLE, "docker:16")
    with pytest.raises(RuntimeError, match="no network"), server():
        pass


def test_a_container_is_used_where_an_engine_answers(monkeypatch):
    asked: list[str] = []

    @contextmanager
    def container(version: str) -> Iterator[str]:
        asked.append(version)
        yield "postgresql://container"

    monkeypatch.setattr(servers, "docker_engine", lambda: "unix:///docker.sock")
    monkeypatch.setattr(servers, "_container", container)
    monkeypatch.setenv("DOCKER_HOST", "unix:///docker.sock")
    with server() as url:
        assert url == "postgresql://container"
    monkeypatch.setenv(servers.CHOICE_VARIABLE, "docker:16")
    with server() as url:
        assert url == "postgresql://container"
    assert asked == ["18", "16"]


def test_a_named_server_comes_first(monkeypatch):
    monkeypatch.setenv(servers.URL_VARIABLE, "postgresql://named")
    monkeypatch.setenv(servers.CHOICE_VARIABLE, "docker:16")
    with server() as url:
        assert url == "postgresql://named"


async def version(url: str) -> int:
    connection = await asyncpg.connect(url)
    try:
        return connection.get_server_version().major
    finally:
        await connection.close()


async def test_each_of_the_machines_own_can_be_chosen(monkeypatch):
    found = all_binaries(server_account())
    for one in found:
        for choice in (str(one.folder), str(one.major)):
            monkeypatch.setenv(servers.CHOICE_VARIABLE, choice)
            with server() as url:
                assert await version(url) == one.major
    for kind, wanted in (("embedded", True), ("local", False)):
        monkeypatch.setenv(servers.CHOICE_VARIABLE, kind)
        majors = [one.major for one in found if one.in_wheel is wanted]
        if majors:
            with server() as url:
                assert await version(url) == majors[0]


@pytest.mark.parametrize("choice", ["14", "anything"])
def test_a_choice_that_is_not_at_hand_lists_what_is(monkeypatch, choice):
    monkeypatch.setenv(servers.CHOICE_VARIABLE, choice)
    with pytest.raises(ConfigurationError, match=rf"{choice}: there is no such PostgreSQL here; at hand: "), server():
        pass


def test_a_folder_without_binaries_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv(servers.CHOICE_VARIABLE, str(tmp_path))
    with pytest.raises(BinariesNotFound), server():
        pass


def test_the_second_version_is_another_one():
    found = all_binaries(server_account())
    other = other_major(found[0].major)
    majors = {one.folder: one.major for one in found}
    assert (other is None) == (len(set(majors.values())) == 1)
    assert other is None or majors[other] != found[0].major


def test_a_container_is_made_as_testcontainers_wants_it(monkeypatch):
    made: dict[str, object] = {}

    class PostgresContainer:
        def __init__(self, image: str, *, driver: str | None) -> None:
            made.update(image=image, driver=driver)

        def with_command(self, command: list[str]) -> PostgresContainer:
            made["command"] = command
            return self

        def __enter__(self) -> PostgresContainer:
            return self

        def __exit__(self, *_: object) -> None:
            made["stopped"] = True

        def get_connection_url(self) -> str:
            return "postgresql://made"

    module = types.ModuleType("testcontainers.community.postgres")
    module.PostgresContainer = PostgresContainer  # type: ignore[attr-defined]  # a stand-in
    monkeypatch.setitem(sys.modules, "testcontainers.community.postgres", module)
    monkeypatch.setattr(servers, "docker_engine", lambda: "unix:///docker.sock")
    monkeypatch.setenv("DOCKER_HOST", "unix:///docker.sock")
    with server() as url:
        assert url == "postgresql://made"
    assert made["image"] == "postgres:18"
    assert made["driver"] is None
    assert "--fsync=off" in made["command"]  # type: ignore[operator]  # a list
    assert made["stopped"]
