"""Discovery: modules, lists, patterns, odd packages, and errors that say what is wrong."""

from __future__ import annotations

import itertools
import sys
import zipfile
from typing import TYPE_CHECKING

import pytest

from uno_jobs.errors import DiscoveryError
from uno_jobs.tasks import TaskRegistry, discover_tasks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Tree = Callable[[dict[str, str]], str]

HEAD = "from uno_jobs.tasks import task\n"
_numbers = itertools.count()


def a_task(name: str) -> str:
    return f"{HEAD}@task\nasync def {name}(x: int): ...\n"


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tree]:
    """Writes a package of a name of its own and returns the name; its modules are forgotten afterwards."""
    monkeypatch.syspath_prepend(tmp_path)
    roots: list[str] = []

    def write(files: dict[str, str]) -> str:
        root = f"found{next(_numbers)}"
        roots.append(root)
        for name, text in files.items():
            file = tmp_path / root / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text.replace("ROOT", root))
        return root

    yield write
    for name in [name for name in sys.modules if name.split(".")[0] in roots]:
        del sys.modules[name]


def names(patterns: str | list[str]) -> list[str]:
    return [one.name for one in discover_tasks(patterns)]


@pytest.fixture
def package(tree: Tree) -> str:
    return tree(
        {
            "__init__.py": "",
            "__main__.py": "raise SystemExit('the application was started')",
            "tasks/__init__.py": a_task("in_package"),
            "tasks/reports.py": a_task("report"),
            "tasks/processing.py": a_task("process"),
            "tasks/deep/__init__.py": a_task("in_deep"),
            "tasks/deep/deeper/__init__.py": "",
            "tasks/deep/deeper/deepest.py": a_task("deepest"),
            "other/__init__.py": "",
            "other/tasks.py": a_task("in_other"),
            "other/models.py": "raise RuntimeError('not asked for')",
            "billing/__init__.py": "",
            "billing/tasks.py": a_task("bill"),
        }
    )


def test_a_module(package: str) -> None:
    assert names(f"{package}.tasks.reports") == ["report"]
    assert f"{package}.tasks.processing" not in sys.modules


def test_a_packages_name_alone_imports_that_module_only(package: str) -> None:
    assert names(f"{package}.tasks") == ["in_package"]
    assert f"{package}.tasks.reports" not in sys.modules


def test_a_list(package: str) -> None:
    assert names([f"{package}.tasks.reports", f"{package}.tasks.processing"]) == ["process", "report"]


def test_one_level(package: str) -> None:
    assert names(f"{package}.tasks.*") == ["in_deep", "process", "report"]
    assert f"{package}.tasks.deep.deeper" not in sys.modules


def test_any_depth(package: str) -> None:
    assert names(f"{package}.tasks.**") == ["deepest", "in_deep", "process", "report"]


def test_patterns_in_the_middle_import_no_more_than_they_must(package: str) -> None:
    assert names(f"{package}.*.tasks") == ["bill", "in_other"]
    assert names(f"{package}.tasks.re*") == ["report"]


def test_any_depth_in_the_middle(tree: Tree) -> None:
    root = tree(
        {
            "__init__.py": "",
            "tasks.py": a_task("top"),
            "a/__init__.py": "",
            "a/tasks.py": a_task("one_down"),
            "a/b/__init__.py": "",
            "a/b/tasks.py": a_task("two_down"),
            "a/b/others.py": a_task("no_match"),
        }
    )
    assert names(f"{root}.**.tasks") == ["one_down", "top", "two_down"]


def test_main_modules_are_left_out(package: str) -> None:
    with pytest.raises(DiscoveryError, match="not asked for"):
        discover_tasks(f"{package}.**")  # reaches other.models, but not __main__


def test_tasks_imported_into_a_module_are_found_there(tree: Tree) -> None:
    root = tree({"__init__.py": "", "tasks.py": "from ROOT.impl import mine\n", "impl.py": a_task("mine")})
    assert names(f"{root}.tasks") == ["mine"]


