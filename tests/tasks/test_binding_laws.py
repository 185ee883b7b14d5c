"""Laws of binding: for any parameters, any signature, and anything before it."""

from __future__ import annotations

import inspect
import re
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from uno_jobs.errors import BindingError, InvalidArguments
from uno_jobs.tasks.annotations import Annotations
from uno_jobs.tasks.binding import Before, Binder
from uno_jobs.tasks.parameters import Parameters

K = inspect.Parameter
NAMES = "abcdef"
TYPES: list[Any] = [K.empty, int, str, dict, list]
DEFAULT = "default"

values = st.sampled_from([0, 7, "x", "y", [1], [], {"n": 1}, {"s": "x"}, {"n": 1, "s": "x"}, {}, None])
named = st.dictionaries(st.sampled_from(NAMES), values, max_size=4)


class Made(Parameters):
    """Parameters, and the function they are of, which returns what it gets by name."""

    def __init__(self, signature: inspect.Signature) -> None:
        made: dict[str, Any] = {}
        exec(f"def step{signature}: return locals()", made)
        self.step = made["step"]
        super().__init__(Annotations(self.step), "'step'")


@st.composite
def functions(draw: st.DrawFn) -> Made:
    """Return the parameters of a function with up to six of all kinds."""
    kinds = sorted(
        draw(st.lists(st.sampled_from([K.POSITIONAL_ONLY, K.POSITIONAL_OR_KEYWORD, K.KEYWORD_ONLY]), max_size=6))
    )
    required = draw(st.integers(0, 6))
    made: list[K] = []
    for place, kind in enumerate(kinds):
        has_default = draw(st.booleans()) if kind is K.KEYWORD_ONLY else place >= required
        default = DEFAULT if has_default else K.empty
        made.append(K(NAMES[place], kind, default=default, annotation=draw(st.sampled_from(TYPES))))
    if draw(st.booleans()):
        made.insert(sum(one.kind < K.VAR_POSITIONAL for one in made), K("args", K.VAR_POSITIONAL))
    if draw(st.booleans()):
        made.append(K("kwargs", K.VAR_KEYWORD))
    return Made(inspect.Signature(made))


# However busy the machine is.
LAW = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
signatures = st.tuples(st.lists(values, max_size=7), named)


def outcome(made: Parameters, args: Any, kwargs: Any, before: Before | None) -> Any:
    """Return what the parameters get, by name, and whether there was a warning; or the error."""
    try:
        bound = Binder(made).load(args, kwargs, before)
    except (BindingError, InvalidArguments) as error:
        return str(error)
    return made.by_name(bound.args, bound.kwargs), bound.warning is not None


def fits(parameter: Any, value: Any) -> bool:
    return parameter.annotation is Any or isinstance(value, parameter.annotation)


def by_the_book(made: Parameters, args: list[Any], kwargs: dict[str, Any], before: Before) -> Any:
    """The four rules as meaning.md has them, by name, without a thought to speed; None is any error."""
    every = {one.name: one for one in made.all if not one.kind.startswith("var_")}
    takes = {name for name, one in every.items() if one.kind != "positional_only"}
    extra = {name: value for name, value in kwargs.items() if name not in takes}
    got = {name: value for name, value in kwargs.items() if name in takes}  # 1
    kinds = {one.kind for one in made.all}
    if extra and "var_keyword" not in kinds:
        return None
    positional = [name for name, one in every.items() if one.kind.startswith("positional") and name not in got]
    required = [name for name in positional if every[name].required]
    keyword_only = [
        name for name, one in every.items() if one.kind == "keyword_only" and one.required and name not in got
    ]
    first = (required + keyword_only)[:1]
    places = required[1:] if len(args) < len(required) else positional  # 2
    got.update(zip(places, args, strict=False))
    rest = tuple(args[len(places) :])
    if rest and "var_positional" not in kinds:
        return None
    for name in takes:  # 3
        if name not in got and name in before.flow:
            got[name] = before.flow[name]
    warned = False
    unchecked = None
    if first and first[0] not in got:  # 4
        parameter, value = every[first[0]], before.previous
        if not fits(parameter, value):
            if isinstance(value, dict) and len(value) == 1 and fits(parameter, *value.values()):
                (value,) = value.values()
            else:
                warned, unchecked = True, first[0]
        got[first[0]] = value
    for name, one in every.items():
        if name not in got and one.required:
            return None
        if name in got and name != unchecked and not fits(one, got[name]):
            return None
    full = {name: got.get(name, one.default) for name, one in every.items()}
    if "var_positional" in kinds:
        full["args"] = rest
    if "var_keyword" in kinds:
        full["kwargs"] = extra
    return full, warned


