"""What a migration records at its end: each thing that it made, with its definition, and from which SQL."""

from __future__ import annotations

import hashlib

from uno_jobs.storage.migrations import folder


def source_digest() -> str:
    """Return a digest of the SQL files that this code brings."""
    digest = hashlib.sha256()
    root = folder() / "sql"
    for file in sorted(root.rglob("*.sql")):
        digest.update(f"{file.relative_to(root).as_posix()}\n{file.read_text(encoding='utf-8')}\n".encode())
    return digest.hexdigest()


def recording() -> str:
    """Return the statements with which each migration ends, written for the schema ``uno_jobs``."""
    return f"""
DELETE FROM uno_jobs.schema_objects;
INSERT INTO uno_jobs.schema_objects (kind, name, definition) SELECT * FROM uno_jobs.schema_definitions();
UPDATE uno_jobs.schema_info
SET made_on = current_setting('server_version_num')::integer / 10000, made_from = '{source_digest()}';
"""
