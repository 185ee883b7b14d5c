"""The benchmarks run, on a few jobs; their figures are not looked at."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("script", "options", "expected"),
    [
        ("drain.py", ["--jobs", "300", "--rounds", "1", "--batch", "100"], "ratio to no history"),
        ("bulk.py", ["--jobs", "1500", "--rounds", "1"], "ratio of enqueue_many, a transaction of its own"),
        (
            "enqueue.py",
            ["--jobs", "50", "--rounds", "1", "--enqueuers", "5", "--backlog", "20000"],
            "ratio of notify to notify=False",
        ),
        (
            "latency.py",
            ["--jobs", "30000", "--rounds", "1", "--samples", "10"],
            "beside a busy queue, ratio to bare SQL, p50",
        ),
        ("idle.py", ["--seconds", "0.2"], "supervisor, resident MB"),
        ("rescue.py", ["--rounds", "1", "--case", "worker"], "kill -9 of a worker process, s, median"),
        (
            "workflows.py",
            ["--jobs", "100", "--chains", "10", "--members", "50", "--steps", "5", "--rounds", "1"],
            "step to step on an idle worker, ms, median",
        ),
        ("retention.py", ["--jobs", "300", "--history", "20000", "--rounds", "1"], "ratio"),
        (
            "curves.py",
            ["--jobs", "200", "--rounds", "1", "--depths", "0", "300", "--dead", "0", "300"],
            "lowest ratio of a worker, ready jobs behind",
        ),
        ("retention_size.py", ["--jobs", "20", "--days", "1"], "growth in the last half"),
    ],
    ids=["drain", "bulk", "enqueue", "latency", "idle", "rescue", "workflows", "retention", "curves", "retention_size"],
)
def test_benchmark(database_url: str, script: str, options: list[str], expected: str) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / script), database_url, "--json", *options],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)
    assert results[expected] > 0
    assert results["measured on"]["postgresql"]


@pytest.mark.parametrize(
    ("script", "expected"), [("child.py", "extra, µs"), ("invocation.py", "job and run")], ids=["child", "invocation"]
)
def test_a_benchmark_without_a_database(script: str, expected: str) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / script), "--json", "--runs", "20"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[expected] > 0
