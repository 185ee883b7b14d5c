"""From a nested workflow to the jobs that are inserted: nodes in order, parents first, joins where lists are made.

Edges grow with the sum of the groups' sizes, never with their product: only a group that one single step follows
has its members as that step's parents. Any other group gets a *join*, a node without a task whose result is the
list of its parents' results. Nothing here recurses, so nesting may be deep.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, cast

from uno_jobs.errors import InvalidOption, InvalidWorkflow
from uno_jobs.tasks.definition import Task
from uno_jobs.tasks.registry import TaskRegistry
from uno_jobs.tasks.signature import Signature
from uno_jobs.tasks.workflows import Chain, Group

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from uno_jobs.tasks.step import Step

    AnyTask = Task[..., Any, Any]
    Part = Signature[Any] | Chain[Any] | Group[Any]

MAX_STEPS: Final = 100_000
MAX_EDGES: Final = 1_000_000
MAX_LISTS: Final = 64
"""Most lists in lists that groups in groups may give: with results of ``storable.MAX_DEPTH`` in them, JSON parsers
on the way still read them."""

# What an enqueue as a whole is told, and a step cannot be.
_OF_THE_CALL: Final = ("connection", "notify", "via")


class Node(NamedTuple):
    """One job of a workflow, or one of its joins."""

    signature: Signature[Any] | None
    """What runs; None for a join, whose result is the list of its ``member`` parents' results, in order."""
    args: Sequence[Any]
    """The signature's positional arguments, those given to the enqueue included."""
    kwargs: Mapping[str, Any]
    kind: Literal["chain", "member"] | None
    """What its edges are. ``chain``: one parent, whose result is the previous result. ``member``: each parent
    gives its result to the previous one, a list. None: it has no parents, and no previous result."""
    parents: tuple[int, ...]
    """The nodes that must be done first, by index; a parent's position is its place here."""
    flow_from: int | None
    """The node whose flow, with its own result merged in if that is a dict, is the flow before this one; None:
    there is no flow. It is never a join, and always comes before."""
    run_on_failure: bool
    """Whether it runs though a parent failed or was cancelled. A join that has this waits for all its parents,
    since what runs on failure depends on it; if one did not succeed it ends as that one did, but its result is
    the list all the same, with null in that place."""

    @property
    def is_join(self) -> bool:
        """Whether this is a join."""
        return self.signature is None

    @property
    def follows(self) -> bool:
        """Whether it takes arguments from the nodes before it."""
        return bool(self.parents) and self.signature is not None and not self.signature.immutable


class Graph(NamedTuple):
    """A workflow laid out: its last node is the one whose result is the workflow's."""

    nodes: list[Node]
    edges: int


def lay_out(
    workflow: Step[Any],
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    max_steps: int = MAX_STEPS,
    max_edges: int = MAX_EDGES,
    behind: int | None = None,
) -> Graph:
    """Flatten a workflow into nodes, parents before their children.

    Args:
        workflow: A chain, a group, a signature or a task.
        args: Positional arguments for the first step, after its own; for each member, if it is a group.
        kwargs: Keyword arguments likewise, over its own.
        max_steps: Most nodes, joins included.
        max_edges: Most edges.
        behind: It is put behind a job that runs (``job.then``), for which the first node stands in, and which has added
            so many nodes before. None: it begins by itself.

    Raises:
        InvalidWorkflow: It is too large, gives too many lists in lists, or the arguments would mean different
            things to a group's members.
        InvalidOption: A step has an option that only the whole enqueue can have.
        TaskNotFound: A step's task is not registered here.
    """
    layout = _Layout(max_steps, max_edges)
    before = _Before(None, (), None)
    if behind is not None:
        layout.stand_in(behind)
        before = _Before("chain", (0,), 0)
    layout.run(Signature(cast("AnyTask", workflow)) if isinstance(workflow, Task) else cast("Part", workflow), before)
    nodes = layout.nodes
    if args or kwargs:
        _give_first(nodes, args, kwargs or {})
    _mark_joins(nodes)
    return Graph(nodes, layout.edges)


class _Before(NamedTuple):
    """Where in the graph a part begins."""

    kind: Literal["chain", "member"] | None
    parents: tuple[int, ...]
    flow_from: int | None


@dataclass(slots=True)
class _InChain:
    """A chain that is being laid out."""

    steps: tuple[Part, ...]
    before: _Before
    done: int = 0

    def next(self) -> tuple[Part, _Before]:
        return self.steps[self.done], self.before

    def is_open(self) -> bool:
        return self.done < len(self.steps)


@dataclass(slots=True)
class _InGroup:
    """A group that is being laid out: ``ends`` are the nodes that its members so far end with."""

    steps: tuple[Part, ...]
    before: _Before
    joined: bool
    ends: list[int] = field(default_factory=list[int])

    def next(self) -> tuple[Part, _Before]:
        return self.steps[len(self.ends)], self.before

    def is_open(self) -> bool:
        return len(self.ends) < len(self.steps)


