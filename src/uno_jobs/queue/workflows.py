"""From a chain or a group to rows: its jobs and joins with their edges, inserted whole or not at all."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from uuid_utils import uuid7

from uno_jobs.errors import InvalidOption
from uno_jobs.queue.batches import CHUNK
from uno_jobs.queue.options import check_options, join
from uno_jobs.queue.requests import OF_THE_CALL, OF_WORKFLOWS, EnqueueRequest, Registered
from uno_jobs.storable import from_json
from uno_jobs.storage.connections.link import Statement
from uno_jobs.storage.schema import quote_schema
from uno_jobs.tasks.binding import Binder
from uno_jobs.tasks.graph import lay_out

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from uno_jobs.queue.options import Arguments, JobOptions
    from uno_jobs.queue.requests import Requests
    from uno_jobs.storage.connections.link import Steps
    from uno_jobs.tasks.definition import Task
    from uno_jobs.tasks.graph import Node
    from uno_jobs.tasks.step import Step

    AnyTask = Task[..., Any, Any]

JOIN_QUEUE: Final = "default"
"""Where a join that comes before every job is shown; none ever runs."""

_FOR_ALL: Final = frozenset({"queue", "priority", "metadata"})
_FOR_FIRST: Final = frozenset({"delay", "run_at", "expires"})

_EDGES: Final = (
    "SELECT {schema}.enqueue_edges($1::text[]::uuid[], $2::text[]::uuid[], $3::text[], $4::text[]::integer[])::text"
)
_STEPS: Final = (
    "SELECT {schema}.enqueue_steps($1::text::uuid, $2::text[]::uuid[], $3::text[], $4::text[], $5::text[], "
    "$6::text[]::smallint[], $7::text[], $8::text[], $9::text[], $10::text[]::double precision[], "
    "$11::text[]::timestamptz[], $12::text[]::double precision[], $13::text[], $14::text[], $15::text[]::boolean[], "
    "$16::text[], $17::text[]::boolean[])::text"
)
_START: Final = (
    "SELECT {schema}.start_workflow($1::text::uuid, $2::text[]::uuid[], $3::text[], $4::text::boolean)::text"
)


class Row(NamedTuple):
    """One job of a workflow, or one of its joins (``request`` is None)."""

    node: Node
    id: str
    queue: str
    request: EnqueueRequest | None
    step: str | None


class WorkflowRequest(NamedTuple):
    """A workflow, checked, that can be stored."""

    id: str
    rows: list[Row]
    results: Results

    @property
    def last(self) -> str:
        """The job whose result is the workflow's."""
        return self.rows[-1].id


class Results:
    """Reads a workflow's result: by the last task's annotation, or for a list by each member's."""

    __slots__ = ("_index", "_nodes")

    def __init__(self, nodes: Sequence[Node], index: int) -> None:
        self._nodes = nodes
        self._index = index

    def load_result(self, text: str) -> Any:
        """Return a stored result as the annotations' types."""
        return self._load(self._index, from_json(text))

    def _load(self, index: int, value: Any) -> Any:
        node = self._nodes[index]
        if node.signature is not None:
            return node.signature.task.result_type.restore(value)
        if not isinstance(value, list):
            return value
        return [self._load(parent, one) for parent, one in zip(node.parents, cast("list[Any]", value), strict=False)]


