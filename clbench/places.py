"""How paths of this machine are recorded: in a form that others can use, without anything private.

A path at or below the working folder is recorded relative to it; one at or below the folder named by CLBENCH_DATA_DIR,
relative to that variable; a module of an installed package, relative to where packages are; of any other file only the
name, and any other folder as DIR.
"""

import contextlib
import os
import re
import sysconfig
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from clbench.jsondata import JSON

DATA_DIR_VARIABLE = "CLBENCH_DATA_DIR"
SOMEWHERE = "DIR"
READ = "utf-8-sig"  # the encoding of files that a user may have edited: some programs begin them with a mark
HOMES = ("/", "/home", "/Users")  # a name directly below these may be a person's
PERSONAL = ("home", "Users", "root")  # top folders that are personal even where they do not exist
SUFFIX = re.compile(  # by which a file is recognised that does not exist
    r"\.(py[ci]?|ipynb|sh|so|dylib|pth?|ckpt|safetensors|onnx|bin|np[yz]|pkl|pickle|h5|hdf5|parquet|arrow|csv|tsv|txt|md"
    r"|log|lock|json|jsonl|toml|ya?ml|ini|cfg|html|pdf|png|jpe?g|svg|db|sqlite|gz|bz2|xz|zst|zip|tar|tgz)",
    re.IGNORECASE,
)
# The names of modules that `clbench.files` makes spell a folder.
FILE_MODULE = re.compile(r"\bclbench\.files\.\w+\.")
LETTER = r"""[^\s'"`,;:()<>|*?\[\]{}=/]"""


def expanded(path: str | os.PathLike[str]) -> str:
    """Return a path, or a reference that begins with one, as the user means it: "~" is the home folder."""
    return os.path.expanduser(os.fspath(path))


def recorded(text: str, *, only_here: bool = False) -> str:
    """Return a text, an argument or a path without absolute paths.

    A path with blanks in the middle of an unquoted text is assumed to end at its last "/", if that is near.

    Args:
        text: to record.
        only_here: leave what may not be a path: texts whose first folder does not exist on this machine.

    Examples:
        >>> recorded("/home/me/learners/mine.py:Agent"), recorded("--out=/home/me/out"), recorded("agents/l2.py")
        ('mine.py:Agent', '--out=DIR', 'agents/l2.py')
        >>> recorded("[Errno 2] No such file: '/home/me/my models/weights.pt'")
        "[Errno 2] No such file: 'weights.pt'"
        >>> recorded("cannot read /data/Bob Jones/private/w.pt"), recorded("/home/me/a.pt: not found in the file")
        ('cannot read w.pt', 'a.pt: not found in the file')
        >>> recorded("/layer-1/weights"), recorded("/layer-1/weights", only_here=True)
        ('DIR', '/layer-1/weights')
    """

    def quoted(match: re.Match[str]) -> str:
        quote, path = match[1], match[2]
        if not os.path.lexists(path) and re.search(r":\s|[\s:,]/", path):
            return match[0]  # a sentence that begins with a path
        return quote + _record_reference(path, only_here) + quote

    def bare(match: re.Match[str]) -> str:
        path, rest = match["path"], match["rest"]
        whole = path + rest
        if rest and (
            _is_file(path) or (os.path.lexists(path) and not os.path.lexists(os.path.dirname(whole)))
        ):
            whole, end = path, rest
        else:
            end = "." if re.search(r"[^./]\.$", whole) else ""
        return _record_path(whole.removesuffix(end), only_here) + end

    text = FILE_MODULE.sub("", text)
    if text.startswith("/") and (os.path.lexists(text) or not re.search(r"\s|[:,]/", text)):
        return _record_reference(text, only_here)
    name, equals, value = text.partition("=")
    if equals and value.startswith("/") and re.fullmatch(r"[\w.-]+", name):
        return f"{name}={recorded(value, only_here=only_here)}"
    text = re.sub(r"""(['"])(/[^'"\n]+)\1""", quoted, text)
    text = _path_pattern().sub(bare, text)
    return re.sub(r"\bip=[\w.:]+", "ip=HOST", text)  # in Ray's tracebacks


def recorded_in(data: JSON, *, only_here: bool = False) -> JSON:
    """Return JSON data with all texts recorded, except names of agents, and keys that are no absolute paths.

    In arguments and options, which may be anything, only paths of this machine are changed.
    """
    if isinstance(data, str):
        return recorded(data, only_here=only_here)
    if isinstance(data, Mapping):
        names = ("name",) if "arguments" in data else ()
        return {
            recorded(key) if key.startswith("/") else key: value
            if key in names
            else recorded_in(value, only_here=only_here or key in ("arguments", "options"))
            for key, value in data.items()
        }
    if isinstance(data, (list, tuple)):
        return [recorded_in(value, only_here=only_here) for value in data]
    return data


