"""Every code block of the README and the docs runs, and shows what the text around it says."""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING

import asyncpg
import pytest

from tests.markdown import ROOT, Reader, blocks_of, commands_of, pages
from uno_jobs.tasks import TaskRegistry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

# These have tests of their own.
_APART = {ROOT / "README.md", *(ROOT / "docs" / name for name in ("transactions.md", "tasks-document.md", "sql.md"))}
OTHERS = [page for page in pages() if page not in _APART]
_LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)")


@pytest.fixture
async def reader(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Reader]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("DATABASE_URL", database_url)
    loaded = set(sys.modules)
    with TaskRegistry.isolated():
        async with Reader(database_url, tmp_path) as reader:
            yield reader
    for name in set(sys.modules) - loaded:
        if name.partition(".")[0] in {"myapp", "shop"}:
            del sys.modules[name]


async def test_readme(reader: Reader, database_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    await reader.read(ROOT / "README.md")

    (answer,) = reader.answers
    assert answer.status_code == 201
    jobs, queues, failed, enqueued = [rows for _, rows in reader.rows]
    assert [(str(row["id"]), row["state"], row["task"]) for row in jobs] == [
        (answer.json()["job"], "succeeded", "send_welcome")
    ]
    assert json.loads(jobs[0]["args"]) == [int(answer.json()["user"]), "ada@example.com"]
    assert json.loads(jobs[0]["result"]) == {"sent_to": "ada@example.com"}
    # The worker serves its queue, in which nothing is left.
    assert [tuple(row) for row in queues] == [("default", 0, 0, 0, None)]
    assert not failed
    assert "Welcome, user 1!" in capsys.readouterr().out
    connection = await asyncpg.connect(database_url)
    try:
        assert await connection.fetchval("SELECT email FROM users") == "ada@example.com"
        state = await connection.fetchval("SELECT state FROM uno_jobs.job_status WHERE id = $1", enqueued[0][0])
        assert state in {"scheduled", "ready", "running", "succeeded"}
    finally:
        await connection.close()


async def test_transactions(reader: Reader, database_url: str) -> None:
    # SQL may enqueue what a worker has recorded.
    connection = await asyncpg.connect(database_url)
    await connection.execute("""
        INSERT INTO uno_jobs.task_versions (task, version, sort_key, options, parameters, schema, first_seen, last_seen)
        VALUES ('confirm_order', '1.0', '1.0', '{"queue": "default", "priority": 5}',
                '[{"name": "order_id", "kind": "positional_or_keyword", "required": true}]', '{}', now(), now())
    """)
    await reader.read(ROOT / "docs" / "transactions.md")
    try:
        # Of orders 1 to 10 all but the one that was rolled back, each with its job.
        orders = await connection.fetch("SELECT id FROM orders ORDER BY id")
        assert [row["id"] for row in orders] == [1, 2, 3, 4, 6, 7, 8, 9, 10]
        jobs = await connection.fetch("SELECT args FROM uno_jobs.job_status ORDER BY created_at, id")
        arguments = [json.loads(row["args"])[0] for row in jobs]
        assert arguments[:9] == [1, 2, 3, 4, 6, 7, 8, 9, 10]
        assert arguments[9:] == [10, 1, *range(1, 11), 1, 1]
    finally:
        await connection.close()
        await reader.namespace["queue"].close()
        for engine in ("engine", "psycopg_engine"):
            await reader.namespace[engine].dispose()
        reader.namespace["sync_engine"].dispose()


@pytest.mark.parametrize("page", OTHERS, ids=lambda page: str(page.relative_to(ROOT)))
async def test_page(reader: Reader, page: Path) -> None:
    await reader.read(page)


async def test_states(database_url: str) -> None:
    """The picture shows the states there are, and the table functions that exist."""
    page = ROOT / "docs" / "states.md"
    (picture,) = [block.content for block in blocks_of(page) if block.language == "mermaid"]
    moves = re.findall(r"^ +(\S+) --> ([^\s:]+)", picture, re.MULTILINE)
    connection = await asyncpg.connect(database_url)
    try:
        states = await connection.fetchval("SELECT enum_range(NULL::uno_jobs.job_state)::text[]")
        assert {state for move in moves for state in move} - {"[*]"} == set(states)
        assert [start for start, end in moves if end == "[*]"] == ["succeeded", "failed", "cancelled"]
        named = set(re.findall(r"`uno_jobs\.(\w+)`", page.read_text(encoding="utf-8")))
        there = await connection.fetchval(
            "SELECT array_agg(proname::text) FROM pg_proc WHERE pronamespace = 'uno_jobs'::regnamespace"
        )
        assert named <= set(there)
        outcomes = await connection.fetchval("SELECT enum_range(NULL::uno_jobs.attempt_outcome)::text[]")
        table = page.read_text(encoding="utf-8").partition("| outcome of an attempt")[2]
        assert set(re.findall(r"^\| `(\w+)`", table, re.MULTILINE)) == set(outcomes)
    finally:
        await connection.close()


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_links(page: Path) -> None:
    """What a page links to in the repository is there."""
    for target in _LINK.findall(page.read_text(encoding="utf-8")):
        if not target.startswith(("http://", "https://", "mailto:")):
            assert (page.parent / target).exists(), f"{page.relative_to(ROOT)} links to {target}, which is not there"


def test_readme_names_its_two_commands() -> None:
    blocks = [block for block in blocks_of(ROOT / "README.md") if block.language == "sh"]
    commands = [words[0] for block in blocks for words in commands_of(block)]
    assert commands[:4] == ["scripts/demo", "scripts/test", "pip", "uno-jobs"]
