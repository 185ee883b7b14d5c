"""Foundation: tables, the functions that move jobs, the views."""

from __future__ import annotations

from pathlib import Path

from alembic import op
from sqlalchemy import text

from uno_jobs.storage.recording import recording
from uno_jobs.storage.schema import quote_schema, render
from uno_jobs.storage.statements import split_statements

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

SQL = Path(__file__).parents[1] / "sql" / "0001"


def execute(sql: str, schema: str) -> None:
    for statement in split_statements(render(sql, schema)):
        # A colon is not a parameter here.
        op.execute(text(statement.replace(":", "\\:")))


def upgrade(schema: str) -> None:
    execute("SET LOCAL check_function_bodies = off", schema)
    files = [SQL / "types.sql", SQL / "tables.sql"]
    files += sorted((SQL / "functions").glob("*.sql"))
    files += sorted((SQL / "views").glob("*.sql"))
    for file in files:
        execute(file.read_text(encoding="utf-8"), schema)
    # A channel's name has at most 63 bytes, as a schema's has; the hash keeps schemas of two databases' users apart.
    channel = f"uno_jobs_{schema}" if len(schema.encode()) <= 50 else f"uno_jobs_{hash_of(schema)}"
    execute(
        f"INSERT INTO uno_jobs.schema_info (revision, min_code, channel) VALUES (1, 1, '{channel}')".replace(
            "uno_jobs.schema_info", f"{quote_schema(schema)}.schema_info"
        ),
        "uno_jobs",
    )
    execute(recording(), schema)


def downgrade(schema: str) -> None:
    quoted = quote_schema(schema)
    names = {"FUNCTION": "functions", "VIEW": "views"}
    for kind in ("VIEW", "FUNCTION"):
        for file in sorted((SQL / names[kind]).glob("*.sql")):
            execute(f"DROP {kind} IF EXISTS {quoted}.{file.stem} CASCADE", "uno_jobs")
    for table in (
        "retention_walks", "retention",
        "chore_leases", "progress", "result_waiters", "workflow_cancellations", "cancel_requests", "hungry", "queues",
        "workers", "task_versions", "pending_counts", "pending_releases", "job_edges", "outcomes", "attempts",
        "live_jobs", "jobs", "schema_objects", "schema_info",
    ):  # fmt: skip
        execute(f"DROP TABLE {quoted}.{table}", "uno_jobs")
    execute(f"DROP SEQUENCE {quoted}.ready_seq", "uno_jobs")
    for domain in ("queue_name", "priority"):
        execute(f"DROP DOMAIN {quoted}.{domain}", "uno_jobs")
    execute(f"DROP TYPE {quoted}.attempt_outcome", "uno_jobs")
    execute(f"DROP TYPE {quoted}.job_state", "uno_jobs")


def hash_of(schema: str) -> str:
    import hashlib

    return hashlib.sha256(schema.encode()).hexdigest()[:32]
