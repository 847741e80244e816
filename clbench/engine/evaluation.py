"""An evaluation: the runs of several agents in one group folder, read from it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from clbench.config import RunConfig
from clbench.plotting import curves
from clbench.plotting.showing import as_html, as_text, score_frame
from clbench.records import IndicatorRecord, ProfileRecord, TaskRecord
from clbench.results import RunManifest, frame
from clbench.scoring import Score, as_row

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

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

        rates = self.steps_per_second
        table: pd.DataFrame = pd.DataFrame(
            [
                {"agent": each.agent, "seeds": each.seeds}
                | as_row(each)
                | {"steps_per_second": rates[each.agent]}
                for each in self.scores
            ]
        )
        return table

    def plot(self, ax: "Axes | None" = None) -> "Figure":
        """Return the figure of task accuracy over tasks, with a band of 95 % t intervals for several seeds.

        Args:
            ax: the axes of a figure of yours to draw in; that figure is returned.
        """
        agents = [config.agent.name for config in self.configs]
        return curves(self.records, agents, self.runs[0].describe(), self.chance, ax)

    def __repr__(self) -> str:
        lines = [f"{each.agent}  average task accuracy {each.average_task_accuracy}" for each in self.scores]
        lines += [f"failed: {failure.error}" for failure in self.failures]
        return as_text(f"Evaluation: {self.runs[0].describe()}", lines, f"in {self.folder}")

    def _repr_html_(self) -> str:
        table = score_frame((each.agent, each) for each in self.scores)
        return as_html(f"{self.runs[0].describe()} · {self.folder}", table, self.plot)
