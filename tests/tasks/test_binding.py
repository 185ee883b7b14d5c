"""How steps get their arguments: the table of docs/workflows.md, row by row, and what it does not show."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.markdown import ROOT
from uno_jobs.errors import BindingError, InvalidArguments, NotSerializable
from uno_jobs.tasks.binding import Before, Binder

from .signatures import User, parameters

_ROW = re.compile(
    r"^\| `(?P<takes>[^`]*)` \| `\.(?P<step>[^`]*)` \| `(?P<before>[^`]*)` \| (?P<gets>.*) \|$", re.MULTILINE
)


def table() -> list[tuple[str, str, str, str]]:
    """Return the rows of the documentation's table."""
    page = (ROOT / "docs" / "workflows.md").read_text(encoding="utf-8")
    return [row.group("takes", "step", "before", "gets") for row in _ROW.finditer(page)]


def function(takes: str) -> Any:
    made: dict[str, Any] = {}
    exec(f"def step({takes}): ...", made)
    return made["step"]


def call(text: str) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
    """Read ``s("a", b=1)``."""
    return eval(text, {name: lambda *args, _n=name, **kwargs: (_n, args, kwargs) for name in ("s", "si")})  # type: ignore[no-any-return, misc]


def before(*results: Any) -> Before:
    """Return what a step finds after steps with these results; lists are groups'."""
    flow: dict[str, Any] = {}
    for result in results:
        if isinstance(result, dict):
            flow |= result
    return Before(results[-1], flow)


def test_the_whole_table_is_run() -> None:
    page = (ROOT / "docs" / "workflows.md").read_text(encoding="utf-8")
    assert len(table()) == page.count("` | `.") == 31


@pytest.mark.parametrize(("takes", "step", "results", "gets"), table())
def test_the_table_of_the_documentation(takes: str, step: str, results: str, gets: str) -> None:
    made = parameters(function(takes))
    kind, args, kwargs = call(step)
    found = before(*eval(f"[{results}]")) if kind == "s" else None
    binder = Binder(made)
    if match := re.fullmatch(r"`BindingError` that names `(\w+)`", gets):
        with pytest.raises(BindingError, match=f"'{match[1]}'"):
            binder.load(args, kwargs, found)
        return
    expected, warning = re.fullmatch(r"`(.*)`( and a warning)?", gets).groups()  # type: ignore[union-attr]
    bound = binder.load(args, kwargs, found)
    assert made.by_name(bound.args, bound.kwargs) == eval(f"dict({expected})")
    # And it is what the function gets when it is called so.
    function(takes)(*bound.args, **bound.kwargs)
    if warning:
        first = eval(f"list(dict({expected}))")[0]
        assert bound.warning is not None
        assert f"parameter '{first}'" in bound.warning
        assert "'step'" in bound.warning
    else:
        assert bound.warning is None


def bind(function: Any, args: list[Any], kwargs: dict[str, Any], found: Before) -> dict[str, Any]:
    made = parameters(function)
    bound = Binder(made).load(args, kwargs, found)
    assert bound.warning is None
    return made.by_name(bound.args, bound.kwargs)


def test_values_are_validated_wherever_they_come_from() -> None:
    def step(user: User, when: datetime, *, count: int) -> None: ...

    gave = before({"when": "2024-02-29T12:00:00Z"}, {"count": "3"}, {"user_name": "Ann"})
    assert bind(step, [], {}, gave) == {
        "user": User(userName="Ann"), "when": datetime(2024, 2, 29, 12, tzinfo=UTC), "count": 3,
    }  # fmt: skip


def test_the_previous_result_fits_whole_before_its_only_value_does() -> None:
    def step(it: dict[str, int] | int) -> None: ...

    assert bind(step, [], {}, Before({"n": 1}, {})) == {"it": {"n": 1}}
    assert bind(step, [], {}, Before({"it": 1}, {"it": 1})) == {"it": 1}


