"""Cells of a sweep: each a checked plan under a name that stays."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from clbench.data.sources import SOURCES
from clbench.errors import OptionError, UsageError
from clbench.evaluation.jobs import Division
from clbench.evaluation.plan import Plan, make_plan
from clbench.loading import load_indicator, source_of
from clbench.places import recorded_in
from clbench.registration import COMMON_OPTIONS, lookup
from clbench.specs import AgentEntry, check_choice, plain
from clbench.sweeping.request import Request, Settings, read_request, request_of

LONGEST = 120  # letters of a folder's name
LISTED = 3  # entries of a list that a label shows


@dataclass(frozen=True)
class Cell:
    """One configuration: an agent with arguments, a stream, seeds.

    Attributes:
        label: agent and varied settings in words; no other cell of the sweep has it.
        key: eight hexadecimal digits of the SHA-256 of what the cell is.
        plan: what to run.
        numbered: varied settings that are recorded as another cell's are, such as files of one name, with a number.
    """

    label: str
    key: str
    plan: Plan
    numbered: Mapping[str, str] = field(default_factory=dict)

    @property
    def agent(self) -> AgentEntry:
        """The one agent."""
        return self.plan.spec.agents[0]

    @property
    def folder_name(self) -> str:
        """What a new folder for it is called; only the key at the end is looked for later."""
        return f"{re.sub(r'[^A-Za-z0-9._=+-]+', '_', self.label)[:LONGEST]}-{self.key}"

    def divided(self, division: Division) -> "Cell":
        """Return the cell with its work divided so."""
        spec = replace(self.plan.spec, workers=division.workers, threads=division.threads)
        return replace(self, plan=replace(self.plan, spec=spec, division=division))


@dataclass(frozen=True)
class Sweep:
    """A checked sweep.

    Attributes:
        name: of its folder.
        cells: in the order of the file, each once.
        varied: settings that not all cells have alike, such as "agent" and "arguments.step_size".
        notes: what people should know.
        source: the sweep file, or the mapping as JSON, to keep a copy of.
        path: the sweep file; None for a mapping.
    """

    name: str
    cells: tuple[Cell, ...]
    varied: tuple[str, ...]
    notes: tuple[str, ...]
    source: str
    path: Path | None = None

    @property
    def copy_name(self) -> str:
        """What the copy is called."""
        return "sweep.json" if self.path is None else "sweep.toml"


def read_sweep(what: str | Path | Mapping[str, Any]) -> Sweep:
    """Return the sweep that a TOML file, or a mapping of its shape, describes; nothing is started.

    Raises:
        UsageError: something does not exist or is not possible; the text names the cell.
    """
    if isinstance(what, Mapping):
        return _sweep(request_of(what), json.dumps(plain(what), indent=2, default=_reference) + "\n")
    path = Path(what)
    return replace(_sweep(read_request(path), path.read_text(encoding="utf-8")), path=path)


def _sweep(request: Request, source: str) -> Sweep:
    varied = _varied([settings for _, settings in request.cells])
    found: dict[str, Cell] = {}
    again = []
    every = {name: _numbered([settings for _, settings in request.cells], name) for name in varied}
    for where, settings in request.cells:
        numbered = {
            name: every[name][own]
            for name in varied
            if name in settings and (own := _json(settings[name])) in every[name]
        }
        label = _label(settings, varied, numbered)
        try:
            plan = _plan(settings)
        except UsageError as error:
            raise type(error)(f"{where}, {label}: {error}") from error
        key = _key(plan)
        if key in found:
            again.append(f"{label} ({where})")
            continue
        taken = any(cell.label == label for cell in found.values())  # "1" and 1 look alike
        found[key] = Cell(f"{label} {key}" if taken else label, key, _called(plan, numbered), numbered)
    notes = [f"in the file more than once, run once: {', '.join(again)}"] if again else []
    return Sweep(request.name, tuple(found.values()), varied, tuple(notes), source)


def key_of(settings: Mapping[str, Any]) -> str:
    """Return the key that a cell with these settings has in any sweep; complaints do not name the cell."""
    ((_, own),) = request_of({"name": "alone", "cell": [settings]}).cells
    return _key(_plan(own))


def _key(plan: Plan) -> str:
    return hashlib.sha256(json.dumps(identity(plan), sort_keys=True).encode()).hexdigest()[:8]


def identity(plan: Plan) -> dict[str, Any]:
    """Return what a cell is, but for where it runs and where files lie: equal ones give equal results."""
    what = plain(plan.spec)
    what["agents"] = [
        {"name": agent.reference, "arguments": plain(agent.arguments)} for agent in plan.spec.agents
    ]
    for name in ("device", "workers", "threads"):
        del what[name]
    own = {name: source_of(load_indicator(name))["sha256"] for name in plan.spec.indicators if ":" in name}
    return {**what, "stream": plan.spec.stream.identity(), **({"indicator_sources": own} if own else {})}


def _plan(settings: Settings) -> Plan:
    def within(table: str) -> dict[str, Any]:
        return {
            name.partition(".")[2]: value for name, value in settings.items() if name.startswith(f"{table}.")
        }

    overrides = {name: settings.get(name) for name in COMMON_OPTIONS}
    plan = make_plan(
        [settings["agent"]],
        settings.get("env", "RandomLabelMNIST-v0"),
        settings.get("protocol", "quick"),
        settings.get("seeds"),
        {**overrides, **within("options")},
        within("arguments"),
        settings.get("device", "auto"),
        1,
        settings.get("indicators"),
        settings.get("indicators_every"),
    )
    if plan.inline:
        raise OptionError("no other process can import the agent or the stream: put it into a file")
    stream = plan.spec.stream
    if not lookup(stream.id).load().custom_data:
        check_choice("source", stream.source, SOURCES)
    return plan


def _varied(cells: Sequence[Settings]) -> tuple[str, ...]:
    """Return the settings that not all cells have alike."""
    names = dict.fromkeys(name for settings in cells for name in settings)
    return tuple(name for name in names if len({_json(settings.get(name)) for settings in cells}) > 1)


def _numbered(cells: Sequence[Settings], name: str) -> dict[str, str]:
    """Return, of a setting's values as JSON, texts of those that would be recorded as an earlier one is."""
    alike: dict[str, dict[str, Any]] = {}
    for value in (settings[name] for settings in cells if name in settings):
        alike.setdefault(_json(recorded_in(plain(value), only_here=True)), {}).setdefault(_json(value), value)
    return {
        own: f"{_brief(value)} ({number})"
        for values in alike.values()
        for number, (own, value) in enumerate(values.items(), 1)
        if number > 1
    }


