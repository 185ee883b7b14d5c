"""What no row may hold, whoever writes it: the rules that the tables themselves keep."""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg
import pytest
import uuid_utils.compat as uuids

if TYPE_CHECKING:
    from tests.storage.lab import Lab

pytestmark = pytest.mark.server_versions

BROKEN = [
    ("jobs", "priority = 10", "priority_is_0_to_9"),
    ("jobs", "priority = -1", "priority_is_0_to_9"),
    ("jobs", "queue = ''", "queue_has_1_to_128_characters"),
    ("jobs", "queue = repeat('q', 129)", "queue_has_1_to_128_characters"),
    ("jobs", "version = NULL", "join_has_no_version"),
    ("live_jobs", "state = 'succeeded'", "state_is_live"),
    ("live_jobs", "state = 'failed'", "state_is_live"),
    ("live_jobs", "state = 'cancelled'", "state_is_live"),
    ("live_jobs", "state = 'running'", "running_has_lease"),
    ("live_jobs", "state = 'running', lease = 1", "running_has_lease"),
    ("live_jobs", "state = 'running', worker_id = id", "running_has_lease"),
    ("live_jobs", "lease = 1, worker_id = id", "running_has_lease"),
    ("live_jobs", "task = NULL", "join_only_waits"),
]
KEPT = [
    ("jobs", "priority = 9"),
    ("jobs", "queue = repeat('ß', 128)"),
    ("live_jobs", "state = 'waiting'"),
    ("live_jobs", "state = 'scheduled'"),
    ("live_jobs", "state = 'running', lease = 1, worker_id = id"),
    ("live_jobs", "state = 'waiting', task = NULL"),
]


@pytest.mark.parametrize(("table", "change", "rule"), BROKEN)
async def test_a_row_that_must_not_be_is_refused(lab: Lab, table: str, change: str, rule: str) -> None:
    await lab.eye.execute(
        "SELECT uno_jobs.enqueue_single($1, 't', '1', 'default', 5::int2, '[]', '{}', NULL, false)", uuids.uuid7()
    )
    with pytest.raises(asyncpg.CheckViolationError, match=rule):
        await lab.eye.execute(f"UPDATE uno_jobs.{table} SET {change}")


@pytest.mark.parametrize(("table", "change"), KEPT)
async def test_a_row_at_the_edge_is_taken(lab: Lab, table: str, change: str) -> None:
    await lab.eye.execute(
        "SELECT uno_jobs.enqueue_single($1, 't', '1', 'default', 5::int2, '[]', '{}', NULL, false)", uuids.uuid7()
    )
    transaction = lab.eye.transaction()
    await transaction.start()
    try:
        assert await lab.eye.execute(f"UPDATE uno_jobs.{table} SET {change}") == "UPDATE 1"
    finally:
        await transaction.rollback()


async def test_a_queue_with_settings_has_a_name(lab: Lab) -> None:
    for name in ("", "q" * 129):
        with pytest.raises(asyncpg.CheckViolationError, match="queue_has_1_to_128_characters"):
            await lab.eye.execute("INSERT INTO uno_jobs.queues (name) VALUES ($1)", name)