def test_a_flow_that_does_not_fit_is_told_from_the_signature() -> None:
    def step(it: Any, size: int) -> None: ...

    with pytest.raises(BindingError, match=r"parameter 'size': .*integer.* \(earlier steps gave 'size'\)"):
        Binder(parameters(step)).load([], {}, before({"size": "x"}, 1))
    with pytest.raises(BindingError, match=r"parameter 'size': .*integer[^(]*\(got str\)$"):
        Binder(parameters(step)).load(["x"], {}, before(1))


def test_all_that_is_missing_is_named() -> None:
    def step(a: int, b: int, c: int) -> None: ...

    with pytest.raises(BindingError, match="'step': nothing gives it 'b', 'c': neither its signature nor"):
        Binder(parameters(step)).load([], {}, before({"x": 1, "y": 2}))


def test_what_is_left_over_is_counted() -> None:
    def step(a: int, b: int = 0) -> None: ...

    with pytest.raises(BindingError, match="2 parameters left for positional arguments, but 3"):
        Binder(parameters(step)).load([1, 2, 3], {}, before(1))


def test_a_key_of_the_rest_may_be_called_as_a_positional_only_parameter() -> None:
    def step(a: str, /, **rest: int) -> None: ...

    made = parameters(step)
    bound = Binder(made).load([], {"a": "1"}, before(["no", "text"]))
    assert (bound.args, bound.kwargs) == ((["no", "text"],), {"a": 1})
    assert bound.warning is not None


def test_the_rest_comes_after_parameters_that_were_named() -> None:
    def step(a: int, b: int, *rest: int) -> None: ...

    assert bind(step, [1, 3, 4], {"b": 2}, before(9)) == {"a": 1, "b": 2, "rest": (3, 4)}


def test_without_anything_before_it_is_a_plain_call() -> None:
    def step(a: int, b: int = 0) -> None: ...

    binder = Binder(parameters(step))
    assert binder.load(["1"], {"b": 2}, None) == ((1,), {"b": 2}, None)
    with pytest.raises(InvalidArguments, match="missing 'a'"):
        binder.load([], {}, None)


def test_the_arguments_a_signature_has_are_checked_at_the_enqueue() -> None:
    def step(image_id: str, when: datetime, size: int = 1, *rest: int) -> None: ...

    binder = Binder(parameters(step))
    now = datetime(2024, 2, 29, tzinfo=UTC)
    assert binder.dump([], {}) == ("[]", "{}")
    args, kwargs = binder.dump([now], {"size": "3"})
    assert (json.loads(args), json.loads(kwargs)) == (["2024-02-29T00:00:00Z"], {"size": 3})
    assert binder.dump(["i", now, 2, 3], {})[0] == '["i","2024-02-29T00:00:00Z",2,3]'
    with pytest.raises(InvalidArguments, match="'when'"):
        binder.dump(["small"], {})
    with pytest.raises(InvalidArguments, match="'rest'"):
        binder.dump(["i", now, 2, "x"], {})
    with pytest.raises(InvalidArguments, match=r"no parameter 'sise'.*'size'"):
        binder.dump([], {"sise": 1})
    with pytest.raises(NotSerializable, match="'image_id'"):
        binder.dump(["\x00", now], {})

    def bare(a: int) -> None: ...

    with pytest.raises(InvalidArguments, match="1 parameter left for positional arguments, but 2"):
        Binder(parameters(bare)).dump([1, 2], {})


def test_what_the_flow_may_fill_is_known_beforehand() -> None:
    def step(a: int, b: int, c: int = 0, /, d: int = 0, *rest: int, e: int, f: int = 0, **more: int) -> None: ...

    binder = Binder(parameters(step))
    assert binder.open_names([], {}) == {"d", "e", "f"}
    assert binder.open_names([1, 2, 3, 4], {"f": 1}) == {"e"}
