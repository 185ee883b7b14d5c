"""What a schema holds, read from the system catalogues: for comparing two ways of making it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncpg

_PARTS = {
    "relations": """
        SELECT c.relname, c.relkind::text, c.relpersistence::text, c.reloptions, obj_description(c.oid, 'pg_class'),
               CASE WHEN c.relkind = 'v' THEN pg_get_viewdef(c.oid) END
        FROM pg_class c WHERE c.relnamespace = $1::regnamespace ORDER BY 1""",
    "columns": """
        SELECT c.relname, a.attname, a.attnum, format_type(a.atttypid, a.atttypmod), a.attnotnull,
               pg_get_expr(d.adbin, d.adrelid), col_description(c.oid, a.attnum)
        FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
        WHERE c.relnamespace = $1::regnamespace ORDER BY 1, 3""",
    "constraints": """
        SELECT c.conrelid::regclass::text, c.conname, pg_get_constraintdef(c.oid)
        FROM pg_constraint c WHERE c.connamespace = $1::regnamespace ORDER BY 1, 2""",
    "indexes": """
        SELECT i.indexrelid::regclass::text, pg_get_indexdef(i.indexrelid)
        FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
        WHERE c.relnamespace = $1::regnamespace ORDER BY 1""",
    "functions": """
        SELECT p.proname, pg_get_function_arguments(p.oid), pg_get_function_result(p.oid), p.prosrc,
               p.provolatile::text, p.prosecdef, p.proparallel::text, p.proconfig, obj_description(p.oid, 'pg_proc')
        FROM pg_proc p WHERE p.pronamespace = $1::regnamespace ORDER BY 1, 2""",
    "domains": """
        SELECT t.typname, format_type(t.typbasetype, t.typtypmod), obj_description(t.oid, 'pg_type')
        FROM pg_type t WHERE t.typnamespace = $1::regnamespace AND t.typtype = 'd' ORDER BY 1""",
    "enums": """
        SELECT t.typname, array_agg(e.enumlabel::text ORDER BY e.enumsortorder), obj_description(t.oid, 'pg_type')
        FROM pg_type t JOIN pg_enum e ON e.enumtypid = t.oid
        WHERE t.typnamespace = $1::regnamespace GROUP BY t.oid, t.typname ORDER BY 1""",
}


async def catalog(connection: asyncpg.Connection[Any], schema: str) -> dict[str, list[tuple[Any, ...]]]:
    """Return what a schema holds, kind by kind; ``schema`` is quoted as SQL wants it."""
    return {part: [tuple(row) for row in await connection.fetch(query, schema)] for part, query in _PARTS.items()}
