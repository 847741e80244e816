"""How much a sweep is: runs, steps, and an estimate of time that says what it is based on."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from clbench.data.sources import SOURCES
from clbench.evaluation.plan import Plan
from clbench.evaluation.progress import clock, count
from clbench.evaluation.session import load_data
from clbench.leaderboard.cost import STEPS, step_times
from clbench.machine import threads
from clbench.registration import lookup
from clbench.specs import StreamSpec
from clbench.sweeping.cells import Cell
from clbench.sweeping.folder import SweepFolder, agent_of

Kind = tuple[str, str, int, int, str]  # agent, stream, batch size, seeds, device


@dataclass(frozen=True)
class Amount:
    """What is left of a sweep.

    Attributes:
        cells: not finished.
        begun: those of them that go on where they were broken off.
        steps: of single seeds' learners, in those cells; steps that an unfinished cell has done count, too.
        seconds: that they take; 0 if nothing is known of any.
        workers: that share them.
        basis: what the estimate is based on, in words.
    """

    cells: int
    begun: int
    steps: int
    seconds: float
    workers: int
    basis: str

    def __str__(self) -> str:
        """In one line."""
        if not self.cells:
            return "left: nothing"
        cells = count(self.cells, "cell") + (f" ({self.begun} begun)" if self.begun else "")
        if not self.seconds:
            return f"left: {cells}, {self.steps:,} steps ({self.basis})"
        about = f"about {clock(self.seconds)} on {count(self.workers, 'worker')} and some seconds a cell"
        return f"left: {cells}, {self.steps:,} steps, {about} ({self.basis})"


def steps_of(cell: Cell) -> int:
    """Return the steps of all seeds' learners; data is loaded only if a stream has its own and all of it is wanted."""
    stream = settled(cell.plan)
    return len(cell.plan.spec.seeds) * stream.num_tasks * stream.steps_per_task


def settled(plan: Plan) -> StreamSpec:
    """Return a plan's stream with its number of images."""
    stream = plan.spec.stream
    if stream.num_samples is not None:
        return stream
    owner = lookup(stream.id).load()
    if owner.has_own_data():
        return load_data(plan)[0].spec.stream
    return owner.resolve(stream, SOURCES[stream.source].size)


def amount_left(cells: Sequence[Cell], folder: SweepFolder, workers: int, measure: bool) -> Amount:
    """Return what is left of `cells`, divided as they are going to run.

    A cell's steps/s are those of finished cells in the folder of the same agent, stream, batch size, seeds and
    device; where there are none, some steps may be measured here and now, on one thread.

    Args:
        cells: all of the sweep, or of a shard.
        folder: the sweep's.
        workers: processes at a time.
        measure: whether to measure steps of agents of which nothing is finished.
    """
    finished, left = folder.sorted_out(cells)
    kinds = {kind(cell): cell for cell in left}
    alike = [cell for cell in finished if kind(cell) in kinds]
    rates = _rates(alike, folder)
    basis = [f"by the steps/s of {count(len(alike), 'finished cell')}"] if alike else []
    unseen = {own: cell for own, cell in kinds.items() if own not in rates} if measure else {}
    measured = {own: rate for own, cell in unseen.items() if (rate := _measure(cell))}
    if measured:
        basis.append(f"by {STEPS} steps measured now of {_agents(measured)}, indicators left out")
    rates |= measured
    if unknown := _agents(own for own in kinds if own not in rates):
        why = (
            "whose steps cannot be measured"
            if measure
            else "of which nothing is finished: --dry-run measures"
        )
        basis.append(f"not counting {unknown}, {why}")
    steps = {cell.key: steps_of(cell) for cell in left}
    work = sum(steps[cell.key] / rates[kind(cell)] for cell in left if kind(cell) in rates)
    jobs = sum(len(cell.plan.jobs("")) for cell in left)
    seconds = work / min(workers, jobs) if jobs else 0.0
    begun = sum(found.has_states() for cell in left if (found := folder.find(cell)) is not None)
    return Amount(len(left), begun, sum(steps.values()), seconds, workers, "; ".join(basis))


def _agents(kinds: Iterable[Kind]) -> str:
    return ", ".join(dict.fromkeys(own[0] for own in kinds))


def kind(cell: Cell) -> Kind:
    """Return what cells have in common whose steps take equally long, more or less."""
    spec = cell.plan.spec
    return cell.agent.reference, spec.stream.id, spec.stream.batch_size, len(spec.seeds), spec.device


def _rates(cells: Iterable[Cell], folder: SweepFolder) -> dict[Kind, float]:
    """Return steps per second of one process, mean over the finished cells of a kind; a stack's are those of all."""
    found: dict[Kind, list[float]] = {}
    for cell in cells:
        facts = folder.facts(cell) or {}
        rate = facts["timing"]["steps_per_second"][agent_of(facts)]
        if rate:
            stack = facts.get("sweep", {}).get("stack", 1)
            found.setdefault(kind(cell), []).append(rate * stack / facts["division"]["workers"])
    return {own: sum(rates) / len(rates) for own, rates in found.items()}


def _measure(cell: Cell) -> float | None:
    """Return steps per second of a job of a cell, on embedded images if the stream has no data of its own.

    None for an agent that raises: what is wrong shows when the cell runs.
    """
    plan, stream = cell.plan, cell.plan.spec.stream
    if not lookup(stream.id).load().has_own_data():
        stream = replace(stream, source="embedded", num_samples=SOURCES["embedded"].size, data_dir=None)
    stream = replace(stream, num_tasks=2 * STEPS)  # so that it does not end
    job, owner = plan.jobs("")[0], plan.classes[cell.agent.name]
    try:
        with threads(job.threads):
            turns = step_times(stream, owner, cell.agent.arguments, job.seeds, job.device)
            next(turns)  # warms up
            return len(job.seeds) * STEPS / next(turns)
    except (Exception, SystemExit):
        return None
