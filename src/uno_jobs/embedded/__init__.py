"""A PostgreSQL without set-up: found in a wheel or on the machine, started, shared and stopped by itself."""

from __future__ import annotations

from uno_jobs.embedded.server import EmbeddedPostgres

__all__ = ["EmbeddedPostgres"]
