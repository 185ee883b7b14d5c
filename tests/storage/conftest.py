"""Databases for the tests of the SQL, sessions on them, and the check that every test leaves a sound database."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import asyncpg
import pytest

from tests.storage import invariants
from tests.storage.lab import Hand, Lab
from tests.storage.recorded import define

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def lab(database_url: str) -> AsyncIterator[Lab]:
    lab = await Lab.open(database_url)
    yield lab
    await lab.close()


@pytest.fixture
async def worker(lab: Lab) -> Hand:
    """A worker that has registered the tasks of ``recorded``."""
    hand = await lab.hand()
    await hand.register("mail", "default", tasks=json.dumps(define()))
    return hand


@pytest.fixture(autouse=True)
async def sound(request: pytest.FixtureRequest, database_url: str) -> AsyncIterator[None]:
    """Check the invariants after each test; modules that need no migrated database override this.

    What a test does that bends an invariant it says by the mark ``invariants``, whose arguments are those of
    ``invariants.check``.
    """
    yield
    marker = request.node.get_closest_marker("invariants")
    connection = await asyncpg.connect(database_url)
    try:
        await invariants.check(connection, **(marker.kwargs if marker else {}))
    finally:
        await connection.close()
