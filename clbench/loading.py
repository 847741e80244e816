"""From what a user types, such as "agents.vanilla" or "file.py:Class", to an agent's class or an indicator."""

import ast
import hashlib
import importlib
import importlib.util
import inspect
import json
import numbers
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from clbench.errors import LoadError, OptionError, UnknownNameError, did_you_mean
from clbench.places import recorded

DEFAULT_CLASS = "Agent"
BUNDLED = "agents"


def load_agent(reference: str) -> type:
    """Return the agent class that `reference` names.

    A reference is an importable module or a path to a file ending in .py, then perhaps ":Class"; without
    it the class is `Agent`. "agents.x" means the learners that come with clbench, unless a package
    called `agents` of your own has an x.

    Raises:
        UnknownNameError: nothing is there; the text has the nearest match.
        LoadError: the module raises when imported, or the class is no agent.
    """
    place, name = _split(reference)
    module = _load(place, reference)
    loaded = getattr(module, name, None)
    if loaded is None:
        classes = [key for key, value in vars(module).items() if _is_agent(value)]
        hint = did_you_mean(name, classes) or (f" It has: {', '.join(classes)}." if classes else "")
        raise UnknownNameError(f"'{place}' has no class '{name}'.{hint}")
    return check_agent(loaded, reference)


def load_indicator(reference: str) -> Callable[[Any], Any]:
    """Return the function that `reference`, "package.module:function" or "file.py:function", names.

    Raises:
        UnknownNameError: nothing is there; the text has the nearest match.
        LoadError: the module raises when imported, or what is there is no function.
    """
    place, name = _split(reference)
    module = _load(place, reference, "indicator")
    loaded = getattr(module, name, None)
    if loaded is None:
        raise UnknownNameError(f"'{place}' has no function '{name}'.{did_you_mean(name, vars(module))}")
    if not callable(loaded) or isinstance(loaded, type):
        raise LoadError(f"'{reference}' is no indicator: it must be a function")
    found: Callable[[Any], Any] = loaded
    return found


def check_agent(value: Any, reference: str) -> type:
    """Return `value` if it is an agent class, else raise `LoadError` naming it."""
    if not _is_agent(value):
        raise LoadError(f"'{reference}' is no agent: it must be a class with the methods act and learn")
    assert isinstance(value, type)
    return value


def is_vectorized(agent: type) -> bool:
    """Tell whether an agent trains all its seeds in lockstep."""
    return bool(getattr(agent, "vectorized", False))


def parameters(agent: type) -> dict[str, Any]:
    """Return the constructor arguments that `--set` may name, with their defaults.

    Arguments that a class passes on (`**kwargs`) are looked for in the classes it inherits from, then in
    its attribute `keyword_arguments` (names and defaults), if it has one.
    """
    found: dict[str, Any] = {}
    for owner in agent.__mro__:
        if "__init__" not in vars(owner) or owner is object:
            continue
        listed = list(inspect.signature(owner.__init__).parameters.values())[1:]  # type: ignore[misc]
        for parameter in listed[2:]:
            if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
                found.setdefault(parameter.name, parameter.default)
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in listed):
            return found
    for name, default in getattr(agent, "keyword_arguments", {}).items():
        found.setdefault(name, default)
    return found


def check_arguments(reference: str, agent: type, arguments: Mapping[str, Any]) -> None:
    """Raise unless `agent` can be constructed with `arguments`.

    Raises:
        UnknownNameError: an argument is unknown; the text has the nearest one.
        OptionError: a number was wanted, or an argument without a default is not given.
    """
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
            raise OptionError(f"{reference} needs the argument '{name}': give it with --set {name}=...")
    try:
        inspect.signature(agent).bind(None, None, **arguments)
    except TypeError as error:
        raise LoadError(f"{reference} cannot be constructed with (spec, seed, ...): {error}") from error


