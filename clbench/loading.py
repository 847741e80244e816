"""Loads agents and indicators by reference, such as "agents.vanilla" or "file.py:Class"."""

import ast
import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import clbench
from clbench.errors import LoadError, UnknownNameError, did_you_mean
from clbench.places import recorded

DEFAULT_CLASS = "Agent"
BUNDLED = "agents"


def load_agent(reference: str) -> type:
    """Return an agent's class; `reference` is "module", "module:Class" or "file.py:Class", by default of `Agent`."""
    location, name = split_reference(reference)
    module = _load(location, reference, "agent")
    loaded = getattr(module, name, None)
    if loaded is None:
        classes = [key for key, value in vars(module).items() if _is_agent(value)]
        hint = did_you_mean(name, classes) or (f" It has: {', '.join(classes)}." if classes else "")
        raise UnknownNameError(f"'{location}' has no class '{name}'.{hint}")
    return check_agent(loaded, reference)


def load_indicator(reference: str) -> Callable[[Any], Any]:
    """Return the function that `reference` names: "package.module:function" or "file.py:function"."""
    location, name = split_reference(reference)
    module = _load(location, reference, "indicator")
    loaded: Callable[[Any], Any] | None = getattr(module, name, None)
    if loaded is None:
        raise UnknownNameError(f"'{location}' has no function '{name}'.{did_you_mean(name, vars(module))}")
    if not callable(loaded) or isinstance(loaded, type):
        raise LoadError(f"'{reference}' is not an indicator: it must be a function")
    return loaded


def split_reference(reference: str) -> tuple[str, str]:
    """Split a reference into module or file, and class; the colon of a drive letter does not count.

    >>> split_reference("my_agent.py:Small"), split_reference("agents.l2")
    (('my_agent.py', 'Small'), ('agents.l2', 'Agent'))
    """
    location, colon, name = reference.rpartition(":")
    return (location, name) if colon and name.isidentifier() else (reference, DEFAULT_CLASS)


def check_agent(value: object, reference: str) -> type:
    """Return `value`, or raise `LoadError` unless it is an agent's class."""
    if not isinstance(value, type) or not _is_agent(value):
        raise LoadError(f"'{reference}' is not an agent: it must be a class with the methods act and learn")
    return value


def _is_agent(value: object) -> bool:
    return isinstance(value, type) and all(callable(getattr(value, name, None)) for name in ("act", "learn"))


def is_vectorized(agent: type) -> bool:
    return bool(getattr(agent, "vectorized", False))


def source_of(agent: type | Callable[..., Any]) -> dict[str, str | None]:
    """Return where an agent's class or an indicator's function is defined, with SHA-256 of its file and package.

    The file is given as `clbench.places` records it. The package's checksum covers the files next to it, which the
    agent may use.
    """
    try:
        path = inspect.getsourcefile(agent)
    except (TypeError, OSError):  # a class typed into a notebook or a shell
        path = None
    name = f"{agent.__module__}:{agent.__qualname__}"
    if path is None:
        return {"class": name, "file": None, "sha256": None, "package_sha256": None}
    checksum = hashlib.sha256(Path(path).read_bytes()).hexdigest() if Path(path).is_file() else None
    package = getattr(sys.modules.get(agent.__module__), "__package__", None)
    package_checksum = _folder_sha256(Path(path).parent) if package else None
    return {"class": name, "file": recorded(path), "sha256": checksum, "package_sha256": package_checksum}


def _folder_sha256(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def bundled_agents() -> dict[str, str]:
    """Return the learners that come with clbench: reference, and first line of the module's docstring."""
    agents = {}
    for path in sorted((_bundle() / BUNDLED).glob("*.py")):
        tree = ast.parse(path.read_bytes())
        if any(isinstance(node, ast.ClassDef) and node.name == DEFAULT_CLASS for node in tree.body):
            agents[f"{BUNDLED}.{path.stem}"] = (ast.get_docstring(tree) or "").partition("\n")[0]
    return agents


def bundled_file(reference: str) -> Path | None:
    """Return the file of a learner that comes with clbench, without importing it; None for other references."""
    package, _, name = split_reference(reference)[0].rpartition(".")
    path = _bundle() / BUNDLED / f"{name}.py"
    return path if package == BUNDLED and name.isidentifier() and path.is_file() else None


def _bundle() -> Path:
    """Return the folder with the learners' package: clbench itself in a wheel, the one around it in a checkout."""
    package = Path(__file__).parent
    return package if (package / BUNDLED).is_dir() else package.parent


def _load(location: str, reference: str, what: str) -> ModuleType:
    return _load_file(location, what) if location.endswith(".py") else _load_module(location, reference, what)


def _load_file(location: str, what: str) -> ModuleType:
    path = Path(location).expanduser().resolve()
    if not path.is_file():
        neighbours = [str(other) for other in path.parent.glob("*.py")]
        raise UnknownNameError(f"no {what} file '{location}'.{did_you_mean(location, neighbours)}")
    name = f"clbench_agent_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}_{path.stem}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise LoadError(f"'{location}' is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(path.parent))  # the file may import its neighbours
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise _raised(location, error) from error
    finally:
        sys.path.remove(str(path.parent))
    return module


def _load_module(location: str, reference: str, what: str) -> ModuleType:
    names = [location] if all(name.isidentifier() for name in location.split(".")) else []
    if names and location.partition(".")[0] == BUNDLED:
        # Another package may have this name: then ours is clbench.agents, in a checkout, too.
        if str(_bundle()) not in clbench.__path__:
            clbench.__path__.append(str(_bundle()))
        names.append(f"clbench.{location}")
    fault: BaseException | None = None
    for name in names:
        try:
            return importlib.import_module(name)
        except (Exception, SystemExit) as error:
            missing = error.name if isinstance(error, ModuleNotFoundError) else None
            if not missing or not f"{name}.".startswith(f"{missing}."):
                fault = error  # of a module that exists
    if fault is not None:
        raise _raised(location, fault) from fault
    hint = f"{did_you_mean(reference, bundled_agents())} (clbench list shows all)" if what == "agent" else ""
    raise UnknownNameError(f"no {what} '{reference}'.{hint}")


def _raised(location: str, error: BaseException) -> LoadError:
    return LoadError(f"'{location}' raises {type(error).__name__} when imported: {error}")
