"""The options of an enqueue: checked as the caller wrote them, then joined with the task's own."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, TypedDict, cast
from uuid import UUID

from uno_jobs.errors import InvalidOption, NotSerializable
from uno_jobs.storable import to_json
from uno_jobs.tasks import checks
from uno_jobs.tasks.options import OnDuplicate, PriorityName, suggest
from uno_jobs.tasks.uniqueness import check_unique_key

if TYPE_CHECKING:
    from datetime import timedelta


class EnqueueKeywords(TypedDict, total=False):
    """The options of ``queue.enqueue(...)``; durations are seconds or a ``timedelta``."""

    version: str
    queue: str
    priority: PriorityName | int
    delay: float | timedelta
    run_at: datetime
    expires: float | timedelta
    unique_key: str
    on_duplicate: OnDuplicate
    metadata: Mapping[str, Any]
    id: UUID | str
    connection: Any
    notify: bool


NAMES: Final = frozenset(EnqueueKeywords.__annotations__)


class Asked(NamedTuple):
    """What the caller said, checked; None where nothing was said. As it travels: text."""

    version: str | None = None
    queue: str | None = None
    priority: str | None = None
    delay: str | None = None
    run_at: str | None = None
    expires: str | None = None
    unique_key: str | None = None
    on_duplicate: str | None = None
    metadata: str | None = None
    id: str | None = None


NOTHING: Final = Asked()


class Defaults(NamedTuple):
    """What a task says of its jobs, where the caller says nothing."""

    name: str
    version: str
    queue: str
    priority: str
    expires: str | None
    unique: bool
    key_until_start: bool
    on_duplicate: str


Arguments = tuple[str, str, str | None, str | None]
"""A job's args and kwargs as they are stored, and its unique key, or the arguments by name that are themselves
the key: those are hashed in the database."""


class Definition(Protocol):
    """A task as an enqueue sees it: one of this process, or what workers recorded of one."""

    @property
    def defaults(self) -> Defaults:
        """The task's options."""
        ...

    def bind(self, args: list[Any] | tuple[Any, ...], kwargs: Mapping[str, Any], options: JobOptions) -> Arguments:
        """Check arguments and write them as JSON.

        Raises:
            InvalidArguments, NotSerializable: They do not fit.
        """
        ...


class JobOptions(NamedTuple):
    """Everything about a job but its id and its arguments, as it travels."""

    definition: Definition
    task: str
    version: str
    queue: str
    priority: str
    metadata: str | None
    metadata_length: int
    delay: str | None
    run_at: str | None
    expires: str | None
    id: str | None
    """The id that the caller chose."""
    unique: bool
    unique_key: str | None
    """The key that the caller named."""
    key_until_start: bool
    on_duplicate: str
    plain: bool
    """The job cannot meet another: it has neither a key nor an id of the caller's."""
    at_once: bool
    """The job is ready from the start, and stays so."""


def check_options(options: Mapping[str, Any]) -> Asked:
    """Check what a caller wrote.

    Raises:
        InvalidOption: An option is unknown or wrong.
        NotSerializable: The metadata cannot be stored as JSON.
    """
    if not options:
        return NOTHING
    kept: dict[str, str | None] = {}
    for name, value in options.items():
        if name not in NAMES:
            raise InvalidOption(f"there is no option {name!r} of an enqueue{suggest(name, NAMES)}")
        if value is not None and name not in {"connection", "notify"}:
            kept[name] = _check(name, value)
    if kept.get("run_at") is not None and options.get("delay") is not None:
        raise InvalidOption("give delay (counted from now) or run_at (a point in time), not both")
    return Asked(**kept) if kept else NOTHING


def join(definition: Definition, asked: Asked) -> JobOptions:
    """Return a job's options: what the caller said, else what the task says."""
    own = definition.defaults
    unique = own.unique or asked.unique_key is not None
    return JobOptions(
        definition=definition,
        task=own.name,
        version=own.version,
        queue=asked.queue or own.queue,
        priority=asked.priority or own.priority,
        metadata=asked.metadata,
        metadata_length=len(asked.metadata or ""),
        delay=asked.delay,
        run_at=asked.run_at,
        expires=asked.expires or own.expires,
        id=asked.id,
        unique=unique,
        unique_key=asked.unique_key,
        key_until_start=own.key_until_start,
        on_duplicate=asked.on_duplicate or own.on_duplicate,
        plain=not unique and asked.id is None,
        at_once=asked.delay is None and asked.run_at is None and asked.expires is None and own.expires is None,
    )


def _check(name: str, value: object) -> str | None:
    match name:
        case "version":
            return checks.version(value)
        case "queue":
            return checks.parse_queue(value)
        case "priority":
            return str(checks.parse_priority(value))
        case "delay":
            seconds = checks.parse_seconds(value, "delay")
            return repr(seconds) if seconds else None
        case "expires":
            return repr(checks.parse_seconds(value, "expires", above_zero=True))
        case "run_at":
            return _run_at(value)
        case "unique_key":
            return check_unique_key(value, "unique_key")
        case "on_duplicate":
            return checks.one_of(value, "on_duplicate", "return", "raise", "replace")
        case "metadata":
            return _metadata(value)
        case _:
            return _id(value)


def _run_at(value: object) -> str:
    if not isinstance(value, datetime):
        raise InvalidOption(f"run_at must be an aware datetime, not {value!r}")
    if value.utcoffset() is None:
        raise InvalidOption(
            f"run_at must know its time zone, and {value!r} does not: use datetime.now(UTC), or .astimezone()"
        )
    try:
        return value.astimezone(UTC).isoformat()
    except OverflowError:
        raise InvalidOption(f"run_at is out of range: {value!r}") from None


def _metadata(value: object) -> str | None:
    if not isinstance(value, Mapping):
        raise InvalidOption(f"metadata must be a dict, stored as a JSON object, not {value!r}")
    if not value:
        return None
    for key in cast("Mapping[object, object]", value):
        if not isinstance(key, str):
            raise InvalidOption(f"metadata must have texts as keys, not {key!r}")
    try:
        return to_json(dict(cast("Mapping[str, Any]", value)))
    except NotSerializable as error:
        raise NotSerializable(f"metadata: {error}") from error


def _id(value: object) -> str:
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, str):
        try:
            return str(UUID(value))
        except ValueError:
            pass
    raise InvalidOption(f"id must be a UUID, not {value!r}")
