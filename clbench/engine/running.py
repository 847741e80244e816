"""`run_missing`: the one way in which runs are carried out."""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Protocol, TypeVar

from clbench.engine.manifests import code
from clbench.engine.progress import Progress, RunFailure, RunProgress
from clbench.engine.run import Run
from clbench.engine.store import RunStore, manifest_of, split_by_status

Store_contra = TypeVar("Store_contra", bound=RunStore, contravariant=True)
AnyStore = TypeVar("AnyStore", bound=RunStore)


class Executor(Protocol[Store_contra]):
    """Something that carries out runs: `clbench.engine.local.LocalPool`, `clbench.engine.ray.RayCluster`."""

    def workers_for(self, runs: Sequence[Run]) -> int:
        """Return how many processes run jobs at a time."""

    def __call__(self, runs: Sequence[Run], store: Store_contra, progress: Progress) -> None:
        """Carry out runs, each in its folder, and report the progress of each and how it ends.

        Raises:
            Interrupted: by a signal, with all checkpoints saved.
        """


def run_missing(
    runs: Sequence[Run],
    store: AnyStore,
    executor: Executor[AnyStore],
    show: Callable[[Iterable[RunProgress]], Progress],
    notes: Iterable[str] = (),
) -> Mapping[str, RunFailure]:
    """Carry out those of several runs that are not complete; return why runs failed, by label.

    Unfinished runs resume from their newest checkpoints; failed ones are tried again.

    Args:
        runs: with different labels.
        store: where their folders are.
        executor: carries them out.
        show: makes what shows their progress.
        notes: what the user should know.

    Raises:
        Interrupted: by a signal, with all checkpoints saved.
        WriteError: a folder cannot be written.
    """
    complete, left = split_by_status(runs, store)
    started = [RunProgress(label=run.label, total=run.total_steps) for run in runs]
    done = {run.label for run in complete}
    progress = show(
        replace(run, state="done", steps=run.total) if run.label in done else run for run in started
    )
    with contextlib.closing(progress), resumable(store):
        warnings = [text for run in left for text in run.warnings]
        for text in dict.fromkeys([*notes, *_outdated(complete, store), *warnings]):
            progress.note(text)
        executor(left, store, progress)
    return progress.failures


@contextlib.contextmanager
def resumable(store: RunStore) -> Iterator[None]:
    """Let an interruption in the block say how to resume, if any run has started."""
    try:
        yield
    except KeyboardInterrupt as error:
        if command := store.resume_command:
            error.args = (f"finished tasks are kept; resume with: {command}",)
        raise


def _outdated(complete: Iterable[Run], store: RunStore) -> list[str]:
    """Say which agents' and streams' code has changed since their runs were completed."""
    counts: Counter[str] = Counter()
    for run in complete:
        manifest = manifest_of(run, store)
        if manifest is None:  # deleted meanwhile
            continue
        config = run.config
        changed = code(run.agent).checksum != manifest.agent_source.checksum
        counts.update([config.agent.name] * changed)
        changed = code(run.stream_class).sha256 != manifest.stream_source.sha256
        counts.update([config.stream.id] * changed)
    return [
        f"the code of {name} has changed since {number} of its runs were completed: "
        "delete their folders to run them again"
        for name, number in counts.items()
    ]
