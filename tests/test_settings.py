"""Settings: which source wins, and what a wrong value is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from uno_jobs.errors import ConfigurationError
from uno_jobs.settings import NAMES, load_settings


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").write_text(
        '[tool.uno-jobs]\napp = ["shop.tasks"]\nqueues = ["mail:2", "default"]\nconcurrency = 7\nmax-lost = 9\n'
    )
    (tmp_path / "inner" / "deeper").mkdir(parents=True)
    return tmp_path


def load(options: dict[str, Any] | None = None, environment: dict[str, str] | None = None, folder: Any = None) -> Any:
    return load_settings(options, environment=environment or {}, folder=folder or Path("/"))


def test_defaults() -> None:
    settings = load()
    assert (settings.schema, settings.queues, settings.concurrency) == ("uno_jobs", (("default", None),), 100)
    assert (settings.grace, settings.max_lost, settings.pooled, settings.notify) == (25.0, 3, False, True)
    assert settings.sources == {}


def test_options_win_over_the_environment_and_that_over_the_file(project: Path) -> None:
    environment = {"UNO_JOBS_CONCURRENCY": "8", "UNO_JOBS_PROCESSES": "2", "UNO_JOBS_POOLED": "true"}
    settings = load({"processes": 3, "grace": None, "app": []}, environment, project / "inner" / "deeper")
    assert (settings.processes, settings.concurrency, settings.max_lost, settings.pooled) == (3, 8, 9, True)
    assert settings.app == ("shop.tasks",)
    assert settings.queues == (("mail", 2), ("default", None))
    file = f"{project / 'pyproject.toml'} [tool.uno-jobs]"
    assert settings.sources == {
        "processes": "--processes",
        "concurrency": "UNO_JOBS_CONCURRENCY",
        "pooled": "UNO_JOBS_POOLED",
        "app": f"{file} app",
        "queues": f"{file} queues",
        "max_lost": f"{file} max_lost",
    }


def test_lists_in_the_environment_have_commas() -> None:
    settings = load(environment={"UNO_JOBS_APP": "a.tasks, b.*", "UNO_JOBS_QUEUES": "x:5,y"})
    assert settings.app == ("a.tasks", "b.*")
    assert settings.queues == (("x", 5), ("y", None))


def test_the_databases_url_has_a_fallback() -> None:
    one, two = "postgresql://one/x", "postgresql+asyncpg://two/x"
    assert load(environment={"DATABASE_URL": one}).database() == one
    both = load(environment={"DATABASE_URL": one, "UNO_JOBS_DATABASE_URL": two})
    assert both.database() == two
    assert both.sources == {"database_url": "UNO_JOBS_DATABASE_URL"}
    # Deployment tools leave empty variables behind.
    assert load(environment={"DATABASE_URL": one, "UNO_JOBS_DATABASE_URL": ""}).database() == one


def test_without_a_database_the_error_says_what_to_do() -> None:
    with pytest.raises(ConfigurationError, match=r"UNO_JOBS_DATABASE_URL or DATABASE_URL, or run 'uno-jobs dev'"):
        load().database()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("concurrency", "many", "valid integer"),
        ("concurrency", "0", "greater than or equal to 1"),
        ("grace", "-1", "greater than or equal to 0"),
        ("grace", "nan", "finite"),
        ("poll_interval", "0", "greater than 0"),
        ("log_format", "xml", "'auto', 'human' or 'json'"),
        ("log_level", "INFO", "'debug', 'info'"),
        ("pooled", "perhaps", "valid boolean"),
        ("queues", "mail:x", "name:limit"),
        ("queues", "mail:0", "name:limit"),
        ("queues", ":5", "1 to 128 characters"),
        ("queues", "q" * 129, "1 to 128 characters"),
        ("queues", "a,b,a:2", "named twice"),
        ("queues", ",", "at least one queue"),
        ("schema", "pg_mine", "does not begin with pg_"),
        ("schema", 'a"b', "quotes"),
        ("database_url", "mysql://host/db", "begins with postgresql://"),
    ],
)
def test_a_wrong_value_is_refused_with_its_source(name: str, value: str, message: str) -> None:
    variable = f"UNO_JOBS_{name.upper()}"
    with pytest.raises(ConfigurationError) as caught:
        load(environment={variable: value})
    assert str(caught.value).startswith(variable)
    assert message in str(caught.value)


def test_a_wrong_urls_password_is_not_repeated() -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(environment={"DATABASE_URL": "mysql://me:secret@host/db"})
    assert "secret" not in str(caught.value)
    assert str(caught.value).startswith("DATABASE_URL")


def test_options_are_named_as_they_were_typed() -> None:
    with pytest.raises(ConfigurationError, match=r"^--max-lost"):
        load({"max_lost": 0})
    with pytest.raises(ConfigurationError, match=r"^--queue:"):
        load_settings({"queues": ["a:b"]}, option_names={"queues": "--queue"}, environment={})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[tool.uno-jobs]\nconcurency = 5\n", "no setting 'concurency'"),
        ("[tool.uno-jobs]\nsources = {}\n", "no setting 'sources'"),
        ("[tool]\nuno-jobs = 5\n", "must be a table"),
        ("[tool.uno-jobs\n", "cannot be read"),
        ("[tool.uno-jobs]\napp = [5]\n", "app: input should be a valid string, not 5"),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "pyproject.toml").write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        load(folder=tmp_path)
    assert str(tmp_path / "pyproject.toml") in str(caught.value)
    assert message in str(caught.value)


def test_every_setting_can_come_from_the_environment() -> None:
    values = {
        "database_url": "postgresql://h/d", "schema": "s", "app": "a", "queues": "q", "concurrency": "1",
        "processes": "1", "child_processes": "1", "child_max_jobs": "1", "grace": "1", "poll_interval": "1",
        "max_lost": "1", "max_payload_size": "1", "max_result_size": "1", "max_workflow_steps": "1",
        "log_format": "json", "log_level": "debug", "pooled": "1", "notify": "0", "allow_unlimited": "1",
    }  # fmt: skip
    assert set(values) == set(NAMES)
    settings = load(environment={f"UNO_JOBS_{name.upper()}": value for name, value in values.items()})
    assert set(settings.sources) == set(NAMES)
    assert settings.notify is False
