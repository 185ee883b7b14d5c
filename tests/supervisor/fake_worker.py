"""A worker that does no work: registers over the socket, writes what happens to it into a file, obeys a script.

FAKE_LOG: the file it appends lines to. FAKE_BEHAVIOUR: words, see ``main``. FAKE_DATABASE: register there as well.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from pathlib import Path

CONFIG = json.loads(os.environ["UNO_JOBS_PROCESS"])
WORDS = os.environ.get("FAKE_BEHAVIOUR", "").split()
control = socket.socket(fileno=CONFIG["control_fd"])
signals = 0


def note(*words: object) -> None:
    with Path(os.environ["FAKE_LOG"]).open("a") as file:
        file.write(" ".join(map(str, words)) + "\n")


def say(event: str, **values: object) -> None:
    control.sendall(json.dumps({"event": event, **values}).encode() + b"\n")


async def register(id_: uuid.UUID) -> None:
    if url := os.environ.get("FAKE_DATABASE"):
        import asyncpg

        connection = await asyncpg.connect(url)
        await connection.execute(
            "SELECT uno_jobs.register_worker($1, $2, $3, $4, 'here', 1, 10, '{default}', '[]')",
            id_, uuid.UUID(CONFIG["supervisor_id"]), CONFIG["lock_key"], os.getpid(),
        )  # fmt: skip
        await connection.close()
    say("registered", worker_id=str(id_))
    note("registered", id_, os.getpid())


def on_signal(number: int, _: object) -> None:
    global signals
    signals += 1
    note("signal", signal.Signals(number).name, signals)
    say("draining")
    if "stubborn" in WORDS and signals < 2:
        return
    if "deaf" in WORDS:
        return
    say("stopped")
    note("stopped")
    os._exit(0)


def main() -> None:
    if "mute" in WORDS or "hog" in WORDS:
        import ctypes

        # As child.py does: such a one would not notice otherwise that its supervisor is gone.
        ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)
    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    note("started", os.getpid(), os.getppid())
    for word in WORDS:
        if word.startswith("exit="):
            os._exit(int(word[5:]))
    if "once" in WORDS and Path(os.environ["FAKE_LOG"]).read_text().count("started") == 1:
        asyncio.run(register(uuid.uuid4()))
        os._exit(7)
    asyncio.run(register(uuid.uuid4()))
    if "child" in WORDS:
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        note("child", child.pid)
    if "orphan" in WORDS:
        # The shell ends at once, and what it leaves ends soon after: then only process 1 can reap it.
        left = subprocess.run(
            ["sh", "-c", "sleep 0.2 & echo $!"], stdout=subprocess.PIPE, text=True, check=True
        ).stdout.strip()
        note("orphan", left, os.getppid())
        while Path(f"/proc/{left}").exists():
            time.sleep(0.01)
        note("reaped", left)
    if "hog" in WORDS:
        import re

        re.match(r"(a+)+$", "a" * 60 + "b")
        note("hogged")
    if "babble" in WORDS:
        control.sendall(b"[1]\n")
    if "mute" in WORDS:
        control.close()
        while True:
            signal.pause()
    with contextlib.suppress(ConnectionResetError):  # what it was told and never read makes a reset of the end
        assert not control.recv(1), "a supervisor says nothing"
    note("orphaned")
    os._exit(4)


main()
