"""Folders, binaries and processes for the tests of the embedded PostgreSQL."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.embedded.support import Holder, eventually

from uno_jobs.embedded.account import server_account
from uno_jobs.embedded.binaries import Binaries, all_binaries
from uno_jobs.embedded.locks import is_held

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(scope="session")
def every_binaries() -> list[Binaries]:
    """All usable binaries of this machine, as the server's account can run them, the preferred first."""
    found = all_binaries(server_account())
    if not found:
        pytest.skip("no PostgreSQL binaries here")
    return found


@pytest.fixture
def binaries(every_binaries: list[Binaries]) -> Binaries:
    return every_binaries[0]


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every account can enter (``tmp_path`` is closed to others)."""
    folder = Path(tempfile.mkdtemp(prefix="uno-jobs-tests-", dir="/tmp")).resolve()
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def project(open_folder: Path) -> Iterator[Path]:
    """A project's ``.uno-jobs``, still missing; its server's data are removed afterwards wherever they lie."""
    folder = open_folder / ".uno-jobs"
    yield folder
    pointer = folder / "postgres.path"
    state = Path(pointer.read_text().strip()) if pointer.exists() else folder / "postgres"
    eventually(lambda: not is_held(state / "server.lock"))
    if pointer.exists():
        shutil.rmtree(state)


@pytest.fixture
def hold(project: Path, binaries: Binaries) -> Iterator[Callable[[], Holder]]:
    """Begins a process that uses the project's server."""
    begun: list[Holder] = []

    def begin() -> Holder:
        begun.append(Holder(project, binaries.folder))
        return begun[-1]

    yield begin
    for holder in begun:
        holder.clean_up()
