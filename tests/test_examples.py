"""The demo, as a program: what it prints is what it promises."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import asyncpg
import pytest

from uno_jobs.tasks import TaskRegistry
from uno_jobs.testing import test_task

ROOT = Path(__file__).parents[1]


def demo(*options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the demo without a terminal."""
    return subprocess.run(
        [sys.executable, "-m", "examples.stdlib_survey.demo", *options],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


async def test_demo(database_url: str, tmp_path: Path) -> None:
    output = tmp_path / "a new one"
    done = demo("--database-url", database_url, "--limit", "350", "--output", str(output))
    assert done.returncode == 0, done.stderr
    printed = done.stdout
    steps, told = printed.index("steps done: 14 of 14"), printed.index("350 modules of ")
    assert "300 jobs committed, 50 rolled back on purpose" in printed
    assert "seen by its own transaction: 50 rows, 50 jobs" in printed
    assert "seen by everybody:            0 rows, 0 jobs" in printed
    assert "finished: 300 of 300" in printed
    assert "group of 12: 12 succeeded" in printed[steps:told]
    assert "draw_imports  succeeded" in printed[steps:told]
    assert "could not be parsed" not in printed
    assert "What to try next" in printed
    for name in ("stdlib.dot", "stdlib.svg"):
        assert os.path.relpath(output / name, ROOT) in printed[told:]
        assert (output / name).stat().st_size > 10_000
    assert "\x1b" not in printed

    connection = await asyncpg.connect(database_url)
    try:
        states = await connection.fetch("SELECT state::text, count(*) FROM uno_jobs.job_status GROUP BY state")
        assert sum(row["count"] for row in states) == 300 + 14
        assert {row["state"] for row in states} <= {"succeeded", "failed"}
        assert await connection.fetchval("SELECT count(*) FROM source_files") == 300
        workers = await connection.fetchval("SELECT count(*) FROM uno_jobs.workers")
        assert workers == 3
    finally:
        await connection.close()


def test_without_a_database() -> None:
    done = demo("--database-url", "postgresql://nobody@127.0.0.1:1/none")
    assert done.returncode == 1
    assert done.stderr.startswith("scripts/demo: ")
    assert "Traceback" not in done.stderr


def test_without_a_place_for_the_picture() -> None:
    done = demo("--output", str(ROOT / "README.md"))
    assert done.returncode == 1
    assert done.stderr.startswith("scripts/demo: ")
    assert "README.md" in done.stderr
    assert "Traceback" not in done.stderr


async def test_parse_source(tmp_path: Path) -> None:
    with TaskRegistry.isolated():
        from examples.stdlib_survey.app import parse_source

        found = await test_task(parse_source, args=[str(Path(sysconfig.get_path("stdlib")) / "dataclasses.py")])
        assert found["lines"] > 1000
        assert found["functions"] > 20
        broken = tmp_path / "broken.py"
        broken.write_text("def (:")
        with pytest.raises(Exception, match="cannot be parsed"):
            await test_task(parse_source, args=[str(broken)])
