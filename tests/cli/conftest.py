"""The command, run inside the test or as a process, and a database with something in it to look at."""

from __future__ import annotations

import asyncio
import json
import sys
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from uno_jobs import cli
from uno_jobs.settings import FALLBACK, NAMES, PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Command = Callable[..., "Result"]

WORKER = "00000000-0000-4000-8000-000000000001"

TASKS = [
    {
        "task": "send_email", "version": version, "sort_key": version, "description": "Sends an e-mail.",
        "options": {"queue": "mail", "priority": 5, "unique": False}, "schema": {},
        "parameters": [{"name": "to", "kind": "positional_or_keyword", "required": True},
                       {"name": "subject", "kind": "positional_or_keyword", "required": False, "default": None}],
    }
    for version in ("1.0", "2.0")
]  # fmt: skip


@dataclass(frozen=True)
class Result:
    """What a command did."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting comes from outside, and the current folder has no pyproject.toml above it."""
    for name in (FALLBACK, *(PREFIX + name.upper() for name in NAMES)):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Returns a function that runs the command inside this process."""

    def run(*arguments: str, url: str | None = None) -> Result:
        if url is not None:
            monkeypatch.setenv("UNO_JOBS_DATABASE_URL", url)
        status = cli.run(arguments)
        captured = capsys.readouterr()
        if status not in (0, 1):
            assert "Traceback" not in captured.err
        return Result(status, captured.out, captured.err)

    return run


def execute(url: str, statement: str, *args: Any) -> list[Any]:
    """Run a statement and return its rows."""

    async def work() -> list[Any]:
        connection = await asyncpg.connect(url)
        try:
            return await connection.fetch(statement, *args)
        finally:
            await connection.close()

    return asyncio.run(work())


def settle(url: str, id_: str, outcome: str, **more: Any) -> None:
    """Let the registered worker start a job and end it so."""
    execute(
        url,
        "UPDATE uno_jobs.live_jobs SET state = 'running', worker_id = $2, lease = 7, attempt = attempt + 1, "
        "started_at = now() WHERE id = $1",
        uuid.UUID(id_),
        uuid.UUID(WORKER),
    )
    done = [uuid.UUID(id_)] if outcome == "succeeded" else []
    others = [] if done else [{"id": id_, "lease": 7, "outcome": outcome, **more}]
    execute(
        url,
        "SELECT * FROM uno_jobs.finish($1, $2, $3, $4, $5)",
        uuid.UUID(WORKER),
        done,
        [7] * len(done),
        ["1"] * len(done),
        json.dumps(others),
    )


@pytest.fixture
def with_tasks(database_url: str) -> str:
    """A database where a living worker has recorded its tasks."""
    execute(
        database_url,
        "SELECT uno_jobs.register_worker($2, "
        "'00000000-0000-4000-8000-000000000002', NULL, 4711, 'host-a', 1, 10, '{mail,default}', $1)",
        json.dumps(TASKS),
        uuid.UUID(WORKER),
    )
    return database_url


PROGRAM = [sys.executable, "-m", "uno_jobs.cli"]
