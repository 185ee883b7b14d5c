"""``uno-jobs db``: brings the schema up or down, says where it stands, checks it, prints its SQL."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Annotated

import typer

from uno_jobs.cli import asking, options, output
from uno_jobs.errors import ConfigurationError, DatabaseError
from uno_jobs.storage.roles import NAMES

if TYPE_CHECKING:
    from collections.abc import Generator


_CALLED = "With --roles: the name of that role.  [else "

app = typer.Typer(help="The schema: upgrade, downgrade, current, check, sql.", no_args_is_help=True)


@app.command()
def upgrade(
    revision: Annotated[str, typer.Argument(help="The revision to reach.")] = "head",
    database_url: options.DatabaseUrl = None,
    schema: options.Schema = None,
) -> None:
    """Create the schema, or bring it up to the newest revision. Safe to run twice, and twice at once."""
    from uno_jobs.storage import migrations

    settings = options.settings(database_url=database_url, schema=schema)
    url = settings.database()
    with _migrating():
        migrations.upgrade(url, settings.schema, revision, pooled=settings.pooled)
        found = migrations.current_revision(url, settings.schema, pooled=settings.pooled)
        output.write(f"schema {settings.schema} is at revision {found}")


@app.command()
def downgrade(
    revision: Annotated[str, typer.Argument(help="The revision to go back to; base removes everything.")],
    yes: Annotated[bool, typer.Option("--yes", help="Yes, jobs may be lost.")] = False,
    database_url: options.DatabaseUrl = None,
    schema: options.Schema = None,
) -> None:
    """Bring the schema back to an older revision. What that revision has no place for is lost."""
    from uno_jobs.storage import migrations

    settings = options.settings(database_url=database_url, schema=schema)
    url = settings.database()
    if not yes:
        raise ConfigurationError("a downgrade may lose jobs: say --yes if that is meant")
    with _migrating():
        migrations.downgrade(url, settings.schema, revision, pooled=settings.pooled)
        found = migrations.current_revision(url, settings.schema, pooled=settings.pooled)
    output.write(f"schema {settings.schema} is at revision {found}" if found else f"schema {settings.schema} is empty")


@app.command()
def current(
    database_url: options.DatabaseUrl = None, schema: options.Schema = None, json: options.Json = False
) -> None:
    """Say at which revision the schema is, and which is the newest. Exit status 1 where it is not installed."""
    from uno_jobs.storage import migrations

    settings = options.settings(database_url=database_url, schema=schema)
    with _migrating():
        found = migrations.current_revision(settings.database(), settings.schema, pooled=settings.pooled)
    newest = migrations.newest_revision()
    if json:
        output.write_json({"schema": settings.schema, "revision": found, "newest": newest})
    elif found is None:
        output.write(f"schema {settings.schema} is not installed; the newest revision is {newest}")
    else:
        output.write(f"schema {settings.schema} is at revision {found}; the newest is {newest}")
    if found is None:
        raise typer.Exit(1)


@app.command()
def check(database_url: options.DatabaseUrl = None, schema: options.Schema = None, json: options.Json = False) -> None:
    """Compare the schema with what this version of uno-jobs makes. Exit status 1 where they differ."""
    from uno_jobs.storage.checking import differences

    settings = options.settings(database_url=database_url, schema=schema)
    found = asking.run(differences(settings.database(), settings.schema, pooled=settings.pooled))
    if json:
        output.write_json({"schema": settings.schema, "ok": not found, "differences": found})
    elif found:
        for difference in found:
            output.write(difference)
    else:
        output.write(f"schema {settings.schema} is as it should be")
    if found:
        raise typer.Exit(1)


@app.command()
def sql(
    revision: Annotated[str | None, typer.Argument(help="The revision to reach, or FROM:TO.  [else head]")] = None,
    roles: Annotated[bool, typer.Option("--roles", help="Instead: what makes or renews the roles.")] = False,
    enqueuer: Annotated[str | None, typer.Option("--enqueuer", help=f"{_CALLED}{NAMES['enqueuer']}]")] = None,
    worker: Annotated[str | None, typer.Option("--worker", help=f"{_CALLED}{NAMES['worker']}]")] = None,
    reader: Annotated[str | None, typer.Option("--reader", help=f"{_CALLED}{NAMES['reader']}]")] = None,
    operator: Annotated[str | None, typer.Option("--operator", help=f"{_CALLED}{NAMES['operator']}]")] = None,
    schema: options.Schema = None,
) -> None:
    """Print the SQL of an upgrade, or of the roles, for somebody else to run. Needs no database."""
    from uno_jobs.storage import migrations
    from uno_jobs.storage.roles import roles_sql

    names = {"enqueuer": enqueuer, "worker": worker, "reader": reader, "operator": operator}
    given = {role: name for role, name in names.items() if name is not None}
    name = options.settings(schema=schema).schema
    if roles:
        if revision is not None:
            raise ConfigurationError("--roles is for the newest revision, once the schema is there; it takes no other")
        output.write(roles_sql(name, **given).rstrip())
        return
    if given:
        raise ConfigurationError(f"{' '.join(f'--{role}' for role in given)}: goes with --roles")
    with _migrating():
        output.write(migrations.offline_sql(name, revision or "head").rstrip())


@contextlib.contextmanager
def _migrating() -> Generator[None]:
    from alembic.util import CommandError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except CommandError as error:
        raise ConfigurationError(" ".join(str(error).split())) from error
    except SQLAlchemyError as error:
        cause = getattr(error, "orig", None) or error
        raise DatabaseError(f"the database refused: {asking.said(cause.__cause__ or cause)}") from error
    except OSError as error:
        raise DatabaseError(f"the database failed: {asking.said(error)}") from error
