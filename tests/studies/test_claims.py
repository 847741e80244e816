"""Verdicts from stated rules."""

import math
import re

import numpy as np
import pytest

from clbench.errors import DataError
from clbench.indicators import WHOLE
from clbench.scoring import Estimate
from studies.noise_curvature.claims import (
    FAILS,
    HOLDS,
    OPEN,
    PARTLY,
    Claim,
    Judgement,
    Measured,
    Rule,
    over_seeds,
)
from studies.noise_curvature.figures import FIGURES
from studies.noise_curvature.frames import ACCURACY, table
from studies.noise_curvature.scale import LEARNERS
from tests.studies.conftest import joined, judged_row, rows


@pytest.mark.parametrize(
    ("rule", "mean", "low", "high", "verdict"),
    [
        (Rule(low=0), 0.2, 0.1, 0.3, HOLDS),
        (Rule(low=0), 0.2, -0.1, 0.3, PARTLY),
        (Rule(low=0), 0.2, math.nan, math.nan, PARTLY),  # a single seed
        (Rule(low=0), -0.2, -0.3, 0.1, FAILS),
        (Rule(low=0), 0.0, 0.0, 0.0, FAILS),
        (Rule(0.4, 0.6), 0.5, 0.45, 0.55, HOLDS),
        (Rule(0.4, 0.6), 0.5, 0.35, 0.55, PARTLY),
        (Rule(0.4, 0.6), 0.7, 0.55, 0.8, FAILS),
        (Rule(high=1), 0.5, 0.4, 0.9, HOLDS),
    ],
)
def test_rules(rule, mean, low, high, verdict):
    assert rule.verdict(Estimate(mean, low, high)) == verdict


def test_rules_in_words():
    assert [str(Rule(low=0.5)), str(Rule(high=1)), str(Rule(0.5, 2))] == [
        "above 0.5",
        "below 1",
        "from 0.5 to 2",
    ]


def claim(**changes):
    level = {"measure": lambda data: over_seeds(table(data)[:, -1]), "rule": Rule(0.4, 0.6), "published": 0.5}
    return Claim("a", "Fig. 0", "It is half.", "the last task", **{**level, **changes})


def test_a_claim_is_measured_with_its_interval_and_judged():
    found = judged_row(claim(), rows([[0.9, 0.5], [0.9, 0.52], [0.9, 0.48]]))
    assert (found.ours, found.low, found.high) == pytest.approx((0.5, 0.45032, 0.54968), abs=1e-4)
    assert (found.count, found.verdict, found.protocol, found.data) == (3, HOLDS, "quick", "x.csv")
    assert (found.published, found.rule) == (0.5, str(Rule(0.4, 0.6)))


def test_what_needs_long_runs_is_measured_but_not_judged_on_short_ones():
    data = rows([[0.9, 0.5]])
    found = judged_row(claim(protocols=("paper",)), data)
    assert (found.ours, found.verdict) == (0.5, OPEN)
    assert re.search(r"\bpaper\b", found.note)
    assert judged_row(claim(protocols=("paper",)), data, "paper,seeds=1").verdict == PARTLY
    assert judged_row(claim(protocols=("paper",)), data, "paper,num_tasks=4").verdict == OPEN


def test_a_figure_that_lacks_runs_is_measured_but_not_judged():
    found = judged_row(claim(), rows([[0.9, 0.5]] * 3), missing="2 of 3 runs missing")
    assert (found.ours, found.verdict, found.note) == (0.5, OPEN, "2 of 3 runs missing")


def test_what_was_not_run_is_not_yet_measured():
    row = Judgement(claim()).row
    assert (row["verdict"], row["count"], row["protocol"], row["data"]) == (OPEN, 0, "-", "")
    assert math.isnan(row["ours"])
    lacking = judged_row(
        claim(measure=lambda data: over_seeds(table(data, "sharpness")[:, 0])), rows([[0.5]])
    )
    assert lacking.verdict == OPEN
    assert re.search(r"\bsharpness\b", lacking.note)


def test_a_mean_over_nothing_is_no_measurement():
    with pytest.raises(DataError):
        over_seeds(np.array([np.nan]))


def test_claims_have_names_of_their_own_and_say_all():
    claims = [one for figure in FIGURES.values() for one in figure.claims]
    assert len({one.name for one in claims}) == len(claims) >= 15
    assert all(one.place and one.statement and one.quantity for one in claims)
    assert all(math.isfinite(one.published) for one in claims if one.protocols)


@pytest.mark.parametrize(
    ("figure", "name", "tasks", "verdict"),
    [
        *(("4-top", "combined bound predicts", tasks, verdict) for tasks, verdict in ((1, OPEN), (2, FAILS))),
        *(("5", "step sizes decay", tasks, verdict) for tasks, verdict in ((1, OPEN), (2, FAILS))),
        *(
            ("4-bottom", "L2 loses trainability", tasks, verdict)
            for tasks, verdict in ((1, OPEN), (2, FAILS))
        ),
        *(
            ("4-bottom", "scheduled L2 above vanilla", tasks, verdict)
            for tasks, verdict in ((1, OPEN), (2, FAILS))
        ),
    ],
)
def test_one_point_per_learner_measures_nothing(claims, figure, name, tasks, verdict):
    """With two equal ones it does not hold; one says nothing."""
    data = joined(
        *(
            rows([[0.5] * tasks] * 2, indicator, layer, learner=learner, variant=variant)
            for learner in LEARNERS
            for variant in ("vanilla", "scheduled")
            for indicator, layer in ((ACCURACY, WHOLE), ("rho", WHOLE), ("step_size", "fc1"))
            if variant != {"4-top": "scheduled", "5": "vanilla"}.get(figure)
        )
    )
    assert claims(figure, data)[name].verdict == verdict


def test_no_number_is_no_verdict():
    nothing = claim(measure=lambda data: Measured(Estimate(math.nan, math.nan, math.nan)))
    assert judged_row(nothing, rows([[0.5]])).verdict == OPEN
