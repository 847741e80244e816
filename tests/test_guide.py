"""The guides know all that is public, and each row of a table has the values of what it names."""

import inspect
import re
from dataclasses import fields
from pathlib import Path
from pkgutil import resolve_name

import pytest

import clbench
from clbench import errors, indicators
from clbench.loading import bundled_agents, load_agent
from clbench.observing import ALL
from clbench.registration import STREAMS
from clbench.scheduling import SCHEDULERS, Constants
from studies.noise_curvature.figures import FIGURES

GUIDE = Path(__file__).parent.parent / "docs" / "guide"
PAGES = {path.stem: path.read_text(encoding="utf-8") for path in sorted(GUIDE.glob("*.md"))}


def public(module):
    """What a module defines or hands on: its own names, no modules."""
    return {
        name: value
        for name, value in vars(module).items()
        if not name.startswith("_") and (inspect.isclass(value) or inspect.isfunction(value))
    }


def referenced():
    """All that some page has the docstring of."""
    found = []
    for kind, name in re.findall(r"^\.\. auto(\w+):: ([\w.]+)", "\n".join(PAGES.values()), re.MULTILINE):
        value = resolve_name(name)
        found += [value, *(public(value).values() if kind == "module" else ())]
    return found


REFERENCED = referenced()


def is_referenced(value):
    return any(one is value for one in REFERENCED)


@pytest.mark.parametrize("name", clbench.__all__)
def test_every_public_name_has_a_place(name):
    if name == "__version__":
        assert "`clbench.__version__`" in PAGES["evaluation"]
    else:
        assert is_referenced(getattr(clbench, name))


@pytest.mark.parametrize("name", [*public(indicators), *ALL])
def test_every_indicator_has_a_place(name):
    assert re.search(rf"\b{name}\b", PAGES["indicators"])
    assert name not in public(indicators) or is_referenced(public(indicators)[name])


@pytest.mark.parametrize("name", bundled_agents())
def test_every_learner_has_a_row_with_its_constants(name):
    (row,) = [line for line in PAGES["agents"].splitlines() if line.startswith(f"| `{name}` |")]
    assert is_referenced(load_agent(name))
    assert set(re.findall(r'default\("([\w.]+)"', row)) <= {name}
    assert "`" not in re.sub(r"<!-- fill.*?<!-- end -->", "", row.split("|")[-2])


def test_every_stream_has_a_place():
    for id, stream in STREAMS.items():
        assert f"| `{id}` |" in PAGES["streams"]
        assert is_referenced(stream.load())


def test_every_error_has_a_place():
    assert all(is_referenced(value) for value in public(errors).values())


def test_every_figure_has_a_row():
    rows = "".join(
        line.split("|")[1] for line in PAGES["reproduction"].splitlines() if line.startswith("| `")
    )
    assert set(FIGURES) == set(re.findall(r"`([\w-]+)`", rows))


def test_every_protocol_has_a_row_with_its_numbers():
    rows = re.findall(r'^\| `([\w-]+)` \| <!-- fill: protocol\("([\w-]+)"\)', PAGES["streams"], re.MULTILINE)
    assert rows == [(name, name) for name in clbench.PROTOCOLS]


def test_every_constant_of_the_scheduler_has_a_row_with_its_default():
    rows = re.findall(r'^\| `(\w+)` \| <!-- fill: constant\("(\w+)"\)', PAGES["scheduler"], re.MULTILINE)
    assert rows == [(item.name, item.name) for item in fields(Constants)]


def test_every_scheduler_has_a_row():
    for name, scheduler in SCHEDULERS.items():
        assert f"| `{name}` | `{scheduler.__name__}` |" in PAGES["scheduler"]
