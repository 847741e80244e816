"""Cells of a sweep: each a checked run under a label, and a key that its folder's name ends in."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from clbench.engine.agents import NamedAgent
from clbench.engine.by_value import importable
from clbench.engine.parallelism import Parallelism
from clbench.engine.requests import Request, check_request
from clbench.engine.run import Run
from clbench.errors import OptionError, UsageError
from clbench.files import MAIN
from clbench.jsondata import to_json
from clbench.places import READ, expanded, recorded_in
from clbench.references import reference_of
from clbench.registration import COMMON_OPTIONS
from clbench.results.manifest import SweepCell
from clbench.sweeps.settings import Settings, SweepRequest, read_settings, settings_of

LISTED = 3
"""Entries of a list that a label shows."""


@dataclass(frozen=True)
class Sweep:
    """A checked sweep.

    Attributes:
        name: of its folder.
        runs: in the order of the file, each once; their labels say agent and varied settings.
        keys: of the run of each cell, in the order of the file.
        varied: settings that differ between runs, such as "agent" and "arguments.step_size".
        notes: what the user should know.
        source: the sweep file, or the mapping as JSON, to keep a copy of.
        path: the sweep file; None for a mapping.
    """

    name: str
    runs: tuple[Run, ...]
    keys: tuple[str, ...]
    varied: tuple[str, ...]
    notes: tuple[str, ...]
    source: str
    path: Path | None = None

    @property
    def copy_name(self) -> str:
        """Name of the copy of the sweep file."""
        return "sweep.json" if self.path is None else "sweep.toml"


def read_sweep(source: str | Path | Mapping[str, Any]) -> Sweep:
    """Return the sweep that a TOML file, or a mapping of its shape, describes; nothing is started.

    Raises:
        UsageError: something does not exist or is not possible; the text names the cell.
    """
    if isinstance(source, Mapping):
        text = json.dumps(to_json(source), indent=2, default=_reference) + "\n"
        return _check(settings_of(source), text)
    path = Path(expanded(source))
    return replace(_check(read_settings(path), path.read_text(encoding=READ)), path=path)


def _check(request: SweepRequest, source: str) -> Sweep:
    cells = [settings for _, settings in request.cells]
    varied = _varied(cells)
    numbers = {name: _numbered(cells, name) for name in varied}
    runs: dict[str, Run] = {}
    keys, repeated = [], []
    for where, settings in request.cells:
        numbered = {
            name: numbers[name][text]
            for name in varied
            if name in settings and (text := _json(settings[name])) in numbers[name]
        }
        label = _label(settings, varied, numbered)
        try:
            run = _run(settings)
        except UsageError as error:
            raise type(error)(f"{where}, {label}: {error}") from error
        key = run.config.key
        keys.append(key)
        if key in runs:
            repeated.append(f"{label} ({where})")
            continue
        if any(other.label == label for other in runs.values()):  # "1" and 1 look the same
            label = f"{label} {key}"
        cell = SweepCell(name=request.name, varied=varied, numbered=numbered)
        runs[key] = replace(_renamed(run, numbered.get("agent")), label=label, sweep=cell)
    notes = [f"listed more than once but run only once: {', '.join(repeated)}"] if repeated else []
    return Sweep(request.name, tuple(runs.values()), tuple(keys), varied, tuple(notes), source)


def _run(settings: Settings) -> Run:
    def table(name: str) -> dict[str, Any]:
        return {key.partition(".")[2]: value for key, value in settings.items() if key.startswith(f"{name}.")}

    request = Request(
        agents=[settings["agent"]],
        env=settings.get("env", "RandomLabelMNIST-v0"),
        protocol=settings.get("protocol", "quick"),
        seeds=settings.get("seeds"),
        overrides={**{name: settings.get(name) for name in COMMON_OPTIONS}, **table("options")},
        arguments=table("arguments"),
        device=settings.get("device", "auto"),
        workers=1,
        indicators=settings.get("indicators"),
        indicators_every=settings.get("indicators_every"),
        layers=settings.get("layers"),
    )
    (run,) = check_request(request)
    for owner in (run.agent, run.stream_class):
        if not importable(owner) and owner.__module__ not in MAIN:
            name = f"{owner.__module__}:{owner.__qualname__}"
            raise OptionError(
                f"'{name}' cannot be found by its name: define it at the top of a file or notebook"
            )
    return run.by_value().with_parallelism(Parallelism())


def _renamed(run: Run, name: str | None) -> Run:
    """Return the run with its agent under another name, if it would be recorded as another run's is."""
    if name is None:
        return run
    agent = replace(run.config.agent, name=name, location=run.config.agent.reference)
    return replace(run, config=replace(run.config, agent=agent))


def _varied(cells: Sequence[Settings]) -> tuple[str, ...]:
    """Return the settings that differ between cells."""
    names = dict.fromkeys(name for settings in cells for name in settings)
    return tuple(name for name in names if len({_json(settings.get(name)) for settings in cells}) > 1)


def _numbered(cells: Sequence[Settings], name: str) -> dict[str, str]:
    """Return, by a setting's value as JSON, a numbered text for each that would be recorded as an earlier one is."""
    same: dict[str, dict[str, Any]] = {}
    for value in (settings[name] for settings in cells if name in settings):
        recorded = _json(recorded_in(to_json(value), only_here=True))
        same.setdefault(recorded, {}).setdefault(_json(value), value)
    return {
        text: f"{_brief(value)} ({number})"
        for values in same.values()
        for number, (text, value) in enumerate(values.items(), 1)
        if number > 1
    }


def _label(settings: Settings, varied: Sequence[str], numbered: Mapping[str, str]) -> str:
    def parts() -> Iterator[str]:
        yield numbered.get("agent") or NamedAgent.of(settings["agent"]).name
        for name in varied:
            if name in settings and name != "agent":
                yield f"{name.rpartition('.')[2]}={numbered.get(name) or _brief(settings[name])}"

    return " ".join(parts())


def _brief(value: object) -> str:
    """Return a value as text, of a long list the length."""
    return f"({len(value)})" if isinstance(value, list) and len(value) > LISTED else _text(value)


def _text(value: object) -> str:
    return _json(recorded_in(to_json(value), only_here=True)).strip('"')


def _json(value: object) -> str:
    return json.dumps(to_json(value), default=_reference)


def _reference(value: object) -> str:
    """Return a class as one would name it; anything else as Python shows it."""
    return reference_of(value) if isinstance(value, type) else repr(value)
