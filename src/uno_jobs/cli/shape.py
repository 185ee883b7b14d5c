"""From a workflow's edges back to chains and groups, as one reads them: steps in order, groups with their members.

Groups are found where paths part and meet again, so that steps that were added at run time have their place too. Edges
that no chain or group can have made leave nothing out: what is between two such meetings is listed side by side.
"""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from uno_jobs.queue.status import JobState
    from uno_jobs.queue.workflow_status import WorkflowStep

MAX_NESTING: Final = 24
"""Groups in groups; what is deeper is listed side by side."""

FOLDED: Final = 20
"""A group of more members than that shows how many are in which state, and only some members."""

LONG: Final = 40
"""In a chain of more steps than that, steps in a row that stand alike are one line."""

NAMED: Final[Mapping[str, int]] = {"failed": 50, "running": 5}
"""How many members of a folded group are shown, by their state."""

_END: Final = -1


@dataclass(slots=True)
class ChainShape:
    """Steps and groups one after the other."""

    parts: list[WorkflowStep | GroupShape] = field(default_factory=list["WorkflowStep | GroupShape"])
    states: Counter[JobState] = field(default_factory=Counter["JobState"])
    """How many of its steps, those in its groups included, are in which state."""

    def add(self, part: WorkflowStep | GroupShape) -> None:
        """Add what comes next."""
        self.parts.append(part)
        if isinstance(part, GroupShape):
            self.states.update(part.states)
        else:
            self.states[part.state] += 1

    @property
    def state(self) -> JobState:
        """How it stands as a whole."""
        return summarise(self.states)


@dataclass(slots=True)
class GroupShape:
    """Sequences side by side."""

    members: list[ChainShape]
    states: Counter[JobState] = field(default_factory=Counter["JobState"])

    def __post_init__(self) -> None:
        for member in self.members:
            self.states.update(member.states)

    @property
    def members_by_state(self) -> Counter[JobState]:
        """How many members are, each as a whole, in which state."""
        return Counter(member.state for member in self.members)


def summarise(states: Counter[JobState]) -> JobState:
    """Return the state of several steps as a whole: what has failed, or goes on, stands for all."""
    if states["failed"]:
        return "failed"
    if states["running"]:
        return "running"
    unfinished = states["ready"] + states["scheduled"] + states["waiting"]
    if not unfinished:
        return "cancelled" if states["cancelled"] else "succeeded"
    if states["succeeded"]:
        return "running"
    return "ready" if states["ready"] else "scheduled" if states["scheduled"] else "waiting"


def shape(steps: Sequence[WorkflowStep]) -> ChainShape:
    """Return a workflow's steps in their chains and groups; joins are left out.

    Args:
        steps: All of them, joins included, by id.
    """
    return _Shaper(steps).sequence(None, _END, 0)


