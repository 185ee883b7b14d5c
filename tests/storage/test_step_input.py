"""What a step finds before it: the flow against a model, at any depth, and at a cost that does not grow with depth."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

import pytest

from tests.storage.plans import explained
from tests.storage.workflows import Node, put_workflow

if TYPE_CHECKING:
    from tests.storage.lab import Hand, Lab

pytestmark = pytest.mark.server_versions

HISTORY = """
INSERT INTO uno_jobs.jobs (id, created_at, priority, task, version, queue, args, kwargs)
SELECT lpad(to_hex(n), 32, '0')::uuid, now(), 5, 't', '1', 'default', '[]', '{}' FROM generate_series(1, 20000) AS n;
INSERT INTO uno_jobs.outcomes (id, finished_at, state, attempt, failures, lost, result)
SELECT lpad(to_hex(n), 32, '0')::uuid, now(), 'cancelled', 0, 0, 0, '{"a": 1}' FROM generate_series(1, 20000) AS n;
"""


def chain_of(length: int, names: tuple[str, ...]) -> list[Node]:
    return [Node(), *(Node((n,), flow=n, names=names) for n in range(length - 1))]


async def go(hand: Hand, result: Any) -> Any:
    """Do the one step that is ready; returns what it found before it."""
    (job,) = await hand.claim()
    assert await hand.succeed([job["id"]], json.dumps(result)) == {}
    return None if job["before"] is None else json.loads(job["before"])


@pytest.mark.parametrize("seed", range(20))
async def test_the_flow_is_what_merging_all_results_gives(lab: Lab, seed: int) -> None:
    """Results of every kind, more names than are noted at once, steps that take nothing, and steps that fail."""
    chance = random.Random(seed)
    keys = [f"k{n}" for n in range(chance.choice([3, 80]))]
    nodes = [Node()]
    for place in range(1, 30):
        names = tuple(chance.sample(keys, min(len(keys), chance.randint(0, 5)))) if chance.random() < 0.9 else None
        nodes.append(Node((place - 1,), flow=place - 1, names=names, run_anyway=True))
    await put_workflow(lab, nodes)
    hand = await lab.hand()
    flow: dict[str, Any] = {}
    previous: Any = None
    for node in nodes:
        (job,) = await hand.claim()
        if node.parents:
            before = json.loads(job["before"])
            (parent,) = before.pop("parents")  # each runs whatever became of the one before
            assert parent["result"] == previous
            known = {name: flow[name] for name in node.names or () if name in flow}
            assert before == ({} if node.names is None else {"previous": previous, "flow": known})
        else:
            assert job["before"] is None
        if chance.random() < 0.2:
            assert await hand.end(job["id"], "failed", error="no") == {}
            previous = None
            continue
        previous = chance.choice(
            [None, 7, ["k1"], "k1", {}, {key: chance.randint(0, 99) for key in chance.sample(keys, len(keys) // 2)}]
        )
        assert await hand.succeed([job["id"]], json.dumps(previous)) == {}
        flow |= previous if isinstance(previous, dict) else {}


async def test_after_a_group_the_flow_is_that_before_it(lab: Lab) -> None:
    await put_workflow(
        lab,
        [
            Node(),
            Node((0,), flow=0, names=("a",)),
            Node((0,), flow=0, names=("a",)),
            Node((1, 2), join=True),
            Node((3,), flow=0, names=("a", "b")),
        ],
    )
    hand = await lab.hand()
    await go(hand, {"a": 1})
    members = await hand.claim()
    assert [json.loads(one["before"])["flow"] for one in members] == [{"a": 1}, {"a": 1}]
    assert await hand.succeed([one["id"] for one in members], '{"b": 2}') == {}
    assert await go(hand, None) == {"previous": [{"b": 2}, {"b": 2}], "flow": {"a": 1}}


@pytest.mark.parametrize("result", ['{"other": 1}', "1"], ids=["objects", "numbers"])
async def test_a_late_step_costs_no_more_than_an_early_one(lab: Lab, result: str) -> None:
    """A name that nobody gives is looked for behind every step, and yet each is not read for each."""
    await put_workflow(lab, chain_of(60, ("missing",)))
    hand = await lab.hand()
    pages = []
    for _ in range(60):
        async with explained(hand.connection) as seen:
            (job,) = await hand.claim(1)
        pages.append(seen.buffers())
        assert await hand.succeed([job["id"]], result) == {}
    assert max(pages[50:]) <= max(pages[5:15]) + 10


async def test_a_plan_made_for_a_small_table_reads_no_history(lab: Lab) -> None:
    """Kept plans are not made anew when the table fills; one that joined read every outcome for every step."""
    hand = await lab.hand()
    nodes = [*chain_of(12, ("a", "b")), Node((11, 0), flow=11, names=("a",)), Node((12,), join=True), Node((13,))]
    await put_workflow(lab, nodes)
    for _ in range(4):
        await go(hand, {"a": 1})
    await lab.eye.execute(HISTORY)
    while True:
        async with explained(hand.connection) as seen:
            jobs = await hand.claim(1)
        assert (seen.offences(sorted_rows=2), seen.buffers() < 400) == ([], True)
        if not jobs:
            break
        async with explained(hand.connection) as seen:
            assert await hand.succeed([jobs[0]["id"]], '{"a": 1}') == {}
        assert (seen.offences(sorted_rows=3), seen.buffers() < 400) == ([], True)
    assert await lab.eye.fetchval("SELECT count(*) FROM uno_jobs.live_jobs") == 0
