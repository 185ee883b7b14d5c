"""Migrations: bring a database's schema up or down, say where it stands, print the SQL for a DBA."""

from __future__ import annotations

import asyncio
import functools
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uno_jobs.storage.pooled import SETTINGS
from uno_jobs.storage.schema import DEFAULT_SCHEMA, quote_schema

if TYPE_CHECKING:
    from collections.abc import Callable

    from alembic.config import Config
    from sqlalchemy import Connection

UNPREPARED: dict[str, Any] = {"prepared_statement_cache_size": 0, "prepared_statement_name_func": lambda: ""}
"""For SQLAlchemy's dialect of asyncpg: its prepared statements have no name, and so leave nothing in a session."""

VERSION_TABLE = "schema_version"
"""Lies in the schema itself, so that an application's own alembic never meets it."""


def folder() -> Path:
    """Return the folder of the migrations, in an installed wheel as in a checkout."""
    installed = Path(__file__).parents[1] / "migrations"
    return installed if installed.is_dir() else Path(__file__).parents[3] / "migrations"


def make_config(schema: str = DEFAULT_SCHEMA, **attributes: Any) -> Config:
    """Return alembic's configuration for this schema; ``attributes`` reach ``env.py``."""
    from alembic.config import Config

    quote_schema(schema)
    config = Config(output_buffer=attributes.pop("output_buffer", None))
    config.set_main_option("script_location", str(folder()).replace("%", "%%"))
    config.attributes.update(attributes, schema=schema)
    return config


def upgrade(url: str, schema: str = DEFAULT_SCHEMA, revision: str = "head", *, pooled: bool = False) -> None:
    """Bring the schema up to a revision (``head``: the newest), creating it where it is missing.

    Two processes may do so at once: the second waits for the first. ``pooled``: the URL is a transaction pooler's.

    Raises:
        UnsupportedServer: The server is older than PostgreSQL 15.
        DatabaseUnavailable: It cannot be reached.
    """
    from alembic import command

    _run(url, schema, functools.partial(command.upgrade, revision=revision), pooled=pooled)


def downgrade(url: str, schema: str = DEFAULT_SCHEMA, revision: str = "base", *, pooled: bool = False) -> None:
    """Bring the schema down to a revision (``base``: nothing of it is left but its version table)."""
    from alembic import command

    _run(url, schema, functools.partial(command.downgrade, revision=revision), pooled=pooled)


def offline_sql(schema: str = DEFAULT_SCHEMA, revision: str = "head") -> str:
    """Return the SQL that an upgrade would run, for somebody else to run; ``from:to`` gives a range."""
    from alembic import command

    out = io.StringIO()
    command.upgrade(make_config(schema, output_buffer=out), revision, sql=True)
    return out.getvalue()


def newest_revision() -> str:
    """Return the id of the newest migration that this code brings: its file's number, without alembic's slow import."""
    return max(file.name.partition("_")[0] for file in (folder() / "versions").glob("[0-9]*.py"))


def current_revision(url: str, schema: str = DEFAULT_SCHEMA, *, pooled: bool = False) -> str | None:
    """Return the id of the revision that a database's schema is at; None where it is not installed."""
    from alembic.runtime.migration import MigrationContext

    def read(connection: Connection) -> str | None:
        options = {"version_table": VERSION_TABLE, "version_table_schema": schema}
        return MigrationContext.configure(connection, opts=options).get_current_revision()

    return asyncio.run(_with_connection(url, read, pooled=pooled))


def _run(url: str, schema: str, action: Callable[[Config], None], *, pooled: bool) -> None:
    def work(connection: Connection) -> None:
        action(make_config(schema, connection=connection))

    asyncio.run(_with_connection(url, work, pooled=pooled))


async def _with_connection(url: str, work: Any, *, pooled: bool) -> Any:
    from sqlalchemy.ext.asyncio import create_async_engine
    from sqlalchemy.pool import NullPool

    from uno_jobs.storage.session import connect, connect_raw

    # A session with our settings: under a role's default of repeatable read the second of two upgrades would not see
    # what the first one did.
    engine = create_async_engine(
        "postgresql+asyncpg://",  # of the dialect only: SQLAlchemy cannot read every URL, as one with several hosts
        poolclass=NullPool,
        async_creator=functools.partial(connect_raw if pooled else connect, url),
        connect_args=UNPREPARED if pooled else {},
    )
    try:
        async with engine.connect() as connection, connection.begin():
            if pooled:
                await connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE")
                for name, value in SETTINGS.items():
                    await connection.exec_driver_sql(f"SET LOCAL {name} = '{value}'")
            return await connection.run_sync(work)
    finally:
        await engine.dispose()
