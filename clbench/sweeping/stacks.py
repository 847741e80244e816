"""Cells that share processes: their networks are trained in lockstep."""

import json
from collections.abc import Hashable, Sequence

from clbench.evaluation.jobs import Division, split
from clbench.evaluation.plan import together
from clbench.specs import plain
from clbench.sweeping.cells import Cell
from clbench.sweeping.launcher import divided, on_accelerator

# Networks in a stack. On a CPU nine in lockstep take a quarter less time than apart, more of them little less, and
# cells that are finished early are seen early; elsewhere it is not measured yet.
MOST_ON_CPU, MOST_ELSEWHERE = 9, 81


def stacked(cells: Sequence[Cell], workers: int) -> list[Sequence[Cell]]:
    """Return the cells in stacks, whose jobs run in lockstep where they can, so that all together are quickest.

    Cells of one stream, device and seeds, whose agents can, share stacks of nearly equal size, as many as keep all
    workers busy. Where there are too few for that, and of other agents, a cell stands alone, its seeds divided.
    """
    groups: dict[Hashable, list[Cell]] = {}
    for cell in cells:
        spec, kind = cell.plan.spec, together(cell.plan.classes[cell.agent.name])
        key = json.dumps([plain(spec.stream), spec.device, spec.seeds])
        groups.setdefault((kind, key) if kind else cell.key, []).append(cell)
    stacks, alone = list[Sequence[Cell]](), list[Cell]()
    for group in groups.values():
        spec = group[0].plan.spec
        networks = MOST_ELSEWHERE if on_accelerator(group[0]) else MOST_ON_CPU
        rounds = -(-len(group) * len(spec.seeds) // (networks * workers))
        if len(group) < 2 * workers:
            alone += group
        else:
            whole = [cell.divided(Division(1, 1, threads=1)) for cell in group]
            stacks += split(whole, min(rounds * workers, len(group)))
    return [*stacks, *([cell] for cell in divided(alone, workers))]
