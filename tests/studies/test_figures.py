"""Each figure's claims and drawing, on frames whose answers are known."""

import re

import numpy as np
import pytest

from clbench.indicators import WHOLE
from studies.noise_curvature.claims import FAILS, HOLDS, OPEN
from studies.noise_curvature.figures import FIGURES
from studies.noise_curvature.figures.misleading import PANELS, worst_pair
from studies.noise_curvature.frames import Frames, per_task, table
from studies.noise_curvature.predicting import SCORES
from studies.noise_curvature.scale import LEARNERS, Scale
from tests.studies.conftest import joined, rows


def level(value, tasks=4):
    """Three seeds that differ a little."""
    return np.array([[value - 0.01], [value], [value + 0.01]]) + np.zeros((3, tasks))


def accuracies(**of):
    """Accuracy by variant, of all three learners."""
    return joined(
        *(
            rows(level(value), learner=learner, variant=name.replace("_", " "))
            for learner in LEARNERS
            for name, value in of.items()
        )
    )


def drawn(figure, data):
    """Draw it to the end."""
    found = FIGURES[figure].draw(data, "title")
    found.canvas.draw()
    return found


def test_4_bottom(claims):
    data = accuracies(vanilla=0.1, reset=0.6, scheduled=0.5)
    found = claims("4-bottom", data)
    assert found["scheduled L2 above vanilla"].ours == pytest.approx(0.4)
    assert found["L2 loses trainability"].verdict == FAILS
    assert found["scheduled L2 above vanilla"].verdict == HOLDS
    assert found["scheduled L2 above vanilla"].note.split()[-1] == "0.4"  # in the first task
    assert found["scheduled L2 above reset"].verdict == FAILS
    assert found["scheduled L2 level"].verdict == OPEN
    verdicts = {name: one.verdict for name, one in claims("4-bottom", data, "paper").items()}
    assert (verdicts["scheduled L2 level"], verdicts["scheduled Wasserstein level"]) == (HOLDS, FAILS)
    assert [axes.get_title(loc="left") for axes in drawn("4-bottom", data).axes] == list(LEARNERS)


def test_4_bottom_while_runs_are_missing(claims):
    data = joined(*(rows([[0.7, 0.4, 0.3, 0.2]] * 3, learner=one, variant="vanilla") for one in LEARNERS))
    found = claims("4-bottom", data)
    assert found["L2 loses trainability"].ours == pytest.approx(0.5)
    assert found["L2 loses trainability"].verdict == HOLDS
    compared = [one for name, one in found.items() if "above" in name]
    assert len(compared) == 6
    assert {one.verdict for one in compared} == {OPEN}
    drawn("4-bottom", data)


def network(name, lost, hessian_rank, step_size="1e-3"):
    own = {"network": name, "step_size": step_size}
    accuracy = level(0.8 * (1 - lost))
    accuracy[:, 0] = accuracy[:, -1] / (1 - lost)
    return joined(rows(accuracy, **own), rows(level(hessian_rank), "hessian_rank", **own))


def test_1_finds_the_pair_that_contradicts(claims):
    data = joined(
        network("ReLU", 0.5, 0.9), network("deep linear", 0.1, 0.4), network("LeakyReLU 0.7", 0.0, 0.95)
    )
    found = claims("1", data)["hessian rank alone misleads"]
    assert (found.verdict, found.ours, found.count) == (HOLDS, pytest.approx(0.4), 2)
    assert re.search(r"\bReLU\b.*\bdeep linear\b", found.note)  # which is called healthier
    assert claims("1", data)["sharpness alone misleads"].verdict == OPEN
    drawn("1", data)


def test_1_holds_nothing_against_an_indicator_that_is_right(claims):
    data = joined(
        network("ReLU", 0.5, 0.4), network("deep linear", 0.2, 0.9), network("LeakyReLU 0.7", 0.0, 0.91)
    )
    assert claims("1", data)["hessian rank alone misleads"].verdict == FAILS  # 0.9 and 0.91 are alike


