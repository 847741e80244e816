"""Indicators whose worth is known beforehand."""

import functools

import numpy as np
import pandas as pd
import pytest

from clbench.indicators import WHOLE
from studies.noise_curvature import predicting
from studies.noise_curvature.alarms import Alarm, Configuration, choose_alarm, cross_validated
from studies.noise_curvature.claims import OPEN, judge
from studies.noise_curvature.figures import FIGURES
from studies.noise_curvature.frames import ACCURACY, Frames
from studies.noise_curvature.predicting import indicator_table, rank_indicators

TASKS = 12
predict = functools.partial(predicting.predict, resamples=100)


def predictors(frames, singles=()):
    return rank_indicators(indicator_table(frames), singles, resamples=20)


def accuracies(fall, seeds=2):
    """High until task `fall`, then low; None for never."""
    own = np.full((seeds, TASKS), 0.8) + np.linspace(0, 0.01, TASKS)
    if fall is not None:
        own[:, fall:] -= 0.5
    return own


def warning(fall, seeds=2):
    """1 in the three tasks before the fall, else 0."""
    own = np.zeros((seeds, TASKS))
    if fall is not None:
        own[:, fall - 3 : fall] = 1
    return own


FALLS = [4, 5, None, 6, 7, None, 4, 8]


def test_a_perfect_warning():
    row = predict([Configuration(warning(fall), accuracies(fall)) for fall in FALLS])
    assert (row["auc"], row["auc_low"], row["auc_high"]) == (1, 1, 1)
    assert (row["lead"], row["lead_low"], row["lead_high"]) == (3, 3, 3)
    assert (row["false_alarms"], row["alarm_when"]) == (0, "high")
    assert (row["configurations"], row["cases"], row["falling_runs"]) == (8, 8 * 2 * (TASKS - 3), 12)
    assert row["events"] == 6 * 2 * 3  # the three tasks before each fall
    assert row["within_runs"] > 0


def test_no_bound_is_the_highest_one():
    """An infinite value ranks above all others, and is one: where there is NaN nothing is known."""
    for none in (np.inf, 1e38):
        values = [np.where(warning(fall) == 1, 1.0, none) for fall in FALLS]
        row = predict([Configuration(own, accuracies(fall)) for own, fall in zip(values, FALLS, strict=True)])
        assert (row["auc"], row["lead"], row["alarm_when"]) == (1, 3, "low")
        assert row["cases"] == 8 * 2 * (TASKS - 3)
        assert (row["false_alarms"], row["auc_within"]) == (0, 1)
    bounds = frames(volatility_bound=lambda fall: np.where(warning(fall) == 1, 1.0, np.inf))
    assert np.isinf(indicator_table(bounds)["volatility_bound"]).any()
    assert predictors(bounds).set_index("indicator").loc["volatility_bound", "auc"] == 1


def test_one_that_is_perfect_upside_down():
    row = predict([Configuration(-warning(fall), accuracies(fall)) for fall in FALLS])
    assert (row["auc"], row["lead"], row["alarm_when"]) == (1, 3, "low")


def test_accuracy_itself_says_what_comes_next():
    row = predict([Configuration(accuracies(fall), accuracies(fall)) for fall in FALLS])
    assert row["correlation"] > 0.5


def test_noise_predicts_nothing_and_its_interval_says_so():
    random = np.random.default_rng(0)
    row = predict([Configuration(random.random((2, TASKS)), accuracies(fall)) for fall in FALLS * 3])
    assert row["auc_low"] < 0.5 < row["auc_high"]
    assert row["correlation_low"] < 0 < row["correlation_high"]


def test_what_holds_in_one_half_only_is_no_use_in_the_other():
    """The direction is chosen where it is not judged."""
    signs = [1, -1] * 2  # high before a fall in every other configuration, low in the others
    own = [Configuration(sign * warning(5), accuracies(5)) for sign in signs]
    for split in cross_validated(own):
        halves = [[signs[at] for at, one in enumerate(split) if one.half == half] for half in (0, 1)]
        for one in split:
            chosen_on = halves[1 - one.half]
            if abs(sum(chosen_on)) == 2:  # both alike
                assert one.alarm.direction == chosen_on[0]
    assert predict(own)["auc"] < 0.5


