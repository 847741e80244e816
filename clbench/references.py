"""From a reference, such as "agents.l2", "package.module:Class" or "file.py:Class", to its module."""

import importlib
from pathlib import Path
from types import ModuleType

from clbench.errors import LoadError, UnknownNameError, did_you_mean
from clbench.files import BUNDLED, bundle, load_file, plain_name
from clbench.tracebacks import raised_at

DEFAULT_CLASS = "Agent"


def split_reference(reference: str) -> tuple[str, str]:
    """Split a reference into module or file, and class; the colon of a drive letter does not count.

    >>> split_reference("my_agent.py:Small"), split_reference("agents.l2")
    (('my_agent.py', 'Small'), ('agents.l2', 'Agent'))
    """
    location, colon, name = reference.rpartition(":")
    return (location, name) if colon and name.isidentifier() else (reference, DEFAULT_CLASS)


def is_file(location: str) -> bool:
    """Tell whether a location is that of a file, not the name of a module."""
    return location.endswith(".py")


def reference_of(owner: type) -> str:
    """Return the reference of a class: "agents.l2:Agent" for ours, a file's path and class, or "module:Class"."""
    module = owner.__module__
    if module.startswith("clbench.files."):
        file = importlib.import_module(module).__file__
        return f"{file}:{owner.__qualname__}"
    return f"{plain_name(module)}:{owner.__qualname__}"


def load_module(location: str, what: str, *, named: str = "", hint: str = "", role: str = "") -> ModuleType:
    """Return the module of a file or a name.

    Args:
        location: "file.py", or a module's name. `agents.NAME` is a learner of clbench if there is one of that name,
            whatever else is called `agents`; other modules may also be in the working folder.
        what: it is loaded for, for errors: "agent", "stream", "indicator".
        named: what the user has typed, by default the location.
        hint: what to do if there is no module of that name.
        role: of the module, for errors.

    Raises:
        UnknownNameError: there is no such file or module.
        LoadError: it raises when imported.
    """
    path = Path(location).expanduser() if is_file(location) else None
    if path is not None and not path.is_file():
        raise UnknownNameError(f"no {what} file '{location}'.{did_you_mean(location, _beside(path))}")
    try:
        return _import(location) if path is None else load_file(path)
    except (Exception, SystemExit) as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if path is None and (missing == "" or (missing and f"{location}.".startswith(f"{missing}."))):
            file = f" Did you mean '{location}.py'?" if Path(f"{location}.py").is_file() else ""
            raise UnknownNameError(f"no {what} '{named or location}'.{file or hint}") from error
        raise LoadError(
            f"'{location}'{role} raises {type(error).__name__} when imported: "
            f"{plain_name(str(error))}{raised_at(error)}"
        ) from error


def _import(name: str) -> ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        raise ModuleNotFoundError(f"no module can be called '{name}'", name="")
    if bundled_file(name) is not None:
        return importlib.import_module(f"clbench.{name.removeprefix('clbench.')}")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        file = _in_working_folder(name)
        if file is None or error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise
    return load_file(file)


def _in_working_folder(name: str) -> Path | None:
    """Return the file of a module in the working folder, where the command `clbench` does not look for modules."""
    path = Path.cwd().joinpath(*name.split("."))
    files = (path.with_suffix(".py"), path / "__init__.py")
    return next((file for file in files if file.is_file()), None)


def _beside(path: Path) -> list[str]:
    """Return what Python files are in the folder of a path, as one would name them in its place."""
    return [str(path.with_name(other.name)) for other in path.parent.glob("*.py")]


def bundled_file(reference: str) -> Path | None:
    """Return the file of a learner that comes with clbench, without importing it; None for other references."""
    package, _, name = split_reference(reference)[0].removeprefix("clbench.").rpartition(".")
    path = bundle() / f"{name}.py"
    return path if package == BUNDLED and name.isidentifier() and path.is_file() else None
