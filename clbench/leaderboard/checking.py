"""Whether submissions are complete, possible, and have the scores that their records give."""

import hashlib
import io
import json
import math
import re
import tokenize
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from types import MappingProxyType

from clbench.checks import check_choice
from clbench.config import RunConfig
from clbench.engine.requests import protocol_settings
from clbench.errors import ClbenchError, SubmissionError
from clbench.jsondata import JSON, to_json
from clbench.leaderboard.submission import SUBMISSIONS, TASKS, About, Entry, check_name, read_entry
from clbench.provenance import combined
from clbench.records import TaskRecord
from clbench.registration import BUILT_IN, lookup, resolve
from clbench.results import RunManifest
from clbench.scoring import SCORES
from clbench.specs import PROTOCOLS, StreamSpec, protocol

TOLERANCE = 1e-9
DEVICE = re.compile(r"cpu|mps|cuda(:\d{1,3})?")
REFERENCE = re.compile(r"(?!.*\.\.)[A-Za-z0-9_][A-Za-z0-9_./-]{0,198}(?::[A-Za-z_][A-Za-z0-9_]{0,98})?")
MARK = "\ufeff"  # by which some editors begin a file
SOURCE = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9_-]{0,79}/){0,4}[A-Za-z0-9_][A-Za-z0-9_-]{0,79}\.py")
DEVICES = {
    "aux",
    "con",
    "nul",
    "prn",
    *(f"{port}{number}" for port in ("com", "lpt") for number in range(10)),
}
"""Names that Windows gives no file or folder, whatever follows a dot."""
URL = re.compile(r"https?://(?!.*xn--)[A-Za-z0-9.-]+(:\d{1,5})?(/[A-Za-z0-9._~:/?#@!$&+,;=%-]*)?")
FORMULA = ("=", "+", "-", "@")  # what spreadsheets take for the beginning of a formula
LICENCES = (
    "AGPL-3.0-only", "AGPL-3.0-or-later", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "EUPL-1.2",
    "GPL-2.0-only", "GPL-2.0-or-later", "GPL-3.0-only", "GPL-3.0-or-later", "ISC", "LGPL-2.1-only",
    "LGPL-3.0-only", "LGPL-3.0-or-later", "MIT", "MIT-0", "MPL-2.0", "Unlicense", "Zlib",
)  # fmt: skip
"""SPDX identifiers of licences that let others run and change a source."""

IMAGES: Mapping[str, tuple[int, str]] = MappingProxyType(
    {
        "embedded": (5_000, "1f75c140503b3082c96134f5593303f3133e59989a92e21f060c644c655c3722"),
        "torchvision": (60_000, "d18cfd466eb143ac1097fde604dba9eec4116885869d04cc648b510949f9e88c"),
    }
)
"""How many images each source has, and the SHA-256 of their pixels."""


def read_all(folder: Path) -> Iterator[tuple[str, Entry | ClbenchError]]:
    """Yield every submission under `folder`, by name: checked, or what is wrong with it."""
    parent = folder / SUBMISSIONS
    owners: dict[object, str] = {}
    for path in sorted(parent.iterdir()) if parent.is_dir() else ():
        try:
            entry = read_entry(path)
            check_entry(entry)
            for what, key in _unique_keys(entry):
                other = owners.setdefault(key, entry.name)
                if other != entry.name:
                    raise SubmissionError(f"it has {what} that '{other}' has, too: remove one of them")
            yield entry.name, entry
        except ClbenchError as error:
            yield path.name, error
        except Exception as error:  # a fault of ours must not hide the other submissions
            yield path.name, SubmissionError(f"it cannot be checked: {type(error).__name__}: {error}")


def refuse_twin(entry: Entry, folder: Path) -> None:
    """Raise if another valid submission under `folder` is of the same agent or has the same results."""
    for name, other in read_all(folder):
        taken = _unique_keys(other) if isinstance(other, Entry) and name != entry.name else []
        for what, key in _unique_keys(entry):
            if (what, key) in taken:
                raise SubmissionError(f"'{name}' already has {what}, and each is ranked once")


def _unique_keys(entry: Entry) -> list[tuple[str, object]]:
    run, config = entry.submission.run, entry.submission.run.config
    board = (config.stream.id, config.protocol)
    arguments = json.dumps(to_json(config.agent.arguments), sort_keys=True)
    code = combined(run.agent_source.sha256, run.agent_source.neighbours)
    agent = (code, run.agent_source.class_, arguments, config.stream.boundaries)
    return [
        ("the results", (board, tuple(record.accuracy for record in entry.records))),
        ("the agent and the arguments", (board, *agent)),
    ]


