"""Whether a database's schema is what the migrations make: by this code's SQL, and by what they recorded."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import Any, Final

from uno_jobs.storage.migrations import folder, newest_revision
from uno_jobs.storage.recording import source_digest
from uno_jobs.storage.schema import DEFAULT_SCHEMA, quote_schema, render
from uno_jobs.storage.session import check_schema, connect
from uno_jobs.storage.statements import split_statements

_COMMENT: Final = re.compile(r"^\s*--[^\n]*\n", re.MULTILINE)
_CREATE: Final = re.compile(
    r"CREATE\s+(?:OR\s+REPLACE\s+)?(?:UNIQUE\s+|UNLOGGED\s+)*(TABLE|INDEX|VIEW|FUNCTION|SEQUENCE)\s+"
    r"(?:CONCURRENTLY\s+)?(?:IF\s+NOT\s+EXISTS\s+)?(?:\w+\.)?(\w+)",
    re.IGNORECASE,
)
_BODY: Final = re.compile(r"\bAS\s+(\$\w*\$)(.*?)\1", re.DOTALL)
_TOLD_BY_SERVER: Final = {"view", "index", "constraint", "trigger", "rule"}
"""Whose definitions one major version of PostgreSQL may tell otherwise than the next."""
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
            return await find_differences(connection, schema)
    finally:
        connection.terminate()


async def find_differences(connection: Any, schema: str) -> list[str]:
    """Do the same on an asyncpg connection whose schema is known to be there."""
    found = await connection.fetchval(f"SELECT max(version_num) FROM {quote_schema(schema)}.schema_version")
    newest = newest_revision()
    if found != newest:
        # What another revision made is not to be compared with this one's SQL.
        return [
            f"the schema is at revision {found}, this code brings {newest}: "
            + ("run 'uno-jobs db upgrade'" if str(found) < newest else "upgrade uno-jobs here"),
            *await _changes(connection, schema),
        ]
    changes = await _changes(connection, schema)
    made_from = await connection.fetchval(f"SELECT i.made_from FROM {quote_schema(schema)}.schema_info i")
    if made_from == source_digest():
        return [*await _invalid(connection, schema), *changes]  # what was recorded is what this code's SQL makes
    wrong = [*await _objects(connection, schema), *await _invalid(connection, schema)]
    return [
        *wrong,
        "the schema was made by other SQL than this code brings under the same revision: a version in between",
        *(one for one in changes if one not in wrong),
    ]


async def _changes(connection: Any, schema: str) -> list[str]:
    """Return what has changed since the last migration recorded what it made."""
    quoted = quote_schema(schema)
    same_server = await connection.fetchval(
        f"SELECT i.made_on = current_setting('server_version_num')::int / 10000 FROM {quoted}.schema_info i"
    )
    wrong: list[str] = []
    rows = await connection.fetch(
        f"""
        SELECT coalesce(o.kind, d.kind) AS kind, coalesce(o.name, d.name) AS name,
               o.definition AS made, d.definition AS found
        FROM {quoted}.schema_objects o FULL JOIN {quoted}.schema_definitions() d ON d.kind = o.kind AND d.name = o.name
        WHERE o.definition IS DISTINCT FROM d.definition ORDER BY 1, 2
        """
    )
    made = set(await connection.fetch(f"SELECT o.kind, o.name FROM {quoted}.schema_objects o"))
    ours = {(row["kind"], row["name"].partition("(")[0]) for row in made}
    for row in rows:
        kind, name = row["kind"], row["name"]
        if row["found"] is None:
            wrong.append(f"the {kind} {_short(kind, name)} is missing")
        elif row["made"] is None:
            # What a DBA keeps beside our tables is theirs; what hangs on them is not.
            owner = ("function", name.partition("(")[0]) if kind == "function" else ("table", name.partition(".")[0])
            if owner in ours and (kind == "function" or "." in name):
                # With its parameters: a function of ours has another beside it.
                wrong.append(f"the {kind} {name if kind == 'function' else _short(kind, name)} was added")
        elif kind == "function" and row["made"].rpartition(":")[2] != row["found"].rpartition(":")[2]:
            wrong.append(f"the function {name.partition('(')[0]} has another body than this code's")
        elif kind not in _TOLD_BY_SERVER or same_server:
            wrong.append(f"the {kind} {_short(kind, name)} was changed: {row['made']!r} is now {row['found']!r}")
    return wrong


def _short(kind: str, name: str) -> str:
    """Return a name as one calls it: an index has one of its own, a column has not."""
    return name.partition(".")[2] if kind == "index" else name.partition("(")[0] if kind == "function" else name


async def _invalid(connection: Any, schema: str) -> list[str]:
    rows = await connection.fetch(
        """
        SELECT c.relname::text AS name
        FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = $1 AND NOT (i.indisvalid AND i.indisready) ORDER BY 1
        """,
        schema,
    )
    return [f"the index {row['name']} is not valid: rebuild it with REINDEX INDEX CONCURRENTLY" for row in rows]


async def _objects(connection: Any, schema: str) -> list[str]:
    """Return in what the names of things, and the bodies of functions, differ from this code's SQL."""
    names, bodies = expected(schema)
    there: dict[str, set[str]] = defaultdict(set)
    wrong: list[str] = []
    rows = await connection.fetch(
        """
        SELECT c.relkind::text AS kind, c.relname::text AS name
        FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1
        """,
        schema,
    )
    for row in rows:
        if kind := _KINDS.get(row["kind"]):
            there[kind].add(row["name"])
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
