"""`clbench.evaluate`: agents on a stream, from request to run folder."""

import contextlib
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from clbench import machine
from clbench.data import LabelledData
from clbench.data.sources import forget, is_loaded
from clbench.errors import AgentError, WriteError
from clbench.evaluation.jobs import Job, Message
from clbench.evaluation.plan import AgentLike, Plan, make_plan
from clbench.evaluation.pool import run_in_processes, run_inline
from clbench.evaluation.progress import Display, Silent, Tally, default_display, describe
from clbench.loading import source_of
from clbench.observing import DEFINITIONS
from clbench.plotting import curves, indicator_figures
from clbench.records import IndicatorRecord, TaskRecord
from clbench.registration import lookup
from clbench.results import RunFolder, frame
from clbench.scoring import Score, score
from clbench.specs import RunSpec

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Failure:
    """A job that did not finish: which agent and seeds, why, and the traceback for `--debug`."""

    agent: str
    seeds: tuple[int, ...]
    error: str
    traceback: str


@dataclass(frozen=True)
class Evaluation:
    """A finished evaluation.

    Attributes:
        spec: what was run, fully resolved.
        folder: where run.json, tasks.csv, indicators.csv and figures are.
        records: a record per agent, seed and task.
        scores: of each agent with a finished seed, best first.
        steps_per_second: of each agent: updates of single seeds' learners per second of wall time.
        failures: what went wrong, if anything.
        indicator_records: what was measured.
        undefined: what could not be measured, by agent and indicator, and why.
    """

    spec: RunSpec
    folder: Path
    records: tuple[TaskRecord, ...]
    scores: tuple[Score, ...]
    steps_per_second: Mapping[str, float]
    failures: tuple[Failure, ...]
    indicator_records: tuple[IndicatorRecord, ...] = ()
    undefined: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

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
        """A row per agent: each score's mean, and its interval's ends as `<score>_low` and `<score>_high`."""
        import pandas as pd

        rows = []
        for one in self.scores:
            row: dict[str, Any] = {"agent": one.agent, "seeds": one.seeds}
            for name, value in vars(one).items():
                if name not in row:
                    row |= {name: value.mean, f"{name}_low": value.low, f"{name}_high": value.high}
            rows.append(row | {"steps_per_second": self.steps_per_second[one.agent]})
        return pd.DataFrame(rows)


def evaluate(
    agents: AgentLike | Sequence[AgentLike],
    env: str = "RandomLabelMNIST-v0",
    protocol: str = "quick",
    *,
    seeds: int | Sequence[int] | None = None,
    num_tasks: int | None = None,
    epochs_per_task: int | None = None,
    num_samples: int | None = None,
    batch_size: int | None = None,
    source: str | None = None,
    data_dir: str | None = None,
    options: Mapping[str, Any] | None = None,
    arguments: Mapping[str, Any] | None = None,
    device: str = "auto",
    workers: int | None = None,
    indicators: str | Sequence[str] | None = None,
    indicators_every: int | None = None,
    out: str | Path = "results",
    progress: bool = False,
) -> Evaluation:
    """Run agents on a stream, each for every seed, and write a run folder.

    Args:
        agents: references such as "agents.vanilla" or "my_agent.py:Agent", or classes.
        env: stream id, or "module:Id".
        protocol: name in `clbench.PROTOCOLS`; sets source, images, tasks and epochs.
        seeds: how many (0, 1, ...), or which; by default as many as the protocol wants.
        num_tasks, epochs_per_task, num_samples, batch_size, source, data_dir: override the protocol.
        options: the stream's own, such as `{"relabel_fraction": 0.5}`.
        arguments: constructor arguments of the agents.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        workers: processes at a time; by default as many as make the run quickest.
        indicators: names, "all" or "none"; by default those that cost next to nothing.
        indicators_every: measure every so many steps of a task, beside its last.
        out: folder in which a new run folder is made.
        progress: show what is running, as the command line does.

    Returns:
        The finished evaluation; what it holds is also in its folder.

    Raises:
        UsageError: the request cannot be met; nothing was started.
        AgentError: a job failed; the attribute `evaluation` holds what was finished, and so does the folder.
    """
    overrides = {
        "num_tasks": num_tasks,
        "epochs_per_task": epochs_per_task,
        "num_samples": num_samples,
        "batch_size": batch_size,
        "source": source,
        "data_dir": data_dir,
        **(options or {}),
    }
    plan = make_plan(
        agents,
        env,
        protocol,
        seeds,
        overrides,
        arguments or {},
        device,
        workers,
        indicators,
        indicators_every,
    )
    evaluation = carry_out(plan, Path(out), default_display() if progress else Silent())
    if evaluation.failures:
        error = AgentError("; ".join(failure.error for failure in evaluation.failures))
        error.evaluation = evaluation
        raise error
    return evaluation