def check_entry(entry: Entry) -> None:
    """Raise `SubmissionError` unless everything that a submission claims is possible and consistent."""
    data, seeds = entry.submission, entry.submission.run.config.seeds
    check_name(data.name)
    check_about(data.about)
    _check_agent(entry)
    _check_run(data.run)
    spec = _check_stream(data.run)
    if seeds != tuple(range(len(seeds))):
        raise SubmissionError("seeds must be 0, 1, 2, ... (no seed selection)")
    least = protocol(data.run.config.protocol).seeds
    if not least <= len(seeds) <= 1_000:
        raise SubmissionError(f"{len(seeds)} seeds: the protocol requires at least {least}")
    _check_records(entry.records, spec, data.run.config)
    for name, stated in data.scores.items():
        computed = getattr(entry.scores, name).mean if name in SCORES else None
        if computed is None or abs(stated - computed) > TOLERANCE:
            raise SubmissionError(f"scores: {name} is stated as {stated!r}, its records give {computed!r}")
    if data.verifiable and data.cost is None:
        raise SubmissionError("cost is missing")
    if data.cost and not (0 < data.cost.relative_to_vanilla < 1e6 and 0 < data.cost.rounds < 1e6):
        raise SubmissionError("cost: both numbers must be above 0")


def check_about(about: About) -> None:
    """Raise `SubmissionError` unless addresses, texts and licence are acceptable."""
    for name, url in (("paper", about.paper), ("code", about.code)):
        if url and (len(url) > 400 or not URL.fullmatch(url)):
            raise SubmissionError(
                f"{name} {_shown(url)} is not a plain web address: give https://host/path in ASCII"
            )
    _check_text("contact", about.contact, 200)
    _check_text("tuned", about.tuned, 400)
    if about.licence not in LICENCES:
        raise SubmissionError(f"licence {_shown(about.licence)}: give one of {', '.join(LICENCES)}")


def _check_text(name: str, text: str, longest: int) -> None:
    """Refuse a text that is long, has invisible characters, or that a spreadsheet takes for a formula."""
    if len(text) > longest:
        raise SubmissionError(f"{name} has {len(text)} characters: at most {longest} are allowed")
    if not text.isprintable() or text != text.strip():
        raise SubmissionError(f"{name} {_shown(text)} has invisible characters or surrounding blanks")
    if unicodedata.normalize("NFKC", text).startswith(FORMULA):
        raise SubmissionError(f"{name} {_shown(text)} begins like a spreadsheet formula")


def _check_texts(name: str, data: JSON) -> None:
    if isinstance(data, str):
        _check_text(name, data.lstrip("-"), 1_000)  # options begin with hyphens
    elif isinstance(data, dict):
        for key, value in data.items():
            _check_text(name, key, 100)
            _check_texts(f"{name}.{key}", value)
    elif isinstance(data, list):
        for value in data:
            _check_texts(name, value)


def _check_agent(entry: Entry) -> None:
    data, source = entry.submission, entry.submission.run.agent_source
    class_name = source.class_.rpartition(":")[2]
    for name in (data.agent, *([source.class_] if data.verifiable else [])):
        if not REFERENCE.fullmatch(name):
            raise SubmissionError(
                f"agent {_shown(name)}: its name may contain only letters, digits and _ . / - :"
            )
    _check_names(data.sources)
    for file, text in {data.file: entry.source, **entry.neighbours}.items():
        digest = source.sha256 if file == data.file else source.neighbours[file]
        if hashlib.sha256(text.encode()).hexdigest() != digest:
            raise SubmissionError(f"{file} is not the run's source: its SHA-256 differs")
        _check_source(file, text)
    if data.verifiable and not re.search(rf"^{MARK}?class {class_name}\b", entry.source, re.MULTILINE):
        raise SubmissionError(f"{data.file} has no class '{class_name}'")
    arguments = data.run.config.agent.arguments
    if len(json.dumps(to_json(arguments))) > 4_000:
        raise SubmissionError("the agent's arguments are too large")
    for name in arguments:
        if not (name.isascii() and name.isidentifier()):
            raise SubmissionError(f"agent: {_shown(name)} is not the name of an argument")