def _called(plan: Plan, numbered: Mapping[str, str]) -> Plan:
    """Return the plan with its agent's name numbered, if it is another's, too."""
    (agent,) = plan.spec.agents
    if "agent" not in numbered:
        return plan
    own = replace(agent, name=numbered["agent"], place=agent.reference)
    classes = {own.name: plan.classes[agent.name]}
    return replace(plan, spec=replace(plan.spec, agents=(own,)), classes=classes)


def _label(settings: Settings, varied: Sequence[str], numbered: Mapping[str, str]) -> str:
    own = [
        f"{name.rpartition('.')[2]}={numbered.get(name) or _brief(settings[name])}"
        for name in varied
        if name in settings and name != "agent"
    ]
    return " ".join([numbered.get("agent") or _text(settings["agent"]), *own])


def _brief(value: Any) -> str:
    """Return a value as text, of a long list the length."""
    return f"({len(value)})" if isinstance(value, list) and len(value) > LISTED else _text(value)


def _text(value: Any) -> str:
    return _json(recorded_in(plain(value), only_here=True)).strip('"')


def _json(value: Any) -> str:
    return json.dumps(plain(value), default=_reference)


def _reference(value: object) -> str:
    """Return a class as one would name it; anything else as Python shows it."""
    return f"{value.__module__}:{value.__qualname__}" if isinstance(value, type) else repr(value)
