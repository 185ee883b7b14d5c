"""Each promise names the test that shows it, and that test exists."""

from __future__ import annotations

import ast
import re

import pytest

from tests.markdown import ROOT

PAGE = (ROOT / "docs" / "promises.md").read_text(encoding="utf-8")
NAMED = re.findall(r"`(\w+(?:/\w+)*\.py)::(\w+)`", PAGE)


@pytest.mark.parametrize(("file", "name"), NAMED, ids=[name for _, name in NAMED])
def test_the_test_of_a_promise_exists(file: str, name: str) -> None:
    source = (ROOT / "tests" / file).read_text(encoding="utf-8")
    functions = {one.name for one in ast.parse(source).body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)}
    assert name in functions


def test_no_promise_is_without_a_test() -> None:
    promises = re.findall(r"^- .*(?:\n  .*)*", PAGE, flags=re.MULTILINE)
    assert promises
    assert [one for one in promises if not re.search(r"`\w[\w/]*\.py::test_\w+`$", one)] == []
