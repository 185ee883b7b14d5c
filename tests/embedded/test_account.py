"""Whom the server runs as."""

from __future__ import annotations

import os

import pytest

from uno_jobs.embedded import account
from uno_jobs.embedded.account import Account, run_as, server_account
from uno_jobs.errors import NoServerAccount

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.mark.skipif(os.geteuid() == 0, reason="needs an ordinary user")
def test_an_ordinary_user_runs_it_itself():
    assert server_account() is None


@needs_root
def test_root_runs_it_as_an_ordinary_account():
    found = server_account()
    assert found is not None
    assert found.uid != 0
    printed, refusal = run_as(found, ["/bin/sh", "-c", "id -u; id -G"])
    assert (printed.split(), refusal) == ([str(found.uid), str(found.gid)], "")


@needs_root
def test_without_such_an_account_root_is_told_what_to_do(monkeypatch):
    monkeypatch.setattr(account, "CANDIDATES", ("uno-jobs-nobody", "root"))
    with pytest.raises(NoServerAccount, match=r"uno-jobs-nobody: no such account; root: its user id is 0.*useradd"):
        server_account()


def test_what_an_account_can_reach_follows_the_modes(open_folder):
    stranger = Account("stranger", 54321, 54321)
    assert stranger.can_reach(open_folder)
    (open_folder / "closed").mkdir(mode=0o700)
    (open_folder / "closed" / "inside").mkdir(mode=0o755)
    assert not stranger.can_reach(open_folder / "closed" / "inside")
    assert Account("we", os.geteuid(), os.getegid()).can_reach(open_folder / "closed" / "inside")


def test_a_command_that_cannot_run_is_said():
    assert "No such file" in run_as(None, ["/no/such/program"])[1]
    assert run_as(None, ["/bin/sh", "-c", "echo why >&2; exit 3"])[1] == "exit status 3: why"
