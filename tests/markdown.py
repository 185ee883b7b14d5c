"""Runs the code blocks of a Markdown page as a reader would, top to bottom, against a real database and a real worker.

- Python that begins with ``# some/file.py`` is written there; other Python is run, all of a page in one namespace.
- SQL is run once the queues are empty (jobs that wait for their time aside).
- TOML is parsed.
- Of shell blocks, each ``uno-jobs`` command has to exist with its options, and each script in the repository. The
  commands ``uno-jobs dev`` and ``worker`` start a worker in this process, ``uvicorn`` loads an application, and
  ``curl`` asks it. ``pytest`` runs the tests that the page has written, with the page's server for its databases.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import importlib
import inspect
import itertools
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import asyncpg
import httpx

from uno_jobs.tasks import discover_tasks
from uno_jobs.testing.servers import URL_VARIABLE
from uno_jobs.worker.config import WorkerConfig
from uno_jobs.worker.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
LIMIT = 30.0
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_FILE = re.compile(r"# ([\w/]+\.py)\n")
_IGNORED = {"pip", "export", "cd", "git"}
WITH_SUBCOMMANDS = {"db", "jobs", "workflows", "retention", "queues"}


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: str
    line: int
    """The first line of its content."""
    language: str
    content: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def pages() -> list[Path]:
    """Return the pages whose blocks are run."""
    return [
        *(ROOT / name for name in ("README.md", "CHANGELOG.md")),
        *sorted((ROOT / "docs").rglob("*.md")),
        *sorted((ROOT / "benchmarks").glob("*.md")),
    ]


def blocks_of(page: Path) -> Iterator[Block]:
    """Yield the fenced blocks of a page."""
    content = page.read_text(encoding="utf-8")
    for match in _FENCE.finditer(content):
        line = content.count("\n", 0, match.start(2)) + 1
        yield Block(str(page.relative_to(ROOT)), line, match[1], match[2])


def commands_of(block: Block) -> Iterator[list[str]]:
    """Yield the commands of a shell block as lists of words, without variables set in front of them."""
    for line in block.content.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        while words and re.fullmatch(r"\w+=.*", words[0]):
            words.pop(0)
        if words:
            yield words


def check_command(words: list[str]) -> None:
    """Fail unless a command of uno-jobs, or a script of the repository, exists and knows the options given."""
    if words[0].startswith(("scripts/", ".ci/")):
        assert (ROOT / words[0]).is_file(), f"there is no {words[0]}"
        return
    if words[0] == "python":
        command = [sys.executable, words[1]]
        assert (ROOT / words[1]).is_file(), f"there is no {words[1]}"
    else:
        command = [str(Path(sys.executable).with_name("uno-jobs")), words[1]]
        if words[1] in WITH_SUBCOMMANDS:
            command.append(words[2])
    done = subprocess.run(
        [*command, "--help"],
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", "COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"},
        cwd=ROOT,
        timeout=LIMIT,
        check=False,
    )
    assert done.returncode == 0, f"{shlex.join(command)} --help: {done.stderr or done.stdout}"
    for word in words:
        if word.startswith("--"):
            option = word.partition("=")[0]
            assert re.search(rf"{option}\b", done.stdout), f"{shlex.join(command)} has no option {option}"


@dataclass
class Reader:
    """Works through one page. Use it as an asynchronous context manager, in an empty folder on ``sys.path``."""

    url: str
    folder: Path
    namespace: dict[str, Any] = field(default_factory=dict[str, Any])
    rows: list[tuple[Block, list[asyncpg.Record]]] = field(default_factory=list[tuple[Block, list[asyncpg.Record]]])
    """What each SQL block returned."""
    answers: list[httpx.Response] = field(default_factory=list[httpx.Response])
    """What each request of curl was answered."""
    printed: list[str] = field(default_factory=list[str])
    """What each run of pytest printed."""
    worker: Worker | None = None
    application: Any = None

    async def __aenter__(self) -> Reader:
        self._stack = await contextlib.AsyncExitStack().__aenter__()
        self._connection = await asyncpg.connect(self.url)
        self._stack.push_async_callback(self._connection.close)
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self._stack.aclose()

    async def read(self, page: Path) -> None:
        """Do what each block of the page says."""
        name = f"page_{page.stem.replace('-', '_').lower()}"
        self.namespace["__name__"] = name
        for block in blocks_of(page):
            try:
                await self.do(block)
            except Exception as error:
                error.add_note(f"in the block at {block}")
                raise

    async def do(self, block: Block) -> None:
        """Do what a block says."""
        match block.language:
            case "python":
                await self._python(block)
            case "sql":
                await self._sql(block)
            case "sh":
                for words in commands_of(block):
                    await self._shell(words)
            case "toml":
                tomllib.loads(block.content)
                (self.folder / "pyproject.toml").write_text(block.content, encoding="utf-8")
            case "mermaid" | "text":
                pass
            case other:
                raise AssertionError(f"nobody knows how to run a block of {other!r}")

    async def _python(self, block: Block) -> None:
        if file := _FILE.match(block.content):
            path = self.folder / file[1]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.content, encoding="utf-8")
            importlib.invalidate_caches()
            return
        # Lines are numbered as on the page, so that a traceback leads there.
        source = "\n" * (block.line - 1) + block.content
        code = compile(source, str(ROOT / block.page), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        if code.co_flags & inspect.CO_COROUTINE:
            await eval(code, self.namespace)
        else:
            # As a synchronous program: without an event loop in its thread.
            await asyncio.to_thread(exec, code, self.namespace)

    async def _sql(self, block: Block) -> None:
        await self.until_idle()
        self.rows.append((block, await self._connection.fetch(block.content)))

    async def until_idle(self) -> None:
        """Wait until the worker, if there is one, has done what is due."""
        if self.worker is None:
            return
        async with asyncio.timeout(LIMIT):
            while await self._connection.fetchval(
                "SELECT EXISTS (SELECT FROM uno_jobs.live_jobs WHERE state IN ('ready', 'running'))"
            ):
                await asyncio.sleep(0.01)

    async def _shell(self, words: list[str]) -> None:
        match words[0]:
            case "curl":
                self.answers.append(await self._request(words))
            case "uvicorn":
                await self._load(words[1])
            case "pytest":
                await asyncio.to_thread(self._pytest, words)
            case ignored if ignored in _IGNORED:
                pass
            case _:
                await asyncio.to_thread(check_command, words)
                if words[0] == "uno-jobs" and words[1] in {"dev", "worker"}:
                    await self._start_worker(words)

    def _pytest(self, words: list[str]) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "UNO_JOBS"))}
        done = subprocess.run(
            [sys.executable, "-W", "error", "-m", *words, "-p", "no:cacheprovider"],
            cwd=self.folder,
            env={**environment, URL_VARIABLE: self.url, "PYTHONPATH": str(self.folder)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        self.printed.append(done.stdout)
        assert done.returncode == 0, done.stdout + done.stderr

    async def _start_worker(self, words: list[str]) -> None:
        modules = [words[place + 1] for place, word in enumerate(words) if word == "--app"]
        if self.worker is not None or not all((self.folder / f"{m.replace('.', '/')}.py").exists() for m in modules):
            return  # runs already, or its code comes later on the page
        discover_tasks(modules)
        self.worker = Worker(WorkerConfig(url=self.url, poll_interval=0.1))
        task = asyncio.create_task(self.worker.run())

        async def stop() -> None:
            assert self.worker is not None
            self.worker.drain()
            async with asyncio.timeout(LIMIT):
                await task

        self._stack.push_async_callback(stop)
        async with asyncio.timeout(LIMIT):
            await self.worker.started.wait()

    async def _load(self, target: str) -> None:
        module, _, name = target.partition(":")
        self.application = getattr(importlib.import_module(module), name)
        await self._stack.enter_async_context(self.application.router.lifespan_context(self.application))

    async def _request(self, words: list[str]) -> httpx.Response:
        given = dict(itertools.pairwise(words))
        (url,) = [word for word in words if word.startswith("http")]
        name, _, value = given["-H"].partition(": ")
        parts = urlsplit(url)
        transport = httpx.ASGITransport(app=self.application)
        async with httpx.AsyncClient(transport=transport, base_url=f"{parts.scheme}://{parts.netloc}") as client:
            return await client.request(
                given["-X"], parts.path, headers={name: value}, content=json.dumps(json.loads(given["-d"]))
            )