def _check_names(names: Iterable[str]) -> None:
    """Refuse names that are not the same files everywhere, or that make a package of the folder itself."""
    spelled: dict[str, str] = {}
    for name in names:
        path = PurePosixPath(name)
        if not SOURCE.fullmatch(name) or name.lower() == "__init__.py":
            raise SubmissionError(
                f"source file {_shown(name)}: use letters, digits, _ and -, then .py, and no __init__.py at the top"
            )
        for part in (path, *path.parents):
            if part.stem.lower() in DEVICES:
                raise SubmissionError(
                    f"source file {_shown(name)}: Windows has no files called '{part.stem}'"
                )
            other = spelled.setdefault(str(part).lower(), str(part))
            if other != str(part):
                raise SubmissionError(f"source file {_shown(name)}: '{other}' differs only in case")


def _check_source(file: str, source: str) -> None:
    """Refuse a source that hides something from its reader: invisible characters, or another encoding."""
    for number, line in enumerate(source.removeprefix(MARK).split("\n"), start=1):
        if any(unicodedata.category(character)[0] == "C" for character in re.sub(r"\t|\r$", "", line)):
            raise SubmissionError(f"{file}, line {number} has an invisible or control character")
    try:
        encoding = tokenize.detect_encoding(io.BytesIO(source.encode()).readline)[0]
    except SyntaxError as error:
        encoding = str(error)[:60]
    if encoding not in ("utf-8", "utf-8-sig"):
        raise SubmissionError(f"{file} says that it is not UTF-8 but {encoding}")


def _check_run(run: RunManifest) -> None:
    _check_texts("run", to_json(run))
    if not DEVICE.fullmatch(run.config.device):
        raise SubmissionError("run: 'device' must be cpu, mps, cuda or cuda:N")
    if not 1 <= run.config.threads <= 1_024:
        raise SubmissionError("run: 'threads' must be a whole number from 1 to 1024")
    if not {"torch", "clbench"} <= set(run.versions):
        raise SubmissionError("run: 'versions' must have clbench and torch")


def _check_stream(run: RunManifest) -> StreamSpec:
    """Return the stream's spec if it is the protocol's, and its images are those that everybody has."""
    stream, name = run.config.stream, run.config.protocol
    check_choice("protocol", name, PROTOCOLS)
    check_choice("stream", stream.id, BUILT_IN)
    entry, rules = lookup(stream.id), protocol(name)
    expected = resolve(stream.id, protocol_settings(rules, entry, {}))
    stated = stream.identity()
    for key, value in expected.identity().items():
        if stated[key] != value:
            raise SubmissionError(
                f"stream: '{key}' is {_shown(stated[key])}, in the protocol '{name}' it is {value!r}"
            )
    images = (run.data.source, run.data.size, run.data.sha256)
    if not entry.load().custom_data and images != (rules.source, *IMAGES[rules.source]):
        raise SubmissionError(f"run: the images are not those of the source '{rules.source}'")
    return expected


def _check_records(records: Sequence[TaskRecord], spec: StreamSpec, config: RunConfig) -> None:
    expected = [(seed, task) for seed in config.seeds for task in range(spec.num_tasks)]
    if [(record.seed, record.task) for record in records] != expected:
        tasks, seeds = spec.num_tasks - 1, len(config.seeds) - 1
        raise SubmissionError(
            f"{TASKS} must have tasks 0 to {tasks} of seeds 0 to {seeds}, each once, in order"
        )
    exact = not config.device.startswith("mps")  # sums are float32 there
    for record in records:
        where = f"{TASKS}, seed {record.seed}, task {record.task}"
        if record.agent != config.agent.name:
            raise SubmissionError(f"{where}: the agent is not '{config.agent.name}'")
        if record.steps != spec.steps_per_task:
            raise SubmissionError(
                f"{where}: {record.steps} steps, in this protocol it is {spec.steps_per_task}"
            )
        if not 0 < record.seconds < math.inf or not (math.isnan(record.loss) or 0 <= record.loss < math.inf):
            raise SubmissionError(
                f"{where}: {record.seconds} seconds, loss {record.loss}: both must be finite and not negative"
            )
        for name, steps in (("accuracy", record.steps), ("final_epoch_accuracy", spec.steps_per_epoch)):
            value, predictions = getattr(record, name), steps * spec.batch_size
            whole = not exact or abs(value * predictions - round(value * predictions)) < 1e-3
            if not (0 <= value <= 1 and whole):
                raise SubmissionError(
                    f"{where}: {name} {value} is not a share of {steps} x {spec.batch_size} predictions"
                )


def _shown(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
