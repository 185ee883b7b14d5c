"""docs/sql.md: its reference is that of the views' comments, and each query of the cookbook answers its question."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
from scripts import sql_reference

from tests.markdown import ROOT
from tests.storage.sql_world import World, known_world
from uno_jobs.storage.roles import PUBLIC, READER, RUNNING, WAITING, view_names

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.roles import Roles
    from tests.storage.lab import Lab

PAGE = (ROOT / "docs" / "sql.md").read_text(encoding="utf-8")
QUESTION = re.compile(r"^### ([^\n]+\?)\n(.*?)(?=^##)", re.DOTALL | re.MULTILINE)
BLOCK = re.compile(r"^```sql\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SECOND, HOUR = datetime.timedelta(seconds=1), datetime.timedelta(hours=1)


def test_the_reference_is_what_the_script_writes() -> None:
    assert sql_reference.page(PAGE) == PAGE, "run python scripts/sql_reference.py"


def test_the_reference_has_every_view_and_every_column(columns_of_views: list[tuple[str, str]]) -> None:
    said = sql_reference.comments()
    assert set(sql_reference.VIEWS) == view_names()
    assert not [f"{view}.{column}" for view, column in columns_of_views if f"{view}.{column}" not in said]
    assert set(sql_reference.FUNCTIONS) <= PUBLIC - RUNNING - WAITING | READER


@pytest.fixture
async def columns_of_views(lab: Lab) -> list[tuple[str, str]]:
    rows = await lab.eye.fetch("""
        SELECT c.relname::text, a.attname::text FROM pg_class c
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
        WHERE c.relnamespace = 'uno_jobs'::regnamespace AND c.relkind = 'v'
        """)
    return [(row[0], row[1]) for row in rows]


@pytest.fixture
async def world(lab: Lab) -> AsyncIterator[World]:
    async with known_world(lab) as world:
        yield world


# What each question has to be answered: given the world, the rows as tuples.
Check = Callable[[World, list[tuple[Any, ...]]], None]
CHECKS: dict[str, Check] = {}


def answers(question: str) -> Callable[[Check], Check]:
    def keep(check: Check) -> Check:
        CHECKS[question] = check
        return check

    return keep


@answers("How much is there to do?")
def _(world: World, rows: Any) -> None:
    seen = {row[0]: row[1:5] for row in rows}
    assert seen["reports"] == (2, 0, 1, 0)
    assert seen["mails"] == (0, 1, 0, 0)
    assert seen["again"] == (0, 0, 2, 0)
    assert seen["stuck"] == (0, 0, 0, 2)
    [(*_, next_due, paused)] = [row for row in rows if row[0] == "again"]
    assert next_due is not None
    assert paused is None


@answers("What is the oldest ready job of each queue?")
def _(world: World, rows: Any) -> None:
    assert [row[0] for row in rows] == ["images", "nowhere", "reports"]
    assert rows[0][1:3] == (world.old, "resize")
    assert rows[2][1:3] == (world.lost, "make_report")
    assert rows[1][3] < HOUR < 2 * HOUR <= rows[2][3]


@answers("How many are ready, by priority?")
def _(world: World, rows: Any) -> None:
    assert rows == [("images", 5, 1), ("nowhere", 3, 1), ("reports", 5, 2)]


@answers("Is the backlog growing?")
def _(world: World, rows: Any) -> None:
    # All but the one that is said to be two hours old; ended are 2 failed, 3 succeeded, 3 cancelled
    # and a workflow of 3.
    made = sum(row[1] for row in rows)
    assert made - sum(row[2] for row in rows) == 10
    assert sum(row[2] for row in rows) == 11
    assert len(rows) >= 3


@answers("How many ended in each minute, and how?")
def _(world: World, rows: Any) -> None:
    assert [sum(column) for column in list(zip(*rows, strict=True))[1:]] == [4, 3, 4]
    assert len(rows) >= 3


@answers("What failed in the last hour, by class of error?")
def _(world: World, rows: Any) -> None:
    assert [row[:3] for row in rows] == [
        ("builtins.ValueError", "send_email", 2),
        ("builtins.OSError", "make_report", 1),
    ]


@answers("With what traceback did the last ones fail?")
def _(world: World, rows: Any) -> None:
    assert [row[0] for row in rows[:2]] == [world.broken, world.tried_twice]
    assert rows[2][1:2] + rows[2][3:] == ("make_report", "no disk", "line 2")


@answers("What fails again and again just now?")
def _(world: World, rows: Any) -> None:
    [(name, jobs, most, next_)] = rows
    assert (name, jobs, most) == ("send_email", 2, 2)
    assert next_ is not None


@answers("How long do jobs wait before they start?")
def _(world: World, rows: Any) -> None:
    [images] = [row for row in rows if row[0] == "images"]
    assert images[1:] == (20 * SECOND, 30 * SECOND, 30 * SECOND)


@answers("How long do they run?")
def _(world: World, rows: Any) -> None:
    assert rows[0] == ("resize", 3, 12 * SECOND, 6 * SECOND)
    assert rows[1][:2] == ("send_email", 1)


@answers("What runs now, the longest first?")
def _(world: World, rows: Any) -> None:
    assert [row[0] for row in rows] == [world.running, world.asked_to_stop]
    assert rows[0][2] > 300 * SECOND
    assert rows[0][3:] == ("host-a", 101, 0.5, "half of it")


@answers("Which worker holds a job?")
def _(world: World, rows: Any) -> None:
    [(host, pid, since)] = rows
    assert (host, pid) == ("host-a", 101)
    assert since < HOUR


@answers("Which workers live, and how busy are they?")
def _(world: World, rows: Any) -> None:
    assert [row[:5] for row in rows] == [("host-a", 101, "running", 2, 10)]


@answers("Which workers died in the last day, and of what?")
def _(world: World, rows: Any) -> None:
    assert [(*row[:2], *row[3:]) for row in rows] == [(world.dead.id, "host-b", "SIGKILL", 1)]


@answers("What was it running when it died?")
def _(world: World, rows: Any) -> None:
    assert [row[:2] for row in rows] == [(world.lost, "make_report")]


@answers("What has been tried of a job?")
def _(world: World, rows: Any) -> None:
    assert [row[:2] for row in rows] == [(1, "retried"), (2, "failed")]
    assert rows[1][4:] == ("host-a", "builtins.ValueError", "no such address")


@answers("Which jobs were those of customer 42?")
def _(world: World, rows: Any) -> None:
    assert [row[:3] for row in rows] == [(world.of_customer, "succeeded", "resize")]


@answers("Which versions still have jobs, and who can run them?")
def _(world: World, rows: Any) -> None:
    assert rows == [("resize", "1.0", 1, 0), ("make_report", "1.0", 3, 1), ("send_email", "1.0", 7, 1)]


@answers("Which queues does nobody serve?")
def _(world: World, rows: Any) -> None:
    assert rows == [("nowhere", 1)]


@answers("How far is a workflow?")
def _(world: World, rows: Any) -> None:
    assert rows == [("failed", 100, 3, 1, 1, 1, "send_email", "no such address")]


@answers("Where does each of its steps stand?")
def _(world: World, rows: Any) -> None:
    assert [(row[0], row[2], row[4]) for row in rows] == [
        (world.first, "succeeded", []),
        (world.broken, "failed", [world.first]),
        (world.cut, "cancelled", [world.broken]),
    ]


@answers("Which workflows are stuck?")
def _(world: World, rows: Any) -> None:
    assert [row[:2] for row in rows] == [(world.stuck, 2)]


@answers("What was cancelled because of what?")
def _(world: World, rows: Any) -> None:
    assert rows == [(world.cut, "send_email", world.broken, "send_email", "failed", "no such address")]


@answers("What was cancelled, and for which reason?")
def _(world: World, rows: Any) -> None:
    assert rows == [("a mistake", 2), ("cancelled on request", 1)]


@answers("What has been asked to stop, and still runs?")
def _(world: World, rows: Any) -> None:
    assert [(*row[:2], *row[3:]) for row in rows] == [(world.asked_to_stop, "send_email", "too slow", world.living.id)]


@answers("Which unique keys are held, and by whom?")
def _(world: World, rows: Any) -> None:
    assert [row[:4] for row in rows] == [("make_report", "only one", world.holder, "ready")]


@answers("What is due next?")
def _(world: World, rows: Any) -> None:
    assert rows[0][:3] == (world.scheduled, "make_report", "reports")
    assert len(rows) == 3
    assert rows[0][3] <= 300 * SECOND < rows[1][3]


@answers("How much memory does each task need?")
def _(world: World, rows: Any) -> None:
    assert rows == [("resize", 3, "3072 kB")]


@answers("Which jobs raised an error after their transaction had committed?")
def _(world: World, rows: Any) -> None:
    assert [(*row[:2], row[3]) for row in rows] == [(world.of_customer, "resize", "KeyError: 'x'")]


@answers("For how long are finished jobs kept?")
def _(world: World, rows: Any) -> None:
    assert ("default", "", "failed", datetime.timedelta(days=30)) in rows


QUESTIONS = {title: BLOCK.findall(text) for title, text in QUESTION.findall(PAGE)}


async def test_each_query_of_the_cookbook_answers_its_question(world: World) -> None:
    assert QUESTIONS.keys() == CHECKS.keys()
    assert len(QUESTIONS) >= 20
    for question, check in CHECKS.items():
        [sql] = QUESTIONS[question]
        await world.living.gateway.beat([world.living.id])
        try:
            check(world, [tuple(row) for row in await world.lab.eye.fetch(world.asks(sql))])
        except Exception as error:
            error.add_note(f"{question}\n{sql}")
            raise


async def test_a_reader_may_ask_all_of_it(world: World, roles: Roles) -> None:
    reader = await asyncpg.connect(roles.reader)
    try:
        for [sql] in QUESTIONS.values():
            await reader.fetch(world.asks(sql))
    finally:
        await reader.close()


async def test_the_call_above_the_cookbook_enqueues(world: World) -> None:
    [sql, *_] = BLOCK.findall(PAGE)
    id_ = await world.lab.eye.fetchval(sql)
    job = await world.lab.one("SELECT * FROM uno_jobs.job_status WHERE id = $1", id_)
    assert (job["state"], job["priority"], json.loads(job["metadata"])) == ("scheduled", 3, {"customer": 42})