def folder_of(text: str) -> str | None:
    """Return the folder that was recorded as `text`; None if it is unknown on this machine."""
    if text != SOMEWHERE and not _is_in_data_dir(text):
        return text
    folder = expanded(os.environ.get(DATA_DIR_VARIABLE, ""))
    below = "" if text == SOMEWHERE else text[len(f"${DATA_DIR_VARIABLE}/") :]
    return os.path.join(folder, below) if folder else None


def is_cut(text: str) -> bool:
    """Tell whether a text is what was recorded of a path whose folder is unknown now."""
    is_bare_name = "/" not in text and SUFFIX.fullmatch(os.path.splitext(text)[1]) is not None
    return text == SOMEWHERE or _is_in_data_dir(text) or (is_bare_name and not os.path.exists(text))


def _is_in_data_dir(text: str) -> bool:
    return f"{text}/".startswith(f"${DATA_DIR_VARIABLE}/")


def _record_reference(text: str, only_here: bool) -> str:
    path, colon, name = text.rpartition(":")
    if colon and (name.isidentifier() or name.isdecimal() or (path.endswith(".py") and "/" not in name)):
        return f"{_record_path(path, only_here)}:{name}"
    return _record_path(text, only_here)


def _record_path(given: str, only_here: bool) -> str:
    path = "/" + os.path.normpath(given).lstrip("/")
    top = path.split("/")[1]
    if only_here and top not in PERSONAL and not os.path.lexists(f"/{top}"):
        return given
    for root, name in _roots(path):
        for full, parent in ((path, root), (os.path.realpath(path), os.path.realpath(root))):
            if f"{full}/".startswith(f"{parent}/"):
                return "/".join(filter(None, (name, full[len(parent) + 1 :]))) or "."
    folder, last = os.path.split(path)
    is_program = os.path.basename(folder) == "bin"
    return last if (_is_file(path) or is_program) and folder not in HOMES else SOMEWHERE


def _is_file(path: str) -> bool:
    known = SUFFIX.fullmatch(os.path.splitext(path)[1])
    return os.path.isfile(path) or (known is not None and not os.path.isdir(path))


def _working_folder() -> str:
    with contextlib.suppress(OSError):  # it may be deleted
        return os.getcwd()
    return ""


def _home() -> str:
    home = os.path.normpath(os.path.expanduser("~"))
    return home if home.startswith("/") and home.strip("/") else ""


def _data_dir() -> str:
    with contextlib.suppress(OSError):
        return os.path.abspath(expanded(os.environ.get(DATA_DIR_VARIABLE) or "/"))
    return ""


def _roots(path: str) -> Iterator[tuple[str, str]]:
    for root, name in ((_working_folder(), ""), (_data_dir(), f"${DATA_DIR_VARIABLE}")):
        if root and root not in HOMES and not _home().startswith(f"{root}/"):
            yield root, name
    if path.endswith(".py"):
        packages = {str(Path(__file__).parent.parent), *re.findall(r".*/(?:site|dist)-packages(?=/)", path)}
        packages |= {sysconfig.get_path(name) for name in ("purelib", "platlib", "stdlib", "platstdlib")}
        yield from ((root, "") for root in sorted(packages, key=len, reverse=True))


def _path_pattern() -> re.Pattern[str]:
    """Return a pattern for absolute paths in a text: of several parts, or below a folder that is known here.

    The group `rest` is what follows after blanks and may belong to the path: words up to one with a "/" in it.
    """
    part = f"{LETTER}+"
    known = [_working_folder(), _home(), _data_dir()]
    with contextlib.suppress(OSError):  # no temporary folder can be written
        known.append(tempfile.gettempdir())
    folders = sorted({folder for folder in known if folder.strip("/")}, key=len, reverse=True)
    roots = "|".join(map(re.escape, folders))
    below = rf"(?:{roots})(?:(?!{LETTER})|(?=\.(?:\s|$)))|" if roots else ""
    ahead = r"(?:(?<![\w./$~-])|(?<=://)|(?<=:///)|(?<=\s-[A-Za-z])|(?<=^-[A-Za-z]))"
    rest = rf"(?:(?<!\.) +(?:{part} +){{0,2}}{part}(?:/{part})+/?)*"
    return re.compile(rf"{ahead}(?P<path>(?:{below}/{part}(?=/{part}))(?:/{part})*/?)(?P<rest>{rest})")