@settings(LAW, max_examples=500)
@given(functions(), signatures, values, named)
def test_binding_is_by_the_book(made: Parameters, signature: Any, previous: Any, flow: dict[str, Any]) -> None:
    before = Before(previous, flow)
    expected = by_the_book(made, *signature, before)
    got = outcome(made, *signature, before)
    if expected is None:
        assert isinstance(got, str)
    else:
        assert got == expected


@LAW
@given(functions(), signatures, values, named)
def test_every_required_parameter_is_bound_or_named(
    made: Made, signature: Any, previous: Any, flow: dict[str, Any]
) -> None:
    before = Before(previous, flow)
    got = outcome(made, *signature, before)
    if isinstance(got, str):
        told = re.search("nothing gives it (.*): neither", got)
        missing = set(re.findall(r"'(\w+)'", told[1])) if told else set()
        assert missing <= {one.name for one in made.all if one.required} - set(flow) - set(signature[1]) | {
            one.name for one in made.all if one.kind == "positional_only"
        }
        assert missing or re.search(r"parameter '\w+'|no parameter|positional arguments", got)
        return
    bound = Binder(made).load(*signature, before)
    # Python itself agrees on what the call means.
    assert made.step(*bound.args, **bound.kwargs) == made.by_name(bound.args, bound.kwargs)


@LAW
@given(functions(), signatures, values, named, st.randoms())
def test_the_order_of_keyword_arguments_never_matters(
    made: Parameters, signature: Any, previous: Any, flow: dict[str, Any], random: Any
) -> None:
    args, kwargs = signature
    items, keys = list(kwargs.items()), list(flow.items())
    random.shuffle(items)
    random.shuffle(keys)
    one = outcome(made, args, kwargs, Before(previous, flow))
    other = outcome(made, args, dict(items), Before(previous, dict(keys)))
    assert one == other or (isinstance(one, str) and isinstance(other, str))


@LAW
@given(functions(), signatures, values, named, named)
def test_a_key_added_to_the_flow_never_moves_an_explicit_argument(
    made: Parameters, signature: Any, previous: Any, flow: dict[str, Any], more: dict[str, Any]
) -> None:
    args, kwargs = signature
    binder = Binder(made)
    try:
        placed = binder.place(args, kwargs)
        less = binder.load(args, kwargs, Before(previous, flow))
        grown = binder.load(args, kwargs, Before(previous, {**more, **flow}))
    except (BindingError, InvalidArguments):
        assume(False)
        return
    before, after = (made.by_name(bound.args, bound.kwargs) for bound in (less, grown))
    explicit = {one.name for one, _ in zip(placed.places, args, strict=False)} | set(kwargs)
    moved = [name for name in before if name in explicit and before[name] != after[name]]
    assert moved == []
    assert before.get("args") == after.get("args")
    assert before.get("kwargs") == after.get("kwargs")


@LAW
@given(functions(), signatures)
def test_a_step_that_takes_nothing_from_before_behaves_as_if_alone(made: Parameters, signature: Any) -> None:
    try:
        args, kwargs = made.load(*signature)
    except InvalidArguments as error:
        with pytest.raises(InvalidArguments, match=re.escape(str(error))):
            Binder(made).load(*signature, None)
        return
    assert Binder(made).load(*signature, None) == (args, kwargs, None)


@LAW
@given(functions(), signatures, values, named)
def test_what_is_outside_the_open_names_does_not_matter(
    made: Parameters, signature: Any, previous: Any, flow: dict[str, Any]
) -> None:
    try:
        names = Binder(made).open_names(*signature)
    except InvalidArguments:
        assume(False)
        return
    needed = {name: value for name, value in flow.items() if name in names}
    one, other = (outcome(made, *signature, Before(previous, given)) for given in (flow, needed))
    assert one == other or (isinstance(one, str) and isinstance(other, str))


@LAW
@given(functions(), signatures, values, named)
def test_what_the_enqueue_accepts_is_stored_as_it_was(
    made: Parameters, signature: Any, previous: Any, flow: dict[str, Any]
) -> None:
    """A signature refused at the enqueue would have failed at the run, whatever came before."""
    try:
        Binder(made).dump(*signature)
    except InvalidArguments:
        assert isinstance(outcome(made, *signature, Before(previous, flow)), str)
