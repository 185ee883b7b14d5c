"""Settings: from a command's options, the environment and pyproject.toml, each remembered with where it came from."""

from __future__ import annotations

import dataclasses
import os
import tomllib
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, cast

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    FiniteFloat,
    NonNegativeInt,
    PositiveInt,
    ValidationError,
)
from pydantic.dataclasses import dataclass

from uno_jobs.errors import ConfigurationError
from uno_jobs.storage.schema import DEFAULT_SCHEMA, quote_schema
from uno_jobs.storage.urls import plain_url

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX: Final = "UNO_JOBS_"
FALLBACK: Final = "DATABASE_URL"
TABLE: Final = "[tool.uno-jobs]"
LONGEST_QUEUE_NAME: Final = 128


def _check_url(url: str | None) -> str | None:
    if url is not None:
        plain_url(url)
    return url


def _check_schema(name: str) -> str:
    quote_schema(name)
    return name


def _split(value: object) -> object:
    """Take ``a, b`` for a list of two, as the environment has no other way to say it."""
    return [part for part in (one.strip() for one in value.split(",")) if part] if isinstance(value, str) else value


def _queues(value: object) -> object:
    value = _split(value)
    if not isinstance(value, list | tuple):
        return value
    return [_queue(one) if isinstance(one, str) else one for one in cast("list[object]", value)]


def _queue(text: str) -> tuple[str, int | None]:
    """Read ``name`` or ``name:limit``."""
    name, colon, limit = text.rpartition(":")
    if not colon:
        name, limit = text, ""
    elif not limit.isascii() or not limit.isdecimal() or int(limit) == 0:
        raise ValueError(f"a queue is given as name or name:limit, with a limit of 1 or more, not as {text!r}")
    if not 1 <= len(name) <= LONGEST_QUEUE_NAME:
        raise ValueError(f"a queue's name has 1 to {LONGEST_QUEUE_NAME} characters, this one has {len(name)}")
    return name, int(limit) if limit else None


