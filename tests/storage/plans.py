"""What a statement, and those inside the functions that it calls, really did: plans and pages, by auto_explain."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

_SETTINGS = {
    "auto_explain.log_min_duration": "0",
    "auto_explain.log_nested_statements": "on",
    "auto_explain.log_analyze": "on",
    "auto_explain.log_buffers": "on",
    "auto_explain.log_timing": "off",
    "auto_explain.log_format": "json",
    "auto_explain.log_level": "notice",
}


class Explained:
    """The plans of the statements of one block; the outermost comes last."""

    def __init__(self) -> None:
        self.plans: list[dict[str, Any]] = []

    def nodes(self) -> Iterator[dict[str, Any]]:
        """Every node of every plan."""
        waiting = [plan["Plan"] for plan in self.plans]
        while waiting:
            node = waiting.pop()
            yield node
            waiting += node.get("Plans", [])

    def buffers(self) -> int:
        """Pages touched by the outermost statement, those within included."""
        plan = self.plans[-1]["Plan"]
        return plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]

    def offences(self, *, sorted_rows: int = 0) -> list[str]:
        """Return what no plan of the hot path may hold.

        Args:
            sorted_rows: How many rows may be sorted: those of the caller's own arrays, never a table's.
        """
        found = []
        for node in self.nodes():
            kind, relation = node["Node Type"], node.get("Relation Name", "")
            if kind in ("Seq Scan", "Bitmap Heap Scan") and relation in ("live_jobs", "jobs", "outcomes", "attempts"):
                found.append(f"{kind} of {relation}")
            elif kind in ("Hash Join", "Merge Join"):
                found.append(kind)
            elif kind == "Sort" and node["Actual Rows"] * node["Actual Loops"] > sorted_rows:
                found.append(f"Sort of {node['Actual Rows']} rows")
        return found

    def index_conditions(self) -> dict[str, str]:
        """Return the condition under which each index was last read."""
        return {
            node["Index Name"]: node["Index Cond"]
            for node in self.nodes()
            if node.get("Index Name") and "Index Cond" in node
        }


@contextlib.asynccontextmanager
async def explained(connection: Any) -> AsyncIterator[Explained]:
    """Record the plans of what a block runs on this connection; for superusers, on servers that have auto_explain."""
    found = Explained()

    def note(_: Any, message: Any) -> None:
        _, _, plan = message.message.partition("plan:\n")
        if plan:
            found.plans.append(json.loads(plan))

    try:
        await connection.execute("LOAD 'auto_explain'")
    except asyncpg.UndefinedFileError:
        pytest.skip("this server has no auto_explain")
    connection.add_log_listener(note)
    for name, value in _SETTINGS.items():
        await connection.execute(f"SET {name} = {value}")
    try:
        yield found
    finally:
        await connection.execute("SET auto_explain.log_min_duration = -1")
        await asyncio.sleep(0)  # the last message's callback
        connection.remove_log_listener(note)
