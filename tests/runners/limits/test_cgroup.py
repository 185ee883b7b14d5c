"""Control groups, on a tree of files that behaves like the kernel's."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from uno_jobs.runners.limits.cgroup import (
    Cgroupfs,
    CgroupTree,
    CgroupUnavailable,
    Surroundings,
    own_cgroup,
)
from uno_jobs.runners.limits.limits import Limits

FILES = {
    "cgroup.procs": "", "cgroup.type": "domain\n", "cgroup.controllers": "cpu memory pids\n",
    "cgroup.subtree_control": "", "cpu.max": "max 100000\n", "memory.max": "max\n", "memory.swap.max": "max\n",
    "memory.oom.group": "0\n", "memory.events": "low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\n",
}  # fmt: skip


class Tree(Cgroupfs):
    """Files that make and keep a tree of groups as the kernel does."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.log: list[tuple[str, str]] = []
        self.make(root)

    def make(self, path: Path) -> None:
        path.mkdir(exist_ok=True, parents=True)
        for name, text in FILES.items():
            if not (path / name).exists():
                (path / name).write_text(text)

    def remove(self, path: Path) -> None:
        if (path / "cgroup.procs").read_text():
            raise OSError(errno.EBUSY, "Device or resource busy")
        for file in path.iterdir():
            file.unlink()
        path.rmdir()

    def write(self, path: Path, value: str) -> None:
        if not path.exists():
            raise FileNotFoundError(errno.ENOENT, "No such file or directory")
        self.log.append((str(path.relative_to(self.root)), value))
        if path.name == "cgroup.procs":
            for other in self.root.rglob("cgroup.procs"):
                other.write_text("".join(f"{pid}\n" for pid in other.read_text().split() if pid != value))
            path.write_text(path.read_text() + f"{value}\n")
        elif path.name == "cgroup.subtree_control":
            if (path.parent / "cgroup.type").exists() and (path.parent / "cgroup.procs").read_text():
                raise OSError(errno.EBUSY, "Device or resource busy")
            path.write_text(f"{path.read_text().strip()} {value.lstrip('+')}".strip() + "\n")
        else:
            path.write_text(f"{value}\n")

    def processes(self, name: str = "") -> list[str]:
        """Return the processes of a group."""
        return (self.root / name / "cgroup.procs").read_text().split()


class Delegated(Surroundings):
    """Surroundings in which systemd has delegated the group."""

    def delegated(self, path: Path) -> bool:
        return True


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """A delegated group with a supervisor (10) and two workers (11, 12) in it."""
    made = Tree(tmp_path / "cgroup" / "app.service")
    (made.root / "cgroup.procs").write_text("10\n11\n12\n")
    return made


@pytest.fixture
def around(tmp_path: Path, tree: Tree) -> Surroundings:
    """What a worker in it sees."""
    return Surroundings(proc=process(tmp_path, "/app.service"), systemd=tmp_path / "none", files=tree)


def process(tmp_path: Path, group: str, mount: str = "/ {point}", kind: str = "cgroup2") -> Path:
    """Make a /proc that says in which group this process is, and where groups are mounted."""
    own = tmp_path / "proc" / "self"
    own.mkdir(parents=True, exist_ok=True)
    (own / "cgroup").write_text(f"1:cpu:/elsewhere\n0::{group}\n")
    where = mount.format(point=tmp_path / "cgroup")
    (own / "mountinfo").write_text(
        f"30 25 0:26 / /sys rw - sysfs sysfs rw\n31 30 0:27 {where} rw,nosuid - {kind} {kind} rw,nsdelegate\n"
    )
    return own.parent


def claim(around: Surroundings) -> CgroupTree:
    """Claim the group; the supervisor's processes are those below 100."""
    return CgroupTree.claim(lambda pid: pid < 100, around)


def refusal(around: Surroundings) -> str:
    """Return why a group cannot be claimed."""
    with pytest.raises(CgroupUnavailable) as raised:
        claim(around)
    return str(raised.value)


def test_that_our_processes_move_into_a_leaf(tree: Tree, around: Surroundings) -> None:
    """First all of them, then the controllers are handed down: the kernel takes no other order."""
    claimed = claim(around)
    assert claimed.path == tree.root
    assert claimed.controllers == {"cpu", "memory"}
    assert (tree.processes(), tree.processes("uno-jobs")) == ([], ["10", "11", "12"])
    assert tree.log[-2:] == [("cgroup.subtree_control", "+cpu"), ("cgroup.subtree_control", "+memory")]


def test_that_a_child_is_held(tree: Tree, around: Surroundings) -> None:
    """A leaf for the child, with what its job may use; without limits for the next; gone in the end."""
    child = claim(around).child(50)
    assert tree.processes("uno-jobs-50") == ["50"]
    tree.log.clear()
    child.hold(Limits(256_000_000, 0.5))
    assert dict(tree.log) == {
        "uno-jobs-50/memory.swap.max": "0",
        "uno-jobs-50/memory.oom.group": "1",
        "uno-jobs-50/memory.max": "256000000",
        "uno-jobs-50/cpu.max": "50000 100000",
    }
    tree.log.clear()
    child.hold(Limits())
    assert dict(tree.log) == {
        "uno-jobs-50/memory.swap.max": "max",
        "uno-jobs-50/memory.oom.group": "0",
        "uno-jobs-50/memory.max": "max",
        "uno-jobs-50/cpu.max": "max 100000",
    }
    child.hold(Limits(cpu_limit=0.001))
    assert tree.log[-1] == ("uno-jobs-50/cpu.max", "1000 100000")
    child.remove()
    assert not child.path.exists()
    assert "50" in tree.processes("uno-jobs")
    child.remove()  # once more does no harm