def _named_once(queues: tuple[tuple[str, int | None], ...]) -> tuple[tuple[str, int | None], ...]:
    names = [name for name, _ in queues]
    if not names:
        raise ValueError("there must be at least one queue")
    if len(set(names)) < len(names):
        raise ValueError("a queue is named twice")
    return queues


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All settings, checked. Durations are seconds, sizes bytes."""

    database_url: Annotated[str | None, AfterValidator(_check_url)] = None
    schema: Annotated[str, AfterValidator(_check_schema)] = DEFAULT_SCHEMA
    app: Annotated[tuple[str, ...], BeforeValidator(_split)] = ()
    """Modules or patterns whose tasks a worker runs, as for ``discover_tasks``."""
    queues: Annotated[tuple[tuple[str, int | None], ...], BeforeValidator(_queues), AfterValidator(_named_once)] = (
        ("default", None),
    )
    """Queues that a worker serves, in order, each with how many of its jobs one process may run at once."""
    concurrency: Annotated[int, Field(ge=1, le=10_000)] = 100
    """Jobs at once in a worker process."""
    processes: Annotated[int, Field(ge=1, le=1_000)] = 1
    child_processes: Annotated[int | None, Field(ge=1, le=1_000)] = None
    """Jobs at once in child processes of a worker process; None: one for each CPU, at least two."""
    child_max_jobs: PositiveInt = 1_000
    """A child that has run so many jobs is replaced."""
    grace: Annotated[FiniteFloat, Field(ge=0)] = 25.0
    """After SIGTERM, how long running jobs may go on."""
    poll_interval: Annotated[FiniteFloat, Field(gt=0)] = 1.0
    max_lost: PositiveInt = 3
    """A job that alone kills its process so often fails."""
    allow_unlimited: bool = False
    """Whether to run tasks also where the system cannot hold their ``max_memory`` or ``cpu_limit``."""
    max_payload_size: NonNegativeInt = 1_000_000
    max_result_size: NonNegativeInt = 1_000_000
    max_workflow_steps: PositiveInt = 100_000
    """Jobs in one workflow."""
    log_format: Literal["auto", "human", "json"] = "auto"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    pooled: bool = False
    """Whether the database's URL is a transaction pooler's: nothing is then kept in a session, and all is polled."""
    notify: bool = True
    """Whether an enqueue wakes workers by NOTIFY; false for two-phase commit."""
    sources: dict[str, str] = field(default_factory=dict[str, str], compare=False, repr=False)
    """Where each setting came from, in words; what is not in it has its default."""

    def database(self) -> str:
        """Return the database's URL.

        Raises:
            ConfigurationError: None was given.
        """
        if self.database_url is None:
            raise ConfigurationError(
                f"no database: set {PREFIX}DATABASE_URL or {FALLBACK}, or run 'uno-jobs dev' for one without set-up"
            )
        return self.database_url


NAMES: Final = tuple(one.name for one in dataclasses.fields(Settings) if one.name != "sources")


def load_settings(
    options: Mapping[str, Any] | None = None,
    *,
    option_names: Mapping[str, str] | None = None,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Settings:
    """Read the settings: ``options`` win over ``UNO_JOBS_*``, these over pyproject.toml, and that over the defaults.

    The database's URL comes from ``DATABASE_URL`` where nothing else names it.

    Args:
        options: Values by name; None stands for not given.
        option_names: What an option is called, for messages; ``--like-this`` unless given.
        environment: The environment; the process's own unless given.
        folder: Where to look for pyproject.toml, there and in its parents; the current folder unless given.

    Raises:
        ConfigurationError: A value is wrong; the message says where it came from.
    """
    environment = os.environ if environment is None else environment
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    if environment.get(FALLBACK):
        values["database_url"], sources["database_url"] = environment[FALLBACK], FALLBACK
    file = _find_pyproject(folder or Path.cwd())
    for name, value in (_read_pyproject(file) if file else {}).items():
        values[name], sources[name] = value, f"{file} {TABLE} {name}"
    for name in NAMES:
        variable = PREFIX + name.upper()
        # An empty variable is one that was not set, as deployment tools leave them.
        if environment.get(variable):
            values[name], sources[name] = environment[variable], variable
    for name, value in (options or {}).items():
        if value is not None and value != []:
            shown = (option_names or {}).get(name, "--" + name.replace("_", "-"))
            values[name], sources[name] = value, shown
    try:
        return Settings(**values, sources=sources)
    except ValidationError as error:
        raise ConfigurationError(_explain(error, sources)) from None


def _find_pyproject(folder: Path) -> Path | None:
    for place in (folder, *folder.resolve().parents):
        if (file := place / "pyproject.toml").is_file():
            return file
    return None


def _read_pyproject(file: Path) -> dict[str, Any]:
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{file} cannot be read: {error}") from error
    table: object = cast("dict[str, Any]", document.get("tool", {})).get("uno-jobs", {})
    if not isinstance(table, dict):
        raise ConfigurationError(f"{file}: {TABLE} must be a table")
    read = {name.replace("-", "_"): value for name, value in cast("dict[str, Any]", table).items()}
    for name in read:
        if name not in NAMES:
            raise ConfigurationError(
                f"{file} {TABLE}: there is no setting {name!r}; the settings are {', '.join(NAMES)}"
            )
    return read


def _explain(error: ValidationError, sources: Mapping[str, str]) -> str:
    first = error.errors()[0]
    name = str(first["loc"][0]) if first["loc"] else ""
    message = first["msg"].removeprefix("Value error, ")
    # A URL may hold a password, and our own messages say already what was given.
    shown = "" if name == "database_url" or first["type"] == "value_error" else f", not {first['input']!r}"
    return f"{sources.get(name, name)}: {message[:1].lower()}{message[1:]}{shown}"
