"""The roles: which functions each may call, and the SQL that makes them so. None has a right on a table."""

from __future__ import annotations

import re
from typing import Final

from uno_jobs.errors import ConfigurationError
from uno_jobs.storage.schema import DEFAULT_SCHEMA, quote_schema

NAMES: Final = {
    "enqueuer": "uno_jobs_enqueuer", "worker": "uno_jobs_worker", "reader": "uno_jobs_reader",
    "operator": "uno_jobs_operator",
}  # fmt: skip
"""What the roles are called unless somebody says otherwise."""

ENQUEUER: Final = frozenset({
    "about", "enqueue", "enqueue_alike", "enqueue_careful", "enqueue_edges", "enqueue_plain", "enqueue_single",
    "enqueue_steps", "recorded_task", "start_workflow", "unique_hash",
})  # fmt: skip
"""Functions to enqueue with: by SQL, and those that queues call."""

READER: Final = frozenset({
    "about", "clock", "explain", "explain_facts", "finished_lately", "first_id", "id_time", "jobs_to_check",
    "living_workers", "missing_queue", "queue_counts",
})  # fmt: skip
"""Functions to read with, and those that views call: PostgreSQL checks these for whoever reads the view."""

MOVES: Final = frozenset({
    "cancel", "cancel_many", "cancel_workflow", "retry", "retry_many", "try_cancel", "try_retry",
})  # fmt: skip
"""Functions to move jobs by hand with; tasks may do so too."""

RUNNING: Final = frozenset({
    "adopt", "apply_cancellations", "attempt_fate", "beat", "claim", "expire", "extend", "finish",
    "finish_in_transaction", "hand_back", "held", "mark_hungry", "mend_waiting", "observe", "paused_queues",
    "promote", "prune", "register_worker", "release_pending", "rescue", "set_error_after_commit", "set_progress",
    "strays", "sweep", "take_chore", "worker_state",
})  # fmt: skip
"""Functions that worker processes and their supervisors call."""

WAITING: Final = frozenset({"await_end", "await_no_more", "job_end"})
"""Functions to wait for results with."""

WORKER: Final = ENQUEUER | READER | MOVES | RUNNING | WAITING
"""A task may enqueue, look, cancel and wait; so the worker may, too."""

STEERING: Final = frozenset({
    "count_purgeable", "pause_queue", "prune_range", "purge_queue", "resume_queue", "set_queue_weight", "set_retention",
    "unset_retention",
})  # fmt: skip
"""Functions that change what happens to many jobs, and what is kept of them. No task needs them, so no worker may."""

OPERATOR: Final = READER | MOVES | STEERING | WAITING
"""For people on call, who look and steer by SQL and by the command."""

PLAIN: Final = frozenset({"clock", "first_id", "id_time", "unique_hash"})
"""Of all these, those that read nothing and run with their caller's rights; all others run with the owner's."""

PUBLIC: Final = WORKER | OPERATOR
"""All functions that are meant to be called; the others are called by these."""

_ROLE: Final = """\
DO $do$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles r WHERE r.rolname = {literal}) THEN
        CREATE ROLE {name} NOLOGIN;
    END IF;
    IF EXISTS (SELECT FROM pg_catalog.pg_namespace n JOIN pg_catalog.pg_roles r ON r.oid = n.nspowner
               WHERE n.nspname = {schema_literal} AND r.rolname = {literal}) THEN
        RAISE EXCEPTION 'the role % owns the schema %, and would lose its rights', {literal}, {schema_literal};
    END IF;
END $do$;
REVOKE ALL ON SCHEMA {schema} FROM {name};
REVOKE ALL ON ALL TABLES IN SCHEMA {schema} FROM {name};
REVOKE ALL ON ALL SEQUENCES IN SCHEMA {schema} FROM {name};
REVOKE ALL ON ALL ROUTINES IN SCHEMA {schema} FROM {name};
GRANT USAGE ON SCHEMA {schema} TO {name};"""


def roles_sql(schema: str = DEFAULT_SCHEMA, **names: str) -> str:
    """Return the SQL that makes the roles, where they are missing, and gives each exactly its rights.

    To be run by the schema's owner, who needs the right to create roles if one is missing; again after an upgrade.

    Args:
        schema: The schema of uno-jobs.
        names: What to call the roles instead, by the keys of ``NAMES``.

    Raises:
        ConfigurationError: A name will not do.
    """
    chosen = {**NAMES, **names}
    if len(set(chosen.values())) < len(chosen):
        raise ConfigurationError(f"each of the roles needs a name of its own: {', '.join(chosen.values())}")
    quoted = {role: _quote(name) for role, name in chosen.items()}
    sql = quote_schema(schema)
    views = sorted(view_names())
    parts = [
        f"-- The roles of uno-jobs in the schema {schema}. Run it again after each upgrade.",
        "BEGIN;",
        f"REVOKE ALL ON ALL ROUTINES IN SCHEMA {sql} FROM PUBLIC;",
    ]
    says = {
        "enqueuer": "May enqueue, and nothing else.",
        "worker": "May run workers, whose tasks may do all that queues can.",
        "reader": "May read all views, and nothing else.",
        "operator": "May read all views, retry, cancel and prune jobs, and steer queues and retention.",
    }
    functions = {"enqueuer": ENQUEUER, "worker": WORKER, "reader": READER, "operator": OPERATOR}
    for role, name in quoted.items():
        parts += [
            "",
            f"-- {says[role]}",
            _ROLE.format(literal=_literal(chosen[role]), name=name, schema=sql, schema_literal=_literal(schema)),
        ]
        parts += [f"GRANT EXECUTE ON FUNCTION {sql}.{function} TO {name};" for function in sorted(functions[role])]
        if role != "enqueuer":
            parts += [f"GRANT SELECT ON {sql}.{view} TO {name};" for view in views]
    return "\n".join([*parts, "", "COMMIT;", ""])


def view_names() -> set[str]:
    """Return the names of the views, as the migrations make them."""
    from uno_jobs.storage.checking import expected

    return expected()[0]["view"]


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _quote(name: str) -> str:
    """Return a role's name as SQL writes it."""
    if not 1 <= len(name.encode()) <= 63 or name.startswith("pg_") or name in ("public", "none"):
        raise ConfigurationError(
            f"a role's name has 1 to 63 bytes, does not begin with pg_, and is neither public nor none: "
            f"{name!r} will not do"
        )
    if re.search(r"[\"\\$\x00-\x1f]", name):
        raise ConfigurationError(
            f"a role's name may not contain double quotes, backslashes, dollar signs or control characters: "
            f"{name!r} will not do"
        )
    return f'"{name}"'
