"""An evaluation: the runs of several agents in one group folder, read from it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from clbench.config import RunConfig
from clbench.records import IndicatorRecord, ProfileRecord, TaskRecord
from clbench.results import RunManifest, frame
from clbench.scoring import Score

if TYPE_CHECKING:
    import pandas as pd

SCORES = "scores.csv"


@dataclass(frozen=True)
class Failure:
    """A job that did not finish: which agent and seeds, the error in one line, and the traceback for `--debug`."""

    agent: str
    seeds: tuple[int, ...]
    error: str
    traceback: str = ""


@dataclass(frozen=True)
class Evaluation:
    """A finished evaluation.

    Attributes:
        folder: of the group; of a single agent, of its run.
        runs: what run.json says of each run.
        records: a record per agent, seed and task.
        scores: of each agent with a finished seed, best first.
        failures: what went wrong, if anything.
        indicator_records: what was measured.
        profile: where the time went, if that was asked for.
    """

    folder: Path
    runs: tuple[RunManifest, ...]
    records: tuple[TaskRecord, ...]
    scores: tuple[Score, ...]
    failures: tuple[Failure, ...] = ()
    indicator_records: tuple[IndicatorRecord, ...] = ()
    profile: tuple[ProfileRecord, ...] = ()

    @property
    def configs(self) -> tuple[RunConfig, ...]:
        """What was run, one config per agent."""
        return tuple(run.config for run in self.runs)

    @property
    def steps_per_second(self) -> dict[str, float]:
        """Of each agent: updates of single seeds' learners per second of wall time; 0 before any task is finished."""
        return {run.config.agent.name: run.timing.steps_per_second or 0.0 for run in self.runs}

    @property
    def undefined(self) -> dict[str, Mapping[str, str]]:
        """Why indicators could not be measured, by agent and indicator."""
        return {
            run.config.agent.name: run.undefined_indicators for run in self.runs if run.undefined_indicators
        }

    @property
    def chance(self) -> float:
        """Accuracy of guessing."""
        return self.runs[0].chance

    @property
    def indicators(self) -> "pd.DataFrame":
        """What was measured, with the columns of indicators.csv."""
        return frame(self.indicator_records, IndicatorRecord)

    @property
    def tasks(self) -> "pd.DataFrame":
        """The records as a frame, with the columns of tasks.csv."""
        return frame(self.records)

    @property
    def summary(self) -> "pd.DataFrame":
        """A row per agent with each score's mean, and its interval's ends as `<score>_low` and `<score>_high`."""
        import pandas as pd

        rows = []
        for each in self.scores:
            row: dict[str, object] = {"agent": each.agent, "seeds": each.seeds}
            for name, value in vars(each).items():
                if name not in row:
                    row |= {name: value.mean, f"{name}_low": value.low, f"{name}_high": value.high}
            rows.append(row | {"steps_per_second": self.steps_per_second[each.agent]})
        table: pd.DataFrame = pd.DataFrame(rows)
        return table
