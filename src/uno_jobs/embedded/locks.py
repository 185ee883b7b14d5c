"""File locks (``flock``) which the kernel releases when their holder is gone, however it went."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from typing import TYPE_CHECKING

from uno_jobs.errors import EmbeddedError

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

POLL_SECONDS = 0.01


class FileLock:
    """A lock that this process holds until :meth:`release`, or until it ends."""

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self.fd = fd
        self._pid = os.getpid()

    @classmethod
    def try_shared(cls, path: Path) -> FileLock | None:
        """The lock, shared with other holders, or None while somebody has it alone."""
        return cls._try(path, fcntl.LOCK_SH)

    @classmethod
    def try_alone(cls, path: Path, *, create: bool = True) -> FileLock | None:
        """The lock for us alone, or None while anybody has it."""
        return cls._try(path, fcntl.LOCK_EX, create=create)

    @classmethod
    def _try(cls, path: Path, kind: int, *, create: bool = True) -> FileLock | None:
        flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | (os.O_CREAT if create else 0)
        fd = os.open(path, flags, 0o600)
        try:
            fcntl.flock(fd, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return None
        except OSError as error:
            os.close(fd)
            raise EmbeddedError(
                f"{path} cannot be locked ({error.strerror}): its file system has no file locks. "
                "Use a folder on a local disk."
            ) from error
        return cls(path, fd)

    def release(self) -> bool:
        """Give the lock up; False in a forked child, where only a copy is closed: the lock is its parent's."""
        ours = os.getpid() == self._pid
        if ours:
            # A forked child may hold a copy, which would keep the lock beyond our close.
            fcntl.flock(self.fd, fcntl.LOCK_UN)
        self.close()
        return ours

    def close(self) -> None:
        """Close our copy; the lock lives on where a child process inherited it."""
        os.close(self.fd)
        self.fd = -1


def is_held(path: Path, *, missing: bool = False) -> bool:
    """Whether anybody holds the lock at the moment; *missing* where its file is not there."""
    try:
        lock = FileLock.try_alone(path, create=False)
    except FileNotFoundError:
        return missing
    if lock is None:
        return True
    lock.release()
    return False


@contextlib.contextmanager
def locked(path: Path, deadline: float) -> Generator[None]:
    """Hold the lock alone; *deadline* is by ``time.monotonic()``.

    Raises:
        EmbeddedError: others still had it at the deadline.
    """
    while (lock := FileLock.try_alone(path)) is None:
        if time.monotonic() > deadline:
            raise EmbeddedError(f"another process has been starting this server for too long ({path} is locked)")
        time.sleep(POLL_SECONDS)
    try:
        yield
    finally:
        lock.release()
