"""What code a run uses: the file of a class or function, and the neighbours that the file imports."""

import ast
import hashlib
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from clbench.errors import UnknownNameError
from clbench.files import find, installed_package, neighbours, plain_name, root_of
from clbench.places import recorded

FolderFiles = dict[str, Path]
"""Files by their paths relative to the folder that the first one's imports start from, with slashes."""


def source_of(owner: type | Callable[..., Any]) -> dict[str, Any]:
    """Return where a class or a function is defined, with checksums of all that it is made from.

    Returns:
        The fields of `clbench.results.manifest.CodeSource`; the file is given as `clbench.places` records it.
    """
    try:
        file = inspect.getsourcefile(owner)
    except (TypeError, OSError):  # a class typed into a notebook or a shell
        file = None
    module = owner.__module__
    if file is None or not Path(file).is_file():
        name = f"{plain_name(module)}:{owner.__qualname__}"
        return {"class": name, "file": file and recorded(file), "sha256": None, "package_sha256": None}
    path = Path(file)
    packaged = False
    if module.startswith("clbench.files."):
        module = ".".join(path.relative_to(root_of(path)).with_suffix("").parts)
    else:
        module = plain_name(module)
        packaged = bool(getattr(sys.modules.get(owner.__module__), "__package__", None))
    return {
        "class": f"{module}:{owner.__qualname__}",
        **source_of_file(path),
        "package_sha256": _folder_sha256(path.parent) if packaged else None,
    }


def source_of_file(path: Path) -> dict[str, Any]:
    """Return a file as `clbench.places` records it, its SHA-256, and those of its neighbours."""
    _, *others = files_of(path).items()
    return {
        "file": recorded(str(path)),
        "sha256": sha256(path),
        "neighbours": {name: sha256(other) for name, other in others},
    }


def checksums_of(owner: Callable[..., Any]) -> tuple[str | None, str | None]:
    """Return the SHA-256 of a function's file and its neighbours together, and of the file, as older runs record it."""
    source = source_of(owner)
    return combined(source["sha256"], source.get("neighbours", {})), source["sha256"]


def combined(checksum: str | None, others: Mapping[str, str]) -> str | None:
    """Return one checksum for a file and its neighbours; the file's if it has none."""
    if checksum is None or not others:
        return checksum
    lines = [checksum, *(f"{name} {digest}" for name, digest in sorted(others.items()))]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def files_of(path: Path, here: Path | None = None) -> FolderFiles:
    """Return a Python file, and those beside it that it imports, directly or through each other, now or later.

    They are read, not imported. Installed packages and clbench do not count, nor what beside them a file of theirs
    imports.

    Args:
        path: of the file.
        here: working folder of whoever imports it, by default of this process.
    """
    path = path.resolve()
    if installed_package(path) is not None:
        return {path.name: path}
    bases, left = {path: root_of(path)}, [path]
    while left:
        file = left.pop()
        for base, other in _imported(file, bases[file], here):
            if other not in bases and installed_package(other) is None:
                bases[other] = base if base in other.parents else other.parent
                left.append(other)
    files: FolderFiles = {}
    for file in (path, *sorted(set(bases) - {path})):
        name = file.relative_to(bases[file]).as_posix()
        while name in files:
            name = f"_/{name}"
        files[name] = file
    return files


def _imported(path: Path, base: Path, here: Path | None) -> Iterator[tuple[Path, Path]]:
    """Yield the neighbours that a file's import statements name, wherever they are in it.

    Args:
        path: of the file.
        base: folder that its imports start from.
        here: working folder.

    Yields:
        The folder that the neighbour's imports start from, and the neighbour.
    """
    package = path.parent
    while package != root_of(path):  # importing a module runs its packages first
        yield base, package / "__init__.py"
        package = package.parent
    for node in ast.walk(_parsed(path)):
        if isinstance(node, ast.ImportFrom) and node.level:
            wanted = [alias.name for alias in node.names]
            for file in find(node.module or "", wanted, path.parents[node.level - 1]):
                yield base, file
            continue
        for name, wanted in _absolute(node):
            folder, files = neighbours(path, name, wanted, here) or (base, [])
            below = folder in (root_of(path), path.parent)
            yield from ((base if below else folder, file) for file in files)


def _absolute(node: ast.AST) -> list[tuple[str, list[str]]]:
    """Return the names of modules that a statement imports, and what from each."""
    if isinstance(node, ast.Import):
        return [(alias.name, []) for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module:
        return [(node.module, [alias.name for alias in node.names])]
    match node:
        case ast.Call(
            func=ast.Name(id=name) | ast.Attribute(attr=name), args=[ast.Constant(value=str(module)), *_]
        ):
            return [(module, [])] if name == "import_module" and module.strip(".") == module else []
    return []


def _parsed(path: Path) -> ast.AST:
    try:
        return ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):  # compiled, or broken: whoever imports it will tell
        return ast.Module([], [])


def _folder_sha256(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def sha256(path: Path) -> str:
    """Return a file's SHA-256.

    Raises:
        UnknownNameError: it cannot be read.
    """
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise UnknownNameError(f"cannot read '{path}': {error.strerror or error}") from error
