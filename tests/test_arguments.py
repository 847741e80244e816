"""Constructor arguments: which an agent has, and values read, checked and converted for them."""

import json
import math
from typing import Literal, Optional

import numpy as np
import pytest

from clbench.arguments import Parameter, Text, as_declared, check_arguments, fit, parameters, parse_setting
from clbench.errors import LoadError, OptionError, UnknownNameError


class Agent:
    def __init__(self, spec, seed, step_size=1e-3, kind="adam", flag=False):
        pass

    def act(self, obs): ...
    def learn(self, targets): ...


class Child(Agent):
    def __init__(self, spec, seed, *, strength=1.0, **others):
        super().__init__(spec, seed, **others)


class Closed(Agent):
    def __init__(self, spec, seed, strength):
        super().__init__(spec, seed)


def read(text, default=None, annotation=object):
    return fit("x", Text(text), Parameter.of(default, annotation))


def test_arguments_are_found_through_inheritance():
    assert list(parameters(Child)) == ["strength", "step_size", "kind", "flag"]
    assert list(parameters(Closed)) == ["strength"]
    with pytest.raises(OptionError, match="closed.*'strength'.*--set strength="):
        check_arguments("closed", Closed, {})


def test_names_are_checked():
    with pytest.raises(UnknownNameError, match="large.*'step_sze'.*'step_size'"):
        check_arguments("large", Agent, {"step_sze": 1})


def test_a_constructor_that_takes_no_seed():
    class Unseeded(Agent):
        def __init__(self, spec, *, kind="adam"):
            pass

    with pytest.raises(LoadError, match=r"unseeded.*\bspec\b.*\bseed\b"):
        check_arguments("unseeded", Unseeded, {})


@pytest.mark.parametrize(
    ("text", "default", "value"),
    [
        ("False", True, False),
        ("true", False, True),
        (".5", 1.0, 0.5),
        ("1e-3", 1.0, 1e-3),
        ("3", 1.0, 3),
        ("1_000", 64, 1_000),
        ("+3", 64, 3),
        ("0x10", 64, 16),
        ("1e3", 64, 1_000),
        ("(1, 2)", (3,), (1, 2)),
        ("[1, 2]", (3,), (1, 2)),
        ("1,2", (3,), (1, 2)),
        ("(1, 2)", [3], [1, 2]),
        ("{'a': 1}", {}, {"a": 1}),
        ('{"a": true}', {}, {"a": True}),
        # A text stands as it is, unless it is None or quoted.
        ("1", "adam", "1"),
        ("False", "adam", "False"),
        *((word, "adam", word) for word in ("nan", "+-inf", "--nan", "+-+infinity")),
        ("+-inf", None, "+-inf"),
        ("[x", "adam", "[x"),
        ("", "adam", ""),
        (" a b ", "adam", " a b "),
        ("'None'", "adam", "None"),
        ('"None"', "adam", "None"),
        # Whatever the default, None is None.
        *(("None", default, None) for default in (True, 1, 1.0, "adam", (1,), [1], {}, None)),
        # Nothing is known of what is expected.
        ("null", None, None),
        ("1e-3", None, 1e-3),
        ("adam", None, "adam"),
        ("True", None, True),
        ("'1'", None, "1"),
        ("blocks.*,head", None, "blocks.*,head"),
        ("1,2", None, "1,2"),
        ("[null, 1]", None, [None, 1]),
        ("[None, 1]", None, [None, 1]),
        ("'nan'", None, "nan"),
        ("a=b:c", None, "a=b:c"),
    ],
)
def test_texts_are_read_by_what_is_expected(text, default, value):
    found = read(text, default)
    assert (type(found), found) == (type(value), value)


@pytest.mark.parametrize(
    ("text", "default"),
    [
        *(("yes", default) for default in (True, 1, 1.0, (1,), [1], {})),
        *((text, default) for text in ("+-inf", "--nan") for default in (1, 1.0)),
        ("1", True),
        ("True", 1),
        ("True", 1.0),
        ("2.5", 64),
        ("'3'", 64),
        ("", 64),
        ("1", (1,)),
        ("[1]", {}),
        ("{1: 2}", {}),  # no JSON
        ("{1, 2}", None),
        *((text, default) for text in ("nan", "-inf", "NaN", "Infinity", "1e999") for default in (1.0, None)),
        ("[1, NaN]", None),
    ],
)
def test_what_does_not_fit_is_refused(text, default):
    with pytest.raises(OptionError, match="^x="):
        read(text, default)


