"""`clbench.evaluate`: agents on a stream, from request to run folder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clbench.data import LabelledData
from clbench.errors import AgentError
from clbench.evaluation.interrupting import Interrupted
from clbench.evaluation.plan import AgentLike, Plan, make_plan
from clbench.evaluation.progress import Display, Silent, default_display
from clbench.evaluation.resuming import take_up
from clbench.evaluation.session import Session, gather_facts, how_to_go_on, load_data, run_session
from clbench.evaluation.watch import Failure, Watch
from clbench.indicators import LayerChoice
from clbench.records import IndicatorRecord, ProfileRecord, TaskRecord
from clbench.results import RunFolder, frame
from clbench.scoring import Score, score
from clbench.specs import RunSpec
from clbench.tracking import check_trackers

if TYPE_CHECKING:
    import pandas as pd


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
        profile: where the time went, if that was asked for.
    """

    spec: RunSpec
    folder: Path
    records: tuple[TaskRecord, ...]
    scores: tuple[Score, ...]
    steps_per_second: Mapping[str, float]
    failures: tuple[Failure, ...]
    indicator_records: tuple[IndicatorRecord, ...] = ()
    undefined: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    profile: tuple[ProfileRecord, ...] = ()

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
    layers: LayerChoice = None,
    together: bool = False,
    profile: bool = False,
    log: str | Sequence[str] | None = None,
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
        layers: by which layers, see `clbench.indicators.layer_parameters`; by default those of the agent.
        together: train all agents that can in lockstep; results are the same, on a GPU up to rounding.
        profile: write where the time goes into profile.csv.
        log: experiment trackers that follow the run: "tensorboard", "wandb", "mlflow".
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
        together,
        layers,
    )
    plan = replace(plan, profile=profile, log=check_trackers(log))
    return _or_raise(carry_out(plan, Path(out), default_display() if progress else Silent()))


def resume(
    folder: str | Path,
    *,
    agents: Sequence[type] = (),
    workers: int | None = None,
    data_dir: str | None = None,
    accept_changes: bool = False,
    profile: bool = False,
    log: str | Sequence[str] | None = None,
    progress: bool = False,
) -> Evaluation:
    """Go on with a run that was broken off; on the same machine it ends as if it had never been.

    Args:
        folder: the run's.
        agents: classes of the run that cannot be imported by their names, such as a notebook's.
        workers: processes at a time; by default as many as before.
        data_dir: where the images lie now.
        accept_changes: go on although an agent, the stream or the spec has changed since.
        profile: write where the time of this session goes.
        log: experiment trackers that follow the run from now on, and are told what came before; "none" for none,
            by default as before.
        progress: show what is running, as the command line does.

    Raises:
        ResumeError: the run is in use or finished, or something has changed since.
        AgentError: a job failed; the attribute `evaluation` holds what was finished, and so does the folder.
    """
    display = default_display() if progress else Silent()
    evaluation = go_on(
        Path(folder),
        display,
        classes=agents,
        workers=workers,
        data_dir=data_dir,
        accept_changes=accept_changes,
        profile=profile,
        log=log,
    )
    return _or_raise(evaluation)


def _or_raise(evaluation: Evaluation) -> Evaluation:
    if evaluation.failures:
        error = AgentError("; ".join(failure.error for failure in evaluation.failures))
        error.evaluation = evaluation
        raise error
    return evaluation


def carry_out(plan: Plan, out: Path, display: Display) -> Evaluation:
    """Run a plan in a new folder under `out`."""
    plan, data, held = load_data(plan)
    folder = RunFolder.create(out, f"{plan.spec.stream.id}-{plan.spec.protocol}")
    with folder.in_use():
        session = Session(plan, folder, gather_facts(plan, data))
        return _evaluation(plan, folder, _run(session, display, data, held), data)


def go_on(
    path: Path,
    display: Display,
    *,
    classes: Sequence[type] = (),
    workers: int | None = None,
    data_dir: str | None = None,
    accept_changes: bool = False,
    profile: bool = False,
    log: str | Sequence[str] | None = None,
) -> Evaluation:
    """Go on with the run in the folder `path`."""
    folder = RunFolder(path)
    facts = folder.read_run()  # complains if there is none
    names = check_trackers(facts.get("log") if log is None else log)
    with folder.in_use():
        session, data, held = take_up(folder, classes, workers, data_dir, accept_changes)
        plan = replace(session.plan, profile=profile, log=names)
        session = replace(session, plan=plan, facts={**session.facts, "log": names})
        return _evaluation(session.plan, folder, _run(session, display, data, held), data)


def _run(session: Session, display: Display, data: LabelledData, held: bool) -> Watch:
    try:
        return run_session(session, display, data, held)
    except KeyboardInterrupt as interruption:
        if not isinstance(interruption, Interrupted) and session.folder.has_begun():
            interruption.args = (how_to_go_on(session.folder.path),)
        raise


def _evaluation(plan: Plan, folder: RunFolder, watch: Watch, data: LabelledData) -> Evaluation:
    names, tasks = [agent.name for agent in plan.spec.agents], plan.spec.stream.num_tasks
    records, chance = watch.sorted_records(), 1 / data.num_classes
    scores = [found for name in names if (found := score(name, records, tasks, chance))]
    return Evaluation(
        spec=plan.spec,
        folder=folder.path,
        records=tuple(records),
        scores=tuple(sorted(scores, key=lambda one: -one.average_task_accuracy.mean)),
        steps_per_second=watch.rates(),
        failures=tuple(watch.failures),
        indicator_records=tuple(watch.sorted_indicators()),
        undefined=watch.undefined,
        profile=tuple(watch.profiles),
    )
