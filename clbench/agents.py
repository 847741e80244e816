"""The learners, in a clone. There they are in the folder `agents`, which the wheel has in this file's place.

Whoever has the clone on the module path may also write `agents.l2`, and gets the module `clbench.agents.l2`.
"""

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

FOLDER = Path(__file__).parents[1] / "agents"

__path__ = [str(FOLDER)]


class _Finder(MetaPathFinder, Loader):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        package, _, name = fullname.rpartition(".")
        ours = package == "agents" and path is not None and Path(next(iter(path), "")) == FOLDER
        return ModuleSpec(fullname, self) if ours and (FOLDER / f"{name}.py").is_file() else None

    def exec_module(self, module: ModuleType) -> None:
        sys.modules[module.__name__] = import_module(f"clbench.{module.__name__}")


sys.meta_path.insert(0, _Finder())
