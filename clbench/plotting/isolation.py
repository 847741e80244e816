"""Matplotlib as it comes: the user's backend, rc files and styles do not matter, and no figure decides a run."""

import contextlib
import errno
import importlib.util
import logging
import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from clbench.errors import WriteError

SETTINGS: dict[str, Any] = {
    "text.parse_math": False,  # names are text: "$" and "_" mean themselves
    "pdf.fonttype": 42,  # TrueType, whole and editable, as publishers ask for
    "ps.fonttype": 42,
}
LOCK = threading.RLock()
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextlib.contextmanager
def isolated() -> Iterator[None]:
    """Within the block Matplotlib has its defaults and `SETTINGS`, and says nothing, as of characters no font has.

    Its settings, like Python's warnings, are those of the process: one thread at a time is in such a block, and figures
    of the user's that another thread draws meanwhile have these settings, too.
    """
    logger = logging.getLogger("matplotlib")
    with LOCK, warnings.catch_warnings():
        level = logger.level
        warnings.simplefilter("ignore")
        logger.setLevel(logging.CRITICAL)
        try:
            matplotlib = _import()
            defaults = {key: value for key, value in matplotlib.rcParamsDefault.items() if key != "backend"}
            with matplotlib.rc_context({**defaults, **SETTINGS}):
                yield
        finally:
            logger.setLevel(level)


@contextlib.contextmanager
def optional(note: Callable[[str], object], what: str = "figures are incomplete") -> Iterator[None]:
    """Let whatever goes wrong in the block be a note; only a full disk, which concerns all files, is raised."""
    try:
        yield
    except Exception as error:
        cause = error.__cause__ if isinstance(error, WriteError) else error
        if isinstance(cause, OSError) and cause.errno in FULL:
            raise
        reason = f"{error}" if isinstance(error, WriteError) else f"{type(error).__name__}: {error}"
        note(f"{what}: {' '.join(reason.split())}")


def _import() -> ModuleType:
    """Import Matplotlib, if need be without the user's backend and rc file, one of which it may refuse."""
    before = set(sys.modules)
    try:
        return importlib.import_module("matplotlib")
    except ImportError:
        raise
    except Exception:
        for name in set(sys.modules) - before:
            if name.partition(".")[0] == "matplotlib":
                del sys.modules[name]
        with _without_settings():
            return importlib.import_module("matplotlib")


@contextlib.contextmanager
def _without_settings() -> Iterator[None]:
    found = importlib.util.find_spec("matplotlib")
    folder, settings = os.getcwd(), {"MPLBACKEND": "agg", "MATPLOTLIBRC": os.devnull}
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    os.chdir(Path(found.origin).parent if found and found.origin else folder)  # an rc file here comes first
    try:
        yield
    finally:
        os.chdir(folder)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
