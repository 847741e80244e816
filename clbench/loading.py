"""Loads agents and indicators by reference, such as "agents.vanilla" or "file.py:Class"."""

import ast
import inspect
import json
import numbers
from collections.abc import Callable, Mapping
from typing import Any

from clbench.errors import LoadError, OptionError, UnknownNameError, did_you_mean
from clbench.files import BUNDLED, bundle
from clbench.provenance import source_of
from clbench.references import DEFAULT_CLASS, bundled_file, load_module, split_reference

__all__ = [
    "bundled_agents",
    "bundled_file",
    "check_agent",
    "check_arguments",
    "is_vectorized",
    "load_agent",
    "load_indicator",
    "parameters",
    "parse_setting",
    "source_of",
]


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
    return value


def _is_agent(value: object) -> bool:
    return isinstance(value, type) and all(callable(getattr(value, name, None)) for name in ("act", "learn"))


def is_vectorized(agent: type) -> bool:
    return bool(getattr(agent, "vectorized", False))


def parameters(agent: type) -> dict[str, Any]:
    """Return the constructor arguments that `--set` accepts, with their defaults.

    Arguments passed on as `**kwargs` are those of the base classes, and then of the class attribute
    `keyword_arguments` (names and defaults), if there is one.
    """
    arguments: dict[str, Any] = {}
    for owner in agent.__mro__:
        if "__init__" not in vars(owner) or owner is object:
            continue
        listed = list(inspect.signature(owner.__init__).parameters.values())[1:]  # type: ignore[misc]
        for parameter in listed[2:]:
            if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
                arguments.setdefault(parameter.name, parameter.default)
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in listed):
            return arguments
    for name, default in getattr(agent, "keyword_arguments", {}).items():
        arguments.setdefault(name, default)
    return arguments


def check_arguments(reference: str, agent: type, arguments: Mapping[str, Any]) -> None:
    """Check that `agent` can be constructed with `arguments`."""
    known = parameters(agent)
    for name, value in arguments.items():
        if name not in known:
            listing = f" It has: {', '.join(known)}." if known else " It has none."
            raise UnknownNameError(
                f"{reference} has no argument '{name}'.{did_you_mean(name, known)}{listing}"
            )
        default = known[name]
        numeric = isinstance(default, (int, float)) and not isinstance(default, bool)
        if numeric and (isinstance(value, bool) or not isinstance(value, numbers.Real)):
            raise OptionError(f"{name}={value!r} is not a number")
    for name, default in known.items():
        if default is inspect.Parameter.empty and name not in arguments:
            raise OptionError(f"{reference} requires the argument '{name}': pass --set {name}=...")
    try:
        inspect.signature(agent).bind(None, None, **arguments)
    except TypeError as error:
        raise LoadError(f"{reference} cannot be constructed with (spec, seed, ...): {error}") from error


def parse_setting(text: str) -> tuple[str, Any]:
    """Split "name=value"; the value is parsed as JSON, and else is a string.

    Raises:
        OptionError: the text does not have this form.

    >>> parse_setting("step_size=1e-3"), parse_setting("kind=adam")
    (('step_size', 0.001), ('kind', 'adam'))
    """
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise OptionError(f"'{text}' is not of the form name=value")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


def bundled_agents() -> dict[str, str]:
    """Return the learners that come with clbench: reference, and first line of the module's docstring."""
    agents = {}
    for path in sorted(bundle().glob("*.py")):
        tree = ast.parse(path.read_bytes())
        if any(isinstance(node, ast.ClassDef) and node.name == DEFAULT_CLASS for node in tree.body):
            agents[f"{BUNDLED}.{path.stem}"] = (ast.get_docstring(tree) or "").partition("\n")[0]
    return agents
