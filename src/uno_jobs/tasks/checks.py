"""Checks of single options: each returns what is kept of what was written, or says what it must be."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final, cast

from uno_jobs.errors import InvalidOption, NotSerializable
from uno_jobs.middleware import TaskMiddleware
from uno_jobs.storable import check_text

PRIORITIES: Final[Mapping[str, int]] = {"critical": 1, "high": 3, "normal": 5, "low": 7}
"""The named priorities; lower runs first."""

MAX_QUEUE_NAME: Final = 128
MAX_TASK_NAME: Final = 200
MAX_VERSION: Final = 50
MAX_RETRIES: Final = 1_000_000
MAX_SECONDS: Final = 100 * 366 * 86400.0
SMALLEST_MEMORY: Final = 16 * 1024 * 1024

_SIZE: Final = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([kmgt]?i?b)?\s*", re.IGNORECASE)
_UNITS: Final = {
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
    "tib": 2**40,
}


def parse_priority(value: object) -> int:
    """Return a priority as its number, 0 to 9; lower runs first.

    Args:
        value: "critical" (1), "high" (3), "normal" (5), "low" (7), or an integer from 0 to 9.

    Raises:
        InvalidOption: It is none of these.
    """
    if isinstance(value, str) and value in PRIORITIES:
        return PRIORITIES[value]
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 9:
        return int(value)
    names = ", ".join(repr(name) for name in PRIORITIES)
    raise InvalidOption(f"priority must be {names} or an integer from 0 to 9, not {value!r}")


def parse_queue(value: object) -> str:
    """Return a queue's name.

    Raises:
        InvalidOption: It is not a text of 1 to 128 printable characters.
    """
    return _name(value, "queue", MAX_QUEUE_NAME)


def parse_seconds(value: object, option: str, *, above_zero: bool = False) -> float:
    """Return a duration in seconds, given as a number of seconds or a ``timedelta``.

    Raises:
        InvalidOption: It is neither, or negative, not finite, or longer than a hundred years.
    """
    wanted = "seconds (a number or a timedelta) " + ("above 0" if above_zero else "from 0 on")
    if isinstance(value, timedelta):
        seconds = value.total_seconds()
    elif isinstance(value, int | float) and not isinstance(value, bool):
        # An int too large for a float is too large here as well. NaN stays NaN.
        seconds = float(value) if isinstance(value, float) else float(max(-1, min(value, 2**60)))
    else:
        raise InvalidOption(f"{option} must be {wanted}, not {value!r}")
    if not 0 <= seconds <= MAX_SECONDS or (above_zero and seconds == 0):
        raise InvalidOption(f"{option} must be {wanted} and at most a hundred years, not {value!r}")
    return seconds


def task_name(value: object) -> str:
    """Return a task's name: 1 to 200 printable characters without ``@``."""
    name = _name(value, "name", MAX_TASK_NAME)
    if "@" in name:
        raise InvalidOption(f"name must not contain '@' (it separates name and version), but is {name!r}")
    return name


def version(value: object) -> str:
    """Return a version: a text of 1 to 50 printable characters."""
    if not isinstance(value, str):
        raise InvalidOption(f'version must be a text such as "2.0", not {value!r}')
    return _name(value, "version", MAX_VERSION)


def flag(value: object, option: str) -> bool:
    """Return True or False."""
    if not isinstance(value, bool):
        raise InvalidOption(f"{option} must be True or False, not {value!r}")
    return value


def one_of(value: object, option: str, *allowed: str) -> str:
    """Return one of some texts."""
    if isinstance(value, str) and value in allowed:
        return value
    names = " or ".join(repr(name) for name in allowed)
    raise InvalidOption(f"{option} must be {names}, not {value!r}")


def retries(value: object) -> int:
    """Return how many retries there are: an integer from 0 on."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_RETRIES:
        return value
    raise InvalidOption(f"max_retries must be an integer from 0 to {MAX_RETRIES:,}, not {value!r}")


def factor(value: object) -> float:
    """Return the backoff's multiplier: a number from 1 on."""
    if isinstance(value, int | float) and not isinstance(value, bool) and 1 <= value <= 1e6:
        return float(value)
    raise InvalidOption(f"retry_backoff_factor must be a number from 1 to 1,000,000, not {value!r}")


