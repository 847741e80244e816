"""Python files as modules that every process can import, wherever they are.

`/somewhere/tiny.py` is `clbench.files.X.tiny`, where X spells the folder: whoever unpickles something of the file, such
as a worker of a `DataLoader`, finds it by this name. Such a module imports what is beside it, as a script does, but
from its own folder only: two agents may each have their `helper.py`.
"""

import builtins
import contextlib
import functools
import importlib
import os
import re
import sys
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import spec_from_file_location
from itertools import pairwise
from pathlib import Path
from types import ModuleType

from clbench.places import FILE_MODULE

BUNDLED = "agents"
"""The package of the learners that come with clbench, without `clbench.`."""

DEPENDENCIES = {"click", "gymnasium", "matplotlib", "numpy", "pandas", "ray", "scipy", "torch", "torchvision"}
# Names that never mean a neighbour: `random.py` beside an agent is not what the agent imports as `random`.
RESERVED = (sys.stdlib_module_names - {"test"}) | {"clbench", *DEPENDENCIES}
# Known by name: `sysconfig` leaves out a user's own folder of packages, and Debian's.
PACKAGES = ("site-packages", "dist-packages")
STANDARD = [Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib")]
MAIN = ("__main__", "__mp_main__")

__path__: list[str] = []  # makes this module a package, whose modules `_Finder` finds


def load_file(path: Path) -> ModuleType:
    """Return the module of a Python file, imported at most once per process; what it raises is not caught."""
    path = path.resolve()
    if path.parent == bundle():
        return importlib.import_module(f"clbench.{BUNDLED}.{path.stem}")
    name = module_name(path)
    if name not in sys.modules:
        for module in list(sys.modules.values()):  # the user's program may have imported it
            facts = getattr(module, "__dict__", {})  # not attributes, which a lazy module would load
            if facts.get("__file__") == str(path) and facts.get("__name__") not in MAIN:
                return module
        importlib.invalidate_caches()
        _neighbour.cache_clear()
    return importlib.import_module(name)


def module_name(path: Path) -> str:
    """Return the name of a file's module: its folder, or that of its outermost package, and its name in there."""
    root = root_of(path)
    parts = path.relative_to(root).with_suffix("").parts
    parts = parts[:-1] if parts[-1] == "__init__" and parts[1:] else parts
    return ".".join([package_of(root), *(part if part.isidentifier() else _encoded(part) for part in parts)])


def root_of(path: Path) -> Path:
    """Return the folder that a file's absolute imports start from: that of its outermost package, if it is in one."""
    folder = path.parent
    while (folder / "__init__.py").is_file() and folder != folder.parent:
        folder = folder.parent
    return folder


def package_of(folder: Path) -> str:
    """Return the name of the package whose modules are the files of a folder."""
    init = folder / "__init__.py"
    return module_name(init) if init.is_file() else f"{__name__}.{_encoded(str(folder))}"


def plain_name(module: str) -> str:
    """Return the name of a module as its user knows it.

    >>> plain_name("clbench.files._2f_home.tiny"), plain_name("clbench.agents.l2"), plain_name("clbench.agent")
    ('tiny', 'agents.l2', 'clbench.agent')
    """
    ours = f"clbench.{BUNDLED}."
    return FILE_MODULE.sub("", f"{BUNDLED}.{module[len(ours) :]}" if module.startswith(ours) else module)


@functools.cache
def bundle() -> Path:
    """Return the folder of the learners that come with clbench."""
    return Path(importlib.import_module(f"clbench.{BUNDLED}").__path__[0]).resolve()


def installed_package(path: Path) -> str | None:
    """Return the package that an installed file is of: "agents" for a learner of ours, "python" for Python's library.

    Returns:
        None for a file that is not installed, but the user's.
    """
    if path.parent == bundle():
        return BUNDLED
    if path.is_relative_to(Path(__file__).resolve().parent):
        return "clbench"
    for folder, package in pairwise(path.parts):
        if folder in PACKAGES:
            return package
    return "python" if any(map(path.is_relative_to, STANDARD)) else None


def searched(path: Path, here: Path | None = None) -> list[Path]:
    """Return the folders in which a file's absolute imports are looked for first.

    They are those that `python -m` and `python FILE` would use, and the working folder if the file is below it.
    """
    folders = [root_of(path), path.parent]
    with contextlib.suppress(OSError):  # the working folder may be deleted
        here = here or Path.cwd()
        folders += [here] if here in path.parents else []
    return list(dict.fromkeys(folders))


def find(name: str, wanted: Sequence[str], folder: Path) -> list[Path]:
    """Return the files that `import name`, or `from name import wanted`, runs; none if they are not in a folder.

    A folder without `__init__.py` counts only for what is in it.
    """
    files: list[Path] = []
    folders, whole = [str(folder)], not name
    for part in name.split(".") if name else []:
        spec = PathFinder.find_spec(part, folders)
        if spec is None:
            return []
        whole = spec.has_location
        files += [Path(spec.origin)] if spec.has_location and spec.origin else []
        folders = list(spec.submodule_search_locations or [])
    below = [PathFinder.find_spec(part, folders) for part in wanted if folders]
    found = [Path(spec.origin) for spec in below if spec is not None and spec.has_location and spec.origin]
    return [*files, *found] if whole or found else []


def neighbours(
    path: Path, name: str, wanted: Sequence[str], here: Path | None = None
) -> tuple[Path, list[Path]] | None:
    """Return where a file's import is found among its neighbours, and the files that it runs; None if it is not."""
    if name.partition(".")[0] in RESERVED or _is_bundled(name, wanted):
        return None
    for folder in searched(path, here):
        files = find(name, wanted, folder)
        if files and files != [path]:  # torch_geometric.py imports the installed package, not itself
            return folder, files
    return None


@functools.cache
def _neighbour(path: Path, name: str, wanted: tuple[str, ...]) -> str | None:
    """Return the full name of the module that a file means by a name; None for those that Python finds."""
    if _is_bundled(name, wanted):
        return f"clbench.{name}"
    found = neighbours(path, name, wanted)
    return f"{package_of(found[0])}.{name}" if found else None


def _is_bundled(name: str, wanted: Sequence[str]) -> bool:
    """Tell whether an import means a learner of clbench, which no package of the user's replaces."""
    package, _, rest = name.partition(".")
    return package == BUNDLED and bool(find(rest, wanted, bundle()))


def _import(
    path: Path,
    name: str,
    globals: Mapping[str, object] | None = None,
    locals: Mapping[str, object] | None = None,
    fromlist: Sequence[str] | None = (),
    level: int = 0,
) -> ModuleType:
    """Stand for `__import__` in a file's module."""
    full = None if level else _neighbour(path, name, tuple(fromlist or ()))
    if full is None:
        return builtins.__import__(name, globals, locals, fromlist or (), level)
    module = importlib.import_module(full)
    if fromlist:
        return builtins.__import__(full, globals, locals, fromlist)
    above = name.count(".")
    return sys.modules[full.rsplit(".", above)[0]] if above else module


class _Loader(SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        imports = functools.partial(_import, Path(self.path))
        vars(module)["__builtins__"] = {**vars(builtins), "__import__": imports}
        with _found_by_name(Path(self.path)):
            super().exec_module(module)


@contextlib.contextmanager
def _found_by_name(path: Path) -> Iterator[None]:
    """Let a file also find its neighbours by `importlib.import_module` while it is executed, but no other file."""
    folders = [str(folder) for folder in searched(path) if str(folder) not in sys.path]
    before = set(sys.modules)
    sys.path += folders
    try:
        yield
    finally:
        for folder in folders:
            with contextlib.suppress(ValueError):  # the file has changed the path
                sys.path.remove(folder)
        new = set(sys.modules) - before
        found = {name for name in new if "." not in name and _is_in(sys.modules[name], folders)}
        for name in new:
            if name.partition(".")[0] in found:
                sys.modules.pop(name, None)


def _is_in(module: ModuleType, folders: Sequence[str]) -> bool:
    """Tell whether a top-level module was found in one of the folders."""
    spec = getattr(module, "__spec__", None)
    places = [*(spec.submodule_search_locations or [spec.origin])] if spec else []
    return any(os.path.dirname(place) in folders for place in places if place)


class _Finder(MetaPathFinder):
    """Finds folders as packages of this one, and in them what Python would find there."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        package, _, name = fullname.rpartition(".")
        if package == __name__:
            spec = ModuleSpec(fullname, None, is_package=True)
            spec.submodule_search_locations = [_decoded(name)]
            return spec
        if not package.startswith(f"{__name__}."):
            return None
        found = PathFinder.find_spec(fullname, path) or _unusual(fullname, path or ())
        if found is not None and isinstance(found.loader, SourceFileLoader):
            found.loader = _Loader(found.loader.name, found.loader.path)
        return found


def _unusual(fullname: str, path: Sequence[str]) -> ModuleSpec | None:
    """Return the spec of a file whose name is no identifier, such as `my-agent.py`."""
    name = _decoded(fullname.rpartition(".")[2])
    for folder in path:
        package = Path(folder, name, "__init__.py")
        if package.is_file():
            return spec_from_file_location(
                fullname, package, submodule_search_locations=[str(package.parent)]
            )
        if (file := Path(folder, f"{name}.py")).is_file():
            return spec_from_file_location(fullname, file)
    return None


def _encoded(text: str) -> str:
    """Return a text as an identifier.

    >>> _encoded("/my-agent"), _decoded(_encoded("/my_agent"))
    ('_2f_my_2d_agent', '/my_agent')
    """
    return "".join(c if c.isascii() and c.isalnum() else f"_{ord(c):x}_" for c in text)


def _decoded(text: str) -> str:
    return re.sub(r"_([0-9a-f]+)_", lambda match: chr(int(match[1], 16)), text)


sys.meta_path.insert(0, _Finder())
