"""The application: a table of source files, and the task that looks into one."""

from __future__ import annotations

import ast
import warnings
from pathlib import Path
from uuid import UUID  # noqa: TC003 - SQLAlchemy reads the annotation at run time

from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from uno_jobs import task
from uno_jobs.errors import Fail

# The library's own tests contain questionable escapes on purpose.
warnings.filterwarnings("ignore", category=SyntaxWarning)


class Base(DeclarativeBase):
    """The application's tables; uno-jobs keeps its own in a schema of its own."""


class SourceFile(Base):
    """One file of the standard library, and the job that parses it."""

    __tablename__ = "source_files"

    id: Mapped[int] = mapped_column(primary_key=True)
    module: Mapped[str]
    path: Mapped[str]
    size: Mapped[int]
    job_id: Mapped[UUID] = mapped_column(index=True)


@task(queue="survey", max_retries=2, retry_delay=1)
def parse_source(path: str) -> dict[str, int]:
    """Count the lines, functions, classes and imports of a Python file.

    A synchronous function: parsing keeps the processor busy, and would hold up an event loop.
    """
    source = Path(path).read_bytes()
    try:
        tree = ast.parse(source, path)
    except (SyntaxError, ValueError, RecursionError) as error:
        # Broken on purpose, to test the compiler: it will not get better by trying again.
        raise Fail(f"cannot be parsed: {error}") from error
    found = {"lines": source.count(b"\n"), "functions": 0, "classes": 0, "imports": 0}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found["functions"] += 1
        elif isinstance(node, ast.ClassDef):
            found["classes"] += 1
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found["imports"] += len(node.names)
    return found
