"""Lets `gymnasium.make("clbench/...")` work in a program that never imports clbench.

Gymnasium 1.0 dropped its entry-point plug-ins (Farama-Foundation/Arcade-Learning-Environment#487 has
the announcement), so the installation brings a path configuration file, `clbench_gymnasium.pth`, that
imports this module when Python starts. All it does then is wait for Gymnasium to be imported.
"""

import sys
from importlib.machinery import ModuleSpec

_AWAITED = "gymnasium"


class _RegisterAfterImport:
    """A finder that finds nothing of its own, but registers our streams once Gymnasium is there."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if name != _AWAITED:
            return None
        sys.meta_path.remove(self)
        from importlib.util import find_spec

        spec = find_spec(name)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_register(module):  # type: ignore[no-untyped-def]
                execute(module)
                from clbench.registration import register_all_with_gymnasium

                register_all_with_gymnasium()

            spec.loader.exec_module = execute_and_register  # type: ignore[method-assign]
        return spec


if _AWAITED not in sys.modules:
    sys.meta_path.insert(0, _RegisterAfterImport())
