"""Where in a user's code an exception was raised."""

import contextlib
import os
import traceback
from pathlib import Path

from clbench.errors import ClbenchError
from clbench.files import DEPENDENCIES, installed_package

LIBRARIES = {"clbench", "python", *DEPENDENCIES}
"""Packages in which no line is the user's, nor an agent's that is installed."""


def raised_at(error: BaseException) -> str:
    """Return where an exception left the user's code: ", at FILE:LINE, in FUNCTION: SOURCE", "" if nowhere.

    That is the innermost line outside of installed packages; in an agent that is one, the line that clbench called. Of
    an error that clbench has made of another, it is the other's.
    """
    while isinstance(error, ClbenchError) and error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        return _text(error.filename, error.lineno, "", error.text)
    frames = [(_owner(frame.filename), frame) for frame in traceback.extract_tb(error.__traceback__)]
    users = [frame for owner, frame in frames if owner == "user"]
    installed = [frame for owner, frame in frames if owner == "installed"]
    for frame in (*users[-1:], *installed[:1]):
        return _text(frame.filename, frame.lineno, f", in {frame.name}", frame.line)
    return ""


def _text(filename: str, line: int | None, function: str, source: str | None) -> str:
    with contextlib.suppress(OSError, ValueError):  # the working folder may be gone, or on another drive
        if Path(filename).is_relative_to(Path.cwd()):
            filename = os.path.relpath(filename)
    code = " ".join((source or "").split())
    return f", at {filename}:{line}{function}{f': {code}' if code else ''}"


def _owner(filename: str) -> str:
    """Return whose a file is: "user", "installed", or "" for clbench's own, its dependencies' and Python's."""
    if filename.startswith("<"):  # generated code, unless typed into a shell
        return "user" if filename.startswith(("<stdin", "<ipython")) else ""
    package = installed_package(Path(filename).resolve())
    if package is None:
        return "user"
    return "" if package in LIBRARIES else "installed"