def test_1_judges_the_pair_on_other_seeds_than_it_is_chosen_on():
    one, other = network("ReLU", 0.5, 0.9), network("deep linear", 0.1, 0.4)
    ranks = other["indicator"].eq("hessian_rank")
    other.loc[ranks & other["seed"].eq(1), "value"] = 1.2
    other.loc[ranks & other["seed"].eq(2), "value"] = 0.9
    pair, values = worst_pair(joined(one, other), PANELS[0])
    assert pair == ("ReLU", "deep linear")  # chosen on seed 0, where it contradicts
    assert values.tolist() == pytest.approx([-0.4, 0])  # right on seed 1, silent on seed 2


def test_2_counts_what_rose_before_the_fall(claims):
    falls, steady = np.array([[0.8, 0.8, 0.8, 0.3]] * 3), level(0.8)
    early, late = np.array([[1, 1, 3, 3.0]] * 3), np.array([[1, 1, 1, 3.0]] * 3)

    def data(restless):
        return joined(
            *(rows(falls, step_size=step) for step in ("1e-3", "1e-4")),
            *(rows(restless, "volatility", "fc1", step_size=step) for step in ("1e-3", "1e-4")),
            rows(steady, step_size="1e-5"),
            rows(late, "volatility", "fc1", step_size="1e-5"),
        )

    found = claims("2", data(early))["volatility rises first"]
    assert (found.ours, found.verdict) == (1, HOLDS)
    numbers = re.findall(r"\b\d+\b", found.note)
    assert numbers == ["6", "0", "3", "3"]  # runs that fall, that fall at once; that rise, of the steady ones
    assert claims("2", data(late))["volatility rises first"].verdict == FAILS
    at_once = joined(
        rows([[0.8, 0.3, 0.3]] * 3, step_size="1e-3"),
        rows([[1, 9, 9.0]] * 3, "volatility", "fc1", step_size="1e-3"),
    )
    found = claims("2", at_once)["volatility rises first"]
    assert found.verdict == OPEN
    assert re.search(r"\b3\b", found.note)  # runs that fall at once
    drawn("2", data(early))


def bounds(effective, noise, volatility, **labels):
    combined = 1 / (1 / noise + 1 / volatility)
    values = {
        "effective_step_size": effective,
        "noise_bound": noise,
        "volatility_bound": volatility,
        "combined_bound": combined,
    }
    return joined(*(rows(np.full((3, 4), value), name, "fc1", **labels) for name, value in values.items()))


def test_3(claims):
    labels = {"learner": "L2", "variant": "vanilla"}
    data = joined(rows(level(0.2), **labels), bounds(1.5, 1.0, 4.0, **labels))
    found = claims("3", data)
    assert found["step above the combined bound"].ours == pytest.approx(0.8 / 1.5)
    assert found["step above the combined bound"].verdict == HOLDS
    assert found["noise bound near 1"].verdict == HOLDS
    # alpha_vol = B / (20 Vol) = 4, so Vol / B = 1/80, and 1/alpha~ = 1 + 1/80 with beta = 1
    assert found["beta of at most 1 matters"].ours == pytest.approx(1 - 1 / (1 + 1 / 80))
    drawn("3", data)
    unbounded = joined(rows(level(0.2), **labels), bounds(1.5, 1.0, np.inf, **labels))
    assert claims("3", unbounded)["beta of at most 1 matters"].verdict == FAILS
    drawn("3", unbounded)
    dead = joined(rows(level(0.2), **labels), bounds(1.5, np.nan, 4.0, **labels))
    found = claims("3", dead)
    assert {one.verdict for one in found.values()} == {OPEN}  # no step is taken that a bound could be above
    drawn("3", dead)


def test_4_top(claims):
    falling, rising = np.array([[0.9, 0.7, 0.5, 0.3]] * 3), np.array([[0.1, 0.2, 0.8, 0.9]] * 3)
    shares = {"rho": rising, "rho_noise": rising[:, [0, 2, 1, 3]], "rho_volatility": np.zeros((3, 4))}
    data = joined(
        *(rows(falling, learner=learner, variant="vanilla") for learner in LEARNERS),
        *(
            rows(own, name, learner=one, variant="vanilla")
            for one in LEARNERS
            for name, own in shares.items()
        ),
    )
    found = claims("4-top", data)
    assert found["combined bound predicts"].ours == pytest.approx(1)
    assert found["combined bound predicts"].note.split()[-1] == "1"  # of minus the task's number
    assert found["combined bound predicts best"].ours == pytest.approx(0.2)  # the other's is 0.8
    drawn("4-top", data)


