"""The account that the server runs as: our own, or an ordinary one where we are root."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from uno_jobs.errors import NoServerAccount

if TYPE_CHECKING:
    from pathlib import Path

CANDIDATES = ("postgres", "nobody")


@dataclass(frozen=True, slots=True)
class Account:
    """An ordinary account of this machine."""

    name: str
    uid: int
    gid: int

    def can_reach(self, folder: Path) -> bool:
        """Whether the account may pass through *folder* and all above it, by their modes (not by ACLs)."""
        for place in (folder, *folder.parents):
            found = place.stat()
            bit = 0o100 if found.st_uid == self.uid else 0o010 if found.st_gid == self.gid else 0o001
            if not found.st_mode & bit:
                return False
        return True


def server_account() -> Account | None:
    """The account to run the server as, or None where that is our own.

    Raises:
        NoServerAccount: we are root, and none of ``postgres`` and ``nobody`` exists and can be run as.
    """
    if os.geteuid() != 0:
        return None
    import pwd  # not on Windows

    tried: list[str] = []
    for name in CANDIDATES:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            tried.append(f"{name}: no such account")
            continue
        account = Account(name, entry.pw_uid, entry.pw_gid)
        refusal = run_as(account, ["/bin/sh", "-c", ":"])[1] if account.uid else "its user id is 0"
        if not refusal:
            return account
        tried.append(f"{name}: {refusal}")
    raise NoServerAccount(
        "PostgreSQL does not run as root, and there is no ordinary account to run it as "
        f"({'; '.join(tried)}). Add one (`useradd --system postgres`), run as an ordinary user, "
        "or name a database with UNO_JOBS_DATABASE_URL."
    )


def run_as(account: Account | None, command: list[str]) -> tuple[str, str]:
    """Run a short *command* as *account*; returns (what it printed, what went wrong or an empty string)."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            cwd="/",
            timeout=20,
            check=False,
            user=None if account is None else account.uid,
            group=None if account is None else account.gid,
            extra_groups=None if account is None else [],
        )
    except (OSError, subprocess.SubprocessError) as error:
        return "", str(getattr(error, "strerror", None) or error)
    if done.returncode != 0:
        last_words = done.stderr.strip().splitlines()[-1:]
        return done.stdout, f"exit status {done.returncode}" + "".join(f": {line}" for line in last_words)
    return done.stdout, ""
