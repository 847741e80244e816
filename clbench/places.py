"""What is recorded of a machine's paths: what a stranger can use, and nothing private.

A path at or below the working folder is recorded relative to it; one at or below the folder that CLBENCH_DATA_DIR names
by that variable; a module of an installed package relative to where packages are; of any other file the name alone,
and any other folder as DIR.
"""

import contextlib
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
TOPS = ("home", "Users", "root")  # top folders that are somebody's even where they are not
SUFFIX = re.compile(  # by which a file is known that is not there
    r"\.(py[ci]?|ipynb|sh|so|dylib|pth?|ckpt|safetensors|onnx|bin|np[yz]|pkl|pickle|h5|hdf5|parquet|arrow|csv|tsv|txt|md"
    r"|log|lock|json|jsonl|toml|ya?ml|ini|cfg|html|pdf|png|jpe?g|svg|db|sqlite|gz|bz2|xz|zst|zip|tar|tgz)",
    re.IGNORECASE,
)
LETTER = r"""[^\s'"`,;:()<>|*?\[\]{}=/]"""

Private = list[tuple[list[str | int], str, str]]


def recorded(text: str, *, only_here: bool = False) -> str:
    """Return a text, an argument or a path as it is recorded: without absolute paths.

    What is no path may look like one: with `only_here`, a text stays whose first folder this machine does not have.
    A path with blanks in the middle of a text, without quotes, is taken to end at its last "/", if that is near.

    >>> recorded("/home/me/learners/mine.py:Agent"), recorded("--out=/home/me/out"), recorded("agents/l2.py")
    ('mine.py:Agent', '--out=DIR', 'agents/l2.py')
    >>> recorded("[Errno 2] No such file: '/home/me/my models/weights.pt'")
    "[Errno 2] No such file: 'weights.pt'"
    >>> recorded("cannot read /data/Bob Jones/private/w.pt"), recorded("/home/me/a.pt: not found in the file")
    ('cannot read w.pt', 'a.pt: not found in the file')
    >>> recorded("/layer-1/weights"), recorded("/layer-1/weights", only_here=True)
    ('DIR', '/layer-1/weights')
    """

    def quoted(found: re.Match[str]) -> str:
        return found[1] + _reference(found[2], only_here) + found[1] if _is_one(found[2]) else found[0]

    def bare(found: re.Match[str]) -> str:
        path, rest = found["path"], found["rest"]
        whole = path + rest
        if rest and (
            _is_file(path) or (os.path.lexists(path) and not os.path.lexists(os.path.dirname(whole)))
        ):
            whole, end = path, rest
        else:
            end = "." if re.search(r"[^./]\.$", whole) else ""
        return _place(whole.removesuffix(end), only_here) + end

    if text.startswith("/") and (os.path.lexists(text) or not re.search(r"\s|[:,]/", text)):
        return _reference(text, only_here)
    name, equals, value = text.partition("=")
    if equals and value.startswith("/") and re.fullmatch(r"[\w.-]+", name):
        return f"{name}={recorded(value, only_here=only_here)}"
    text = re.sub(r"""(['"])(/[^'"\n]+)\1""", quoted, text)
    text = _pattern().sub(bare, text)
    return re.sub(r"\bip=[\w.:]+", "ip=HOST", text)  # in Ray's tracebacks


def recorded_in(data: Any, *, only_here: bool = False) -> Any:
    """Return JSON data with all its texts as they are recorded; names of agents stay, and so do all keys.

    In arguments and options, which may be anything, only paths of this machine are recorded otherwise.
    """
    if isinstance(data, str):
        return recorded(data, only_here=only_here)
    if isinstance(data, Mapping):
        named = ("name",) if "arguments" in data else ()
        return {
            key: value
            if key in named
            else recorded_in(value, only_here=only_here or key in ("arguments", "options"))
            for key, value in data.items()
        }
    if isinstance(data, (list, tuple)):
        return [recorded_in(value, only_here=only_here) for value in data]
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
    if text != SOMEWHERE and not _is_of_the_variable(text):
        return text
    named = os.environ.get(DATA_DIR_VARIABLE)
    below = "" if text == SOMEWHERE else text[len(f"${DATA_DIR_VARIABLE}/") :]
    return os.path.join(named, below) if named else None


