"""Importing another project's code from a checkout; none of it comes with clbench."""

import contextlib
import importlib
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

from clbench.errors import LoadError, OptionError

VARIABLE = "CLBENCH_PEERS_DIR"  # where checkouts are, each under its project's name
_imported: dict[Path, dict[str, ModuleType]] = {}  # modules by name, of each checkout


@dataclass(frozen=True)
class Project:
    """A public project: the name of its repository, where it is, and the commit that an adapter was written for."""

    name: str
    url: str
    commit: str

    def folder(self, checkout: str | Path | None) -> Path:
        """Return the folder of a checkout, by default the one with the project's name in `$CLBENCH_PEERS_DIR`.

        Raises:
            OptionError: there is no such folder; the text says where to get it.
        """
        given = checkout or os.path.join(os.environ.get(VARIABLE) or "", self.name)
        folder = Path(given).expanduser()
        if not folder.is_dir() or not (checkout or os.environ.get(VARIABLE)):
            what = f"no checkout of {self.name} in '{folder}'" if checkout else f"no checkout of {self.name}"
            raise OptionError(
                f"{what}: git clone {self.url}, git checkout {self.commit[:12]}, and pass the folder as "
                f"--set checkout=FOLDER, or the one around it as {VARIABLE}"
            )
        return folder.resolve()

    def load(self, checkout: str | None, *names: str) -> list[ModuleType]:
        """Import modules of a checkout, by their names in it.

        Raises:
            LoadError: a module, or a package that it needs, cannot be imported.
        """
        folder = self.folder(checkout)
        if (commit := commit_of(folder)) != self.commit:
            warnings.warn(
                f"{self.name} is at commit {commit or 'unknown'}, the adapter is for {self.commit}",
                stacklevel=2,
            )
        with _only_from(folder):
            try:
                return [importlib.import_module(name) for name in names]
            except ModuleNotFoundError as error:
                raise LoadError(f"{self.name} needs the module '{error.name}': install it") from error
            except Exception as error:
                raise LoadError(f"{self.name} cannot be imported: {type(error).__name__}: {error}") from error


def commit_of(folder: Path) -> str | None:
    """Return the commit that a folder is a checkout of; None if Git cannot tell."""
    command = ["git", f"--git-dir={folder / '.git'}", "rev-parse", "HEAD"]
    with contextlib.suppress(OSError):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else None
    return None


class _Finder:
    """Finds a checkout's modules in its folder alone, before those of the same names elsewhere."""

    def __init__(self, folder: Path) -> None:
        # A folder of results, say, may be called as an installed package is.
        code = [path for path in folder.iterdir() if path.suffix == ".py" or next(path.rglob("*.py"), None)]
        self.names, self._folder = {path.stem for path in code}, folder

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return PathFinder.find_spec(name, [str(self._folder)]) if name in self.names else None

    def take(self) -> dict[str, ModuleType]:
        """Remove modules of the checkout's names from those imported; return them."""
        names = [name for name in sys.modules if name.partition(".")[0] in self.names]
        return {name: sys.modules.pop(name) for name in names}


@contextlib.contextmanager
def _only_from(folder: Path) -> Iterator[None]:
    """Import from a folder what it has; afterwards its modules are left to those who hold them.

    Projects have packages such as `src`, `utils` or `agents`: each may import its own, and nobody else's change.
    """
    finder = _Finder(folder)
    others = finder.take()
    sys.modules.update(_imported.get(folder, {}))
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        _imported[folder] = finder.take()
        sys.modules.update(others)
