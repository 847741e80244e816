"""`clbench.evaluate` and `clbench.resume`: agents on a stream, from request to run folders."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from clbench.engine import local
from clbench.engine.agents import Agents
from clbench.engine.evaluation import SCORES, Evaluation
from clbench.engine.figures import check_formats
from clbench.engine.progress import RunFailure, note, say
from clbench.engine.reopening import load_evaluation, reopened, run_folders
from clbench.engine.requests import Request, check_request
from clbench.engine.run import Run
from clbench.engine.running import resumable, run_missing
from clbench.engine.session import Options, draw
from clbench.engine.store import GroupStore
from clbench.errors import AgentError, OptionError, ResumeError
from clbench.indicators import LayerChoice
from clbench.places import expanded
from clbench.plotting.isolation import optional
from clbench.registration import COMMON_OPTIONS
from clbench.report.console import is_shown
from clbench.report.tables import header
from clbench.report.views import progress_display
from clbench.results import RunFolder
from clbench.results.files import write_whole
from clbench.tracking import check_trackers


def evaluate(
    agents: Agents,
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
    boundaries: str | None = None,
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
    figures: str | Sequence[str] | None = None,
    out: str | Path = "results",
    progress: bool | None = None,
) -> Evaluation:
    """Run agents on a stream, each with every seed, and write a run folder for each.

    Args:
        agents: references such as "agents.vanilla" or "my_agent.py:Agent", or classes; a mapping has them by the
            label under which tables and figures show each.
        env: stream id, or "file.py:Id" or "module:Id", see `clbench.make`.
        protocol: name in `clbench.PROTOCOLS`; sets source, images, tasks and epochs, but none that the stream
            is registered with.
        seeds: how many (0, 1, ...), or which; by default as many as the protocol has.
        num_tasks, epochs_per_task, num_samples, batch_size, source, data_dir: override the protocol.
        boundaries: "told", or "hidden" to tell agents nothing of where a task begins.
        options: options of this stream, such as `{"relabel_fraction": 0.5}`.
        arguments: constructor arguments of all agents, such as `{"width": 64}`; those of one are a mapping under its
            label or reference, `{"large": {"width": 512}}`, or have names such as "large:width".
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        workers: processes at a time; by default as many as make the run quickest.
        indicators: names, "all" or "none"; by default those that cost next to nothing.
        indicators_every: measure every so many steps of a task, besides the last.
        layers: how parameters are grouped into layers, see `clbench.indicators.layer_parameters`; by default as the
            agent groups them.
        together: train compatible agents as one batch; results are the same, on a GPU up to rounding.
        profile: write where the time goes into profile.csv.
        log: experiment trackers that follow the run: "tensorboard", "wandb", "mlflow".
        figures: formats of the folder's figures: "png" (default), "pdf", "svg", or "none".
        out: where the new folder is created.
        progress: show the progress, as the command line does; by default on a terminal and in a notebook. Notes are
            printed on standard error in any case.

    Returns:
        The finished evaluation, as it is also in its folder.

    Raises:
        UsageError: the request cannot be met; nothing was started.
        OptionError: an option or a value is not known; nothing was started.
        AgentError: a job failed; the attribute `evaluation` holds what was finished, and so does the folder.
    """
    for name in options or {}:
        if name in COMMON_OPTIONS:
            raise OptionError(f"options: '{name}' is an argument of its own: {name}=...")
    overrides = {
        "num_tasks": num_tasks,
        "epochs_per_task": epochs_per_task,
        "num_samples": num_samples,
        "batch_size": batch_size,
        "source": source,
        "data_dir": data_dir,
        "boundaries": boundaries,
        **(options or {}),
    }
    request = Request(
        agents=agents,
        env=env,
        protocol=protocol,
        seeds=seeds,
        overrides=overrides,
        arguments=arguments or {},
        device=device,
        workers=workers,
        indicators=indicators,
        indicators_every=indicators_every,
        layers=layers,
        together=together,
        profile=profile,
        log=check_trackers(log),
        figures=check_formats(figures),
    )
    return _or_raise(carry_out(request, Path(expanded(out)), shown=progress))


def resume(
    folder: str | Path,
    *,
    agents: Sequence[type] = (),
    workers: int | None = None,
    data_dir: str | None = None,
    accept_changes: bool = False,
    profile: bool = False,
    log: str | Sequence[str] | None = None,
    figures: str | Sequence[str] | None = None,
    progress: bool | None = None,
) -> Evaluation:
    """Resume what is unfinished in a folder; on the same machine it ends as if it had never been interrupted.

    Args:
        folder: of a run, or of the group that `clbench.evaluate` has made.
        agents: classes that cannot be imported by their names, such as a notebook's.
        workers: processes at a time; by default as many as before.
        data_dir: where the images are now.
        accept_changes: resume although an agent, the stream or run.json has changed since.
        profile: write where this session's time goes into profile.csv.
        log: experiment trackers that follow the run from now on, and receive its earlier records; "none" for none; by
            default as before.
        figures: formats of the folder's figures, as for `evaluate`; by default as before.
        progress: show the progress, as the command line does; by default on a terminal and in a notebook.

    Raises:
        ResumeError: the run is in use or finished, or something has changed since.
        AgentError: a job failed; the attribute `evaluation` holds what was finished, and so does the folder.
    """
    return _or_raise(
        resume_folder(
            Path(expanded(folder)),
            shown=progress,
            agents=agents,
            workers=workers,
            data_dir=data_dir,
            accept_changes=accept_changes,
            profile=profile,
            log=log,
            figures=figures,
        )
    )


def carry_out(request: Request, out: Path, *, shown: bool | None) -> Evaluation:
    """Run what is requested in a new folder under `out`."""
    runs = check_request(request)
    config = runs[0].config
    store = GroupStore(out, f"{config.stream.id}-{config.protocol}", [run.label for run in runs])
    return _run(runs, store, shown, Options(eager=True, draw=len(runs) == 1), request.together)


def resume_folder(
    folder: Path,
    *,
    shown: bool | None,
    agents: Sequence[type] = (),
    workers: int | None = None,
    data_dir: str | None = None,
    accept_changes: bool = False,
    profile: bool = False,
    log: str | Sequence[str] | None = None,
    figures: str | Sequence[str] | None = None,
) -> Evaluation:
    """Resume what is unfinished in a run folder or a group folder: see `resume`."""
    folders = run_folders(folder)
    left = {path: manifest for path in folders if (manifest := path.read_manifest(True)).status != "complete"}
    if not left and (len(folders) == 1 or (folder / SCORES).exists()):
        raise ResumeError(f"'{folder}' is already complete; nothing to resume")
    runs = [reopened(manifest, agents, workers, data_dir) for manifest in left.values()]
    trackers = None if log is None else check_trackers(log)
    runs = [
        replace(
            run,
            profile=profile,
            log=check_trackers(run.log) if trackers is None else trackers,
            figures=check_formats(run.figures or "none" if figures is None else figures),
        )
        for run in runs
    ]
    store = GroupStore.existing(folder, dict(zip((run.label for run in runs), left, strict=True)))
    options = Options(accept_changes=accept_changes, eager=True, draw=len(folders) == 1)
    together = any(manifest.batched_runs > 1 for manifest in left.values()) and not profile
    evaluation = _run(runs, store, shown, options, together)
    (parent,) = {path.path.parent for path in left} or {folder}
    if folder != parent and (parent / SCORES).exists():  # one run of a group
        _write_shared(load_evaluation(parent, {}))
    return evaluation


def _run(
    runs: Sequence[Run], store: GroupStore, shown: bool | None, options: Options, together: bool
) -> Evaluation:
    failures: Mapping[str, RunFailure] = {}
    if runs:
        shown = is_shown(shown)
        if shown:
            say(header(runs))
        schedule = local.together if together else local.as_requested
        executor = local.LocalPool(workers=runs[0].parallelism.workers, schedule=schedule, options=options)
        failures = run_missing(runs, store, executor, progress_display(shown))
    with resumable(store):
        evaluation = load_evaluation(store.path, failures)
        _write_shared(evaluation)
    return evaluation


def _write_shared(evaluation: Evaluation) -> None:
    """Write the figures of a group, and the table of scores."""
    if len(evaluation.runs) > 1:
        with optional(note):
            draw(
                RunFolder(evaluation.folder),
                evaluation.records,
                evaluation.indicator_records,
                [config.agent.name for config in evaluation.configs],
                evaluation.runs[0].describe(),
                evaluation.chance,
                evaluation.runs[0].figures,
            )
    if evaluation.scores:
        table = evaluation.summary
        write_whole(
            evaluation.folder / SCORES, lambda path: table.to_csv(path, index=False, lineterminator="\n")
        )


def _or_raise(evaluation: Evaluation) -> Evaluation:
    if evaluation.failures:
        error = AgentError("; ".join(failure.error for failure in evaluation.failures))
        error.evaluation = evaluation
        raise error
    return evaluation
