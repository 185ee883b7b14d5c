"""The judge: says of one job after the other whether the code at hand could load its arguments, and keeps count."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

from uno_jobs.deploy.report import Kind, Problem
from uno_jobs.errors import TaskNotFound, UnoJobsError
from uno_jobs.runners.records import error_message, error_type
from uno_jobs.storable import from_json
from uno_jobs.tasks.loading import ArgumentLoader, parse_before
from uno_jobs.tasks.versions import sort_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from uno_jobs.tasks.registry import Registry

EXAMPLES: Final = 5
"""Ids that are kept of each problem."""
REASONS: Final = 20
"""Different reasons that are kept of one task and version: an error's message may quote what did not fit."""

_Refusal = tuple[Kind, str, str]


class Judge:
    """Judges jobs by the tasks of a registry; what it keeps does not grow with the number of jobs.

    Args:
        registry: The tasks of the code at hand.
        known_only: Leave out jobs of tasks that it does not have.
    """

    def __init__(self, registry: Registry, *, known_only: bool = False) -> None:
        self._registry = registry
        self._names = {name for name, _ in registry.known()}
        self._known_only = known_only
        self._loaders: dict[tuple[str, str], ArgumentLoader | _Refusal] = {}
        self._found: defaultdict[tuple[str, str], dict[_Refusal, tuple[int, list[UUID]]]] = defaultdict(dict)
        self.checked = 0
        self.left_out = 0
        self.failing = 0

    def judge(self, row: Mapping[str, Any]) -> None:
        """Judge one job, a row of ``jobs_to_check``."""
        key = row["task"], row["version"]
        if self._known_only and key[0] not in self._names:
            self.left_out += 1
            return
        self.checked += 1
        loader = self._loaders.get(key)
        if loader is None:
            loader = self._loaders[key] = self._loader(*key)
        refusal = _refusal(loader, row) if isinstance(loader, ArgumentLoader) else loader
        if refusal is not None:
            self.failing += 1
            self._note(key, refusal, row["id"])

    def problems(self) -> tuple[Problem, ...]:
        """Return what was found, by task and version, the most frequent reason of each first."""
        return tuple(
            Problem(
                kind=kind, task=task, version=version, error_type=type_, reason=reason, jobs=jobs, examples=tuple(ids)
            )
            for (task, version), reasons in sorted(self._found.items(), key=_by_version)
            for (kind, type_, reason), (jobs, ids) in sorted(reasons.items(), key=lambda one: (-one[1][0], one[0]))
        )

    def _loader(self, name: str, version: str) -> ArgumentLoader | _Refusal:
        try:
            return ArgumentLoader(*self._registry.resolve(name, version))
        except TaskNotFound as error:
            kind = Kind.UNKNOWN_VERSION if name in self._names else Kind.UNKNOWN_TASK
            return kind, error_type(error), error_message(error)
        except UnoJobsError as error:
            return Kind.DEFINITION, error_type(error), error_message(error)

    def _note(self, key: tuple[str, str], refusal: _Refusal, id_: UUID) -> None:
        reasons = self._found[key]
        if refusal not in reasons and len(reasons) >= REASONS:
            refusal = refusal[0], "", f"other reasons than the {REASONS} that are listed"
        jobs, ids = reasons.get(refusal, (0, []))
        if len(ids) < EXAMPLES:
            ids.append(id_)
        reasons[refusal] = jobs + 1, ids


def _by_version(found: tuple[tuple[str, str], object]) -> tuple[str, str]:
    (task, version), _ = found
    return task, sort_text(version)


def _refusal(loader: ArgumentLoader, row: Mapping[str, Any]) -> _Refusal | None:
    try:
        args, kwargs = from_json(row["args"]), from_json(row["kwargs"])
        step = None if row["step"] is None else from_json(row["step"])
        if step is not None and step.get("takes", True):
            loader.foresee(row["version"], args, kwargs, step["names"] if step["flow"] is not None else ())
        else:
            loader.load(row["version"], args, kwargs, parse_before(row["before"]))
    except Exception as error:  # noqa: BLE001 - models and upgrades are the user's: what they raise is the finding
        return Kind.ARGUMENTS, error_type(error), error_message(error)
    return None
