"""Frames made by hand, in which the answers are known."""

import pandas as pd
import pytest

from clbench.indicators import WHOLE
from clbench.reproduce.frames import ACCURACY


def rows(values, indicator=ACCURACY, layer=WHOLE, run="a-0", **labels):
    """Long rows of a `(seeds, tasks)` table."""
    return pd.DataFrame(
        [
            {**labels, "run": run, "seed": seed, "task": task, "time": task + 1.0, "layer": layer,
             "indicator": indicator, "value": float(value)}
            for seed, own in enumerate(values)
            for task, value in enumerate(own)
        ]
    )  # fmt: skip


def joined(*parts):
    return pd.concat(parts, ignore_index=True)


@pytest.fixture
def claims():
    """Judge a figure's claims in data: verdicts by name, and values."""
    from clbench.reproduce.claims import judge
    from clbench.reproduce.figures import FIGURES

    def judged(figure, data, protocol="quick"):
        found = [judge(claim, data, protocol, "x.csv") for claim in FIGURES[figure].claims]
        return {one.claim: one for one in found}

    return judged