def test_a_half_in_which_nothing_falls_chooses_no_alarm():
    own = [Configuration(warning(5), accuracies(None))] * 3 + [Configuration(warning(5), accuracies(5))]
    row = predict(own)
    assert row["falling_runs"] == 2  # of two seeds
    assert np.isnan(row["auc"])  # the half that could be judged has no fall, the other no alarm
    splits = cross_validated(own)
    assert {one.alarm.direction for split in splits for one in split if one.configuration is own[3]} == {0}
    assert row["false_alarms"] > 0  # of the other half


def test_all_indicators_are_judged_on_the_same_halves():
    full = [Configuration(warning(fall), accuracies(fall)) for fall in FALLS]
    unknown = np.full((2, TASKS), np.nan)
    some = [Configuration(one.value if at else unknown, one.accuracy) for at, one in enumerate(full)]
    halves = [[[one.half for one in split] for split in cross_validated(own)] for own in (full, some)]
    assert halves[0] == halves[1]
    assert all(0 < sum(split) < len(split) for split in halves[0])
    assert len({tuple(split) for split in halves[0]}) > 1


def test_levels_that_differ_between_networks_predict_nothing_within_runs():
    random = np.random.default_rng(0)
    own = []
    for level in np.linspace(0.2, 0.9, 8):
        accuracy = level + 0.01 * random.random((2, TASKS))
        own.append(Configuration(level + 0.01 * random.random((2, TASKS)), accuracy))
    row = predict(own)
    assert row["correlation"] > 0.9
    assert abs(row["within_runs"]) < 0.3


def test_the_interval_is_one_of_configurations_not_of_tasks():
    few = [Configuration(warning(fall), accuracies(fall)) for fall in (4, 4, None, None)]
    few[0] = Configuration(np.zeros((2, TASKS)), accuracies(4))  # one in four is missed
    row = predict(few)
    assert row["auc_high"] - row["auc_low"] > 0.2


def test_without_any_fall_there_is_no_area():
    row = predict([Configuration(warning(5), accuracies(None))] * 4)
    assert np.isnan([row["auc"], row["lead"], row["auc_low"]]).all()
    assert row["falling_runs"] == 0


def test_lead_counts_the_tasks_of_alarm_just_before_the_fall():
    alarm = Alarm(-1, -2.0)  # at 2 or below
    accuracy = np.array([0.8, 0.8, 0.8, 0.8, 0.1])
    assert alarm.lead(np.array([9, 1, 9, 1, 9.0]), accuracy) == 1
    assert alarm.lead(np.array([9, 9, 1, 1, 9.0]), accuracy) == 2
    assert alarm.lead(np.array([1, 1, 1, 1, 9.0]), accuracy) == 3  # no more than an alarm is meant for
    assert alarm.lead(np.array([1, 1, 1, 9, 9.0]), accuracy) == 0  # silent when it mattered
    assert alarm.lead(np.array([9, 9, 9, 9, 1.0]), accuracy) == 0  # too late
    assert alarm.lead(np.array([9, 9, np.nan, 1, 9.0]), accuracy) == 1
    assert alarm.lead(np.array([1, 9.0]), np.array([0.8, 0.1])) == 1
    assert np.isnan(alarm.lead(np.array([9, 1, 9, 1, 9.0]), np.full(5, 0.8)))
    assert np.isnan(Alarm(0).lead(np.array([9, 1, 9, 1, 9.0]), accuracy))
    assert np.isnan(alarm.lead(np.array([1, np.nan, np.nan, np.nan, 1.0]), accuracy))  # not measured in time


def test_what_was_measured_in_some_configurations_only_has_the_lead_that_it_has_there():
    full = [Configuration(warning(fall), accuracies(fall)) for fall in FALLS]
    unknown = np.full((2, TASKS), np.nan)
    row = predict(full + [Configuration(unknown, one.accuracy) for one in full])
    assert (row["lead"], row["lead_possible"], row["configurations"]) == (3, 3, len(full))


def test_a_lead_can_be_no_longer_than_there_are_tasks():
    row = predict([Configuration(warning(fall), accuracies(fall)) for fall in (3, 5, None, 4)])
    assert row["lead_possible"] == 3
    early = [np.where(np.arange(TASKS) < 1, 1.0, 0) * np.ones((2, 1)), np.zeros((2, TASKS))]
    row = predict(
        [Configuration(early[fall is None], accuracies(fall)) for fall in (1, 1, 1, None, None, None)]
    )
    assert (row["lead"], row["lead_possible"]) == (1, 1)


