"""Writes the reference in docs/sql.md: ``python scripts/sql_reference.py`` puts there what the SQL files' comments say.

The page is committed; a test sees to it that its reference is what this script writes.
"""

from __future__ import annotations

import re
from pathlib import Path

from uno_jobs.storage.migrations import folder
from uno_jobs.storage.statements import split_statements

PAGE = Path(__file__).parents[1] / "docs" / "sql.md"

VIEWS = (
    "queue_status", "queue_settings", "unfinished_jobs", "finished_jobs", "job_status", "running_jobs", "failed_jobs",
    "job_attempts", "job_parents", "workflow_status", "workflow_steps", "worker_status", "task_status",
    "retention_rules",
)  # fmt: skip
"""In the order of the page."""

FUNCTIONS = (
    "enqueue", "cancel", "cancel_workflow", "cancel_many", "retry", "retry_many", "explain",
    "pause_queue", "resume_queue", "set_queue_weight", "purge_queue",
    "set_retention", "unset_retention", "first_id", "clock",
)  # fmt: skip
"""Those for people; of these the roles' lists say who may call them."""

_COMMENT = re.compile(
    r"COMMENT ON (VIEW|COLUMN|FUNCTION)\s+uno_jobs\.([\w.]+)(?:\(.*?\))?\s+IS\s+'((?:[^']|'')*)'", re.DOTALL
)
_CREATE = re.compile(r"CREATE FUNCTION uno_jobs\.(\w+)\((.*?)\)\s*RETURNS (.+?)\s*LANGUAGE", re.DOTALL)


def comments() -> dict[str, str]:
    """Return what is said of each view, each column (as view.column) and each function."""
    return {
        name: text.replace("''", "'")
        for file in (folder() / "sql").rglob("*.sql")
        for statement in split_statements(file.read_text(encoding="utf-8"))
        for _, name, text in _COMMENT.findall(statement)
    }


def views() -> str:
    """Return the reference of the views."""
    said = comments()
    parts: list[str] = []
    for view in VIEWS:
        parts += [f"### {view}", "", said[view], "", "| column | |", "|---|---|"]
        prefix = f"{view}."
        parts += [
            f"| `{name.removeprefix(prefix)}` | {_cell(text)} |"
            for name, text in said.items()
            if name.startswith(prefix)
        ]
        parts.append("")
    return "\n".join(parts)


def functions() -> str:
    """Return the reference of the functions for people."""
    said = comments()
    parts: list[str] = []
    for name in FUNCTIONS:
        [file] = (folder() / "sql").rglob(f"functions/{name}.sql")
        found = _CREATE.search(file.read_text(encoding="utf-8"))
        assert found is not None, file
        arguments = " ".join(found[2].split())
        parts += [
            f"### {name}",
            "",
            "```text",
            f"{name}({arguments})",
            f"    returns {' '.join(found[3].split())}",
            "```",
        ]
        parts += ["", said[name], ""]
    return "\n".join(parts)


def page(text: str) -> str:
    """Return the page with its references as they should be."""
    for name, content in (("views", views()), ("functions", functions())):
        text, found = re.subn(
            f"(<!-- {name} -->\n).*?(<!-- /{name} -->)",
            lambda match, content=content: f"{match[1]}\n{content}\n{match[2]}",
            text,
            flags=re.DOTALL,
        )
        assert found == 1, name
    return text


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
