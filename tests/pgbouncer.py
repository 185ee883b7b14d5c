"""A real PgBouncer in transaction mode before the tests' server; what needs one is skipped where there is none."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit, urlunsplit

import pytest

from uno_jobs.embedded.account import server_account

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PROGRAM = shutil.which("pgbouncer", path=os.environ.get("PATH", "") + ":/usr/sbin")
needs_pgbouncer = pytest.mark.skipif(PROGRAM is None, reason="pgbouncer is not installed (Debian's package has it)")


@contextlib.contextmanager
def pgbouncer(url: str, folder: Path, *, pool_size: int = 4, settings: str = "") -> Iterator[str]:
    """Run one before a database's server, with further settings; yields the database's URL through it."""
    assert PROGRAM is not None
    there = urlsplit(url)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    account = server_account()
    password = unquote(there.password or "").replace("'", "''")
    configuration = folder / "pgbouncer.ini"
    configuration.write_text(
        "[databases]\n"
        f"* = host={there.hostname} port={there.port or 5432} user={unquote(there.username or '')}"
        f" password='{password}'\n"
        "[pgbouncer]\n"
        f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n"
        f"pool_mode = transaction\ndefault_pool_size = {pool_size}\nmax_client_conn = 500\n"
        "server_login_retry = 1\nadmin_users = admin\n" + settings
    )
    log = folder / "log"
    with log.open("wb") as out:
        # Where we are root it becomes who the server runs as: it refuses to be root.
        become = [] if account is None else ["-u", account.name]
        process = subprocess.Popen([PROGRAM, *become, str(configuration)], stdout=out, stderr=out)
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.02)
        yield urlunsplit(there._replace(netloc=f"{there.username}@127.0.0.1:{port}"))
    finally:
        process.terminate()
        process.wait(30)