class Following:
    """A task as a step that follows another: only what its signature gives is checked now."""

    __slots__ = ("_binder", "_task", "defaults")

    def __init__(self, task: AnyTask) -> None:
        self._task = task
        self._binder = Binder(task.parameters)
        self.defaults = Registered(task).defaults

    def bind(self, args: list[Any] | tuple[Any, ...], kwargs: Mapping[str, Any], options: JobOptions) -> Arguments:
        """See ``Definition``.

        Raises:
            InvalidOption: Its unique key depends on arguments that are not known yet.
        """
        if options.unique and options.unique_key is None and not isinstance(self._task.config.unique_key, str):
            raise InvalidOption(
                f"task {self._task.name}: as a step that takes arguments from those before it, its unique key cannot "
                f"be known when it is enqueued: give one, {self._task.name}.options(unique_key=…).s(…)"
            )
        stored, named = self._binder.dump(args, kwargs)
        return stored, named, options.unique_key or cast("str | None", self._task.config.unique_key), None

    def open_names(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[str]:
        """Return the parameters that the flow may fill."""
        return sorted(self._binder.open_names(args, kwargs))


def prepare(
    requests: Requests,
    workflow: Step[Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    options: Mapping[str, Any],
    max_steps: int,
) -> WorkflowRequest:
    """Check a workflow and lay it out.

    Args:
        requests: Makes the requests of jobs.
        workflow: A chain or a group.
        args: For the first step, or for each member of a first group.
        kwargs: Likewise.
        options: Of the enqueue: ``queue``, ``priority`` and ``metadata`` for the steps that say nothing else,
            ``delay``, ``run_at`` and ``expires`` for the first ones.
        max_steps: Most jobs, joins included.

    Raises:
        EnqueueError: Something is wrong; nothing was sent.
    """
    for name in options.keys() - _FOR_ALL - _FOR_FIRST - OF_THE_CALL:
        check_options({name: options[name]})  # a name that is none is said to be one
        raise InvalidOption(
            f"{name}= is for single jobs, not for a workflow: give it to a step, task.options({name}=…).s(…)"
        )
    graph = lay_out(workflow, args, kwargs, max_steps=max_steps)
    everywhere = {name: options[name] for name in _FOR_ALL & options.keys()}
    at_first = {**everywhere, **{name: options[name] for name in _FOR_FIRST & options.keys()}}
    maker = RowMaker(requests, everywhere, at_first)
    for node in graph.nodes:
        maker.add(node)
    return WorkflowRequest(str(uuid7()), maker.rows, Results(graph.nodes, len(graph.nodes) - 1))


class RowMaker:
    """Makes the rows of one workflow. What steps of one task and options share is checked once.

    Args:
        requests: Makes the requests of jobs.
        everywhere: Options for the steps that say nothing else.
        at_first: The same for first ones.
        behind: The row of the node that stands in for what is there already, the job from which the flow goes on, and
            whether that is the job itself which adds this.
    """

    def __init__(
        self,
        requests: Requests,
        everywhere: dict[str, Any],
        at_first: dict[str, Any],
        behind: tuple[Row, str, bool] | None = None,
    ) -> None:
        self.rows: list[Row] = [] if behind is None else [behind[0]]
        self._behind = behind
        self._requests = requests
        self._everywhere = everywhere
        self._at_first = at_first
        self._following: dict[int, Following] = {}
        self._options: dict[tuple[int, int, bool, bool], JobOptions] = {}

    def add(self, node: Node) -> None:
        """Make the next row.

        Raises:
            EnqueueError: Something is wrong with the step.
        """
        flow, inner = self.flow_of(node.flow_from)
        if node.signature is None:
            queue = self.rows[node.parents[0]].queue if node.parents else JOIN_QUEUE
            self.rows.append(Row(node, str(uuid7()), queue, None, None))
            return
        options = self._joined(node)
        request = self._requests.make(options, list(node.args), node.kwargs)
        step = None
        if node.follows:
            names = self._of(node.signature.task).open_names(node.args, node.kwargs)
            step = json.dumps({"kind": node.kind, "flow": flow, "names": names, **inner})
        elif flow is not None:
            step = json.dumps({"takes": False, "flow": flow, **inner})
        self.rows.append(Row(node, request.id, options.queue, request, step))

    def flow_of(self, index: int | None) -> tuple[str | None, dict[str, bool]]:
        """Return the job whose flow it is, for the node of this index, and what else ``step_input`` must know of it."""
        if index is None:
            return None, {}
        if index == 0 and self._behind is not None:
            return self._behind[1], {"inner": True} if self._behind[2] else {}
        return self.rows[index].id, {}

    def _joined(self, node: Node) -> JobOptions:
        signature = cast("Any", node.signature)
        key = id(signature.task), id(signature.options) if signature.options else 0, node.follows, bool(node.parents)
        options = self._options.get(key)
        if options is None:
            own = {name: value for name, value in signature.options.items() if name not in OF_WORKFLOWS}
            if "id" in own or "on_duplicate" in own:
                raise InvalidOption(f"step {signature!r}: id= and on_duplicate= are for single jobs, not for steps")
            asked = check_options({**(self._everywhere if node.parents else self._at_first), **own})
            definition = self._of(signature.task) if node.follows else Registered(signature.task)
            options = self._options[key] = join(definition, asked)
        return options

    def _of(self, task: AnyTask) -> Following:
        found = self._following.get(id(task))
        if found is None:
            found = self._following[id(task)] = Following(task)
        return found


def insert(schema: str, workflow: WorkflowRequest, *, notify: bool) -> Steps[None]:
    """Store a workflow, in a transaction of the caller's: edges, jobs, start.

    Raises:
        DuplicateJob: A step's unique key is held by another job.
    """
    sql = quote_schema(schema)
    rows = workflow.rows
    yield from edge_statements(sql, rows)
    yield from step_statements(sql, workflow.id, rows)
    first = sorted({row.queue for row in rows if row.request is not None and not row.node.parents})
    empty = [row.id for row in rows if row.request is None and not row.node.parents]
    # Behind an empty group anything may be first.
    queues = sorted({row.queue for row in rows if row.request is not None}) if empty else first
    yield Statement(_START.format(schema=sql), (workflow.id, empty, queues, "true" if notify else "false"))


def edge_statements(sql: str, rows: Sequence[Row]) -> Steps[None]:
    """Yield what stores a workflow's edges; those of all parts of it come before the first of ``step_statements``."""
    parents: list[str] = []
    children: list[str] = []
    kinds: list[str] = []
    positions: list[str] = []
    for row in rows:
        for position, parent in enumerate(row.node.parents):
            parents.append(rows[parent].id)
            children.append(row.id)
            kinds.append(row.node.kind or "chain")
            positions.append(str(position))
    for start in range(0, len(parents), 10 * CHUNK):
        part = slice(start, start + 10 * CHUNK)
        yield Statement(_EDGES.format(schema=sql), (parents[part], children[part], kinds[part], positions[part]))


def step_statements(sql: str, workflow_id: str, rows: Sequence[Row]) -> Steps[None]:
    """Yield what stores a workflow's jobs."""
    for start in range(0, len(rows), CHUNK):
        yield Statement(_STEPS.format(schema=sql), (workflow_id, *_columns(rows[start : start + CHUNK])))


def _columns(rows: Sequence[Row]) -> tuple[list[str | None], ...]:
    def of(read: Callable[[EnqueueRequest], str | None]) -> list[str | None]:
        return [None if row.request is None else read(row.request) for row in rows]

    return (
        [row.id for row in rows],
        of(lambda r: r.options.task),
        of(lambda r: r.options.version),
        [row.queue for row in rows],
        ["5" if row.request is None else row.request.options.priority for row in rows],
        ["[]" if row.request is None else row.request.args for row in rows],
        ["{}" if row.request is None else row.request.kwargs for row in rows],
        of(lambda r: r.options.metadata),
        of(lambda r: r.options.delay),
        of(lambda r: r.options.run_at),
        of(lambda r: r.options.expires),
        of(lambda r: r.unique_key),
        of(lambda r: r.unique_args),
        of(lambda r: "true" if r.options.key_until_start else "false"),
        [row.step for row in rows],
        ["true" if row.node.run_on_failure else "false" for row in rows],
    )
