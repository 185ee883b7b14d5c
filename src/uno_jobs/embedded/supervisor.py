"""The small process that owns one embedded server: starts it, waits for its last user, stops it.

Run by its path under ``python -I -S`` with a plan in JSON on stdin, so it imports the standard library only.

Three locks (``flock``) tell everybody where things stand, and the kernel releases them whatever happens:

- ``users.lock``: shared by every process that uses the server. The supervisor waits for it exclusively: when
  it has it, the last user is gone, ``kill -9`` included.
- ``supervisor.lock``: held by the supervisor alone.
- ``server.lock``: held by the supervisor, inherited by every process of the server. Once it is free, nothing
  of the server lives, so a ``postmaster.pid`` that is still there is left over.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypedDict

if TYPE_CHECKING:
    from collections.abc import Callable

SUPERUSER = "postgres"
FAST, IMMEDIATE = signal.SIGINT, signal.SIGQUIT
STOP_SECONDS = 30.0  # for a fast shutdown's checkpoint; after that the server is stopped without one
FRESH_CRASH_SECONDS, MAX_FRESH_CRASHES = 10.0, 3
PR_SET_PDEATHSIG = 1


class Plan(TypedDict):
    """What the starting process asks of its supervisor."""

    state: str  # the folder that holds the locks, the log and the data
    socket_folder: str
    binaries: str  # the folder with postgres and initdb
    version: str
    account: tuple[int, int] | None  # uid and gid to run the server as; None: our own
    port: int
    password: str
    set_password: bool
    database: str  # made together with the data
    settings: dict[str, str]
    keep: bool  # False: stop at once and delete everything at the end
    start_timeout: float
    report_fd: int
    server_lock_fd: int


class Failed(Exception):
    """The server did not come up; the text is for the user."""


class Server:
    """One PostgreSQL: its data, its process, and the pipe that ends when all its processes are gone."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.state = Path(plan["state"])
        self.data = self.state / "data"
        self.port = plan["port"]
        self.log = (self.state / "server.log").open("ab", buffering=0)
        self.process: subprocess.Popen[bytes] | None = None
        self.gone = -1
        self.started_at = 0.0

    def prepare(self) -> None:
        """Make the data folder if there is none. A half-made one never gets its name."""
        plan, unfinished = self.plan, self.state / "data.new"
        made = not self.data.exists()
        if made:
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir(mode=0o700)
            self._give(unfinished)
            # Without initdb's own sync, which takes seconds: what matters is written by checkpoints later.
            options = ["--no-sync", "--locale=C", "-E", "UTF8", "-U", SUPERUSER, "--no-instructions"]
            options += ["--auth-local=trust", "--auth-host=scram-sha-256", "-D", str(unfinished)]
            self._run("initdb", [self._program("initdb"), *options], b"")
        if made or plan["set_password"]:
            statements = [f"ALTER ROLE {SUPERUSER} PASSWORD '{plan['password']}'"]
            if made and plan["database"] != "postgres":
                statements.append(f"CREATE DATABASE {plan['database']}")
            folder = unfinished if made else self.data
            self._forget_dead_server(folder)
            single = [
                self._program("postgres"),
                "--single",
                "-F",
                "-D",
                str(folder),
                "-c",
                "log_checkpoints=off",
            ]
            self._run("postgres --single", [*single, "postgres"], ("\n".join(statements) + "\n").encode())
        if made:
            unfinished.rename(self.data)

    def start(self) -> None:
        """Start the server and return when it takes connections; on another port if ours is taken."""
        for attempt in range(5):
            written_before = self._log_size()
            self._launch()
            if self._wait_until_ready():
                return
            said = self._log_since(written_before)
            if "could not bind IPv4 address" in said and attempt < 4:
                self.port = free_port()
                continue
            raise Failed(said.strip() or "it ended without a word")

    def stop(self) -> None:
        """Stop the server: kindly, then firmly, and return when no process of it is left."""
        if self.process is None:
            return
        kind = FAST if self.plan["keep"] else IMMEDIATE
        for number, seconds in ((kind, STOP_SECONDS), (IMMEDIATE, 5.0), (signal.SIGKILL, 5.0)):
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(number)
            if self.wait_gone(seconds):
                return

    def wait_gone(self, seconds: float) -> bool:
        """Wait until the server and all its children have ended; False if some of them still live."""
        readable, _, _ = select.select([self.gone], [], [], seconds)
        if readable and self.process is not None:
            self.process.wait()
        return bool(readable)

    def _launch(self) -> None:
        self._forget_dead_server(self.data)
        plan = self.plan
        folder = '"' + plan["socket_folder"].replace('"', '""') + '"'
        settings = {
            **plan["settings"],
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": folder,
            "unix_socket_permissions": "0700",
        }
        command = [self._program("postgres"), "-D", str(self.data)]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        if self.gone >= 0:
            os.close(self.gone)
        self.gone, held_by_server = os.pipe()
        try:
            self.process = self._popen(
                command, FAST if plan["keep"] else IMMEDIATE, stdin=subprocess.DEVNULL, pass_fd=held_by_server
            )
        finally:
            os.close(held_by_server)
        self.started_at = time.monotonic()

    def _wait_until_ready(self) -> bool:
        """True when it takes connections; False when it ended instead."""
        assert self.process is not None
        pid_file = self.data / "postmaster.pid"
        deadline = time.monotonic() + self.plan["start_timeout"]
        while self.process.poll() is None:
            with contextlib.suppress(FileNotFoundError):
                lines = pid_file.read_text().splitlines()
                if len(lines) > 7 and lines[0] == str(self.process.pid) and lines[7].startswith("ready"):
                    return True
            if time.monotonic() > deadline:
                self.stop()
                raise Failed(f"it was not ready within {self.plan['start_timeout']:g} s")
            time.sleep(0.005)
        self.wait_gone(5.0)
        return False

    def _forget_dead_server(self, data: Path) -> None:
        # We hold server.lock, and the starter made sure that no other server runs on these data, so these are
        # left over from a crash. PostgreSQL itself would refuse where the process id was given out again.
        (data / "postmaster.pid").unlink(missing_ok=True)
        for left_over in Path(self.plan["socket_folder"]).glob(".s.PGSQL.*"):
            left_over.unlink(missing_ok=True)

    def _run(self, name: str, command: list[str], stdin: bytes) -> None:
        written_before = self._log_size()
        process = self._popen(command, signal.SIGTERM, stdin=subprocess.PIPE)
        try:
            process.communicate(stdin, timeout=self.plan["start_timeout"])
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise Failed(f"{name} did not end within {self.plan['start_timeout']:g} s") from None
        if process.returncode != 0 or "ERROR:" in self._log_since(written_before):
            raise Failed(f"{name} failed:\n{self._log_since(written_before).strip()}")

    def _popen(
        self, command: list[str], at_our_death: signal.Signals, *, stdin: int, pass_fd: int | None = None
    ) -> subprocess.Popen[bytes]:
        uid, gid = self.plan["account"] or (None, None)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        environment |= {"LC_ALL": "C", "TZ": "UTC"}
        inherited = [self.plan["server_lock_fd"]] + ([] if pass_fd is None else [pass_fd])
        return subprocess.Popen(
            command,
            stdin=stdin,
            stdout=self.log,
            stderr=self.log,
            cwd="/",
            env=environment,
            pass_fds=inherited,
            user=uid,
            group=gid,
            extra_groups=None if uid is None else [],
            umask=0o077,
            preexec_fn=end_with_parent(at_our_death),
        )

    def _program(self, name: str) -> str:
        return str(Path(self.plan["binaries"]) / name)

    def _give(self, folder: Path) -> None:
        if self.plan["account"] is not None:
            os.chown(folder, *self.plan["account"])

    def _log_size(self) -> int:
        return os.fstat(self.log.fileno()).st_size

    def _log_since(self, position: int) -> str:
        with (self.state / "server.log").open("rb") as log:
            log.seek(max(position, self._log_size() - 20_000))
            return log.read().decode(errors="replace")


