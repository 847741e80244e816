"""Differences to a reference, seed by seed."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from clbench.comparing.entries import Entry, chosen, labelled, reference_of
from clbench.comparing.sameness import circumstances, differing, listed, refusal, settings
from clbench.errors import UsageError
from clbench.intervals import how_compared, paired_on
from clbench.scoring import SCORES, Estimate, difference, estimate, scores_by_seed
from clbench.specs import check_choice

BESIDE = ("last_tenth", "slope")  # compared whatever the score is


@dataclass(frozen=True)
class Row:
    """An entry beside the reference.

    Attributes:
        entry: the entry.
        seeds: of the entry, those on which differences are taken: all that both finished, or all its own.
        how: "paired, n = 3" or "Welch, n = 3 and 5", see `clbench.scoring.difference`.
        scores: of the entry, over all its finished seeds.
        differences: the entry's score minus the reference's; by score.
        by_task: the same of task accuracy; by task.
    """

    entry: Entry
    seeds: tuple[int, ...]
    how: str
    scores: Mapping[str, Estimate]
    differences: Mapping[str, Estimate]
    by_task: Mapping[int, Estimate]


@dataclass(frozen=True)
class Comparison:
    """Entries beside a reference.

    Attributes:
        rows: in the order of the entries; the reference is among them.
        reference: the entry that others are compared with.
        scores: what is compared; the first is the one asked for.
        num_tasks: tasks that all entries have.
        not_the_same: what differs between runs, such as "num_tasks 10 / 15"; "" for comparable ones.
        notes: a line each on what else a reader should know.
    """

    rows: tuple[Row, ...]
    reference: Entry
    scores: tuple[str, ...]
    num_tasks: int
    not_the_same: str
    notes: tuple[str, ...]

    @property
    def others(self) -> tuple[Row, ...]:
        """The rows but for the reference's."""
        return tuple(row for row in self.rows if row.entry.label != self.reference.label)

    @property
    def title(self) -> str:
        """What was run, in one line; marked if it is not the same for all."""
        spec = self.reference.facts["spec"]
        stream, tasks = spec["stream"], self.reference.num_tasks
        changed = f" (changed: {', '.join(spec['overrides'])})" if spec.get("overrides") else ""
        what = (
            f"{stream['id']} · {spec['protocol']}{changed} · "
            f"{tasks} task{'s' if tasks != 1 else ''} x {stream['epochs_per_task']} epochs · "
            f"{stream['num_samples']:,} {stream['source']} images"
        )
        return f"not the same: {self.not_the_same} · reference: {what}" if self.not_the_same else what


def compare(
    entries: Sequence[Entry],
    reference: str | None = None,
    score: str = "average_task_accuracy",
    agents: Sequence[str] = (),
    mix: bool = False,
) -> Comparison:
    """Compare entries with a reference: one score minus the other, with intervals.

    A root seed makes the same stream for every agent: on seeds that both finished differences are paired, so that what
    streams have in common drops out. Without two such seeds they are compared as two groups, by Welch's interval. See
    `clbench.scoring.difference`.

    Args:
        entries: of all runs, see `entries_of`; those without a finished seed are left out.
        reference: label, agent, run folder or its name; by default the first entry.
        score: a name in `clbench.scoring.SCORES`; the last 10 % of tasks and the slope are always compared.
        agents: names to take; by default all.
        mix: compare runs of different streams, data or protocols, over the tasks that all have.

    Raises:
        UsageError: nothing to compare, or runs that are not the same.
        UnknownNameError: no such agent or reference.
    """
    check_choice("score", score, SCORES)
    picked = chosen(labelled(entries), agents, reference)
    done = [entry for entry in picked if entry.seeds]
    notes = [
        f"{entry.label} is left out: no seed has all {entry.num_tasks} tasks (run's status: {entry.facts['status']})"
        for entry in picked
        if not entry.seeds
    ]
    if len(done) < 2:
        there = f"{done[0].label} only" if done else "none"
        raise UsageError("; ".join([f"nothing to compare: of finished entries there is {there}", *notes]))
    base = reference_of(picked, reference)
    values = differing([settings(entry.facts) for entry in done])
    if values and not mix:
        raise UsageError(refusal(done))
    num_tasks = min(entry.num_tasks for entry in done)
    if len({entry.num_tasks for entry in done}) > 1:
        notes.append(f"scores are over the tasks that all have, the first {num_tasks}")
    scores = tuple(dict.fromkeys((score, *BESIDE)))
    rows = tuple(_row(_cut(entry, num_tasks), _cut(base, num_tasks), scores) for entry in done)
    notes += [*_seed_notes(rows, base), *circumstances(done)]
    return Comparison(rows, base, scores, num_tasks, listed(values), tuple(notes))


def _cut(entry: Entry, num_tasks: int) -> Entry:
    return replace(entry, seeds={seed: tasks[:num_tasks] for seed, tasks in entry.seeds.items()})


def _row(entry: Entry, base: Entry, scores: Sequence[str]) -> Row:
    own, others = (scores_by_seed(one.seeds) for one in (entry, base))
    return Row(
        entry=entry,
        seeds=paired_on(entry.seeds, base.seeds) or tuple(sorted(entry.seeds)),
        how=how_compared(entry.seeds, base.seeds),
        scores={name: estimate(list(own[name].values())) for name in scores},
        differences={name: difference(own[name], others[name]) for name in scores},
        by_task={
            task: difference(_of_task(entry, task), _of_task(base, task))
            for task in range(min(map(len, entry.seeds.values())))
        },
    )


def _of_task(entry: Entry, task: int) -> dict[int, float]:
    """Return the accuracy of a task by seed."""
    return {seed: tasks[task].accuracy for seed, tasks in entry.seeds.items()}


def _seed_notes(rows: Sequence[Row], base: Entry) -> list[str]:
    notes = []
    for row in rows:
        planned = len(row.entry.facts["spec"]["seeds"])
        if len(row.entry.seeds) < planned:
            notes.append(f"{row.entry.label}: {len(row.entry.seeds)} of {planned} seeds finished")
        if set(row.entry.seeds) != set(base.seeds):
            common = paired_on(row.entry.seeds, base.seeds)
            where = f"on {_seeds(common)}" if common else "by Welch's interval"
            notes.append(
                f"{row.entry.label} is compared {where}: "
                f"it has {_seeds(row.entry.seeds)}, {base.label} {_seeds(base.seeds)}"
            )
    return notes


def _seeds(seeds: Iterable[int]) -> str:
    """Return the seeds in words.

    >>> _seeds([2, 0]), _seeds([1])
    ('seeds 0, 2', 'seed 1')
    """
    numbers = sorted(seeds)
    return f"seed{'s' if len(numbers) != 1 else ''} {', '.join(map(str, numbers))}"