def exceptions(value: object) -> tuple[type[BaseException], ...]:
    """Return exception classes."""
    if isinstance(value, type):
        value = (value,)
    if not isinstance(value, list | tuple | set | frozenset):
        raise InvalidOption(f"retry_for_exceptions must be a list of exception classes, not {value!r}")
    classes = tuple(cast("Sequence[object]", value))
    for cls in classes:
        if not (isinstance(cls, type) and issubclass(cls, BaseException)):
            raise InvalidOption(f"retry_for_exceptions must hold exception classes, but holds {cls!r}")
    return cast("tuple[type[BaseException], ...]", classes)


def memory(value: object) -> int:
    """Return a size in bytes, given as bytes or as a text such as "512MB" (10^6) or "1GiB" (2^30)."""
    size: float | None = None
    if isinstance(value, int) and not isinstance(value, bool):
        size = value
    elif isinstance(value, str) and (match := _SIZE.fullmatch(value)):
        size = float(match[1]) * _UNITS[(match[2] or "b").lower()]
    if size is None or not 0 < size < 2**60:
        raise InvalidOption(f'max_memory must be bytes or a text such as "512MB" or "1GiB", not {value!r}')
    if size < SMALLEST_MEMORY:
        raise InvalidOption(
            f"max_memory must be at least 16MiB, which Python itself needs, not {value!r} "
            f'({size:,.0f} bytes; write "512MB" for megabytes)'
        )
    return int(size)


def cores(value: object) -> float:
    """Return a limit of CPU use in cores."""
    if isinstance(value, int | float) and not isinstance(value, bool) and 0.01 <= value <= 1024:
        return float(value)
    raise InvalidOption(f"cpu_limit must be a number of cores from 0.01 to 1024, not {value!r}")


def middlewares(value: object) -> tuple[TaskMiddleware, ...]:
    """Return middleware in order."""
    if not isinstance(value, list | tuple):
        raise InvalidOption(f"middleware must be a list of TaskMiddleware instances, not {value!r}")
    return tuple(middleware(one) for one in cast("Sequence[object]", value))


def middleware(value: object) -> TaskMiddleware:
    """Return one middleware."""
    if isinstance(value, TaskMiddleware):
        return value
    if isinstance(value, type) and issubclass(value, TaskMiddleware):
        raise InvalidOption(f"middleware must be an instance: write {value.__name__}(), not {value.__name__}")
    raise InvalidOption(f"middleware must be a TaskMiddleware (a subclass's instance), not {value!r}")


def upgrades(value: object) -> dict[str, Callable[..., Any]]:
    """Return the functions that rewrite arguments of older versions."""
    if not isinstance(value, Mapping):
        raise InvalidOption(f"upgrade_from must map versions to functions, not {value!r}")
    kept: dict[str, Callable[..., Any]] = {}
    for old, rewrite in cast("Mapping[object, object]", value).items():
        if not callable(rewrite) or inspect.iscoroutinefunction(rewrite):
            raise InvalidOption(
                f"upgrade_from[{old!r}] must be a plain function of (args, kwargs) that returns both, not {rewrite!r}"
            )
        try:
            kept[version(old)] = rewrite
        except InvalidOption as error:
            raise InvalidOption(f"upgrade_from: {error}") from None
    return kept


def unique_key(value: object) -> str | Callable[..., Any]:
    """Return a fixed key or a function that makes one."""
    if isinstance(value, staticmethod):
        value = cast("staticmethod[..., Any]", value).__func__
    if isinstance(value, str):
        if not value:
            raise InvalidOption("unique_key must not be empty")
        return _storable(value, "unique_key")
    if callable(value) and not inspect.iscoroutinefunction(value):
        return value
    raise InvalidOption(f"unique_key must be a text or a plain function that returns one, not {value!r}")


def text(value: object, option: str) -> str:
    """Return a text that can be stored."""
    if isinstance(value, str):
        return _storable(value, option)
    raise InvalidOption(f"{option} must be a text, not {value!r}")


def _name(value: object, option: str, longest: int) -> str:
    if not isinstance(value, str):
        raise InvalidOption(f"{option} must be a text, not {value!r}")
    if not 1 <= len(value) <= longest:
        raise InvalidOption(f"{option} must have 1 to {longest} characters, but has {len(value)}")
    if not value.isprintable() or value != value.strip():
        raise InvalidOption(f"{option} must be printable, without blanks at its ends, but is {value!a}")
    return value


def _storable(value: str, option: str) -> str:
    try:
        return check_text(value, option)
    except NotSerializable as error:
        raise InvalidOption(str(error)) from None