def steps(first, last, layer="fc1"):
    return [
        rows(np.array([[first, last]] * 3), "step_size", layer, learner=one, variant="scheduled")
        for one in LEARNERS
    ]


def test_5(claims):
    data = joined(*steps(1e-3, 4e-4), *steps(1e-3, 1e-3, "fc2"))
    found = claims("5", data, "paper")
    assert (found["step sizes decay"].ours, found["step sizes decay"].verdict) == (pytest.approx(0.4), HOLDS)
    assert (found["step size of L2"].verdict, found["step size of CReLU"].verdict) == (HOLDS, FAILS)
    assert claims("5", joined(*steps(1e-3, 1e-3)))["step sizes decay"].verdict == FAILS
    drawn("5", data)


@pytest.mark.parametrize(
    ("scale", "verdict"),
    [
        ("quick", OPEN),
        ("standard,num_tasks=3", OPEN),
        ("standard,num_tasks=4,seeds=1", HOLDS),
        ("standard", HOLDS),
    ],
)
def test_5_needs_four_long_tasks_but_no_more(claims, scale, verdict):
    assert claims("5", joined(*steps(1e-3, 4e-4)), scale)["step size of L2"].verdict == verdict


def test_6(claims):
    lengths = {"short: 16 epochs": 0.4, "usual: 40 epochs": 0.5, "long: 80 epochs": 0.7}
    data = joined(
        *(rows(level(own), learner=one, length=name) for one in LEARNERS for name, own in lengths.items())
    )
    found = claims("6", data)["longer tasks help L2"]
    assert (found.ours, found.verdict, found.published) == (pytest.approx(0.3), HOLDS, 0.26)
    assert found.note.split()[-1] == "0.3"  # in the first task
    drawn("6", data)


def test_7(claims):
    data = accuracies(vanilla=0.1, noise_only=0.5, volatility_only=0.2, combined=0.6)
    found = claims("7", data)["both bounds are needed"]
    assert (found.ours, found.verdict) == (pytest.approx(0.1), HOLDS)
    drawn("7", data)


def test_8():
    names = ("noise only", "volatility only", "combined")
    data = joined(*(bounds(0.5, 1.0, 4.0, learner=one, variant=name) for one in LEARNERS for name in names))
    assert len(drawn("8", data).axes) == 9


def test_9_10(claims):
    data = joined(
        accuracies(per_layer=0.4, whole_network=0.5),
        *(rows(level(0.1), "step_size", layer, learner=one, variant="per layer")
          for one in LEARNERS for layer in ("fc1", "fc2")),
        *(rows(level(0.1), "step_size", WHOLE, learner=one, variant="whole network") for one in LEARNERS),
    )  # fmt: skip
    assert claims("9-10", data)["layers need controllers of their own"].verdict == FAILS
    drawn("9-10", data)


@pytest.fixture
def ranking():
    import pandas as pd

    numbers = dict.fromkeys(set(SCORES) - {"auc"}, 0.5)
    table = pd.DataFrame(
        {
            "indicator": name,
            "configurations": 9,
            "lead_possible": 2.5,
            "auc": auc,
            "auc_low": auc - 0.05,
            "auc_high": auc + 0.05,
            **numbers,
        }
        for name, auc in (
            ("rho", 0.9),
            ("hessian_rank", 0.7),
            ("sharpness", 0.6),
            ("mine.py:gap", 0.95),
            ("weight_norm", np.nan),
        )
    )
    ends = {f"{name}_{end}": 0.5 for name in numbers for end in ("low", "high")}
    return table.assign(**ends, ahead=0.2, ahead_low=0.15, ahead_high=0.25)


def test_predictors(claims, ranking):
    found = claims("predictors", ranking)
    single = found["no single indicator is reliable"]
    assert (single.verdict, single.count, single.note) == (HOLDS, 9, "hessian_rank")
    assert found["the bound predicts better"].ours == pytest.approx(0.2)
    assert (found["the bound predicts better"].low, found["the bound predicts better"].verdict) == (
        0.15,
        HOLDS,
    )
    names = [label.get_text() for label in drawn("predictors", ranking).axes[0].get_yticklabels()]
    assert "mine.py:gap" in names
    unknown = claims("predictors", ranking.assign(auc=np.nan, ahead=np.nan))
    assert {one.verdict for one in unknown.values()} == {OPEN}


