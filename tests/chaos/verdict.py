"""Each promise, checked after the torture."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any
from uuid import UUID

if TYPE_CHECKING:
    from pathlib import Path

    from tests.chaos.eye import Eye
    from tests.chaos.load import Ledger

ENDS = {
    "noop": {"succeeded"},
    "sleeper": {"succeeded"},
    "flaky": {"succeeded"},
    "hopeless": {"failed"},
    "dozy": {"succeeded"},
    "gives_up": {"cancelled"},
    "threaded": {"succeeded"},
    "in_child": {"succeeded"},
    "stubborn": {"failed"},
    "kills_its_child": {"failed"},
    "poison": {"failed"},
    "only_one": {"succeeded"},
    "follow": {"succeeded"},
    "needs_help": {"succeeded"},
    "count": {"succeeded"},
    "grows": {"succeeded"},
    "grows_whole": {"succeeded"},
    "grows_in_child": {"succeeded"},
}
"""How a job of each task ends if nobody cancels it and it may start, whatever happens to its workers."""

COUNTING = {"count", "grows_whole"}
"""What counts in its own transaction."""

JOBS = """
SELECT j.id, coalesce(replace(j.task, 'torture_', ''), 'join') AS task, o.state::text, o.error, o.result::text,
       o.cancelled_because, j.step ->> 'kind' AS kind, coalesce((j.step ->> 'anyway')::boolean, false) AS anyway,
       coalesce(j.metadata ->> 'batch',
                (SELECT f.metadata ->> 'batch' FROM uno_jobs.jobs f
                 WHERE f.workflow_id = j.workflow_id AND f.metadata IS NOT NULL LIMIT 1)) AS batch
FROM uno_jobs.jobs j JOIN uno_jobs.outcomes o ON o.id = j.id
"""


class Verdict:
    """What became of everything."""

    def __init__(
        self, jobs: dict[UUID, Any], parents: dict[UUID, list[UUID]], members: set[tuple[UUID, UUID]], ledger: Ledger
    ) -> None:
        self._jobs = jobs
        self._parents = parents
        self._members = members
        self._ledger = ledger

    @classmethod
    async def read(cls, eye: Eye, ledger: Ledger) -> Verdict:
        parents: dict[UUID, list[UUID]] = defaultdict(list)
        members: set[tuple[UUID, UUID]] = set()
        for edge in await eye.fetch("SELECT * FROM uno_jobs.job_edges ORDER BY child_id, position"):
            parents[edge["child_id"]].append(edge["parent_id"])
            if edge["kind"] == "member":
                members.add((edge["parent_id"], edge["child_id"]))
        return cls({row["id"]: row for row in await eye.fetch(JOBS)}, parents, members, ledger)

    def check_batches(self) -> None:
        """Each batch is there, whole, with what its jobs have added; one in doubt whole or not at all."""
        there = Counter(job["batch"] for job in self._jobs.values() if job["task"] != "only_one")
        added: Counter[str] = Counter()
        for job in self._jobs.values():
            if job["task"].startswith("grows") and job["state"] == "succeeded":
                added[job["batch"]] += json.loads(job["result"])
        wrong = {
            batch: (size, added[batch], there[batch])
            for batch, size in self._ledger.batches.items()
            if there[batch] != size + added[batch] and not (batch in self._ledger.in_doubt and there[batch] == 0)
        }
        assert not wrong, wrong
        assert there.keys() <= self._ledger.batches.keys()

    def check_ends(self) -> None:
        wrong = [(job["task"], job["state"], job["error"]) for job in self._jobs.values() if not self._is_right(job)]
        assert not wrong, wrong[:10]

    def _is_right(self, job: Any) -> bool:
        excused = job["id"] in self._ledger.cancelled or job["batch"] in self._ledger.cancelled_batches
        failed = [one for one in self._parents[job["id"]] if self._jobs[one]["state"] != "succeeded"]
        if excused and job["state"] == "cancelled":
            return True
        if job["task"] == "join":
            # What ran beside a failure is not undone by its retry.
            late = job["anyway"] and job["cancelled_because"] in self._ledger.retried
            return job["state"] == ("cancelled" if failed or (late and job["cancelled_because"]) else "succeeded")
        if failed and not job["anyway"]:
            return job["state"] == "cancelled" and (excused or job["cancelled_because"] is not None)
        return job["state"] in ENDS[job["task"]]

    def check_values(self) -> None:
        """What a step found before it is what its parents left; what a join lists is what its members left."""
        for job in self._jobs.values():
            if job["state"] != "succeeded" or job["task"] not in ("join", "follow"):
                continue
            # An empty group has a parent, the step before it, that is none of its members.
            left = [
                json.loads(self._jobs[one]["result"] or "null")
                for one in self._parents[job["id"]]
                if job["task"] != "join" or (one, job["id"]) in self._members
            ]
            if job["task"] == "join":
                expected: Any = left
            else:
                expected = ["found", left[0] if job["kind"] == "chain" else left]
            assert json.loads(job["result"]) == expected, (job["task"], job["id"])

    async def check_starts(self, eye: Eye, notes: Path) -> None:
        """Every start that a task noted belongs to an attempt that was closed, once."""
        closed = {(row[0], row[1]) for row in await eye.fetch("SELECT job_id, lease FROM uno_jobs.attempts")}
        starts = [line.split() for line in notes.read_text().splitlines()]
        unaccounted = [start for start in starts if (UUID(start[0]), int(start[1])) not in closed]
        assert not unaccounted, unaccounted[:10]
        assert len({(start[0], start[1]) for start in starts}) == len(starts)
        print(f"{len(self._jobs)} jobs, {len(starts)} starts")

    async def check_count(self, eye: Eye) -> None:
        counted = await eye.fetchval("SELECT n FROM counter")
        expected = [job for job in self._jobs.values() if job["task"] in COUNTING and job["state"] == "succeeded"]
        assert counted == len(expected)
        print(f"{counted} counted, each exactly once")

    def describe(self) -> None:
        ledger = self._ledger
        workflows = sum(batch.startswith("workflow") for batch in ledger.batches)
        print(
            f"{workflows} workflows, {len(self._parents)} jobs with parents, {len(ledger.in_doubt)} batches in doubt, "
            f"{len(ledger.cancelled)} jobs and {len(ledger.cancelled_batches)} workflows cancelled, "
            f"{len(ledger.retried)} jobs retried by hand"
        )
        print(Counter(f"{job['task']} {job['state']}" for job in self._jobs.values()))
