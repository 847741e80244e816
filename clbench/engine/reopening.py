"""From a folder on disk back to runs that can be resumed, and to the evaluation that it holds."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from clbench.checks import check_count
from clbench.engine.evaluation import Evaluation, Failure
from clbench.engine.parallelism import Parallelism
from clbench.engine.progress import RunFailure
from clbench.engine.run import Run
from clbench.errors import DataError, ResumeError
from clbench.files import MAIN
from clbench.loading import check_agent, load_agent
from clbench.places import DATA_DIR_VARIABLE, folder_of, recorded
from clbench.references import reference_of
from clbench.results import RunFolder, RunManifest
from clbench.scoring import score
from clbench.specs import StreamSpec


def run_folders(folder: Path) -> list[RunFolder]:
    """Return the run folders in a run folder or a group folder, in their order in the group.

    Raises:
        ResumeError: there is none, or what there is cannot be resumed.
    """
    folders = [RunFolder(path) for path in (folder, *sorted(folder.glob("*/")))]
    started = [run_folder for run_folder in folders if run_folder.has_run()]
    if not started:
        raise ResumeError(f"'{folder}' contains no run: give a folder created by clbench evaluate")
    if any(run_folder.has_older_run() for run_folder in started):
        raise ResumeError(f"'{folder}' was made by an earlier version of clbench: start a new run")
    manifests = {run_folder: run_folder.read_manifest() for run_folder in started}
    if any(manifest.recorded != "evaluate" for manifest in manifests.values()):
        raise ResumeError(f"'{folder}' was recorded by hand: only its loop can continue it")
    if len({manifest.position for manifest in manifests.values()}) < len(manifests):
        raise ResumeError(
            f"'{folder}' contains several evaluations: give one of them, such as '{started[0].path}'"
        )
    return sorted(started, key=lambda run_folder: manifests[run_folder].position)


def reopened(manifest: RunManifest, agents: Sequence[type], workers: int | None, data_dir: str | None) -> Run:
    """Return the run that a manifest describes.

    Args:
        manifest: with the paths of this machine.
        agents: classes that cannot be imported by their names.
        workers: processes at a time; None for as many as before.
        data_dir: where the images are now, if the user says.

    Raises:
        ResumeError: the agent's class cannot be loaded.
        DataError: it is not known where the images are.
    """
    config = manifest.config
    name, reference = config.agent.name, config.agent.reference
    given = {recorded(reference_of(owner)): owner for owner in agents}
    if reference.partition(":")[0] in MAIN and reference not in given:
        raise ResumeError(
            f"'{reference}' was not in a module: resume it from Python, with clbench.resume(folder, agents=[...])"
        )
    owner = check_agent(given[reference], name) if reference in given else load_agent(reference)
    processes = manifest.workers if workers is None else check_count("workers", workers)
    run = Run(
        config=replace(config, stream=with_images(config.stream, data_dir)),
        agent=owner,
        label=name,
        env=manifest.env,
        parallelism=Parallelism(manifest.jobs, processes, config.threads),
        log=manifest.log,
        figures=manifest.figures,
        sweep=manifest.sweep,
        position=manifest.position,
    )
    return run if run.vectorized else run.sent()


def with_images(stream: StreamSpec, data_dir: str | None) -> StreamSpec:
    """Return a recorded stream with the folder that its images are in on this machine.

    Args:
        stream: of a run.json.
        data_dir: the folder, if the user names one.

    Raises:
        DataError: it is not known.
    """
    known = data_dir if data_dir is not None or stream.data_dir is None else folder_of(stream.data_dir)
    if known is None and stream.data_dir is not None:
        raise DataError(
            f"the images' folder is recorded only as '{stream.data_dir}': "
            f"give it with --data-dir, data_dir=... or {DATA_DIR_VARIABLE}"
        )
    return replace(stream, data_dir=known)


def load_evaluation(folder: Path, failures: Mapping[str, RunFailure]) -> Evaluation:
    """Return the evaluation in a folder.

    Args:
        folder: of a run or a group.
        failures: of this session, by label, for their tracebacks.
    """
    folders = run_folders(folder)
    runs = [run_folder.read_manifest() for run_folder in folders]
    records = [record for run_folder in folders for record in run_folder.read_tasks()]
    scores = [
        score(
            run.config.agent.name,
            records,
            run.config.stream.num_tasks,
            run.chance,
        )
        for run in runs
    ]
    tracebacks = {label: failure.traceback for label, failure in failures.items()}
    return Evaluation(
        folder=folder,
        runs=tuple(runs),
        records=tuple(records),
        scores=tuple(
            sorted(
                (each for each in scores if each is not None),
                key=lambda each: -each.average_task_accuracy.mean,
            )
        ),
        failures=tuple(
            Failure(
                run.config.agent.name,
                failure.seeds,
                failure.error,
                tracebacks.get(run.config.agent.name, ""),
            )
            for run in runs
            for failure in run.failures
        ),
        indicator_records=tuple(record for run_folder in folders for record in run_folder.read_indicators()),
        profile=tuple(record for run_folder in folders for record in run_folder.read_profile()),
    )
