"""A database to spoil, and the doctor to look at it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.storage.lab import Lab
from uno_jobs.doctor import Finding, Status, examine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def lab(database_url: str) -> AsyncIterator[Lab]:
    lab = await Lab.open(database_url)
    yield lab
    await lab.close()


async def look(url: str, name: str, status: Status, **options: Any) -> Finding:
    """Make one check and see that it says this status, with advice where something is wrong."""
    report = await examine(url, checks=[name], **options)
    [finding] = report.findings
    assert finding.check == name
    assert finding.status is status, finding
    assert (finding.advice is not None) == (status in (Status.WARNING, Status.ERROR)) or status is Status.UNKNOWN
    return finding
