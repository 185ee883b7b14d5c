"""A PostgreSQL server for tests: one that is named, else a container's, else an embedded one, else this machine's."""

from __future__ import annotations

import http.client
import os
import socket
import warnings
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from uno_jobs.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Generator

    from uno_jobs.embedded.binaries import Binaries

URL_VARIABLE: Final = "UNO_JOBS_TEST_DATABASE_URL"
"""Names a running server; the role must be allowed to create databases."""
CHOICE_VARIABLE: Final = "UNO_JOBS_TEST_PG"
"""``docker`` or ``docker:16``, ``embedded``, ``local``, a major version, or a folder of binaries."""

SETTINGS: Final = {"max_connections": 200, "max_prepared_transactions": 10}
NOT_DURABLE: Final = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}
PING_SECONDS: Final = 1.0


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
    kind, _, version = choice.partition(":")
    with ExitStack() as running:
        url = None
        if kind == "docker" or not choice:
            url = _from_docker(version or "18", running, insist=bool(choice))
        if url is None:
            from uno_jobs.embedded import EmbeddedPostgres

            embedded = EmbeddedPostgres.temporary(binaries=chosen_binaries(choice), settings=SETTINGS)
            url = running.enter_context(embedded).url
        yield url


def docker_engine() -> str | None:
    """The address of a Docker engine that answers, or None; asked by hand, since testcontainers takes a second."""
    host = os.environ.get("DOCKER_HOST", "")
    if host.startswith("tcp://"):
        target = urlsplit(host)
        name, port = target.hostname or "localhost", target.port or 2375
        if os.environ.get("DOCKER_TLS_VERIFY"):
            return host if _listens(name, port) else None
        return host if _answers(http.client.HTTPConnection(name, port, timeout=PING_SECONDS)) else None
    if host and not host.startswith("unix://"):
        return None
    for path in [host.removeprefix("unix://")] if host else _usual_sockets():
        if Path(path).exists() and _answers(_SocketConnection(path)):
            return f"unix://{path}"
    return None


def other_major(taken: int) -> Path | None:
    """Return a folder of binaries of another supported major version than ``taken``, if there is one."""
    return next((one.folder for one in _all_binaries() if one.major != taken), None)


# --- containers ---------------------------------------------------------------------------------------------------


def _from_docker(version: str, running: ExitStack, *, insist: bool) -> str | None:
    """The URL of a fresh container's server, or None where there is no engine and nobody insists on one."""
    engine = docker_engine()
    if engine is None and not (insist and os.environ.get("DOCKER_HOST", "").startswith("ssh://")):
        if insist:
            raise ConfigurationError(
                f"{CHOICE_VARIABLE} asks for Docker, and no engine answers: start it, or set DOCKER_HOST"
            )
        return None
    if engine is not None:
        os.environ.setdefault("DOCKER_HOST", engine)
    try:
        return running.enter_context(_container(version))
    except Exception as error:
        # An engine that answers may still be of no use: no network for the image, no right to start containers;
        # the errors of testcontainers and of the docker package share no base class.
        if insist:
            raise
        warnings.warn(f"the Docker engine at {engine} started no PostgreSQL: {error}", stacklevel=4)
        return None


@contextmanager
def _container(version: str) -> Generator[str]:
    try:
        from testcontainers.community.postgres import PostgresContainer
    except ImportError:  # before 4.15
        from testcontainers.postgres import PostgresContainer

    command = ["postgres", *(f"--{name}={value}" for name, value in (SETTINGS | NOT_DURABLE).items())]
    with PostgresContainer(f"postgres:{version}", driver=None).with_command(command) as container:
        yield container.get_connection_url()


def _usual_sockets() -> list[str]:
    runtime = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
    home = os.environ.get("HOME") or "/nonexistent"
    return [
        "/var/run/docker.sock",
        f"{runtime}/docker.sock",
        f"{home}/.docker/run/docker.sock",
        f"{home}/.docker/desktop/docker.sock",
        f"{runtime}/podman/podman.sock",
    ]


class _SocketConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=PING_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(PING_SECONDS)
        self.sock.connect(self._path)


def _answers(connection: http.client.HTTPConnection) -> bool:
    try:
        connection.request("GET", "/_ping")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _listens(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=PING_SECONDS).close()
    except OSError:
        return False
    return True


# --- binaries -----------------------------------------------------------------------------------------------------


def _all_binaries() -> list[Binaries]:
    from uno_jobs.embedded.account import server_account
    from uno_jobs.embedded.binaries import all_binaries

    return all_binaries(server_account())


def chosen_binaries(choice: str) -> Path | None:
    """The folder that *choice*, a value of ``UNO_JOBS_TEST_PG``, means; None for whichever comes first."""
    if not choice:
        return None
    if "/" in choice:
        return Path(choice)
    found = _all_binaries()
    for one in found:
        if choice in {str(one.major), "embedded" if one.in_wheel else "local"}:
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