def is_cut(text: str) -> bool:
    """Tell whether a text is what was recorded of a path whose folder is not known any more."""
    bare = "/" not in text and SUFFIX.fullmatch(os.path.splitext(text)[1]) is not None
    return text == SOMEWHERE or _is_of_the_variable(text) or (bare and not os.path.exists(text))


def _is_of_the_variable(text: str) -> bool:
    """Tell whether a path was recorded by the variable's name."""
    return f"{text}/".startswith(f"${DATA_DIR_VARIABLE}/")


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


def _is_one(text: str) -> bool:
    """Tell whether a text between quotes is a path, rather than a sentence that begins with one."""
    return os.path.lexists(text) or not re.search(r":\s|[\s:,]/", text)


def _reference(text: str, only_here: bool) -> str:
    """Return a path, perhaps with a class, a function or a line's number after it, as it is recorded."""
    place, colon, name = text.rpartition(":")
    if colon and (name.isidentifier() or name.isdecimal()):
        return f"{_place(place, only_here)}:{name}"
    return _place(text, only_here)


def _place(path: str, only_here: bool) -> str:
    given, path = path, "/" + os.path.normpath(path).lstrip("/")
    top = path.split("/")[1]
    if only_here and top not in TOPS and not os.path.lexists(f"/{top}"):
        return given
    for root, name in _roots(path.endswith(".py")):
        for own, above in ((path, root), (os.path.realpath(path), os.path.realpath(root))):
            if f"{own}/".startswith(f"{above}/"):
                return "/".join(filter(None, (name, own[len(above) + 1 :]))) or "."
    above, last = os.path.split(path)
    is_program = os.path.basename(above) == "bin"
    return last if (_is_file(path) or is_program) and above not in OF_PEOPLE else SOMEWHERE


def _is_file(path: str) -> bool:
    """Tell whether a path is a file's, which need not be there."""
    known = SUFFIX.fullmatch(os.path.splitext(path)[1])
    return os.path.isfile(path) or (known is not None and not os.path.isdir(path))


def _working_folder() -> str | None:
    with contextlib.suppress(OSError):  # it may be deleted
        return os.getcwd()
    return None


def _home() -> str | None:
    """Return the user's folder; None for a user that has none, as in a container."""
    home = os.path.normpath(os.path.expanduser("~"))
    return home if home.startswith("/") and home.strip("/") else None


def _data_dir() -> str | None:
    """Return the folder that the variable names."""
    with contextlib.suppress(OSError):
        return os.path.abspath(os.environ.get(DATA_DIR_VARIABLE) or "/")
    return None


def _temporary() -> str | None:
    with contextlib.suppress(OSError):  # none can be written
        return tempfile.gettempdir()
    return None


def _roots(module: bool) -> Iterator[tuple[str, str]]:
    """Yield folders and what stands for them; those of packages for a module only."""
    home = _home() or ""
    for root, name in ((_working_folder(), ""), (_data_dir(), f"${DATA_DIR_VARIABLE}")):
        if root is not None and root not in OF_PEOPLE and not home.startswith(f"{root}/"):
            yield root, name
    if module:
        packages = {str(Path(__file__).parent.parent)}
        packages |= {sysconfig.get_path(name) for name in ("purelib", "platlib", "stdlib", "platstdlib")}
        yield from ((root, "") for root in sorted(packages, key=len, reverse=True))


def _pattern() -> re.Pattern[str]:
    """Return what finds absolute paths in a text: of several parts, or below a folder that is known here.

    In `rest` is what follows after blanks and may be of the path: words up to one with a "/" in it.
    """
    part = f"{LETTER}+"
    known = {one for one in (_working_folder(), _home(), _temporary(), _data_dir()) if one and one.strip("/")}
    roots = "|".join(re.escape(one) for one in sorted(known, key=len, reverse=True))
    below = rf"(?:{roots})(?:(?!{LETTER})|(?=\.(?:\s|$)))|" if roots else ""
    ahead = r"(?:(?<![\w./$~-])|(?<=://)|(?<=:///)|(?<=\s-[A-Za-z])|(?<=^-[A-Za-z]))"
    rest = rf"(?:(?<!\.) +(?:{part} +){{0,2}}{part}(?:/{part})+/?)*"
    return re.compile(rf"{ahead}(?P<path>(?:{below}/{part}(?=/{part}))(?:/{part})*/?)(?P<rest>{rest})")