class _Shaper:
    """The graph by places in the list of steps: who comes after whom, and where all ways from a step meet."""

    def __init__(self, steps: Sequence[WorkflowStep]) -> None:
        self._steps = steps
        places = {step.id: place for place, step in enumerate(steps)}
        self._children: list[list[int]] = [[] for _ in steps]
        self._roots: list[int] = []
        parents_of: list[list[int]] = []
        for place, step in enumerate(steps):
            parents = [places[parent] for parent in step.parents if parent in places]
            parents_of.append(parents)
            for parent in parents:
                self._children[parent].append(place)
            if not parents:
                self._roots.append(place)
        self._rank = self._order(parents_of)
        self._meets: dict[int, int] = {}
        self._depth: dict[int, int] = {_END: 0}
        for place in sorted(range(len(steps)), key=self._rank.__getitem__, reverse=True):
            meet = self._meet(self._children[place]) if self._children[place] else _END
            self._meets[place] = meet
            self._depth[place] = self._depth[meet] + 1

    def sequence(self, entries: Iterable[int] | None, end: int, nesting: int) -> ChainShape:
        """Return what begins with these places, or with the roots, and goes on until ``end``."""
        made = ChainShape()
        now = list(self._roots if entries is None else entries)
        while now := [place for place in dict.fromkeys(now) if place != end]:
            if len(now) == 1:
                step = self._steps[now[0]]
                if step.task is not None:
                    made.add(step)
                now = self._children[now[0]]
                continue
            meet = self._meet(now)
            parts = self._parts([place for place in now if place != meet], meet)
            if len(parts) == 1 and len(parts[0].entries) == 1:
                # A step that was added at run time, and what waited for its parent before: no group.
                for part in self.sequence(parts[0].entries, meet, nesting).parts:
                    made.add(part)
            elif len(parts) == 1 or nesting >= MAX_NESTING:
                made.add(GroupShape([self._alone(place) for part in parts for place in part.places]))
            else:
                made.add(GroupShape([self.sequence(part.entries, meet, nesting + 1) for part in parts]))
            now = [meet] if meet != _END else []
        return made

    def _alone(self, place: int) -> ChainShape:
        made = ChainShape()
        if self._steps[place].task is not None:
            made.add(self._steps[place])
        return made

    def _parts(self, entries: Sequence[int], end: int) -> list[_Part]:
        """Return the places before ``end`` in parts that share none, each with the entries that lead into it."""
        owner: dict[int, int] = {}
        root = list(range(len(entries)))

        def find(part: int) -> int:
            while root[part] != part:
                root[part] = root[root[part]]
                part = root[part]
            return part

        for number, entry in enumerate(entries):
            waiting = [entry]
            while waiting:
                place = waiting.pop()
                if place in owner:
                    one, other = sorted((find(owner[place]), find(number)))
                    root[other] = one
                    continue
                owner[place] = number
                waiting += [child for child in self._children[place] if child != end]
        parts: dict[int, _Part] = {}
        for place in sorted(owner, key=self._rank.__getitem__):
            parts.setdefault(find(owner[place]), _Part()).places.append(place)
        for number, entry in enumerate(entries):
            parts[find(number)].entries.append(entry)
        return [parts[number] for number in sorted(parts)]

    def _meet(self, places: Sequence[int]) -> int:
        """Return the first place that all ways from these places lead through."""
        meet = places[0]
        for place in places[1:]:
            other = place
            while meet != other:
                if self._depth[meet] >= self._depth[other]:
                    meet = self._meets[meet]
                else:
                    other = self._meets[other]
        return meet

    def _order(self, parents_of: Sequence[Sequence[int]]) -> list[int]:
        """Return each step's rank: parents before their children, else by their ids."""
        left = [len(parents) for parents in parents_of]
        rank = [0] * len(left)
        ready = list(self._roots)
        for number in range(len(left)):
            place = heapq.heappop(ready)
            rank[place] = number
            for child in self._children[place]:
                left[child] -= 1
                if not left[child]:
                    heapq.heappush(ready, child)
        return rank


def walk(chain: ChainShape) -> Iterator[WorkflowStep]:
    """Yield all steps of a chain, those in its groups included."""
    waiting: list[WorkflowStep | GroupShape | ChainShape] = [chain]
    while waiting:
        part = waiting.pop()
        if isinstance(part, ChainShape):
            waiting += reversed(part.parts)
        elif isinstance(part, GroupShape):
            waiting += reversed(part.members)
        else:
            yield part


def shown(members: Sequence[ChainShape], fold: int = FOLDED) -> Sequence[ChainShape]:
    """Return those members of a group that are shown one by one: all, or of more than ``fold`` those of ``NAMED``."""
    if len(members) <= fold:
        return members
    chosen = {
        id(member)
        for state, most in NAMED.items()
        for member in itertools.islice((one for one in members if one.state == state), most)
    }
    return [member for member in members if id(member) in chosen]


def runs(chain: ChainShape) -> Iterator[list[WorkflowStep] | WorkflowStep | GroupShape]:
    """Yield a chain's parts in order; in one longer than ``LONG``, steps in a row that stand alike as one list."""
    if len(chain.parts) <= LONG:
        yield from chain.parts
        return
    for alike, parts in itertools.groupby(chain.parts, key=_alike):
        run = list(parts)
        if alike is None or len(run) <= 3:
            yield from run
        else:
            yield [part for part in run if not isinstance(part, GroupShape)]


def _alike(part: WorkflowStep | GroupShape) -> str | None:
    """Return the state of a step that may share a line with others in the same state."""
    return None if isinstance(part, GroupShape) or part.state in NAMED else part.state


@dataclass(slots=True)
class _Part:
    entries: list[int] = field(default_factory=list[int])
    places: list[int] = field(default_factory=list[int])
