"""Jobs of which it is known what each question of docs/sql.md has to be answered."""

from __future__ import annotations

import contextlib
import datetime
import json
from typing import TYPE_CHECKING, Any

from uno_jobs import Queue, TaskRegistry, chain, task
from uno_jobs.tasks.versions import sort_text

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from uuid import UUID

    from tests.storage.lab import Hand, Lab

EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
KNOWN = ("send_email@1.0", "make_report@1.0", "resize@2.0")


class World:
    """Jobs of which it is known what each question has to be answered."""

    running: UUID
    asked_to_stop: UUID
    tried_twice: UUID
    lost: UUID
    scheduled: UUID
    holder: UUID
    of_customer: UUID
    old: UUID
    flow: UUID
    first: UUID
    broken: UUID
    cut: UUID
    stuck: UUID
    stuck_step: UUID
    regretted: UUID

    def __init__(self, lab: Lab, living: Hand, dead: Hand) -> None:
        self.lab = lab
        self.living = living
        self.dead = dead

    def asks(self, sql: str) -> str:
        """Return a query of the page with the world's ids instead of the page's."""
        for end, id_ in (
            ("0001", self.running),
            ("0002", self.tried_twice),
            ("00b2", self.dead.id),
            ("00f1", self.flow),
        ):
            sql = sql.replace(f"01990000-0000-7000-8000-00000000{end}", str(id_))
        assert "01990000" not in sql
        return sql


@contextlib.asynccontextmanager
async def known_world(lab: Lab) -> AsyncIterator[World]:
    """Make the jobs; what was damaged among them is mended at the end."""
    living, dead = await lab.hand(), await lab.hand()
    with TaskRegistry.isolated():

        @task(queue="mails", priority="high")
        async def send_email(to: str, subject: str = "") -> None: ...

        @task(queue="reports")
        async def make_report(name: str) -> None: ...

        @task(queue="images", version="2.0")
        async def resize(image: str) -> None: ...

        @task(name="resize", queue="images", version="1.0")
        async def old_resize(image: str) -> None: ...

        world = World(lab, living, dead)
        for hand, host, pid in ((living, "host-a", 101), (dead, "host-b", 202)):
            has = (send_email, make_report, resize if hand is living else old_resize)
            queues = ["mails", "reports", "images", "slow", "once", "again", "flow", "stuck"]
            await hand.gateway.register(hand.id, hand.id, None, pid, host, 1, 10, queues, records(has))
        async with Queue(lab.url) as queue:

            async def put(what: Any, *args: Any, **options: Any) -> UUID:
                return (await queue.enqueue(what, list(args), **options)).id

            async def start(hand: Hand, id_: UUID, name: str) -> None:
                [job] = await hand.claim(1, [name], known=KNOWN)
                assert job["id"] == id_

            # A worker died with a job, which is ready again, and has been for two hours.
            world.lost = await put(make_report, "lost")
            await start(dead, world.lost, "reports")
            await dead.gateway.worker_state(dead.id, "dead", "SIGKILL")
            await living.gateway.rescue(dead.id, "SIGKILL", 3)
            await lab.eye.execute("UPDATE uno_jobs.jobs SET created_at = created_at - interval '2 hours'")

            # Two run; one of them is to stop.
            world.running = await put(send_email, "running")
            await start(living, world.running, "mails")
            await living.gateway.set_progress(world.running, living.leases[world.running], 0.5, "half of it")
            world.asked_to_stop = await put(send_email, "slow", queue="slow")
            await start(living, world.asked_to_stop, "slow")
            await lab.cancel(world.asked_to_stop, "too slow")
            await lab.eye.execute(
                "UPDATE uno_jobs.live_jobs SET started_at = started_at - interval '5 minutes' WHERE id = $1",
                world.running,
            )

            # One failed at its second attempt, another at its first.
            error = {"error_type": "builtins.ValueError", "error": "no such address", "traceback": "line 1"}
            world.tried_twice = await put(send_email, "nobody")
            await start(living, world.tried_twice, "mails")
            await living.end(world.tried_twice, "retried", delay=0, **error)
            await living.gateway.promote(10, EPOCH)
            await start(living, world.tried_twice, "mails")
            await living.end(world.tried_twice, "failed", **error)
            other = await put(make_report, "other", queue="once")
            await start(living, other, "once")
            await living.end(other, "failed", error_type="builtins.OSError", error="no disk", traceback="line 2")
            await lab.eye.execute(
                "UPDATE uno_jobs.outcomes SET finished_at = finished_at - interval '2 minutes' WHERE id = $1", other
            )

            # Two wait for another attempt.
            for delays in ((600,), (0, 600)):
                again = await put(send_email, "again", queue="again")
                for delay in delays:
                    await living.gateway.promote(10, EPOCH)
                    await start(living, again, "again")
                    await living.end(again, "retried", delay=delay, **error)

            # Three succeeded a minute ago; they had waited for 10, 20 and 30 seconds and run for 2, 4 and 6.
            for n in (1, 2, 3):
                made = await put(resize, str(n), metadata={"customer": 40 + n})
                await start(living, made, "images")
                await living.gateway.finish(living.id, [made], [living.leases[made]], ["1"], "[]", [n * 1024 * 1024])
                await lab.eye.execute(
                    """
                    WITH o AS (UPDATE uno_jobs.outcomes SET finished_at = now() - interval '1 minute',
                                      started_at = now() - interval '1 minute' - $2::int * interval '2 seconds'
                               WHERE id = $1 RETURNING started_at)
                    UPDATE uno_jobs.jobs j SET created_at = o.started_at - $2::int * interval '10 seconds'
                    FROM o WHERE j.id = $1
                    """,
                    made,
                    n,
                )
                if n == 2:
                    world.of_customer = made
                    await living.gateway.set_error_after_commit(made, living.leases[made], "KeyError: 'x'")

            world.old = await put(old_resize, "old")
            await put(send_email, "to nobody", queue="nowhere")
            world.holder = await put(make_report, "unique", unique_key="only one")
            world.scheduled = await put(make_report, "later", delay=300)
            for place, reason in (("a", "a mistake"), ("b", "a mistake"), ("c", None)):
                await lab.cancel(await put(make_report, place), reason)

            # A step failed, and what was behind it is not going to run.
            flow = await queue.enqueue(chain(send_email.si("1"), send_email.si("2"), send_email.si("3")), queue="flow")
            world.flow = flow.workflow_id
            steps = "SELECT id FROM uno_jobs.jobs WHERE workflow_id = $1 ORDER BY id"
            world.first, world.broken, world.cut = [row[0] for row in await lab.eye.fetch(steps, world.flow)]
            await start(living, world.first, "flow")
            await living.succeed([world.first])
            await start(living, world.broken, "flow")
            await living.end(world.broken, "failed", **error)

            # And one where, by damage, nothing runs and nothing will.
            stuck = await queue.enqueue(chain(send_email.si("1"), send_email.si("2")), queue="stuck")
            world.stuck = stuck.workflow_id
            [world.stuck_step, _] = [row[0] for row in await lab.eye.fetch(steps, world.stuck)]
        damage = "UPDATE uno_jobs.live_jobs SET state = 'waiting', pending_parents = 1 WHERE id = $1"
        await lab.eye.execute(damage, world.stuck_step)
        yield world
        await lab.eye.execute(damage.replace("waiting", "ready").replace("= 1", "= 0"), world.stuck_step)


def records(tasks: Any) -> str:
    return json.dumps([
        {"task": one.name, "version": one.version, "sort_key": sort_text(one.version), **one.record()} for one in tasks
    ])  # fmt: skip
