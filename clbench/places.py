"""What is recorded of a machine's paths: what a stranger can use, and nothing private.

A path at or below the working folder is recorded relative to it; one at or below the folder that CLBENCH_DATA_DIR names
by that variable; a module of an installed package relative to where packages are; of any other file the name alone,
and any other folder as DIR.
"""

import os
import re
import sysconfig
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

DATA_DIR_VARIABLE = "CLBENCH_DATA_DIR"
SOMEWHERE = "DIR"
OF_PEOPLE = ("/", "/home", "/Users")  # what is right below them may be somebody's name
SUFFIX = re.compile(r"\.[A-Za-z]\w{0,15}")

Private = list[tuple[list[str | int], str, str]]


def recorded(text: str) -> str:
    """Return a text, an argument or a path as it is recorded: without absolute paths.

    >>> recorded("/home/me/learners/mine.py:Agent"), recorded("--out=/home/me/out"), recorded("agents/l2.py")
    ('mine.py:Agent', '--out=DIR', 'agents/l2.py')
    >>> recorded("[Errno 2] No such file: '/home/me/my models/weights.pt'")
    "[Errno 2] No such file: 'weights.pt'"
    """
    if text.startswith("/") and "\n" not in text:
        return _reference(text)
    name, equals, value = text.partition("=")
    if equals and value.startswith("/") and re.fullmatch(r"[\w.-]+", name) and "\n" not in value:
        return f"{name}={_reference(value)}"
    text = re.sub(r"""(['"])(/[^'"\n]+)\1""", lambda found: found[1] + _reference(found[2]) + found[1], text)
    text = _pattern().sub(lambda found: _place(found[0]), text)
    return re.sub(r"\bip=[\w.:]+", "ip=HOST", text)  # in Ray's tracebacks


def recorded_in(data: Any) -> Any:
    """Return JSON data with all its texts as they are recorded; names of agents stay, and so do all keys."""
    if isinstance(data, str):
        return recorded(data)
    if isinstance(data, Mapping):
        named = ("name",) if "arguments" in data else ()
        return {key: value if key in named else recorded_in(value) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [recorded_in(value) for value in data]
    return data


def private_in(data: Any) -> Private:
    """Return the texts in JSON data that are recorded otherwise: where, what is recorded, and what is not."""
    return list(_private(data, recorded_in(data), []))


def put_back(data: Any, private: Iterable[tuple[list[str | int], str, str]]) -> None:
    """Put the texts that `private_in` returned back to where what is recorded of them still stands."""
    for (*above, last), seen, hidden in private:
        at = data
        try:
            for key in above:
                at = at[key]
            if at[last] == seen:
                at[last] = hidden
        except (KeyError, IndexError, TypeError):
            continue  # it was edited


def folder_of(text: str) -> str | None:
    """Return the folder that was recorded so; None if this machine does not know it."""
    variable = f"${DATA_DIR_VARIABLE}"
    if text != SOMEWHERE and not f"{text}/".startswith(f"{variable}/"):
        return text
    named = os.environ.get(DATA_DIR_VARIABLE)
    below = "" if text == SOMEWHERE else text[len(variable) + 1 :]
    return os.path.join(named, below) if named else None


def _private(data: Any, seen: Any, at: list[str | int]) -> Iterator[tuple[list[str | int], str, str]]:
    if isinstance(data, str):
        if data != seen:
            yield at, seen, data
    elif isinstance(data, Mapping):
        for key in data:
            yield from _private(data[key], seen[key], [*at, key])
    elif isinstance(data, (list, tuple)):
        for index, value in enumerate(data):
            yield from _private(value, seen[index], [*at, index])


def _reference(text: str) -> str:
    """Return a path, perhaps with a class or function after it, as it is recorded."""
    place, colon, name = text.rpartition(":")
    return f"{_place(place)}:{name}" if colon and name.isidentifier() else _place(text)


def _place(path: str) -> str:
    path = "/" + os.path.normpath(path).lstrip("/")
    for root, name in _roots(path.endswith(".py")):
        for own, above in ((path, root), (os.path.realpath(path), os.path.realpath(root))):
            if f"{own}/".startswith(f"{above}/"):
                return "/".join(filter(None, (name, own[len(above) + 1 :]))) or "."
    above, last = os.path.split(path)
    is_file = os.path.isfile(path) or (SUFFIX.fullmatch(Path(path).suffix) and not os.path.isdir(path))
    is_program = os.path.basename(above) == "bin"
    return last if (is_file or is_program) and above not in OF_PEOPLE else SOMEWHERE


def _roots(module: bool) -> Iterator[tuple[str, str]]:
    """Yield folders and what stands for them; those of packages for a module only."""
    variable = os.environ.get(DATA_DIR_VARIABLE)
    named = [(os.getcwd(), ""), *([(os.path.abspath(variable), f"${DATA_DIR_VARIABLE}")] if variable else [])]
    home = str(Path.home())
    for root, name in named:
        if root not in OF_PEOPLE and not home.startswith(f"{root}/"):
            yield root, name
    if module:
        packages = {str(Path(__file__).parent.parent)}
        packages |= {sysconfig.get_path(name) for name in ("purelib", "platlib", "stdlib", "platstdlib")}
        yield from ((root, "") for root in sorted(packages, key=len, reverse=True))


def _pattern() -> re.Pattern[str]:
    """Return what finds absolute paths in a text: of several parts, or below a folder that is known here."""
    part = r"""[^\s'"`,;:()<>|*?\[\]{}=/]+"""
    known = {os.getcwd(), str(Path.home()), tempfile.gettempdir(), os.environ.get(DATA_DIR_VARIABLE) or "/"}
    roots = [
        re.escape(one) for one in sorted(known, key=len, reverse=True) if one.startswith("/") and one != "/"
    ]
    ahead = r"(?:(?<![\w./$~<-])|(?<=://)|(?<=:///))"
    return re.compile(rf"{ahead}(?:(?:{'|'.join(roots)})(?![\w-])|/{part}(?=/{part}))(?:/{part})*/?")
