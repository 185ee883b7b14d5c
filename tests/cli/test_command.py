"""The command as a whole: help, bad input, trouble with the database."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.cli.conftest import execute
from uno_jobs.cli import output

if TYPE_CHECKING:
    from pathlib import Path


def test_help_names_every_command(command: Any) -> None:
    shown = command("--help")
    assert shown.status == 0
    for name in (
        "dev",
        "worker",
        "db",
        "enqueue",
        "status",
        "jobs",
        "tasks",
        "workers",
        "doctor",
        "check",
        "config",
        "bench",
    ):
        assert f"\n  {name} " in shown.out
    assert command("--version").out.startswith("uno-jobs ")


def test_help_loads_nothing_slow() -> None:
    code = (
        "import sys\nfrom uno_jobs import cli\ncli.run(['--help'])\n"
        "slow = {'sqlalchemy', 'alembic', 'pydantic', 'asyncpg', 'rich', 'asyncio', 'psutil'}\n"
        "sys.exit(', '.join(slow & set(sys.modules)) or 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize(
    "arguments",
    [
        ["frobnicate"],
        ["jobs"],
        ["status", "--frobnicate"],
        ["jobs", "list", "--state", "tired"],
        ["jobs", "list", "--limit", "0"],
        ["jobs", "show", "not-a-uuid"],
        ["worker", "--app", "x", "--concurrency", "0"],
        ["worker", "--app", "x", "--queue", "mail:many"],
        ["worker", "--database-url", "postgresql://localhost/x"],
        ["worker", "--app", "x"],
        ["status"],
        ["status", "--database-url", "mysql://localhost/x"],
        ["db", "upgrade"],
        ["db", "downgrade", "base", "--database-url", "postgresql://localhost/x"],
        ["db", "sql", "9999"],
        ["config", "--schema", 'a"b'],
        ["enqueue", "t", "--args", "{"],
        ["enqueue", "t", "--args", "{}"],
        ["enqueue", "t", "--args", "[NaN]"],
        ["enqueue", "t", "--kwargs", "[]"],
        ["enqueue", "t", "--metadata", "[]"],
        ["enqueue", "t", "--delay", "-1"],
        ["enqueue", "t", "--delay", "1e300"],
        ["enqueue", "t", "--run-at", "tomorrow"],
        ["enqueue", "t", "--run-at", "2030-01-01T00:00:00"],
        ["enqueue", "t", "--delay", "1", "--run-at", "2030-01-01T00:00:00Z"],
        ["enqueue", "t", "--args", '["' + "x" * 1_000_001 + '"]'],
    ],
    ids=lambda arguments: " ".join(arguments)[:60],
)
def test_bad_input_is_refused_with_a_sentence(command: Any, arguments: list[str]) -> None:
    refused = command(*arguments)
    assert refused.status == 2
    assert refused.err.strip()
    assert "Traceback" not in refused.err


@pytest.mark.parametrize("arguments", [["status"], ["worker", "--app", "x"], ["db", "upgrade"], ["enqueue", "t"]])
def test_a_database_that_is_down_is_named(command: Any, arguments: list[str], unused_tcp_port: int) -> None:
    url = f"postgresql://me:secret@127.0.0.1:{unused_tcp_port}/x"
    failed = command(*arguments, url=url)
    assert failed.status == 1
    assert len(failed.err.splitlines()) == 1
    assert "cannot be reached" in failed.err
    assert "secret" not in failed.err


@pytest.mark.parametrize("arguments", [["status"], ["worker", "--app", "x"], ["db", "check"], ["enqueue", "t"]])
def test_a_database_without_the_schema_is_told_so(command: Any, arguments: list[str], database_url: str) -> None:
    failed = command(*arguments, "--schema", "elsewhere", url=database_url)
    assert failed.status == 1
    assert "run 'uno-jobs db upgrade'" in failed.err


def test_a_database_that_does_not_exist_is_told_so(command: Any, database_url: str) -> None:
    failed = command("status", url=database_url + "_not")
    assert failed.status == 1
    assert "does not exist" in failed.err


def test_a_schema_from_the_future_is_told_so(command: Any, database_url: str) -> None:
    execute(database_url, "UPDATE uno_jobs.schema_info SET revision = 99, min_code = 99")
    failed = command("status", url=database_url)
    assert failed.status == 1
    assert "upgrade uno-jobs here" in failed.err


def test_a_reader_that_goes_away_is_no_trouble(with_tasks: str) -> None:
    listing = f"{sys.executable} -m uno_jobs.cli tasks --json --database-url {with_tasks} | head -c 1"
    done = subprocess.run(["bash", "-c", listing], capture_output=True, text=True, check=True)
    assert "Traceback" not in done.stderr


def test_config_says_where_each_setting_came_from(
    command: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.uno-jobs]\napp = ["shop.tasks"]\n')
    monkeypatch.setenv("UNO_JOBS_PROCESSES", "4")
    monkeypatch.setenv("DATABASE_URL", "postgresql://me:secret@host/db")
    shown = command("config", "--queue", "mail:2", "--json")
    assert shown.status == 0
    assert "secret" not in shown.out
    found = shown.json
    assert found["database_url"] == {"value": "postgresql://me:***@host/db", "source": "DATABASE_URL"}
    assert found["processes"] == {"value": 4, "source": "UNO_JOBS_PROCESSES"}
    assert found["queues"] == {"value": ["mail:2"], "source": "--queue"}
    assert found["app"]["source"].endswith("pyproject.toml [tool.uno-jobs] app")
    assert found["grace"] == {"value": 25.0, "source": "default"}
    table = command("config")
    assert "shop.tasks" in table.out
    assert "secret" not in table.out


def test_tables_do_not_let_data_drive_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    output.write_table(["a", "n"], [["\x1b[31mred\nline [bold]x[/bold] :smile:", 5]], title="T")
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "\\x1b[31mred\\nline [bold]x[/bold] :smile:" in shown


def test_ages_are_read_by_people() -> None:
    assert [output.ago(seconds) for seconds in (None, 0.4, 119, 121, 7300, 200_000)] == [
        "", "0 s", "119 s", "2 min", "2 h", "2 d",
    ]  # fmt: skip
    assert output.shorten("a  long\ntext", 7) == "a long…"
    assert output.cell(True) == "yes"
