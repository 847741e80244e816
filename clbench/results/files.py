"""Files that appear whole or not at all."""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

from clbench.errors import WriteError


def write_whole(path: Path, write: Callable[[Path], object], lasting: bool = False) -> None:
    """Let `write` fill a file beside `path`, then put it in its place.

    With `lasting`, wait until the disk has it, so that it outlives a power cut.

    Raises:
        WriteError: it cannot be written; whatever was at `path` before is still there, and nothing else.
    """
    partial = path.parent / f".{path.name}.partial"
    try:
        write(partial)
        if lasting:
            with partial.open("rb+") as file:
                os.fsync(file.fileno())
        os.replace(partial, path)
        if lasting:
            _sync(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise WriteError(f"cannot write '{path}': {error.strerror or error}") from error


def write_text_whole(path: Path, text: str, lasting: bool = False) -> None:
    write_whole(path, lambda partial: partial.write_text(text, encoding="utf-8"), lasting)


def _sync(folder: Path) -> None:
    with contextlib.suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)
