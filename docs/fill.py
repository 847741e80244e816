"""Write the numbers of README and guides: `python docs/fill.py`; `--check` only says which differ.

A page says where a number goes and which it is, by a call of one of the functions of `values/`:

    It took <!-- fill: minutes("RandomLabelMNIST-v0-quick-1") -->24<!-- end --> minutes.

Both comments are invisible on GitHub and in the site. If the first one stands alone on its line, what lies between
them is a separate block, such as a whole table. Otherwise neither may begin a line: Markdown would take it for HTML.
"""

import argparse
import ast
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from values import VALUES

from clbench.errors import ClbenchError, did_you_mean

ROOT = Path(__file__).resolve().parent.parent
COMMENT = re.compile(r"<!--\s*(fill|end)\b(.*?)(?:-->|\Z)", re.DOTALL)

Values = Mapping[str, Callable[..., str]]


class MarkerError(Exception):
    """A marker that cannot be filled; the text is a line with the page, the line and what is wrong."""


class Difference(NamedTuple):
    """A marker whose content is not what its call gives."""

    line: int
    call: str
    shown: str
    due: str


def fill(text: str, page: str = "page", values: Values = VALUES) -> tuple[str, list[Difference]]:
    """Return a page's text with all markers filled, and what has changed."""
    parts: list[str] = []
    changed: list[Difference] = []
    after = 0
    for start, end in _pairs(text, page):
        line, call = _line(text, start), start[2].strip().removeprefix(":").strip()
        shown, value = text[start.end() : end.start()], _value(call, f"{page}:{line}", values)
        due = f"\n\n{value}\n\n" if _alone(text, start) else value
        if shown != due:
            changed.append(Difference(line, call, shown.strip(), value))
        parts += [text[after : start.end()], due]
        after = end.start()
    return "".join([*parts, text[after:]]), changed


def _pairs(text: str, page: str) -> Iterator[tuple[re.Match[str], re.Match[str]]]:
    opened: re.Match[str] | None = None
    for comment in COMMENT.finditer(text):
        place = f"{page}:{_line(text, comment)}"
        if not comment[0].endswith("-->"):
            raise MarkerError(f"{place}: a comment without its -->")
        if comment[1] == "end":
            if opened is None:
                raise MarkerError(f"{place}: an end without a fill before it")
            if _begins_line(text, comment) and not _alone(text, opened):
                raise MarkerError(f"{place}: the end of an inline marker begins a line: move it up")
            yield opened, comment
            opened = None
        elif opened is not None:
            raise MarkerError(
                f"{place}: a fill within that of line {_line(text, opened)}: close that one first"
            )
        elif not comment[2].startswith(": "):
            raise MarkerError(f"{place}: write <!-- fill: NAME(...) -->, not {comment[0]}")
        elif _begins_line(text, comment) and not _alone(text, comment):
            raise MarkerError(f"{place}: an inline marker begins a line: put a word before it")
        else:
            opened = comment
    if opened is not None:
        raise MarkerError(f"{page}:{_line(text, opened)}: a fill that is not closed: <!-- end --> is missing")


def _value(call: str, place: str, values: Values) -> str:
    """Return what a call such as `claim("L2 loses trainability", digits=3)` gives; its arguments are literals."""
    try:
        node = ast.parse(call, mode="eval").body
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
            raise ValueError
        arguments = [ast.literal_eval(value) for value in node.args]
        options = {str(item.arg): ast.literal_eval(item.value) for item in node.keywords}
    except (SyntaxError, ValueError):
        raise MarkerError(f"{place}: {call} is not NAME(...) with plain arguments") from None
    name = node.func.id
    if name not in values:
        raise MarkerError(f"{place}: docs/values/ has no '{name}'.{did_you_mean(name, values)}")
    try:
        return values[name](*arguments, **options)
    except (AttributeError, ClbenchError, LookupError, OSError, TypeError, ValueError) as error:
        raise MarkerError(f"{place}: {call}: {error}") from error


def _line(text: str, comment: re.Match[str]) -> int:
    return text.count("\n", 0, comment.start()) + 1


def _begins_line(text: str, comment: re.Match[str]) -> bool:
    return not text[: comment.start()].rpartition("\n")[2].strip()


def _alone(text: str, comment: re.Match[str]) -> bool:
    return _begins_line(text, comment) and not text[comment.end() :].partition("\n")[0].strip()


def pages(root: Path = ROOT) -> list[Path]:
    return [root / "README.md", *sorted((root / "docs" / "guide").glob("*.md"))]


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    parser = argparse.ArgumentParser(prog="python docs/fill.py", description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a number differs")
    check = parser.parse_args(arguments).check
    differences = 0
    for path in pages(root):
        page = path.relative_to(root).as_posix()
        old = path.read_text(encoding="utf-8")
        try:
            new, changed = fill(old, page)
        except MarkerError as error:
            print(error, file=sys.stderr)
            return 1
        for line, call, shown, due in changed:
            print(f"{page}:{line}: {call}\n  was: {shown}\n  now: {due}")
        differences += len(changed)
        if changed and not check:
            path.write_text(new, encoding="utf-8", newline="\n")
    if check and differences:
        print(f"{differences} to be written: run `python docs/fill.py`", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
