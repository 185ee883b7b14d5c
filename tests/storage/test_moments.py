"""Times that are read late are the times that were sent."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from uno_jobs.moments import moment

if TYPE_CHECKING:
    from .lab import Lab

ORIGIN = datetime(2000, 1, 1, tzinfo=UTC)


async def test_a_moment_is_the_time_that_postgresql_has(lab: Lab) -> None:
    chance = random.Random(1)
    far = int((datetime(9999, 1, 1, tzinfo=UTC) - ORIGIN) / timedelta(microseconds=1))
    near = [timedelta(microseconds=n) for n in (-1, 0, 1, -255, 255, 256, 65_536, 2**32, -(2**32))]
    times = [ORIGIN + one for one in near]
    times += [ORIGIN + timedelta(microseconds=chance.randint(-far // 5, far)) for _ in range(500)]
    rows = await lab.eye.fetch("SELECT timestamptz_send(t) FROM unnest($1::timestamptz[]) AS t", times)
    assert [moment(row[0]) for row in rows] == times


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("-infinity", datetime.min),
        ("4000-01-01 BC", datetime.min),
        ("infinity", datetime.max),
        ("20000-01-01", datetime.max),
    ],
)
async def test_a_time_that_python_does_not_have_is_the_nearest(lab: Lab, written: str, expected: datetime) -> None:
    sent = await lab.eye.fetchval("SELECT timestamptz_send($1::text::timestamptz)", written)
    assert moment(sent) == expected.replace(tzinfo=UTC)


def test_a_moment_that_was_read_stays() -> None:
    assert moment(ORIGIN) is ORIGIN
