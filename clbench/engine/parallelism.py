"""How work is spread over processes and threads, by a rough cost model."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Parallelism:
    """How runs are spread over processes.

    Attributes:
        shards: processes that share the seeds of a vectorised agent's run.
        workers: processes at a time.
        threads: CPU threads in each.
    """

    shards: int = 1
    workers: int = 1
    threads: int = 1


def choose_parallelism(
    seeds: int, vectorized: int, plain: int, cores: int, workers: int | None = None
) -> Parallelism:
    """Return the quickest way to run several agents with the same number of seeds.

    The cost model: seeds in lockstep take their number times one seed's time, and `t` threads make a process t^0.75
    times faster (measured at the backbone's size). Where jobs do not fill the cores evenly, up to twice as many
    single-threaded processes as cores take turns, at an extra cost of 5 %: three seeds on two cores then take one and a
    half times one seed's time instead of twice.

    Args:
        seeds: of each agent.
        vectorized: number of vectorised agents.
        plain: number of plain agents; each of their seeds is a job.
        cores: to use.
        workers: processes at a time; None to choose.

    >>> choose_parallelism(seeds=3, vectorized=1, plain=0, cores=2)
    Parallelism(shards=3, workers=3, threads=1)
    >>> choose_parallelism(seeds=3, vectorized=2, plain=0, cores=2)
    Parallelism(shards=1, workers=2, threads=1)
    >>> choose_parallelism(seeds=3, vectorized=1, plain=0, cores=6)
    Parallelism(shards=3, workers=3, threads=2)
    """

    def cost(candidate: Parallelism) -> float:
        longest = max(-(-seeds // candidate.shards) if vectorized else 0, 1 if plain else 0)
        work = seeds * (vectorized + plain)
        if candidate.workers > cores:
            return max(1.05 * work / cores, longest)
        jobs = vectorized * candidate.shards + plain * seeds
        waves = -(-jobs // candidate.workers)
        seconds: float = max(work / candidate.workers, waves * longest) / candidate.threads**0.75
        return seconds

    candidates = []
    for shards in range(1, seeds + 1 if vectorized else 2):
        jobs = vectorized * shards + plain * seeds
        for limit in (workers,) if workers else (min(jobs, cores), min(jobs, 2 * cores)):
            if limit <= jobs or shards == seeds or not vectorized:
                processes = min(limit, jobs)
                candidates.append(Parallelism(shards, processes, max(1, cores // processes)))
    return min(candidates, key=cost)


def split(values: Sequence[T], count: int) -> list[tuple[T, ...]]:
    """Cut a sequence into `count` pieces of nearly equal length.

    >>> split([0, 1, 2], 2)
    [(0, 1), (2,)]
    """
    size, extra = divmod(len(values), count)
    cuts = [index * size + min(index, extra) for index in range(count + 1)]
    return [tuple(values[start:end]) for start, end in pairwise(cuts)]