def test_telling_configurations_apart_and_telling_when():
    """One knows which configurations fall, the other when they do."""
    which = [Configuration(np.full((2, TASKS), float(fall is not None)), accuracies(fall)) for fall in FALLS]
    row = predict(which)
    assert row["auc_within"] == 0.5
    assert row["auc_between"] == row["auc"] > 0.6
    when = predict([Configuration(warning(fall), accuracies(fall)) for fall in FALLS])
    assert (when["auc"], when["auc_within"]) == (1, 1)
    assert when["auc_between"] == 0.5  # the median of a warning is that of none


def test_an_alarm_is_chosen_where_it_separates():
    assert choose_alarm([Configuration(warning(fall), accuracies(fall)) for fall in FALLS]) == Alarm(1, 1.0)


def frames(**indicators):
    """Frames of eight configurations; indicators by name from a fall to `(seeds, tasks)`, with a layer after `@`."""
    tasks, found = [], []
    for number, fall in enumerate(FALLS):
        at = {"configuration": f"c{number}", "run": f"r{number}"}
        for seed, task in np.ndindex(2, TASKS):
            own = {**at, "seed": seed, "task": task}
            tasks.append({**own, "steps": 10, "accuracy": accuracies(fall)[seed, task]})
            for name, value in indicators.items():
                indicator, _, layer = name.partition("@")
                found.append(
                    {
                        **own,
                        "step": 10,
                        "layer": layer or WHOLE,
                        "indicator": indicator,
                        "value": value(fall)[seed, task],
                    }
                )
    return Frames(("configuration",), pd.DataFrame(tasks), pd.DataFrame(found))


def test_every_indicator_that_was_recorded_is_ranked():
    table = predictors(frames(**{"mine.py:gap": warning, "flat": lambda fall: np.zeros((2, TASKS))}))
    assert table["indicator"].tolist()[0] == "mine.py:gap"
    assert set(table["indicator"]) == {"mine.py:gap", "flat", ACCURACY}
    assert table.set_index("indicator").loc["flat", "auc"] == 0.5


def test_the_whole_network_goes_before_layers_and_layers_by_their_median():
    zero, one = (lambda fall: np.zeros((2, TASKS))), warning
    table = predictors(
        frames(**{"a": one, "a@fc1": zero, "a@fc2": zero, "b@fc1": one, "b@fc2": one, "b@out": zero})
    ).set_index("indicator")
    assert table.loc["a", "auc"] == table.loc["b", "auc"] == pytest.approx(1)


def test_how_far_ahead_of_the_best_single_one():
    flat, noise = (lambda fall: np.zeros((2, TASKS))), np.random.default_rng(0).random((2, TASKS))
    table = predictors(
        frames(rho=warning, sharpness=lambda fall: noise, flat=flat), singles=["sharpness", "flat"]
    )
    table = table.set_index("indicator")
    best = table.loc[["sharpness", "flat"], "auc"].max()
    assert table.loc["rho", "ahead"] == pytest.approx(1 - best)
    assert table.loc["rho", "ahead_low"] <= table.loc["rho", "ahead"] <= table.loc["rho", "ahead_high"]
    assert table.loc[["sharpness", "flat"], "ahead"].isna().all()


def test_the_table_is_computed_from_what_is_written(tmp_path):
    data = indicator_table(frames(rho=warning))
    assert data.columns.tolist() == ["configuration", "run", "seed", "task", ACCURACY, "rho"]
    data.to_csv(tmp_path / "x.csv", index=False)
    again = pd.read_csv(tmp_path / "x.csv")
    assert len(data) == len(FALLS) * 2 * TASKS
    one, other = (rank_indicators(own, [], resamples=5) for own in (data, again))
    pd.testing.assert_frame_equal(one, other)


def test_one_configuration_is_no_grid():
    one = frames(x=warning)
    only = [own[own["configuration"] == "c0"] for own in (one.tasks, one.indicators)]
    table = predictors(Frames(("configuration",), *only))
    assert table.empty
    FIGURES["predictors"].draw(table, "title").canvas.draw()
    assert {judge(claim, table, "quick", "").verdict for claim in FIGURES["predictors"].claims} == {OPEN}


def test_nothing_recorded():
    empty = pd.DataFrame(
        columns=["configuration", "run", "seed", "task", "step", "layer", "indicator", "value"]
    )
    assert predictors(Frames(("configuration",), frames(x=warning).tasks, empty))["indicator"].tolist() == [
        ACCURACY
    ]
