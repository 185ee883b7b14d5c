"""The worker that the demo starts beside itself, as its user would in another terminal."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator

ROOT = Path(__file__).parents[2]
PROGRAM = Path(sys.executable).with_name("uno-jobs")


@contextlib.contextmanager
def worker(url: str, options: str) -> Generator[subprocess.Popen[bytes]]:
    """Start ``uno-jobs worker``, with its log in a file that is shown if it fails."""
    command = [str(PROGRAM), "worker", *options.split()]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "UNO_JOBS_DATABASE_URL": url},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.terminate()
            if process.wait() != 0:
                log.seek(0)
                sys.stderr.write(log.read().decode(errors="replace"))
