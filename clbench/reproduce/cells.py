"""Which cells figures need, and those that are finished: all lie in one folder, each once, whoever needs it."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from clbench.places import recorded_in
from clbench.records import least_seconds
from clbench.reproduce.figure import Figure
from clbench.reproduce.frames import Key
from clbench.reproduce.scale import Scale
from clbench.results import fact
from clbench.sweeping.cells import Cell, Sweep, key_of, read_sweep
from clbench.sweeping.folder import SweepFolder, agent_of

if TYPE_CHECKING:
    import pandas as pd

NAME = "runs"
REPORTED = (
    "command",
    "commit",
    "processor",
    "cores",
    "device",
    "torch",
    "started",
    "seconds",
    "processes",
    "in_lockstep",
)
"""Facts of a run that the report shows."""


@dataclass(frozen=True)
class Needed:
    """The cells of figures.

    Attributes:
        sweep: all of them, each once.
        of: by figure and place in it.
    """

    sweep: Sweep
    of: Mapping[str, Mapping[Key, Cell]]


def needed(figures: Iterable[Figure], scale: Scale) -> Needed:
    """Return the cells that figures need, checked, each with the key that it has in any sweep; nothing is started.

    Raises:
        UsageError: something in the scale is not possible.
    """
    figures = list(figures)
    asked = [(one.name, place, cell) for one in figures for place, cell in one.cells(scale).items()]
    keys = [key_of(settings) for _, _, settings in asked]
    once = {key: settings for key, (_, _, settings) in zip(keys, asked, strict=True)}
    sweep = read_sweep({"name": NAME, "cell": list(once.values())})
    cells = {cell.key: cell for cell in sweep.cells}
    of: dict[str, dict[Key, Cell]] = {figure.name: {} for figure in figures}
    for key, (name, place, _) in zip(keys, asked, strict=True):
        of[name][place] = cells[key]
    return Needed(sweep, of)


def runs_frame(by: tuple[str, ...], cells: Mapping[Key, Cell], folder: SweepFolder) -> "pd.DataFrame":
    """Return a row per cell of a figure: its place, and once it is finished what was run, when, where, how long."""
    import pandas as pd

    return pd.DataFrame(
        [dict(zip(by, key, strict=True)) | _facts(cell, folder) for key, cell in cells.items()]
    )


def _facts(cell: Cell, folder: SweepFolder) -> dict[str, Any]:
    found, facts = folder.find(cell), folder.facts(cell) if folder.is_complete(cell) else None
    if found is None or facts is None:
        return {}
    spec = facts["spec"]
    return {
        "run": found.path.name,
        "agent": cell.agent.name,
        "arguments": json.dumps(recorded_in(spec["agents"][0]["arguments"], only_here=True)),
        "stream": spec["stream"]["id"],
        "protocol": spec["protocol"],
        "changed": json.dumps(spec["overrides"]),
        "num_samples": spec["stream"]["num_samples"],
        "source": spec["stream"]["source"],
        "seeds": " ".join(map(str, spec["seeds"])),
        "device": spec["device"],
        "processor": fact(facts, "hardware", "accelerator", default=fact(facts, "hardware", "processor")),
        "cores": f"{fact(facts, 'hardware', 'cores', default='?')} cores",
        "started": fact(facts, "started"),
        "seconds": round(least_seconds(found.read_tasks()), 3),
        "processes": fact(facts, "division", "workers"),
        "in_lockstep": fact(facts, "sweep", "stack", default=1),
        "command": " ".join(recorded_in(fact(facts, "command", default=()))),
        "commit": fact(facts, "git", "commit"),
        "uncommitted": fact(facts, "git", "dirty"),
        "torch": fact(facts, "versions", "torch"),
        "data_sha256": fact(facts, "data", "sha256"),
        "agent_sha256": fact(facts, "agents", agent_of(facts), "sha256"),
    }