@pytest.mark.parametrize(
    ("text", "default", "annotation", "value"),
    [
        ("1", None, str, "1"),
        ("1", None, Optional[str], "1"),  # noqa: UP045 - it is tested
        ("3", None, "int | None", 3),
        ("0.5", 0, float, 0.5),
        ("auto", 64, int | str, "auto"),
        ("8", "auto", int | str, 8),
        ("(1,)", None, tuple[int, ...] | None, (1,)),
        ("[1]", None, tuple[int, ...], (1,)),
        ("b", None, Literal["a", "b"], "b"),
        ("x", None, "SomethingElse", "x"),
    ],
)
def test_simple_annotations_count(text, default, annotation, value):
    class Annotated(Agent):
        def __init__(self, spec, seed, x=default):
            pass

    Annotated.__init__.__annotations__["x"] = annotation
    found = check_arguments("a", Annotated, {"x": Text(text)})["x"]
    assert (type(found), found) == (type(value), value)


def test_a_default_of_0_or_1_may_stand_for_a_number():
    class Plain(Agent):
        def __init__(self, spec, seed, weight_decay=0, scale=1, width=64, depth: int = 1, flag=False):
            pass

    given = {"weight_decay": Text("0.01"), "scale": 0.5, "width": 1e3}
    assert check_arguments("a", Plain, given) == {"weight_decay": 0.01, "scale": 0.5, "width": 1000}
    for name in ("width", "depth", "flag"):
        with pytest.raises(OptionError, match=name):
            check_arguments("a", Plain, {name: 0.5})


@pytest.mark.parametrize(("annotation", "text"), [(int, "0.5"), (bool | None, "1"), ("float", "fast")])
def test_annotations_refuse_where_there_is_no_default(annotation, text):
    class Annotated(Agent):
        def __init__(self, spec, seed, x):
            pass

    Annotated.__init__.__annotations__["x"] = annotation
    with pytest.raises(OptionError, match=f"x='{text}'"):
        check_arguments("a", Annotated, {"x": Text(text)})


@pytest.mark.parametrize(
    ("value", "default"),
    [
        ("False", True),  # from Python or TOML nothing is read
        (1, True),
        (1, "adam"),
        ("fast", 1.0),
        (True, 1.0),
        (math.nan, 1.0),
        (math.inf, None),
        ([1, [math.nan]], None),
        (np.float64("nan"), None),
        ({1, 2}, None),
        (object(), None),
    ],
)
def test_values_from_python_must_fit(value, default):
    with pytest.raises(OptionError, match="^x="):
        fit("x", value, Parameter.of(default))


@pytest.mark.parametrize(
    ("value", "default", "expected"),
    [
        (np.float32(0.5), 1.0, 0.5),
        (np.int64(3), 64, 3),
        (np.int64(3), None, 3),
        (np.bool_(True), False, True),
        ([np.int64(3)], None, [3]),
        (3.0, 64, 3),
        ([1, 2], (3,), (1, 2)),
    ],
)
def test_numbers_of_numpy_become_pythons(value, default, expected):
    found = fit("x", value, Parameter.of(default))
    assert (type(found), found) == (type(expected), expected)
    json.dumps(found)


def test_recorded_arguments_are_as_the_agent_declares_them():
    class Sized(Agent):
        def __init__(self, spec, seed, sizes=(64, 64), names=None):
            pass

    assert as_declared(Sized, {"sizes": [1, 2], "names": ["a"]}) == {"sizes": (1, 2), "names": ["a"]}


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("a=1", "a", "1"),
        ("a=x=y", "a", "x=y"),
        ("a=", "a", ""),
        ("small:a=1", "small:a", "1"),
        ("my_agent.py:Agent:a=b:c", "my_agent.py:Agent:a", "b:c"),
    ],
)
def test_settings_are_split_at_the_first_equals(text, name, value):
    assert parse_setting(text) == (name, value)


@pytest.mark.parametrize("text", ["a", "=1", "a b=1", "", ":a=1", "small:=1"])
def test_malformed_settings(text):
    with pytest.raises(OptionError, match=f"'{text}'.*name=value"):
        parse_setting(text)


@pytest.mark.parametrize(
    ("default", "wrong"), [(np.int64(3), 0.5), (np.bool_(True), "no"), (np.float32(1), "x")]
)
def test_a_default_of_numpys_is_one_of_pythons(default, wrong):
    with pytest.raises(OptionError, match="width"):
        fit("width", wrong, Parameter.of(default))
