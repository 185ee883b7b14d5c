"""Where an embedded server's files lie."""

from __future__ import annotations

import os
import shutil
import stat
import time

import pytest

from uno_jobs.embedded import places
from uno_jobs.embedded.account import server_account
from uno_jobs.embedded.locks import FileLock
from uno_jobs.embedded.places import lasting_state, remove_abandoned, socket_folder, temporary_state
from uno_jobs.embedded.supervisor import write_private
from uno_jobs.errors import EmbeddedError, IncompatibleData


def test_a_socket_lies_with_the_data_where_its_path_is_short(open_folder):
    account = server_account()
    folder = socket_folder(open_folder, account, None)
    assert folder == open_folder / "socket"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert socket_folder(open_folder, account, None) == folder


def test_a_long_path_gets_a_short_private_folder_again_and_again(open_folder):
    account = server_account()
    deep = open_folder / ("long" * 30)
    folder = socket_folder(deep, account, None)
    try:
        assert len(os.fsencode(folder / ".s.PGSQL.65535")) <= 100
        found = folder.stat()
        assert stat.S_IMODE(found.st_mode) == 0o700
        assert found.st_uid == (account.uid if account else os.geteuid())
        assert socket_folder(deep, account, str(folder)) == folder
        folder.chmod(0o755)  # somebody could have put something into it
        other = socket_folder(deep, account, str(folder))
        assert other != folder
        other.rmdir()
    finally:
        folder.rmdir()


def test_no_short_folder_is_said(open_folder, monkeypatch):
    monkeypatch.setattr(places, "_short_enough", lambda _folder: False)
    with pytest.raises(EmbeddedError, match="too long for a Unix socket"):
        socket_folder(open_folder, None, None)


def test_a_full_memory_is_not_used(monkeypatch):
    monkeypatch.setattr(places, "MEMORY_NEEDED", 2**62)
    state = temporary_state(server_account())
    try:
        assert places.MEMORY not in state.parents
    finally:
        state.rmdir()


def test_what_dead_temporary_servers_left_is_removed_and_what_lives_is_not(open_folder):
    long_ago = time.time() - 3600
    dead, living, fresh, foreign = (open_folder / f"{places.TEMPORARY_PREFIX}{name}" for name in ("a", "b", "c", "d"))
    sockets = open_folder / f"{places.SOCKET_PREFIX}a"
    for folder in (dead, living, fresh, foreign, sockets):
        folder.mkdir()
    write_private(dead / "last.json", {"socket_folder": str(sockets)})
    lock = FileLock.try_shared(living / "users.lock")
    assert lock is not None
    for folder in (dead, living, foreign):
        os.utime(folder, (long_ago, long_ago))
    if os.geteuid() == 0:
        os.chown(foreign, 65534, 65534)
    remove_abandoned(open_folder)
    lock.release()
    kept = {living, fresh, foreign} if os.geteuid() == 0 else {living, fresh}
    assert set(open_folder.iterdir()) == kept


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_made_is_said(open_folder):
    open_folder.chmod(0o555)
    with pytest.raises(EmbeddedError, match="cannot be used for a server"):
        lasting_state(open_folder / "sub", None)
    open_folder.chmod(0o755)


@pytest.mark.skipif(os.geteuid() == 0, reason="needs an ordinary user")
def test_a_folder_of_roots_is_refused(project):
    project.mkdir()
    (project / "postgres.path").write_text("/var/lib/uno-jobs/0123\n")
    with pytest.raises(IncompatibleData, match="was made by root"):
        lasting_state(project, None)
    (project / "postgres.path").unlink()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_as_root_data_of_another_account_are_refused(project):
    account = server_account()
    assert account is not None
    state = lasting_state(project, account)
    (state / "data").mkdir()
    with pytest.raises(IncompatibleData, match="belong to root"):
        lasting_state(project, account)
    shutil.rmtree(state / "data")
