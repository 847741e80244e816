"""What texts in a submission may be: nothing that a reader, a page or a spreadsheet could be fooled by."""

import re
import unicodedata
from urllib.parse import urlsplit

from clbench.errors import SubmissionError

NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,46}[a-z0-9])?")
REFERENCE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./-]{0,198}(?::[A-Za-z_][A-Za-z0-9_]{0,98})?")
SOURCE = re.compile(r"[A-Za-z0-9_]{1,80}\.py")
COOKIE = re.compile(r"[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)")  # PEP 263
PORTS = [f"{port}{number}" for port in ("com", "lpt") for number in range(1, 10)]
RESERVED = {"con", "prn", "aux", "nul", *PORTS}  # on Windows
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what spreadsheets take for a formula
BLANKS = " \u00a0"  # the plain one, and the one that lines do not break at
LICENCES = (
    "AGPL-3.0-only", "AGPL-3.0-or-later", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "EUPL-1.2",
    "GPL-2.0-only", "GPL-2.0-or-later", "GPL-3.0-only", "GPL-3.0-or-later", "ISC", "LGPL-2.1-only",
    "LGPL-3.0-only", "LGPL-3.0-or-later", "MIT", "MIT-0", "MPL-2.0", "Unlicense", "Zlib",
)  # fmt: skip
"""SPDX identifiers of licences that let others run and change a source."""


def check_name(name: str) -> str:
    """Return a submission's name: lower-case ASCII letters, digits and hyphens, which no other letter looks like."""
    if not NAME.fullmatch(name) or name in RESERVED:
        raise SubmissionError(
            f"name {_shown(name)}: use 1 to 48 of a to z, 0 to 9 and '-', beginning and ending with a letter or digit"
        )
    return name


def check_text(what: str, text: str, longest: int = 200) -> str:
    """Return a free text if it is short, visible as it is, and no formula."""
    if len(text) > longest:
        raise SubmissionError(f"{what} has {len(text)} characters: at most {longest} are allowed")
    if unicodedata.normalize("NFC", text) != text or text != text.strip():
        raise SubmissionError(f"{what} {_shown(text)} is not in plain form (NFC, no blanks around it)")
    for character in text:
        kind = unicodedata.category(character)[0]
        if kind == "C" or (kind == "Z" and character not in BLANKS):
            raise SubmissionError(f"{what} {_shown(text)} holds an invisible or control character")
    if unicodedata.normalize("NFKC", text).startswith(FORMULA):
        raise SubmissionError(f"{what} {_shown(text)} begins like a spreadsheet's formula")
    _check_script(what, text)
    return text


def check_url(what: str, url: str) -> str:
    """Return a web address if it is plain http or https to a host in ASCII; "" is none."""
    if not url:
        return url
    check_text(what, url, 400)
    try:
        parts = urlsplit(url)
        plain = (
            parts.scheme in ("http", "https")
            and bool(parts.hostname)
            and url.isascii()
            and "xn--" not in (parts.hostname or "")
            and not set(url) & set(" <>\"'`\\{}|^()[]*")
            and parts.username is None
            and (parts.port is None or parts.port > 0)
        )
    except ValueError:
        plain = False
    if not plain:
        raise SubmissionError(
            f"{what} {_shown(url)} is no plain web address: give https://host/path in ASCII"
        )
    return url


def check_licence(licence: str) -> str:
    """Return the SPDX identifier of a licence that lets others run the source."""
    if licence not in LICENCES:
        raise SubmissionError(f"licence {_shown(licence)}: give one of {', '.join(LICENCES)}")
    return licence


def check_reference(reference: str) -> str:
    """Return the name of an agent, as it stands in tables."""
    if not REFERENCE.fullmatch(reference) or ".." in reference.split("/"):
        raise SubmissionError(
            f"agent {_shown(reference)}: only letters, digits and _ . / - : can be in its name"
        )
    return reference


def check_source_name(name: str) -> str:
    """Return the name of a source file: letters, digits and _, then .py."""
    if not SOURCE.fullmatch(name):
        raise SubmissionError(
            f"source file {_shown(name)}: name it with letters, digits and _, ending in .py"
        )
    return name


def check_source(name: str, source: str) -> None:
    """Raise unless a source holds nothing but what its reader sees, and is read as UTF-8."""
    for number, line in enumerate(source.split("\n"), start=1):
        for character in line.rstrip("\r"):
            if unicodedata.category(character)[0] == "C" and character != "\t":
                raise SubmissionError(f"{name}, line {number} holds an invisible or control character")
        cookie = COOKIE.match(line) if number <= 2 else None
        if cookie and cookie[1].lower() not in ("utf-8", "utf8"):
            raise SubmissionError(f"{name} says that it is not UTF-8 but {cookie[1][:40]}")


def _check_script(what: str, text: str) -> None:
    """Refuse words that mix Latin with letters of other scripts that look like them."""
    for word in re.findall(r"\w+", text):
        scripts = {unicodedata.name(letter, "?").split()[0] for letter in word if letter.isalpha()}
        if "LATIN" in scripts and scripts & {
            "CYRILLIC",
            "GREEK",
            "ARMENIAN",
            "CHEROKEE",
            "COPTIC",
            "MATHEMATICAL",
        }:
            raise SubmissionError(f"{what} {_shown(text)} mixes look-alike letters of several scripts")


def _shown(text: str) -> str:
    """Return a text cut short, in ASCII."""
    shown = ascii(text)
    return shown if len(shown) <= 60 else shown[:57] + "...'"
