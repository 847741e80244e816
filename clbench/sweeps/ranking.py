"""Cells of a sweep ranked, and the best of each agent chosen on some seeds and judged on others. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from clbench.comparing import Entry, list_seeds
from clbench.comparing.entries import NOT_SET, as_texts, differences, list_settings, settings
from clbench.errors import OptionError
from clbench.jsondata import to_json
from clbench.scoring import SCORES, Estimate, estimate, ranks, scores_by_seed

SCORE = SCORES[0]
SAME = "chosen and judged on the same seeds"


@dataclass(frozen=True)
class Selection:
    """Which seeds choose and which judge.

    Attributes:
        choosing: seeds that cells are ranked and chosen on; None for all that a cell has.
        judging: seeds that the chosen ones are reported on; None for the same.
    """

    choosing: tuple[int, ...] | None = None
    judging: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if (self.choosing is None) != (self.judging is None):
            raise OptionError(
                "--select-seeds and --report-seeds require each other: one chooses, the other judges"
            )
        for flag, seeds in (("select", self.choosing), ("report", self.judging)):
            if seeds == ():
                raise OptionError(f"--{flag}-seeds names no seed")
            if seeds is not None and len(set(seeds)) < len(seeds):
                raise OptionError(f"--{flag}-seeds {list_seeds(seeds)}: each may occur only once")
        both = set(self.choosing or ()) & set(self.judging or ())
        if both:
            raise OptionError(f"seed {min(both)} can choose or judge, not both")

    @property
    def same(self) -> bool:
        """Whether the seeds that choose also judge."""
        return self.choosing is None

    def __str__(self) -> str:
        """In words, for every output."""
        if self.choosing is None or self.judging is None:
            return SAME
        return f"chosen on {list_seeds(self.choosing)}, judged on {list_seeds(self.judging)}"


@dataclass(frozen=True)
class Ranked:
    """A cell in its place.

    Attributes:
        rank: among the cells of the same stream, data and protocol, see `clbench.scoring.ranks`.
        entry: the cell.
        on: in what its stream, data and protocol are not those of all cells, in words.
        score: average task accuracy on the seeds that choose.
        judged: the same on the seeds that judge.
        chosen: whether it is the best of its agent, there, on the seeds that choose.
    """

    rank: int
    entry: Entry
    on: str
    score: Estimate
    judged: Estimate
    chosen: bool


def ranking(entries: Sequence[Entry], selection: Selection) -> tuple[list[Ranked], list[str]]:
    """Return the cells that have all seeds asked for, best first, and a note on each that has not.

    Cells of different streams, data or protocols are ranked apart.

    Args:
        entries: a cell each, under labels of their own.
        selection: which seeds choose and which judge.
    """
    notes, groups = [], dict[str, list[Entry]]()
    setups = [settings(entry.manifest) for entry in entries]
    names = list(differences(setups))
    for entry, setup in zip(entries, setups, strict=True):
        wanted = (
            _planned(entry) if selection.same else {*(selection.choosing or ()), *(selection.judging or ())}
        )
        if lacking := wanted - set(entry.seeds):
            notes.append(f"{entry.label} is left out: {list_seeds(lacking)} not finished or not run")
            continue
        on = list_settings({name: [setup[name]] for name in names if name in setup})
        groups.setdefault(on, []).append(entry)
    return [row for on, group in groups.items() for row in _ranked(group, on, selection)], notes


def _ranked(entries: Sequence[Entry], on: str, selection: Selection) -> list[Ranked]:
    scores = [_score(entry, selection.choosing) for entry in entries]
    judged = [_score(entry, selection.judging) for entry in entries]
    best: dict[str, tuple[float, str]] = {}
    for entry, score in zip(entries, scores, strict=True):
        if entry.agent not in best or score.mean > best[entry.agent][0]:
            best[entry.agent] = (score.mean, entry.label)
    places = ranks({entry.label: _by_seed(entry, selection.choosing) for entry in entries})
    rows = [
        Ranked(places[entry.label], entry, on, score, judgement, best[entry.agent][1] == entry.label)
        for entry, score, judgement in zip(entries, scores, judged, strict=True)
    ]
    return sorted(rows, key=lambda row: (-row.score.mean, row.rank))


def sensitivity(rows: Iterable[Ranked], argument: str) -> dict[str, dict[str, dict[object, Estimate]]]:
    """Return by stream, line and value of an argument: the score, as judged.

    A line joins cells of an agent that differ in nothing else. Its name is the agent's, with what sets it apart from
    the agent's other cells. Lines with one value only are left out.
    """
    cells: dict[tuple[str, str], list[tuple[dict[str, str], object, Estimate]]] = {}
    for row in rows:
        config = row.entry.manifest.config
        others: dict[str, Any] = {"layers": config.layers, "seeds": config.seeds, "device": config.device}
        others |= config.agent.arguments
        if argument in config.agent.arguments:
            value = others.pop(argument)
            value = str(value) if isinstance(value, (list, tuple, dict)) else value
            cell = as_texts(to_json(others)), value, row.judged
            cells.setdefault((row.on, row.entry.agent), []).append(cell)
    lines: dict[str, dict[str, dict[object, Estimate]]] = {}
    for (on, agent), listed in cells.items():
        apart = differences([others for others, *_ in listed])
        for others, value, judged in listed:
            name = " ".join([agent, *(f"{key}={others.get(key, NOT_SET)}" for key in apart)])
            lines.setdefault(on, {}).setdefault(name, {})[value] = judged
    varied = {
        on: {name: values for name, values in named.items() if len(values) > 1} for on, named in lines.items()
    }
    return {on: named for on, named in varied.items() if named}


def _planned(entry: Entry) -> set[int]:
    return set(entry.manifest.config.seeds)


def _score(entry: Entry, seeds: Iterable[int] | None) -> Estimate:
    return estimate(list(_by_seed(entry, seeds).values()))


def _by_seed(entry: Entry, seeds: Iterable[int] | None) -> dict[int, float]:
    """Return the score on these seeds, None for all that the entry has."""
    chosen = list(entry.seeds if seeds is None else seeds)
    return scores_by_seed({seed: entry.seeds[seed] for seed in chosen})[SCORE]