def parse_setting(text: str) -> tuple[str, Any]:
    """Return name and value of "name=value"; the value is JSON if it reads as such, else a string.

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


def source_of(agent: type | Callable[..., Any]) -> dict[str, str | None]:
    """Return where an agent's class, or an indicator's function, is defined, and checksums of the code.

    SHA-256 of that file, and that of its package's files, if any. The file is given as `clbench.places` records it.
    """
    try:
        path = inspect.getsourcefile(agent)
    except (TypeError, OSError):  # a class typed into a notebook or a shell
        path = None
    digest = hashlib.sha256(Path(path).read_bytes()).hexdigest() if path and Path(path).is_file() else None
    package = _digest_of_package(agent, Path(path).parent) if path else None
    own = f"{agent.__module__}:{agent.__qualname__}"
    return {"class": own, "file": path and recorded(path), "sha256": digest, "package_sha256": package}


def _digest_of_package(agent: type | Callable[..., Any], folder: Path) -> str | None:
    """Return one SHA-256 over the files beside an agent's, if they are a package: it may be built on them."""
    if not getattr(sys.modules.get(agent.__module__), "__package__", None):
        return None
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def bundled_agents() -> dict[str, str]:
    """Return the learners that come with clbench: reference and first line of the module's docstring."""
    found = {}
    for path in sorted(_bundled_folder().glob("*.py")):
        tree = ast.parse(path.read_bytes())
        if any(isinstance(node, ast.ClassDef) and node.name == DEFAULT_CLASS for node in tree.body):
            found[f"{BUNDLED}.{path.stem}"] = (ast.get_docstring(tree) or "").partition("\n")[0]
    return found


def _is_agent(value: Any) -> bool:
    return isinstance(value, type) and all(callable(getattr(value, name, None)) for name in ("act", "learn"))


def _split(reference: str) -> tuple[str, str]:
    """Split off ":Class"; a drive letter's colon is not one."""
    place, colon, name = reference.rpartition(":")
    return (place, name) if colon and name.isidentifier() else (reference, DEFAULT_CLASS)


def _load(place: str, reference: str, what: str = "agent") -> ModuleType:
    return _load_file(place, what) if place.endswith(".py") else _load_module(place, reference, what)


def _load_file(place: str, what: str) -> ModuleType:
    path = Path(place).expanduser().resolve()
    if not path.is_file():
        raise UnknownNameError(f"no {what} file '{place}'.{did_you_mean(place, _neighbours(path))}")
    name = f"clbench_agent_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}_{path.stem}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(path.parent))  # so that the file may import its neighbours
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise LoadError(f"'{place}' raises {type(error).__name__} when imported: {error}") from error
    finally:
        sys.path.remove(str(path.parent))
    return module


def _neighbours(path: Path) -> list[str]:
    return [str(other) for other in path.parent.glob("*.py")] if path.parent.is_dir() else []


def _load_module(place: str, reference: str, what: str) -> ModuleType:
    names = [place]
    if place.partition(".")[0] == BUNDLED:
        _make_bundled_importable()
        names.append(f"clbench.{place}")
    fault: LoadError | None = None
    for name in names if all(part.isidentifier() for part in place.split(".")) else ():
        try:
            return importlib.import_module(name)
        except (Exception, SystemExit) as error:
            # A missing module other than the one asked for is the agent's own fault.
            wanted = (
                isinstance(error, ModuleNotFoundError)
                and error.name
                and f"{name}.".startswith(f"{error.name}.")
            )
            if not wanted:
                fault = LoadError(f"'{place}' raises {type(error).__name__} when imported: {error}")
                fault.__cause__ = error
    if fault is not None:
        raise fault
    hint = f"{did_you_mean(reference, bundled_agents())} (clbench list shows all)" if what == "agent" else ""
    raise UnknownNameError(f"no {what} '{reference}'.{hint}")


def bundled_file(reference: str) -> Path | None:
    """Return the file of a learner that comes with clbench, without importing it; None if there is no such one."""
    package, _, name = reference.partition(":")[0].rpartition(".")
    path = _bundled_folder() / f"{name}.py"
    return path if package == BUNDLED and name.isidentifier() and path.is_file() else None


def _bundled_folder() -> Path:
    """The learners' folder: inside clbench when installed from a wheel, beside it in a checkout."""
    package = Path(__file__).parent
    return package / BUNDLED if (package / BUNDLED).is_dir() else package.parent / BUNDLED


def _make_bundled_importable() -> None:
    """Let `clbench.agents` be imported in a checkout too, where the folder lies beside the package."""
    name, folder = f"clbench.{BUNDLED}", _bundled_folder()
    if name not in sys.modules and folder.parent != Path(__file__).parent:
        spec = importlib.util.spec_from_file_location(
            name, folder / "__init__.py", submodule_search_locations=[str(folder)]
        )
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
