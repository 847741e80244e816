"""Loads agents and indicators by reference, such as "agents.vanilla" or "file.py:Class"."""

import ast
from collections.abc import Callable
from typing import Any

from clbench.agent import check_learn
from clbench.errors import LoadError, UnknownNameError, did_you_mean
from clbench.files import BUNDLED, bundle
from clbench.references import DEFAULT_CLASS, load_module, split_reference


def load_agent(reference: str) -> type:
    """Return an agent's class; `reference` is "module", "module:Class" or "file.py:Class", by default of `Agent`."""
    location, name = split_reference(reference)
    hint = f"{did_you_mean(reference, bundled_agents())} (clbench list shows all)"
    module = load_module(location, "agent", named=reference, hint=hint)
    loaded = getattr(module, name, None)
    if loaded is None:
        classes = [key for key, value in vars(module).items() if _is_agent(value)]
        hint = did_you_mean(name, classes) or (f" It has: {', '.join(classes)}." if classes else "")
        raise UnknownNameError(f"'{location}' has no class '{name}'.{hint}")
    return check_agent(loaded, reference)


def load_indicator(reference: str) -> Callable[[Any], Any]:
    """Return the function that `reference` names: "package.module:function" or "file.py:function"."""
    location, name = split_reference(reference)
    module = load_module(location, "indicator", named=reference)
    loaded: Callable[[Any], Any] | None = getattr(module, name, None)
    if loaded is None:
        raise UnknownNameError(f"'{location}' has no function '{name}'.{did_you_mean(name, vars(module))}")
    if not callable(loaded) or isinstance(loaded, type):
        raise LoadError(f"'{reference}' is not an indicator: it must be a function")
    return loaded


def check_agent(value: object, reference: str) -> type:
    """Return `value`, or raise `LoadError` unless it is an agent's class."""
    if not isinstance(value, type) or not _is_agent(value):
        raise LoadError(f"'{reference}' is not an agent: it must be a class with the methods act and learn")
    check_learn(value, reference)
    return value


def _is_agent(value: object) -> bool:
    return isinstance(value, type) and all(callable(getattr(value, name, None)) for name in ("act", "learn"))


def is_vectorized(agent: type) -> bool:
    return bool(getattr(agent, "vectorized", False))


def bundled_agents() -> dict[str, str]:
    """Return the learners that come with clbench: reference, and first line of the module's docstring."""
    agents = {}
    for path in sorted(bundle().glob("*.py")):
        tree = ast.parse(path.read_bytes())
        if any(isinstance(node, ast.ClassDef) and node.name == DEFAULT_CLASS for node in tree.body):
            agents[f"{BUNDLED}.{path.stem}"] = (ast.get_docstring(tree) or "").partition("\n")[0]
    return agents