class _Layout:
    def __init__(self, max_steps: int, max_edges: int) -> None:
        self.nodes: list[Node] = []
        self.edges = 0
        self._max_steps, self._max_edges = max_steps, max_edges
        self._uncounted = 0
        self._known: set[int] = set()
        self._lists: dict[int, int] = {}  # how many lists in lists each join holds

    def stand_in(self, added: int) -> None:
        """Begin with a node that is there already, as are those that were added before."""
        self.nodes.append(Node(None, (), {}, None, (), None, run_on_failure=False))
        self._uncounted = 1 - added

    def run(self, workflow: Part, before: _Before) -> None:
        """Lay out a workflow: what the stack holds is under way, the innermost last."""
        stack: list[_InChain | _InGroup] = [_InChain((workflow,), before)]
        while stack:
            frame = stack[-1]
            if frame.is_open():
                part, before = frame.next()
                if isinstance(part, Signature):
                    self._advance(frame, self._add(part, before), part)
                elif isinstance(part, Chain):
                    stack.append(_InChain(part.steps, before))
                else:
                    stack.append(_InGroup(part.members, before, _is_joined(frame)))
                continue
            stack.pop()
            if stack:
                self._close(frame, stack[-1])

    def _close(self, frame: _InChain | _InGroup, outer: _InChain | _InGroup) -> None:
        """Go on in the part around one that is done."""
        if isinstance(frame, _InChain):
            if isinstance(outer, _InChain):
                outer.before, outer.done = frame.before, outer.done + 1
            else:
                outer.ends.append(frame.before.parents[0])
        elif frame.joined or isinstance(outer, _InGroup):
            self._advance(outer, self._join(frame), None)
        else:
            outer.before = _Before("member", tuple(frame.ends), frame.before.flow_from)
            outer.done += 1

    def _advance(self, frame: _InChain | _InGroup, index: int, step: Signature[Any] | None) -> None:
        if isinstance(frame, _InGroup):
            frame.ends.append(index)
            return
        # A list is not merged into the flow: after a join it is what it was before the group.
        frame.before = _Before("chain", (index,), self.nodes[index].flow_from if step is None else index)
        frame.done += 1

    def _join(self, frame: _InGroup) -> int:
        before = _Before("member", tuple(frame.ends), frame.before.flow_from) if frame.ends else frame.before
        lists = 1 + max((self._lists.get(one, 0) for one in frame.ends), default=0)
        if lists > MAX_LISTS:
            raise InvalidWorkflow(f"more than {MAX_LISTS} groups are nested in each other, without a step between")
        index = self._append(Node(None, (), {}, *before, run_on_failure=False))
        self._lists[index] = lists
        return index

    def _add(self, step: Signature[Any], before: _Before) -> int:
        if id(step.task) not in self._known:
            _check_task(step)
            self._known.add(id(step.task))
        if step.options:
            for name in _OF_THE_CALL:
                if name in step.options:
                    raise InvalidOption(f"step {step!r}: {name}= is given to the enqueue itself, not to single steps")
        return self._append(Node(step, step.args, step.kwargs, *before, run_on_failure=step.runs_on_failure))

    def _append(self, node: Node) -> int:
        if len(self.nodes) - self._uncounted >= self._max_steps:
            raise InvalidWorkflow(
                f"the workflow has more than {self._max_steps:,} steps, joins included (max_workflow_steps)"
            )
        self.edges += len(node.parents)
        if self.edges > self._max_edges:
            raise InvalidWorkflow(f"the workflow has more than {self._max_edges:,} edges")
        self.nodes.append(node)
        return len(self.nodes) - 1


def _is_joined(frame: _InChain | _InGroup) -> bool:
    """Say whether a group that comes next needs a join: unless one single step follows it."""
    if isinstance(frame, _InGroup):
        return True
    after = frame.done + 1
    group = cast("Group[Any]", frame.steps[frame.done])
    return not group.members or after == len(frame.steps) or not isinstance(frame.steps[after], Signature)


def _check_task(step: Signature[Any]) -> None:
    task = cast("object", step.task)
    if not isinstance(task, Task):
        raise InvalidWorkflow(f"a signature is of a task, not of {task!r}: make it with task.s(...)")
    config = cast("AnyTask", task).config
    TaskRegistry.current().get(config.name, config.version)


def _give_first(nodes: list[Node], args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Give the arguments of the enqueue to the steps that nothing comes before."""
    taker: Node | None = None
    meaning: tuple[str, ...] = ()
    meanings: dict[tuple[int, int], tuple[str, ...]] = {}
    for index, node in enumerate(nodes):
        if node.signature is None or node.parents:
            continue
        task = node.signature.task
        key = id(task), len(node.args)
        if key not in meanings:
            meanings[key] = _meaning(task, len(node.args), len(args))
        if taker is None:
            taker, meaning = node, meanings[key]
        elif meanings[key] != meaning:
            raise InvalidWorkflow(
                "positional arguments given to a workflow that begins with a group go to each member, but they "
                f"would be {_named(meaning)} of {taker.signature!r} and {_named(meanings[key])} of "
                f"{node.signature!r}: give them by name, or bind them in the signatures"
            )
        nodes[index] = node._replace(args=(*node.args, *args), kwargs={**node.kwargs, **kwargs})
    if taker is None:
        raise InvalidWorkflow("the workflow begins with an empty group, which takes no arguments")


def _meaning(task: AnyTask, own: int, given: int) -> tuple[str, ...]:
    """Return the parameters that ``given`` positional arguments after ``own`` are for."""
    parameters = task.parameters.all
    names = [one.name for one in parameters if one.kind in {"positional_only", "positional_or_keyword"}]
    rest = [f"*{one.name}" for one in parameters if one.kind == "var_positional"] or ["too many"]
    return tuple(names[place] if place < len(names) else rest[0] for place in range(own, own + given))


def _named(meaning: tuple[str, ...]) -> str:
    return ", ".join(repr(name) for name in meaning)


def _mark_joins(nodes: list[Node]) -> None:
    """Let each join on which a step depends that runs on failure wait for all its parents, however they end."""
    if not any(node.run_on_failure for node in nodes):
        return
    for node in reversed(nodes):
        if node.run_on_failure:
            for parent in node.parents:
                if nodes[parent].signature is None and not nodes[parent].run_on_failure:
                    nodes[parent] = nodes[parent]._replace(run_on_failure=True)