def test_modules_imported_before_are_adopted_by_a_new_registry(package: str) -> None:
    before = discover_tasks(f"{package}.tasks.*")
    with TaskRegistry.isolated():
        assert discover_tasks(f"{package}.tasks.*") == before
        assert TaskRegistry.get_task("report") in before


def test_discovering_twice_changes_nothing(package: str) -> None:
    assert discover_tasks(f"{package}.tasks.*") == discover_tasks([f"{package}.tasks.*", f"{package}.tasks.reports"])
    assert len(TaskRegistry.get_all_tasks()) == 4  # in_package came along as their parent


def test_namespace_packages(tree: Tree) -> None:
    root = tree(
        {
            "plain/tasks.py": a_task("plain"),
            "plain/more/extra.py": a_task("extra"),
            "static/readme.txt": "",
            "not-a-name/x.py": "raise RuntimeError",
        }
    )
    assert names(f"{root}.plain.*") == ["plain"]
    assert names(f"{root}.*.tasks") == ["plain"]
    assert names(f"{root}.**") == ["extra", "plain"]
    assert f"{root}.static" not in sys.modules


def test_a_namespace_package_in_two_places(tmp_path: Path, tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tree({"one.py": a_task("one")})
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / root).mkdir(parents=True)
    (elsewhere / root / "two.py").write_text(a_task("two"))
    monkeypatch.syspath_prepend(elsewhere)
    assert names(f"{root}.*") == ["one", "two"]


def test_packages_inside_a_zip(tmp_path: Path, tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tree({})
    archive = tmp_path / "app.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr(f"{root}/__init__.py", "")
        opened.writestr(f"{root}/tasks/__init__.py", a_task("in_package"))
        opened.writestr(f"{root}/tasks/reports.py", a_task("report"))
        opened.mkdir(f"{root}/plain")
        opened.writestr(f"{root}/plain/sub.py", a_task("in_namespace"))
        opened.writestr(f"{root}/no_entry/sub.py", a_task("not_importable_before_3_13"))
    monkeypatch.syspath_prepend(archive)
    assert names(f"{root}.tasks") == ["in_package"]
    assert names(f"{root}.tasks.*") == ["report"]
    found = set(names(f"{root}.**"))
    assert found - {"not_importable_before_3_13"} == {"in_namespace", "in_package", "report"}


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("import a_library_that_is_missing", "ModuleNotFoundError: No module named 'a_library_that_is_missing'"),
        ("def broken(:", "SyntaxError"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        (f"{HEAD}@task(max_retries=-1)\nasync def f(): ...", "TaskDefinitionError: task 'f': max_retries"),
    ],
)
def test_a_module_that_does_not_import_is_named_with_the_cause(tree: Tree, source: str, why: str) -> None:
    root = tree({"__init__.py": "", "bad.py": source})
    for pattern in (f"{root}.bad", f"{root}.*"):
        with pytest.raises(DiscoveryError, match=f"'{root}.bad' does not import: {why}") as caught:
            discover_tasks(pattern)
        assert caught.value.__cause__ is not None


def test_a_module_that_is_not_there(tree: Tree) -> None:
    root = tree({"__init__.py": ""})
    with pytest.raises(DiscoveryError, match=r"there is no module 'nowhere_at_all'"):
        discover_tasks("nowhere_at_all.tasks")
    with pytest.raises(DiscoveryError, match=f"there is no module '{root}.missing'"):
        discover_tasks(f"{root}.missing")


def test_patterns_that_stand_for_nothing(tree: Tree) -> None:
    root = tree({"__init__.py": "", "module.py": a_task("one")})
    with pytest.raises(DiscoveryError, match=f"no module matches '{root}.x"):
        discover_tasks(f"{root}.x*")
    with pytest.raises(DiscoveryError, match=f"'{root}.module' is a module, not a package"):
        discover_tasks(f"{root}.module.*")
    with pytest.raises(DiscoveryError, match="must begin with the name of a package"):
        discover_tasks("*.tasks")


@pytest.mark.parametrize("pattern", ["", "a..b", "my-app", "a/b.py", ".tasks", 3])
def test_what_is_no_module_name(pattern: str) -> None:
    with pytest.raises(DiscoveryError, match="takes module names"):
        discover_tasks([pattern])