def test_that_a_kernel_may_lack_files(tree: Tree, around: Surroundings) -> None:
    """Without swap accounting, say, the rest is used."""
    child = claim(around).child(50)
    for name in ("memory.swap.max", "memory.oom.group"):
        (child.path / name).unlink()
    child.hold(Limits(256_000_000))
    assert (child.path / "memory.max").read_text() == "256000000\n"


def test_what_the_kernel_counted(around: Surroundings) -> None:
    """Kills for want of memory, and what they were when the group was removed."""
    child = claim(around).child(50)
    assert child.oom_kills() == 0
    (child.path / "memory.events").write_text("low 0\nhigh 0\nmax 9\noom 2\noom_kill 1\noom_group_kill 1\n")
    assert child.oom_kills() == 1
    child.seal()
    child.remove()
    assert child.oom_kills() == 1


def test_that_without_the_memory_controller_cpu_is_held(tree: Tree, around: Surroundings) -> None:
    """Only what is offered is handed down and written."""
    (tree.root / "cgroup.controllers").write_text("cpu pids\n")
    child = claim(around).child(50)
    tree.log.clear()
    child.hold(Limits(256_000_000, 2.0))
    assert tree.log == [("uno-jobs-50/cpu.max", "200000 100000")]
    assert child.oom_kills() == 0


def test_that_a_worker_that_is_started_later_finds_what_there_is(
    tmp_path: Path, tree: Tree, around: Surroundings
) -> None:
    """It begins in the leaf that its supervisor was moved into, and uses the same group."""
    claim(around)
    process(tmp_path, "/app.service/uno-jobs")
    assert claim(around).path == tree.root
    assert sorted(tree.processes("uno-jobs")) == ["10", "11", "12"]


def test_that_the_root_of_all_groups_keeps_its_processes(tree: Tree, around: Surroundings) -> None:
    """It has no type, and may hold processes beside groups: nothing is moved."""
    (tree.root / "cgroup.type").unlink()
    child = claim(around).child(50)
    assert tree.processes() == ["10", "11", "12"]
    child.remove()
    assert tree.processes() == ["10", "11", "12", "50"]


def test_that_others_are_left_alone(tree: Tree, around: Surroundings) -> None:
    """A group that also holds somebody else's process is not used."""
    (tree.root / "cgroup.procs").write_text("10\n500\n")
    assert "not of this supervisor" in refusal(around)
    assert tree.log == []


def test_that_what_is_not_offered_is_not_used(tmp_path: Path, tree: Tree, around: Surroundings) -> None:
    """Without cpu, in a group for threads, without files, without version 2: each says why."""
    (tree.root / "cgroup.controllers").write_text("memory\n")
    assert "does not offer the cpu controller" in refusal(around)
    (tree.root / "cgroup.controllers").write_text("cpu\n")
    (tree.root / "cgroup.type").write_text("threaded\n")
    assert "for threads" in refusal(around)
    (tree.root / "cgroup.controllers").unlink()
    assert "not delegated" in refusal(around)
    process(tmp_path, "/app.service", kind="cgroup")
    assert "in no control group of version 2" in refusal(around)
    assert "in no control group of version 2" in refusal(Surroundings(proc=tmp_path / "nowhere"))


def test_that_files_that_cannot_be_written_are_not_used(tree: Tree, around: Surroundings) -> None:
    """What the kernel refuses is no delegation either."""

    def refuse(path: Path, value: str) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    tree.write = refuse  # type: ignore[method-assign]
    assert refusal(around) == f"{tree.root} is not delegated to this process (Permission denied)"


def test_that_root_asks_systemd_first(tmp_path: Path, tree: Tree) -> None:
    """Root may write everywhere; under systemd only a delegated group is its own."""
    proc = process(tmp_path, "/app.service")
    around = Surroundings(proc=proc, systemd=tmp_path, user=0, files=tree)
    assert "Delegate=yes" in refusal(around)
    assert tree.log == []
    assert claim(Surroundings(proc=proc, systemd=tmp_path, user=1000, files=tree)).path == tree.root
    assert claim(Delegated(proc=proc, systemd=tmp_path, user=0, files=tree)).path == tree.root


def test_that_a_child_that_is_gone_leaves_no_group(tree: Tree, around: Surroundings) -> None:
    """When the child cannot be put in, its group is removed again."""
    claimed = claim(around)
    write = tree.write

    def refuse(path: Path, value: str) -> None:
        if value == "51":
            raise ProcessLookupError(errno.ESRCH, "No such process")
        write(path, value)

    tree.write = refuse  # type: ignore[method-assign]
    with pytest.raises(ProcessLookupError):
        claimed.child(51)
    assert not (tree.root / "uno-jobs-51").exists()


@pytest.mark.parametrize(
    ("group", "mount", "found"),
    [
        ("/", "/ {point}", "cgroup"),
        ("/app.service", "/ {point}", "cgroup/app.service"),
        ("/docker/1/app", "/docker/1 {point}", "cgroup/app"),
        ("/docker/1", "/docker/1 {point}", "cgroup"),
        ("/docker/2", "/docker/1 {point}", None),
        ("/../app", "/ {point}", None),
    ],
)
def test_where_the_own_group_is(tmp_path: Path, group: str, mount: str, found: str | None) -> None:
    """As the kernel names it, also where a container has only a part of the tree."""
    assert own_cgroup(process(tmp_path, group, mount)) == (None if found is None else tmp_path / found)


def test_that_spaces_in_the_path_are_understood(tmp_path: Path) -> None:
    """``mountinfo`` writes them in octal."""
    proc = process(tmp_path, "/app", "/ /my\\040groups")
    assert own_cgroup(proc) == Path("/my groups/app")
