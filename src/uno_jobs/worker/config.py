"""What a worker process is told by whoever starts it; plain data, so that it passes through an environment variable."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Final

ENVIRONMENT: Final = "UNO_JOBS_PROCESS"
"""The variable in which a supervisor finds its own, and a worker process its, configuration as JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerConfig:
    """Configuration of one worker process. Durations are seconds."""

    url: str
    schema: str = "uno_jobs"
    app: tuple[str, ...] = ()
    """Modules or patterns whose tasks it runs, as for ``discover_tasks``."""
    queues: tuple[tuple[str, int | None], ...] = (("default", None),)
    """Queues in order, each with how many of its jobs may run here at once (None: as many as there are slots)."""
    concurrency: int = 100
    """Jobs at once, at most."""
    grace: float = 25.0
    """After SIGTERM, how long running jobs may go on; handing back what is left is included."""
    poll_interval: float = 1.0
    """How often to look for jobs without having been notified."""
    max_lost: int = 3
    max_result_size: int = 1_000_000
    child_processes: int | None = None
    """Child processes at work at once, at most; None: one for each CPU, at least two; 0: none, synchronous tasks run on
    threads and nothing is ended by force."""
    child_max_jobs: int = 1_000
    """A child that has run so many jobs is replaced."""
    allow_unlimited: bool = False
    """Whether to run tasks also where the system cannot hold their limits."""
    until_empty: bool = False
    """Stop when there is nothing left to do."""
    log_format: str = "auto"
    log_level: str = "info"
    supervisor_id: str = ""
    lock_key: int | None = None
    pooled: bool = False
    """The URL is a transaction pooler's: no session of the server is ours, and there are no notifications."""
    control_fd: int | None = None
    """The worker's end of the socket to its supervisor; end of file there means that the supervisor is gone."""

    def to_json(self) -> str:
        """Return it as JSON."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> WorkerConfig:
        """Return what ``to_json`` wrote."""
        values = json.loads(text)
        values["app"] = tuple(values["app"])
        values["queues"] = tuple((name, limit) for name, limit in values["queues"])
        return cls(**values)


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisorConfig:
    """Configuration of a supervisor: the workers' and how many of them."""

    worker: WorkerConfig
    processes: int = 1
    watch: tuple[str, ...] = field(default=())
    """Folders whose changes restart the workers (for development)."""

    def to_json(self) -> str:
        """Return it as JSON."""
        return json.dumps({**dataclasses.asdict(self), "worker": self.worker.to_json()})

    @classmethod
    def from_json(cls, text: str) -> SupervisorConfig:
        """Return what ``to_json`` wrote."""
        values = json.loads(text)
        return cls(
            worker=WorkerConfig.from_json(values["worker"]),
            processes=values["processes"],
            watch=tuple(values["watch"]),
        )
