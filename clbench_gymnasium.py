"""Lets `gymnasium.make("clbench/...")` work in a program that never imports clbench.

Gymnasium 1.0 dropped its entry-point plug-ins (Farama-Foundation/Arcade-Learning-Environment#487 has
the announcement), so the installation brings a path configuration file, `clbench_gymnasium.pth`, that
imports this module when Python starts. All it does then is wait for Gymnasium to be imported. It stands
outside the package so that no program finds clbench imported before it has said from where.
"""

import sys
from importlib.machinery import ModuleSpec

_AWAITED = "gymnasium"


class _RegisterAfterImport:
    """A finder that finds nothing of its own, but registers our streams once Gymnasium is there."""

    searching = False

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        # Stays in place when somebody merely asks whether Gymnasium is installed.
        if name != _AWAITED or self.searching:
            return None
        from importlib.util import find_spec

        self.searching = True
        try:
            spec = find_spec(name)
        finally:
            self.searching = False
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_register(module):  # type: ignore[no-untyped-def]
                execute(module)
                if self in sys.meta_path:
                    sys.meta_path.remove(self)
                _register()

            spec.loader.exec_module = execute_and_register  # type: ignore[method-assign]
        return spec


def _register() -> None:
    try:
        from clbench.registration import register_all_with_gymnasium

        register_all_with_gymnasium()
    except Exception as error:  # a fault of ours must not keep anyone from importing Gymnasium
        import warnings

        warnings.warn(f"clbench's streams could not be registered with Gymnasium: {error}", stacklevel=2)


if _AWAITED not in sys.modules:
    sys.meta_path.insert(0, _RegisterAfterImport())
