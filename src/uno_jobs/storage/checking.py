"""Whether a database's schema is what the migrations make: its revision, tables, indexes, views and functions."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

from uno_jobs.storage.migrations import folder, newest_revision
from uno_jobs.storage.schema import DEFAULT_SCHEMA, quote_schema, render
from uno_jobs.storage.session import check_schema, connect
from uno_jobs.storage.statements import split_statements

if TYPE_CHECKING:
    from collections.abc import Iterator

_COMMENT: Final = re.compile(r"^\s*--[^\n]*\n", re.MULTILINE)
_CREATE: Final = re.compile(
    r"CREATE\s+(?:OR\s+REPLACE\s+)?(?:UNIQUE\s+|UNLOGGED\s+)*(TABLE|INDEX|VIEW|FUNCTION|SEQUENCE)\s+"
    r"(?:CONCURRENTLY\s+)?(?:IF\s+NOT\s+EXISTS\s+)?(?:\w+\.)?(\w+)",
    re.IGNORECASE,
)
_BODY: Final = re.compile(r"\bAS\s+(\$\w*\$)(.*?)\1", re.DOTALL)
_KINDS: Final = {"r": "table", "p": "table", "i": "index", "v": "view", "S": "sequence"}


async def differences(url: str, schema: str = DEFAULT_SCHEMA, *, pooled: bool = False) -> list[str]:
    """Return in what a database differs from what this code's migrations make, a sentence each; empty: in nothing.

    Raises:
        DatabaseUnavailable, SchemaNotInstalled, SchemaTooOld, CodeTooOld, UnsupportedServer: Each says what to do.
    """
    quote_schema(schema)
    connection = await connect(url, schema, name="uno-jobs check", pooled=pooled)
    try:
        await check_schema(connection, schema)
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            return [*await _revision(connection, schema), *await _objects(connection, schema)]
    finally:
        connection.terminate()


async def _revision(connection: Any, schema: str) -> Iterator[str]:
    found = await connection.fetchval(f"SELECT max(version_num) FROM {quote_schema(schema)}.schema_version")
    newest = newest_revision()
    if found == newest:
        return iter(())
    return iter([f"the schema is at revision {found}, this code brings {newest}: run 'uno-jobs db upgrade'"])


async def _objects(connection: Any, schema: str) -> list[str]:
    names, bodies = expected(schema)
    there: dict[str, set[str]] = defaultdict(set)
    wrong: list[str] = []
    rows = await connection.fetch(
        """
        SELECT c.relkind::text AS kind, c.relname::text AS name, i.indisvalid AND i.indisready AS valid
        FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        LEFT JOIN pg_catalog.pg_index i ON i.indexrelid = c.oid
        WHERE n.nspname = $1
        """,
        schema,
    )
    for row in rows:
        if kind := _KINDS.get(row["kind"]):
            there[kind].add(row["name"])
            if row["valid"] is False:
                wrong.append(f"the index {row['name']} is not valid: rebuild it with REINDEX INDEX CONCURRENTLY")
    for kind, expected_names in sorted(names.items()):
        wrong += [f"the {kind} {name} is missing" for name in sorted(expected_names - there[kind])]
    in_database: dict[str, list[str]] = defaultdict(list)
    for row in await connection.fetch(
        """
        SELECT p.proname::text AS name, p.prosrc AS body
        FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = $1
        """,
        schema,
    ):
        in_database[row["name"]].append(row["body"])
    for name, wanted in sorted(bodies.items()):
        if name not in in_database:
            wrong.append(f"the function {name} is missing")
        elif sorted(in_database[name]) != sorted(wanted):
            wrong.append(f"the function {name} has another body than this code's")
    return wrong


def expected(schema: str = DEFAULT_SCHEMA) -> tuple[dict[str, set[str]], dict[str, list[str]]]:
    """Return what the SQL files make: names by kind (table, index, view, sequence), and functions' bodies by name.

    A later revision's file of a function or view stands in for an earlier one's.
    """
    names: dict[str, set[str]] = defaultdict(set)
    bodies: dict[str, list[str]] = {}
    for revision in sorted((folder() / "sql").iterdir()):
        here: dict[str, list[str]] = defaultdict(list)
        for file in sorted(revision.rglob("*.sql")):
            for statement in split_statements(render(file.read_text(encoding="utf-8"), schema)):
                made = _CREATE.match(_COMMENT.sub("", statement).lstrip())
                if made is None:
                    # A name in quotes, as an unusual schema's is, is cut off before the match.
                    made = _CREATE.match(re.sub(r'"[^"]*"\.', "", _COMMENT.sub("", statement)).lstrip())
                if made is None:
                    continue
                kind, name = made.group(1).lower(), made.group(2)
                if kind != "function":
                    names[kind].add(name)
                elif body := _BODY.search(statement):
                    here[name].append(body.group(2))
        bodies |= here
    return names, bodies
