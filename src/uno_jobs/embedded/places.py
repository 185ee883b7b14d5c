"""Where an embedded server's files lie: a folder's state, a temporary one, the folder of its socket."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from uno_jobs.errors import EmbeddedError, IncompatibleData

if TYPE_CHECKING:
    from uno_jobs.embedded.account import Account

SHARED_STATE = Path("/var/lib/uno-jobs")  # for root, whose own folders the server's account cannot enter
MEMORY = Path("/dev/shm")  # noqa: S108 - only private folders are made in it
MEMORY_NEEDED = 2 * 1024**3
TEMPORARY_PREFIX, SOCKET_PREFIX = "uno-jobs-temporary-", "uno-jobs-socket-"
LONGEST_SOCKET_PATH = 100  # bytes; the systems' limits are 103 (macOS) and 107 (Linux)
ABANDONED_SECONDS = 60.0


def lasting_state(folder: Path, account: Account | None) -> Path:
    """The state folder of *folder*'s server, made if missing; below ``/var/lib`` where it runs as *account*.

    Raises:
        IncompatibleData: it was made by another user.
        EmbeddedError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        folder = folder.resolve()
        with contextlib.suppress(FileExistsError), (folder / ".gitignore").open("x") as file:
            file.write("*\n")
        inside, pointer = folder / "postgres", folder / "postgres.path"
        if account is None:
            return _own_state(inside, pointer)
        if inside.exists():
            raise IncompatibleData(
                f"the data in {inside} were made by the user {_owner(inside)}, and you are root: "
                "run as that user, name another folder, or remove it to begin anew"
            )
        state = SHARED_STATE / hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
        make_public(SHARED_STATE)
        if not state.exists():
            state.mkdir(mode=0o711, exist_ok=True)  # another process may be as far as this
            state.chmod(0o711)  # whatever the umask is: the account has to pass through
        (state / "folder").write_text(f"{folder}\n")  # for whoever wonders later what may be removed
        pointer.write_text(f"{state}\n")
    except OSError as error:
        raise EmbeddedError(f"the folder {folder} cannot be used for a server: {error}") from error
    data = state / "data"
    if data.exists() and data.stat().st_uid != account.uid:
        raise IncompatibleData(
            f"the data in {data} belong to {_owner(data)}, and the server would run as {account.name}"
        )
    return state


def _own_state(inside: Path, pointer: Path) -> Path:
    if inside.exists():
        if inside.stat().st_uid != os.geteuid():
            raise IncompatibleData(
                f"the data in {inside} were made by the user {_owner(inside)}: run as that user, or name another folder"
            )
        return inside
    if pointer.exists():
        raise IncompatibleData(
            f"the server of {inside.parent} was made by root (its data: {pointer.read_text().strip()}): "
            f"run as root, name another folder, or remove {pointer} to begin anew"
        )
    inside.mkdir(mode=0o700, exist_ok=True)
    return inside


def temporary_state(account: Account | None) -> Path:
    """A fresh state folder for a server that will not last: in memory where more than 2 GB are free."""
    for base in (MEMORY, Path(tempfile.gettempdir()), SHARED_STATE):
        try:
            if base == MEMORY and shutil.disk_usage(base).free < MEMORY_NEEDED:
                continue
            if base == SHARED_STATE and account is not None:
                make_public(base)
            if account is not None and not account.can_reach(base):
                continue
            remove_abandoned(base)
            state = Path(tempfile.mkdtemp(prefix=TEMPORARY_PREFIX, dir=base))
        except OSError:
            continue  # not there, or not ours to write to: the next one
        if account is not None:
            state.chmod(0o711)
        return state
    raise EmbeddedError(
        f"no folder for a temporary server: {MEMORY} and {tempfile.gettempdir()} cannot be used; set TMPDIR"
    )


def remove_abandoned(base: Path) -> None:
    """Delete what temporary servers left behind whose supervisor was killed too."""
    from uno_jobs.embedded.locks import FileLock
    from uno_jobs.embedded.sharing import read_json

    for place in base.glob(TEMPORARY_PREFIX + "*"):
        with contextlib.suppress(OSError):
            found = place.lstat()
            fresh = time.time() - found.st_mtime < ABANDONED_SECONDS  # its maker may not hold its locks yet
            if fresh or not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
                continue
            users, server = (
                FileLock.try_alone(place / "users.lock"),
                FileLock.try_alone(place / "server.lock"),
            )
            if users is not None and server is not None:
                socket_folder = Path(str(read_json(place / "last.json").get("socket_folder") or place))
                shutil.rmtree(place, ignore_errors=True)
                if socket_folder.name.startswith(SOCKET_PREFIX):
                    shutil.rmtree(socket_folder, ignore_errors=True)
            for lock in (users, server):
                if lock is not None:
                    lock.release()


def socket_folder(state: Path, account: Account | None, remembered: str | None) -> Path:
    """A folder for the socket which only the server's account can enter, on a path that is short enough.

    *remembered* is the one of last time, used again if it is still what it has to be.
    """
    uid = os.geteuid() if account is None else account.uid
    inside = state / "socket"
    if _short_enough(inside):
        if not inside.exists():
            inside.mkdir(mode=0o700)
            _give(inside, account)
        return inside
    if remembered:
        with contextlib.suppress(OSError):
            found = Path(remembered).lstat()
            if stat.S_ISDIR(found.st_mode) and found.st_uid == uid and stat.S_IMODE(found.st_mode) == 0o700:
                return Path(remembered)
    own = [] if account else [Path(place) for place in (os.environ.get("XDG_RUNTIME_DIR"),) if place]
    for base in (*own, Path(tempfile.gettempdir()), Path("/tmp")):  # noqa: S108 - a private folder is made inside
        if not _short_enough(base / (SOCKET_PREFIX + "12345678")):
            continue
        with contextlib.suppress(OSError):
            if account is None or account.can_reach(base):
                made = Path(tempfile.mkdtemp(prefix=SOCKET_PREFIX, dir=base))
                _give(made, account)
                return made
    raise EmbeddedError(
        f"the path {inside} is too long for a Unix socket, and no shorter folder can be used; set TMPDIR"
    )


def make_public(folder: Path) -> None:
    """Make *folder*, if it is missing, open to be read by every account whatever the umask is."""
    if not folder.exists():
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        folder.chmod(0o755)


def _short_enough(folder: Path) -> bool:
    return len(os.fsencode(folder / ".s.PGSQL.65535")) <= LONGEST_SOCKET_PATH


def _give(folder: Path, account: Account | None) -> None:
    if account is not None:
        os.chown(folder, account.uid, account.gid)


def _owner(path: Path) -> str:
    try:
        return path.owner()
    except (KeyError, OSError):
        return str(path.stat().st_uid)