def end_with_parent(number: signal.Signals) -> Callable[[], None] | None:
    """What a child must do to be sent *number* when this process dies (Linux only)."""
    if not sys.platform.startswith("linux"):
        return None
    # Loaded here: after the change of user the child may not be able to read the files of this Python.
    prctl, parent, getppid, leave = ctypes.CDLL(None).prctl, os.getpid(), os.getppid, os._exit

    def ask_kernel() -> None:
        prctl(PR_SET_PDEATHSIG, int(number))
        if getppid() != parent:
            leave(1)

    return ask_kernel


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody uses at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def write_private(path: Path, content: object) -> None:
    """Write *content* as JSON, whole or not at all, readable by ourselves only."""
    unfinished = path.with_name(path.name + ".new")
    unfinished.unlink(missing_ok=True)
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(content, file)
    unfinished.replace(path)


class Supervisor:
    """Keeps one server running while it has users."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.state = Path(plan["state"])
        self.server = Server(plan)
        self.wake_reader, self.wake_writer = os.pipe()
        os.set_blocking(self.wake_writer, False)
        self.lock = os.open(self.state / "supervisor.lock", os.O_RDWR | os.O_CREAT, 0o600)

    def run(self) -> None:
        fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        signal.set_wakeup_fd(self.wake_writer, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda _number, _frame: None)
        try:
            self.server.prepare()
            self.server.start()
        except (Failed, OSError) as error:
            self.server.stop()
            self._report({"failed": str(error)})
            self._clean_up()
            return
        self._announce()
        self._report({"ready": True})
        threading.Thread(target=self._wait_for_last_user, daemon=True).start()
        try:
            self._watch()
        finally:
            self.server.stop()
            self._clean_up()

    def _watch(self) -> None:
        """Return when the server has to stop, or has stopped for good."""
        fresh_crashes = 0
        while True:
            readable, _, _ = select.select([self.wake_reader, self.server.gone], [], [])
            if self.wake_reader in readable:
                return
            self.server.wait_gone(0)
            assert self.server.process is not None
            if self.server.process.returncode == 0:  # somebody stopped it in good order
                return
            fresh = time.monotonic() - self.server.started_at < FRESH_CRASH_SECONDS
            fresh_crashes = fresh_crashes + 1 if fresh else 0
            if fresh_crashes >= MAX_FRESH_CRASHES:
                return
            try:
                self.server.start()
            except (Failed, OSError) as error:
                self.server.log.write(f"uno-jobs: crashed, and does not start again: {error}\n".encode())
                return
            self._announce()

    def _wait_for_last_user(self) -> None:
        try:
            users = os.open(self.state / "users.lock", os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(users, fcntl.LOCK_EX)  # kept until this process ends: newcomers wait for that
        finally:
            os.write(self.wake_writer, b"u")

    def _announce(self) -> None:
        plan = self.plan
        details = {
            "port": self.server.port,
            "password": plan["password"],
            "database": plan["database"],
            "socket_folder": plan["socket_folder"],
            "version": plan["version"],
            "binaries": plan["binaries"],
            "supervisor_pid": os.getpid(),
            "server_pid": self.server.process.pid if self.server.process else 0,
        }
        write_private(self.state / "last.json", details)  # stays, for the password and the port of next time
        write_private(self.state / "running.json", details)

    def _report(self, message: object) -> None:
        with contextlib.suppress(BrokenPipeError), os.fdopen(self.plan["report_fd"], "w") as report:
            json.dump(message, report)

    def _clean_up(self) -> None:
        (self.state / "running.json").unlink(missing_ok=True)
        if not self.plan["keep"]:
            shutil.rmtree(self.state, ignore_errors=True)
        folder = Path(self.plan["socket_folder"])
        if folder.parent != self.state:
            shutil.rmtree(folder, ignore_errors=True)


def main() -> NoReturn:
    plan: Plan = json.load(sys.stdin)
    if os.fork():  # the starter need not wait for us, now or later
        os._exit(0)
    os.chdir("/")
    os.umask(0o077)
    Supervisor(plan).run()
    sys.exit(0)


if __name__ == "__main__":
    main()