def test_reasons_compares_with_the_same_learner_on_as_many_images():
    by = ("learner", "images", "setting")
    cells = {
        ("L2", "5,000 images", "no scheduler"): 0.2,
        ("L2", "5,000 images", "default"): 0.5,
        ("L2", "100 images", "default"): 0.9,
    }
    labelled = [(dict(zip(by, key, strict=True)), value) for key, value in cells.items()]
    tasks = joined(*(rows(level(value), **labels) for labels, value in labelled))
    tasks = tasks.rename(columns={"value": "accuracy"}).drop(columns=["time", "layer", "indicator"])
    decided = rows(level(4e-4), "step_size", "fc1", **labelled[1][0]).assign(step=9).drop(columns="time")
    figure = FIGURES["reasons"]
    found = figure.summary(figure.data(Frames(by, tasks, decided)))
    assert found["accuracy"].tolist() == pytest.approx([0.2, 0.5, 0.9])
    assert found["gain"].tolist() == pytest.approx([0, 0.3, np.nan], nan_ok=True)
    assert found["gain_low"][1] <= found["gain"][1] <= found["gain_high"][1]
    assert found["step_size"].tolist() == pytest.approx([np.nan, 4e-4, np.nan], nan_ok=True, abs=1e-9)
    drawn("reasons", found)


def test_reasons_has_fewer_images_where_there_are_more():
    images = {key[1] for key in FIGURES["reasons"].requests(Scale("paper"))}
    assert images == {"5,000 images", "21,000 images", "60,000 images"}
    (few,) = {
        cell["num_samples"]
        for key, cell in FIGURES["reasons"].requests(Scale("paper")).items()
        if key[1] == "21,000 images"
    }
    assert few == 21_000


def test_reasons_has_the_step_sizes_that_fig_5_comes_to_from_the_start():
    cells = FIGURES["reasons"].requests(Scale())
    small = {key[0]: cell["arguments"] for key, cell in cells.items() if "step size" in key[2]}
    assert small == {
        "CReLU": {"scheduler": "none", "step_size": 0.003},
        "L2": {"scheduler": "none", "step_size": 0.0005},
    }


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.parametrize("protocol", ["quick", "standard", "paper"])
def test_every_figure_needs_runs_with_distinct_keys(name, protocol):
    figure = FIGURES[name]
    cells = figure.requests(Scale(protocol))
    assert cells
    assert all(len(key) == len(figure.by) for key in cells)


def test_the_paper_has_100_250_and_500_epochs():
    epochs = {cell["epochs_per_task"] for cell in FIGURES["6"].requests(Scale("paper")).values()}
    assert epochs == {100, 250, 500}


def test_a_table_has_every_seed_and_task_though_nothing_was_measured_in_some():
    some = rows([[1.0, 2.0, 3.0]] * 2, "volatility", "fc1")
    data = joined(rows(level(0.5, 3)), some[(some["task"] != 1) & (some["seed"] == 1)])
    found = table(data, "volatility")
    np.testing.assert_array_equal(found, [[np.nan] * 3, [1, np.nan, 3], [np.nan] * 3])


def test_layers_of_a_task_are_medians():
    import pandas as pd

    tasks = pd.DataFrame([{"by": "x", "run": "r", "seed": 0, "task": 0, "steps": 9, "accuracy": 0.5}])
    found = [
        {
            "by": "x",
            "run": "r",
            "seed": 0,
            "task": 0,
            "step": step,
            "layer": layer,
            "indicator": "a",
            "value": value,
        }
        for step, layer, value in ((1, "fc1", 1.0), (2, "fc1", 5.0), (9, "fc1", 2.0), (9, "fc2", 7.0))
    ]
    data = per_task(Frames(("by",), tasks, pd.DataFrame(found)))
    assert data[["indicator", "layer", "value"]].values.tolist() == [
        ["task accuracy", WHOLE, 0.5],
        ["a", "fc1", 2.0],
        ["a", "fc2", 7.0],
    ]