def carry_out(plan: Plan, out: Path, display: Display) -> Evaluation:
    """Run a plan; finished tasks are in the run folder at every moment, and stay there whatever happens."""
    stream_class, stream = lookup(plan.spec.stream.id).load(), plan.spec.stream
    held = is_loaded(stream_class.data_key(stream))
    data = stream_class.shared_data(stream, torch.device("cpu"))
    plan = replace(plan, spec=replace(plan.spec, stream=stream_class.resolve(stream, len(data))))
    facts = _facts(plan, {"source": data.source, "size": len(data), "sha256": data.checksum})
    folder = RunFolder.create(out, f"{plan.spec.stream.id}-{plan.spec.protocol}")
    chance, status, started = 1 / data.num_classes, "interrupted", time.perf_counter()
    folder.write_run({"status": "running", **facts})
    folder.write_tasks([])
    with tempfile.TemporaryDirectory(prefix="clbench-") as scratch:
        jobs = plan.jobs("" if plan.inline else scratch)
        watch = _Watch(jobs, folder, display)
        try:
            if not plan.inline:
                _hand_over(data, Path(scratch))
                if not held:
                    forget(data)  # the workers map it; here it would only take memory
                    del data
            display.begin(plan.spec)
            inline = run_inline(jobs, plan.classes)
            with contextlib.closing(
                inline if plan.inline else run_in_processes(jobs, plan.division.workers)
            ) as news:
                watch.follow(news)
            status = "failed" if watch.failures else "complete"
        except KeyboardInterrupt as interruption:
            interruption.args = (f"finished tasks are kept in {folder.path}",)
            raise
        except Exception:
            status = "failed"
            raise
        finally:
            display.close()
            timing = {
                "seconds": round(time.perf_counter() - started, 3),
                "steps_per_second": {name: round(rate, 1) for name, rate in watch.rates().items()},
            }
            failures = [
                {"agent": one.agent, "seeds": one.seeds, "error": one.error} for one in watch.failures
            ]
            outcome = {"timing": timing, "failures": failures, "undefined_indicators": watch.undefined}
            folder.write_run({"status": status, **facts, **outcome})
    names = [agent.name for agent in plan.spec.agents]
    records = watch.sorted_records()
    scores = [found for name in names if (found := score(name, records, plan.spec.stream.num_tasks))]
    indicators = watch.sorted_indicators()
    title = describe(plan.spec)
    folder.write_figure("curves", curves(records, names, title, chance))
    for name, figure in indicator_figures(indicators, records, names, title).items():
        folder.write_figure(name, figure)
    return Evaluation(
        spec=plan.spec,
        folder=folder.path,
        records=tuple(records),
        scores=tuple(sorted(scores, key=lambda one: -one.average_task_accuracy.mean)),
        steps_per_second=watch.rates(),
        failures=tuple(watch.failures),
        indicator_records=tuple(indicators),
        undefined=watch.undefined,
    )


def _hand_over(data: LabelledData, scratch: Path) -> None:
    """Write the data to where workers map it from."""
    try:
        data.save(scratch)
    except OSError as error:
        raise WriteError(f"cannot write {scratch} for the workers: {error.strerror or error}") from error


class _Watch:
    """Follows the messages of all jobs: records into the folder, states to the display."""

    def __init__(self, jobs: Sequence[Job], folder: RunFolder, display: Display) -> None:
        self._jobs, self._folder, self._display = jobs, folder, display
        names = list(dict.fromkeys(job.agent.name for job in jobs))
        self._tallies = {name: Tally(name, [job for job in jobs if job.agent.name == name]) for name in names}
        self._records: list[TaskRecord] = []
        self._indicators: list[IndicatorRecord] = []
        self.failures: list[Failure] = []
        self.undefined: dict[str, dict[str, str]] = {}

    def follow(self, messages: Iterator[tuple[int, Message]]) -> None:
        for tally in self._tallies.values():
            self._display.update(tally)
        for index, message in messages:
            job = self._jobs[index]
            tally = self._tallies[job.agent.name]
            if message["kind"] == "output":
                self._display.output(tally.name, message["line"])
                continue
            values = {key: value for key, value in message.items() if key != "kind"}
            if message["kind"] == "indicator":
                self._indicators.append(IndicatorRecord(**values))
                continue
            if message["kind"] == "undefined":
                self.undefined.setdefault(tally.name, {})[message["indicator"]] = message["reason"]
                continue
            tally.take(index, job, message)
            if message["kind"] == "task":
                self._records.append(TaskRecord(**values))
                if message["seed"] == job.seeds[-1]:
                    self._folder.write_tasks(self.sorted_records())
                    if self._indicators:
                        self._folder.write_indicators(self.sorted_indicators())
            elif message["kind"] == "failed":
                self.failures.append(
                    Failure(tally.name, job.seeds, " ".join(message["error"].split()), message["traceback"])
                )
            self._display.update(tally)

    def sorted_records(self) -> list[TaskRecord]:
        """Records by agent, seed and task, in the order of the request."""
        rank = self._rank()
        return sorted(self._records, key=lambda record: (rank[record.agent, record.seed], record.task))

    def sorted_indicators(self) -> list[IndicatorRecord]:
        """Records by agent, seed, task and step; of one step in the order in which they were measured."""
        rank = self._rank()
        return sorted(
            self._indicators,
            key=lambda record: (rank[record.agent, record.seed], record.task, record.step),
        )

    def _rank(self) -> dict[tuple[str, int], int]:
        pairs = [(job.agent.name, seed) for job in self._jobs for seed in job.seeds]
        return {pair: index for index, pair in enumerate(pairs)}

    def rates(self) -> dict[str, float]:
        return {name: tally.steps_per_second for name, tally in self._tallies.items()}


def _command() -> list[str]:
    """Return the command line as one would type it."""
    program = Path(sys.argv[0])
    started = ["python", "-m", "clbench.evaluate"] if program.name == "evaluate.py" else [program.name]
    return [*started, *sys.argv[1:]]


def _facts(plan: Plan, data: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that is needed to repeat a run, and when and where it was made."""
    return {
        "spec": plan.spec.to_json(),
        "agents": {name: source_of(owner) for name, owner in plan.classes.items()},
        "data": dict(data),
        "stream": source_of(lookup(plan.spec.stream.id).load()),
        "indicator_definitions": DEFINITIONS,
        "command": _command(),
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "versions": machine.versions(),
        "hardware": machine.hardware(plan.spec.device),
        "git": machine.git_state(Path.cwd()),
    }
