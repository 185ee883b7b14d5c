"""Alembic's entry: runs the migrations on a connection of uno-jobs', on one made from the settings, or as SQL text."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

from alembic import context
from sqlalchemy import text

from uno_jobs.storage.migrations import VERSION_TABLE
from uno_jobs.storage.schema import DEFAULT_SCHEMA, quote_schema
from uno_jobs.storage.session import SETTINGS, check_server
from uno_jobs.storage.urls import sqlalchemy_url

if TYPE_CHECKING:
    from sqlalchemy import Connection

config = context.config
schema: str = config.attributes.get("schema") or os.environ.get("UNO_JOBS_SCHEMA", DEFAULT_SCHEMA)
quoted = quote_schema(schema)
options: dict[str, Any] = {"version_table": VERSION_TABLE, "version_table_schema": schema}


def run_migrations() -> None:
    context.run_migrations(schema=schema)
    # Every function is everybody's until that is taken back; many have their owner's rights. See storage/roles.py.
    context.execute(f"REVOKE ALL ON ALL ROUTINES IN SCHEMA {quoted} FROM PUBLIC")


def run_offline() -> None:
    # Without a paramstyle of its own the dialect would write each % of the functions' texts twice.
    context.configure(dialect_name="postgresql", dialect_opts={"paramstyle": "named"}, literal_binds=True, **options)
    with context.begin_transaction():
        context.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted}")
        context.run_migrations(schema=schema)


def run_on(connection: Connection) -> None:
    check_server(connection.exec_driver_sql("SELECT current_setting('server_version_num')::int").scalar_one())
    # A second upgrade at the same time waits here, and then finds nothing left to do.
    connection.execute(
        text("SELECT pg_advisory_xact_lock(hashtextextended('uno-jobs migrations ' || :s, 0))"), {"s": schema}
    )
    connection.exec_driver_sql(f"CREATE SCHEMA IF NOT EXISTS {quoted}")
    context.configure(connection=connection, **options)
    with context.begin_transaction():
        run_migrations()


async def run_from_settings() -> None:
    from sqlalchemy.ext.asyncio import create_async_engine

    url = os.environ.get("UNO_JOBS_DATABASE_URL") or os.environ.get("DATABASE_URL")
    if not url:
        raise SystemExit("set UNO_JOBS_DATABASE_URL or DATABASE_URL, or use 'uno-jobs db upgrade'")
    engine = create_async_engine(sqlalchemy_url(url, "asyncpg"), connect_args={"server_settings": SETTINGS})
    async with engine.begin() as connection:
        await connection.run_sync(run_on)
    await engine.dispose()


if context.is_offline_mode():
    run_offline()
elif (given := config.attributes.get("connection")) is not None:
    run_on(given)
else:
    asyncio.run(run_from_settings())
