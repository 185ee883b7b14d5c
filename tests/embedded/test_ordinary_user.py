"""The same as an ordinary user, where the tests run as root: the launcher alone, on a Python of the system's."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import uno_jobs
from uno_jobs.embedded.account import Account, run_as
from uno_jobs.embedded.binaries import find_binaries

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="runs as root only: the other tests are it otherwise")

SESSION = """
import dataclasses, json, os, sys
from uno_jobs.embedded import EmbeddedPostgres
from uno_jobs.embedded.sharing import running_server
binaries = sys.argv[2]
with EmbeddedPostgres.dev(sys.argv[1], binaries=binaries) as server:
    about = dataclasses.asdict(running_server(server.state_folder))
    about |= {"state": str(server.state_folder), "url": server.url}
with EmbeddedPostgres.dev(sys.argv[1], binaries=binaries) as server:
    about["same"] = server.url == about["url"]
with EmbeddedPostgres.temporary(binaries=binaries) as server:
    about["temporary"] = str(server.state_folder)
print(json.dumps(about))
"""
REFUSED = """
import sys
from uno_jobs.embedded import EmbeddedPostgres
from uno_jobs.errors import EmbeddedError
try:
    EmbeddedPostgres.dev(sys.argv[1]).start()
except EmbeddedError as error:
    print(f"{type(error).__name__}: {error}")
"""


@pytest.fixture
def nobody() -> Account:
    entry = pwd.getpwnam("nobody")
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


@pytest.fixture
def python(nobody: Account) -> str:
    """A Python that nobody can run, whatever folder ours lies in."""
    for candidate in (sys.executable, *(f"/usr/bin/python3{minor}" for minor in (".13", ".12", ".11", ""))):
        if not run_as(nobody, [candidate, "-c", "import sys; assert sys.version_info >= (3, 11)"])[1]:
            return candidate
    pytest.skip("nobody can run no Python 3.11 or later here")


@pytest.fixture
def alone(open_folder: Path) -> Path:
    """The launcher and nothing else of the package, where everybody can read it."""
    source = Path(uno_jobs.__file__).parent
    package = open_folder / "packages" / "uno_jobs"
    shutil.copytree(source / "embedded", package / "embedded", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(source / "errors.py", package)
    (package / "__init__.py").touch()
    for folder, _, files in os.walk(open_folder / "packages"):
        Path(folder).chmod(0o755)
        for file in files:
            Path(folder, file).chmod(0o644)
    return package.parent


def run(python: str, script: str, account: Account, packages: Path, *arguments: str) -> str:
    done = subprocess.run(
        [python, "-c", script, *arguments],
        user=account.uid,
        group=account.gid,
        extra_groups=[],
        cwd="/",
        env={"PYTHONPATH": str(packages), "PATH": "/usr/bin:/bin", "HOME": "", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_session_as_nobody(nobody, python, alone, open_folder):
    binaries = find_binaries(account=nobody).folder
    # So deep that the socket has to lie elsewhere.
    home = open_folder / "home"
    folder = home / ("deep" * 20) / ".uno-jobs"
    home.mkdir()
    os.chown(home, nobody.uid, nobody.gid)
    about: dict[str, Any] = json.loads(run(python, SESSION, nobody, alone, str(folder), str(binaries)))
    assert about["state"] == str(folder / "postgres")
    assert about["same"]
    assert not about["socket_folder"].startswith(str(folder))
    assert not Path(about["socket_folder"]).exists()
    assert not Path(about["temporary"]).exists()
    assert (folder / "postgres").stat().st_mode & 0o777 == 0o700


def test_a_folder_of_roots_and_a_folder_of_nobodys_are_told_apart(nobody, python, alone, project):
    project.mkdir()
    os.chown(project, nobody.uid, nobody.gid)
    (project / "postgres.path").write_text("/var/lib/uno-jobs/somewhere\n")
    assert "IncompatibleData: the server of" in run(python, REFUSED, nobody, alone, str(project))
    (project / "postgres.path").unlink()
    (project / "postgres").mkdir()
    assert "were made by the user root" in run(python, REFUSED, nobody, alone, str(project))


def test_a_folder_that_is_closed_to_us_is_said(nobody, python, alone, open_folder):
    said = run(python, REFUSED, nobody, alone, str(open_folder / ".uno-jobs"))
    assert "EmbeddedError: the folder" in said
    assert "Permission denied" in said
