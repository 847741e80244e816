import copy
import functools
import math

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from agents import perlayer
from agents.adam import StackedAdam
from clbench.agent import AgentSpec
from clbench.errors import OptionError, UndefinedError, UnknownNameError
from clbench.scheduling import (
    SCHEDULERS,
    Constants,
    FullNetworkScheduler,
    NoiseOnlyScheduler,
    PerLayerScheduler,
    StepSizeMonitor,
    VolatilityOnlyScheduler,
    factors,
)
from tests import oracles
from tests.cases import batch, network, stack
from tests.oracles import plain_mlp

POSITIVE = st.floats(0, 100) | st.just(math.nan) | st.just(math.inf)


def number(value):
    return torch.tensor(value, dtype=torch.float64)


@given(alpha=POSITIVE, bound=POSITIVE, g2=POSITIVE, warming=st.booleans())
def test_the_rule(alpha, bound, g2, warming):
    constants = Constants(cool=0.9, warm=1.1)
    found = float(factors(constants, number(alpha), number(bound), number(g2), warming))
    if not (g2 > 0 and math.isfinite(alpha)) or math.isnan(bound):
        expected = 1.0
    elif alpha > 0.8 * bound and alpha > 0.12:
        expected = 0.9
    elif warming and alpha < 0.3 * (0.8 * bound):
        expected = 1.1
    else:
        expected = 1.0
    assert found == expected


@given(rows=st.lists(st.tuples(POSITIVE, POSITIVE, POSITIVE), min_size=1, max_size=6), warming=st.booleans())
def test_each_number_is_decided_by_itself(rows, warming):
    alpha, bound, g2 = (torch.tensor(column, dtype=torch.float32) for column in zip(*rows, strict=True))
    together = factors(Constants(), alpha, bound, g2, warming)
    alone = [float(factors(Constants(), *values, warming)) for values in zip(alpha, bound, g2, strict=True)]
    assert together.tolist() == alone
    assert set(alone) <= {0.99, 1.001, 1.0}


def train(model, optimizer, scheduler, steps, first=0, size=32, loss_fn=F.cross_entropy):
    """The usual loop; a fresh random batch a step. The scheduler is shown `loss_fn`."""
    for step in range(first, first + steps):
        inputs, targets = batch(size, seed=step)
        inputs = inputs.to(next(model.parameters()))
        optimizer.zero_grad()
        F.cross_entropy(model(inputs), targets).backward()
        if scheduler is not None:
            scheduler.step(loss_fn, inputs, targets)
        optimizer.step()


def adam(model, **options):
    return torch.optim.Adam(model.parameters(), **{"lr": 0.01, **options})


def make_scheduler(kind=PerLayerScheduler, **options):
    """A small network, Adam, and a scheduler of both."""
    model = network("mlp")
    optimizer = adam(model)
    return model, optimizer, kind(model, optimizer, **options)


def brute_force(steps, every, constants, decay=0.0):
    """The per-layer scheduler once more, from explicit Hessians and looped gradients."""
    model = network("mlp")
    layers = oracles.places(model)
    optimizers = {
        layer: torch.optim.Adam(getattr(model, layer).parameters(), lr=0.005, weight_decay=decay)
        for layer in layers
    }
    generator = torch.Generator().manual_seed(0)
    start = torch.cat(
        [torch.randn(value.shape, generator=generator).flatten() for value in model.parameters()]
    )
    vectors = {layer: start[place].double() / start[place].double().norm() for layer, place in layers.items()}
    seen = {layer: [] for layer in layers}
    rows = []

    def penalty(theta):
        return decay / 2 * theta.square().sum()

    for step in range(1, steps + 1):
        inputs, targets = batch(32, seed=step - 1)
        for optimizer in optimizers.values():
            optimizer.zero_grad()
        F.cross_entropy(model(inputs), targets).backward()
        if step % every == 0:
            hessian = oracles.hessian(model, F.cross_entropy, inputs, targets, penalty)
            gradient = oracles.gradient(model, F.cross_entropy, inputs, targets, penalty)
            noises = oracles.noise(model, F.cross_entropy, inputs, targets)
            moments = torch.cat(
                [
                    optimizers[name.split(".")[0]].state[value]["exp_avg_sq"].flatten()
                    / (1 - 0.999 ** (step - 1))
                    for name, value in model.named_parameters()
                ]
            )
            for layer, place in layers.items():
                product = hessian[place][:, place] @ vectors[layer]
                sharpness = float(vectors[layer] @ product)
                vectors[layer] = product / product.norm()
                (group,) = optimizers[layer].param_groups
                seen[layer].append(group["lr"] / (float(moments.mean().sqrt()) + 1e-8) * sharpness)
                recent = seen[layer][-5:]
                mean = sum(recent) / len(recent)
                volatility = (recent[-1] - mean) ** 2 / (abs(mean) + 1e-8)
                weight = getattr(model, layer).weight
                own = optimizers[layer].state[weight]["exp_avg_sq"] / (1 - 0.999 ** (step - 1))
                alpha = group["lr"] / ((1 - 0.9 ** (step - 1)) * (float(own.mean().sqrt()) + 1e-8))
                g2, noise = float(gradient[place].square().sum()), float(noises[layer])
                bound = 32 * g2 / (noise + 20 * g2 * volatility)
                rows.append((step, layer, group["lr"], alpha, bound, volatility))
                if alpha > constants["gamma"] * bound and alpha > constants["floor"]:
                    group["lr"] *= constants["cool"]
                elif step <= 0.5 * steps and alpha < 0.3 * constants["gamma"] * bound:
                    group["lr"] *= constants["warm"]
        for optimizer in optimizers.values():
            optimizer.step()
    return model, rows


@pytest.mark.parametrize("decay", [0.0, 0.02])
def test_it_is_the_algorithm_by_brute_force(decay):
    constants = {"gamma": 0.3, "floor": 0.02, "cool": 0.9, "warm": 1.1}
    expected_model, expected = brute_force(45, 3, constants, decay)
    model = network("mlp")
    optimizer = adam(model, lr=0.005, weight_decay=decay)
    scheduler = PerLayerScheduler(
        model, optimizer, steps_per_task=45, every=3, window=5, warmup_fraction=0.5, **constants
    )
    train(model, optimizer, scheduler, 45)
    found = scheduler.history
    columns = ["step", "layer", "step_size", "effective_step_size", "combined_bound", "volatility"]
    for ours, theirs in zip(found[columns].itertuples(index=False), expected, strict=True):
        assert tuple(ours[:2]) == theirs[:2]
        assert tuple(ours[2:]) == pytest.approx(theirs[2:], rel=1e-5)
    assert {0.9, 1.1, 1.0} == set(found["factor"].round(9))
    for ours, theirs in zip(model.parameters(), expected_model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-10)


SPEC = AgentSpec(
    input_shape=(64,), num_classes=10, batch_size=32, num_tasks=3, epochs_per_task=2, steps_per_task=20
)


@pytest.mark.parametrize("kind", SCHEDULERS)
def test_the_learner_and_a_plain_loop_decide_the_same(kind, float64):
    """Three seeds in lockstep, against `torch.optim.Adam` and the scheduler on a plain module for each seed."""
    constants = {"every": 4, "gamma": 0.25, "cool": 0.8, "warm": 1.3, "warmup_fraction": 0.5}
    seeds = [3, 1, 8]
    learner = perlayer.Agent(SPEC, seeds, scheduler=kind, **constants)
    plain = []
    for seed in seeds:
        model = plain_mlp(seed, widths=(64, 256, 256, 10))
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        scheduler = SCHEDULERS[kind](model, optimizer, steps_per_task=20, seeds=[seed], **constants)
        plain.append((model, optimizer, scheduler))
    generator = torch.Generator().manual_seed(98)
    history = []
    for step in range(40):
        inputs = torch.randn(3, 32, 64, generator=generator)
        targets = torch.randint(10, (3, 32), generator=generator)
        if step % 20 == 0:
            learner.begin_task(step // 20)
            for _, _, scheduler in plain:
                scheduler.begin_task()
        learner.act(inputs)
        learner.learn(targets)
        if step in (19, 39):
            history.append(learner.scheduler.history)
        for place, (model, optimizer, scheduler) in enumerate(plain):
            optimizer.zero_grad()
            F.cross_entropy(model(inputs[place]), targets[place]).backward()
            scheduler.step(F.cross_entropy, inputs[place], targets[place])
            optimizer.step()
    exact = ["step", "task", "step_in_task"]
    close = [
        "step_size",
        "effective_step_size",
        "noise_bound",
        "combined_bound",
        "gradient_squares",
        "factor",
    ]
    for place, (_, _, scheduler) in enumerate(plain):
        theirs = scheduler.history
        ours = pd.concat([frame[frame.network == place] for frame in history])
        assert ours[exact].to_numpy().tolist() == theirs[exact].to_numpy().tolist()
        np.testing.assert_allclose(ours[close], theirs[close], rtol=1e-6)
    assert len({value for frame in history for value in frame["factor"].round(6)}) > 1


def test_step_sizes_are_multiplied_exactly_and_layer_by_layer():
    model, optimizer, scheduler = make_scheduler(every=2, gamma=0.2, floor=0.0)
    train(model, optimizer, scheduler, 30)
    table = scheduler.history
    assert set(table["factor"]) <= {0.99, 1.0}
    for layer, rows in table.groupby("layer"):
        (group,) = [
            group for group in optimizer.param_groups if group["params"][0] is getattr(model, layer).weight
        ]
        assert group["lr"] == pytest.approx(0.01 * rows["factor"].prod(), rel=1e-12)
    assert len({group["lr"] for group in optimizer.param_groups}) > 1


def test_groups_are_split_by_layer_and_keep_their_options_and_state():
    model = network("mlp")
    extra = torch.nn.Parameter(torch.ones(3, dtype=torch.float64))
    optimizer = torch.optim.AdamW(
        [
            {
                "params": [*model.fc1.parameters(), *model.fc2.parameters()],
                "weight_decay": 0.3,
                "name": "hidden",
            },
            {"params": [*model.out.parameters(), extra], "lr": 0.5},
        ],
        lr=0.01,
    )
    train(model, optimizer, None, 2)
    state = optimizer.state[model.fc2.weight]
    PerLayerScheduler(model, optimizer)
    groups = [(group["lr"], group["weight_decay"], len(group["params"])) for group in optimizer.param_groups]
    assert groups == [(0.01, 0.3, 2), (0.01, 0.3, 2), (0.5, 0.01, 2), (0.5, 0.01, 1)]
    assert optimizer.param_groups[0]["name"] == optimizer.param_groups[1]["name"] == "hidden"
    assert optimizer.state[model.fc2.weight] is state
    train(model, optimizer, None, 1)


def test_a_step_size_may_be_a_tensor():
    model = network("mlp")
    optimizer = adam(model, lr=torch.tensor(0.01))
    scheduler = PerLayerScheduler(model, optimizer, every=2, gamma=1e-6, floor=0.0)
    tensors = [group["lr"] for group in optimizer.param_groups]
    train(model, optimizer, scheduler, 4)
    assert [float(value) for value in tensors] == pytest.approx([0.01 * 0.99**2] * 3)
    assert all(value.dtype == torch.float32 for value in tensors)
    assert all(group["lr"] is value for group, value in zip(optimizer.param_groups, tensors, strict=True))


def test_one_controller_for_the_whole_network():
    model, optimizer, scheduler = make_scheduler(FullNetworkScheduler, every=2, gamma=0.3)
    train(model, optimizer, scheduler, 30)
    assert set(scheduler.history["layer"]) == {"whole network"}
    assert len(optimizer.param_groups) == 1
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.01 * scheduler.history["factor"].prod())
    assert optimizer.param_groups[0]["lr"] < 0.01


def test_whole_network_quantities_are_explicit_ones():
    model, optimizer, scheduler = make_scheduler(FullNetworkScheduler, every=3, adjust=False)
    train(model, optimizer, scheduler, 2)
    inputs, targets = batch(32, seed=77)
    scheduler.step(F.cross_entropy, inputs, targets)
    (row,) = scheduler.history.itertuples()
    assert row.gradient_noise == pytest.approx(
        float(oracles.noise(model, F.cross_entropy, inputs, targets)["whole network"])
    )
    g2 = float(oracles.gradient(model, F.cross_entropy, inputs, targets).square().sum())
    assert row.gradient_squares == pytest.approx(g2)
    assert row.noise_bound == pytest.approx(32 * g2 / row.gradient_noise)


@pytest.mark.parametrize(
    ("kind", "column"), [(NoiseOnlyScheduler, "noise_bound"), (VolatilityOnlyScheduler, "volatility_bound")]
)
def test_variants_obey_their_bound(kind, column):
    model, optimizer, scheduler = make_scheduler(kind, every=2, gamma=0.3, floor=0.0, beta=2000, cool=0.9)
    train(model, optimizer, scheduler, 40)
    table = scheduler.history
    above = table["effective_step_size"] > 0.3 * table[column]
    assert (table["factor"] == 0.9).tolist() == above.tolist()
    assert 0 < above.sum() < len(table)


@pytest.mark.parametrize(
    ("warmup", "fraction", "open_steps"),
    [
        ("every-task", 0.3, [1, 2, 3, 11, 12, 13]),
        ("first-task", 0.3, [1, 2, 3]),
        ("every-task", 0.0, []),
        ("off", 0.3, []),
    ],
)
def test_the_warm_up_window(warmup, fraction, open_steps):
    model, optimizer, scheduler = make_scheduler(
        steps_per_task=10, every=1, gamma=1e6, warmup=warmup, warmup_fraction=fraction
    )
    scheduler.begin_task()
    train(model, optimizer, scheduler, 10)
    scheduler.begin_task()
    train(model, optimizer, scheduler, 10, first=10)
    table = scheduler.history
    warmed = sorted(set(table["step"][table["factor"] == 1.001]))
    assert warmed == [step for step in open_steps if step > 1]  # before the first update nothing is known
    assert table["task"].max() == 1


def test_without_the_length_of_a_task_there_is_no_window():
    model = network("mlp")
    scheduler = PerLayerScheduler(model, adam(model))
    scheduler.step(F.cross_entropy, *batch())
    assert not scheduler.warming
    with pytest.raises(OptionError, match=r"\bwarmup_fraction\b.*\bsteps_per_task\b"):
        PerLayerScheduler(model, adam(model), warmup_fraction=1.0)


def test_a_task_begins_by_itself_after_its_steps():
    model, optimizer, scheduler = make_scheduler(steps_per_task=4, every=2)
    train(model, optimizer, scheduler, 10)
    places = scheduler.history[["task", "step_in_task"]].drop_duplicates().to_numpy().tolist()
    assert places == [[0, 2], [0, 4], [1, 2], [1, 4], [2, 2]]


def test_the_loss_is_checked_at_every_decision():
    model, optimizer, scheduler = make_scheduler(every=2)
    train(model, optimizer, scheduler, 3)
    with pytest.raises(OptionError, match=r"\bloss_fn\b.*\breduction='mean'"):
        scheduler.step(torch.nn.CrossEntropyLoss(reduction="sum"), *batch())
    train(model, optimizer, scheduler, 1)
    with pytest.raises(OptionError, match=r"\bloss_fn\b.*\bF\.cross_entropy\b.*\bTensor\b"):
        scheduler.step(torch.tensor(1.0), *batch())


def test_it_measures_on_every_kth_call_only():
    model, optimizer, scheduler = make_scheduler(every=3)
    train(model, optimizer, None, 1)
    assert [scheduler.step(F.cross_entropy, *batch()) for _ in range(7)] == [False, False, True] * 2 + [False]
    assert scheduler.history["step"].unique().tolist() == [3, 6]
    assert len(scheduler.history) == 2 * 3


def test_before_the_first_update_nothing_is_decided():
    model = network("mlp")
    scheduler = PerLayerScheduler(model, adam(model), every=1)
    assert scheduler.step(F.cross_entropy, *batch()) is False
    assert scheduler.history.empty
    assert list(scheduler.history.columns[:5]) == ["step", "task", "step_in_task", "layer", "step_size"]


@pytest.mark.parametrize("kind", [StepSizeMonitor, functools.partial(PerLayerScheduler, adjust=False)])
def test_a_monitor_measures_as_a_scheduler_does_and_changes_nothing(kind):
    ends, histories = [], []
    for made in (None, kind, PerLayerScheduler):
        torch.manual_seed(0)
        model = network("mlp")
        optimizer = adam(model)
        scheduler = (
            None if made is None else made(model, optimizer, every=1, gamma=1e9)
        )  # which nothing is above
        train(model, optimizer, scheduler, 12)
        assert len(optimizer.param_groups) == (3 if made is PerLayerScheduler else 1)
        ends.append([*model.parameters(), torch.rand(1)])
        histories.append(None if scheduler is None else scheduler.history)
    for other in ends[1:]:
        assert all(torch.equal(ours, theirs) for ours, theirs in zip(ends[0], other, strict=True))
    pd.testing.assert_frame_equal(histories[1], histories[2])
    assert (histories[1]["factor"] == 1).all()


def test_a_task_may_be_given_by_its_index_and_earlier_decisions_be_forgotten():
    for keep_all, tasks in ((True, [0, 5, 6]), (False, [6])):
        model, optimizer, scheduler = make_scheduler(StepSizeMonitor, every=2, keep_all=keep_all)
        for first, index in ((0, 0), (4, 5), (8, None)):
            scheduler.begin_task(index)
            train(model, optimizer, scheduler, 4, first=first)
        assert scheduler.history["task"].unique().tolist() == tasks
        assert scheduler.history["step"].max() == 12


def dead_in_front():
    """A network whose first layer is dead."""
    model = network("mlp")
    model.activation = F.relu
    with torch.no_grad():
        model.fc1.weight.zero_()
        model.fc1.bias.fill_(-1)
    return model


def test_a_dead_layer_is_left_alone():
    model = dead_in_front()
    optimizer = adam(model)
    scheduler = PerLayerScheduler(model, optimizer, steps_per_task=100, every=2, warmup_fraction=1.0)
    train(model, optimizer, scheduler, 10)
    dead = scheduler.history[scheduler.history.layer == "fc1"]
    assert (dead["factor"] == 1).all()
    assert (dead["gradient_squares"] == 0).all()
    bounds = ["noise_bound", "combined_bound", "volatility_bound"]
    assert dead[bounds].isna().all(axis=None)
    numbers = dead.drop(columns=["layer", *bounds]).to_numpy(dtype=float)
    assert torch.isfinite(torch.as_tensor(numbers)).all()
    alive = scheduler.history[scheduler.history.layer == "out"]
    assert (alive["noise_bound"] > 0).all()
    assert (alive["factor"] != 1).any()


@pytest.mark.parametrize("kind", SCHEDULERS)
def test_a_dead_network_is_left_alone(kind):
    """Whatever bounds it."""
    model = network("mlp")
    optimizer = adam(model)

    def nothing(outputs, targets):
        return 0 * F.cross_entropy(outputs, targets)

    scheduler = SCHEDULERS[kind](
        model, optimizer, steps_per_task=100, every=2, warmup_fraction=1.0, cap_delta=0.1
    )
    train(model, optimizer, scheduler, 10, loss_fn=nothing)
    history = scheduler.history
    assert len(history) == len(scheduler.layers) * 5
    assert (history["factor"] == 1).all()
    assert history[["noise_bound", "volatility_bound", "combined_bound"]].isna().all(axis=None)


def test_a_batch_of_one_has_no_bound():
    model, optimizer, scheduler = make_scheduler(every=2)
    train(model, optimizer, scheduler, 8, size=1)
    assert (scheduler.history["noise_bound"] == math.inf).all()
    assert (scheduler.history["factor"] == 1).all()


def test_without_a_bound_there_is_room_to_warm():
    model, optimizer, scheduler = make_scheduler(
        VolatilityOnlyScheduler, steps_per_task=100, every=2, warmup_fraction=1.0, warm=1.5
    )
    train(model, optimizer, scheduler, 3)  # one decision: no volatility yet
    assert (scheduler.history["volatility_bound"] == math.inf).all()
    assert (scheduler.history["factor"] == 1.5).all()
    assert all(group["lr"] == pytest.approx(1.5 * 0.01) for group in optimizer.param_groups)


@pytest.mark.parametrize("kind", SCHEDULERS)
@pytest.mark.parametrize("volatility", ["window", "ema"])
def test_a_restored_state_continues_to_the_bit(kind, volatility):
    constants = {"every": 2, "gamma": 0.3, "volatility": volatility, "unbiased": True, "warmup_fraction": 0.6}

    def made():
        model = network("mlp")
        optimizer = adam(model)
        return model, optimizer, SCHEDULERS[kind](model, optimizer, steps_per_task=15, **constants)

    model, optimizer, scheduler = made()
    train(model, optimizer, scheduler, 11)
    saved = copy.deepcopy((model.state_dict(), optimizer.state_dict(), scheduler.state_dict()))
    train(model, optimizer, scheduler, 9, first=11)
    other = made()
    for one, state in zip(other, saved, strict=True):
        one.load_state_dict(state)
    train(*other, 9, first=11)
    assert scheduler.history.equals(other[2].history)
    assert all(torch.equal(*pair) for pair in zip(model.parameters(), other[0].parameters(), strict=True))
    with pytest.raises(OptionError, match="'every': 2, 'gamma': 0.3"):
        SCHEDULERS[kind](model, adam(model)).load_state_dict(saved[2])
    with pytest.raises(OptionError, match="'kind'"):
        scheduler.load_state_dict({})
    other = NoiseOnlyScheduler if kind != "noise-only" else PerLayerScheduler
    with pytest.raises(OptionError, match=rf"\b{type(scheduler).__name__}\b"):
        other(model, adam(model), steps_per_task=15, **constants).load_state_dict(saved[2])


def test_batch_normalisation_in_training():
    model = network("batch normalisation, evaluated").train()
    with pytest.raises(UndefinedError, match=r"\bBatchNorm1d\b.*\bvolatility\b"):
        PerLayerScheduler(model, adam(model))
    optimizer = adam(model)
    scheduler = VolatilityOnlyScheduler(model, optimizer, every=2)
    train(model, optimizer, scheduler, 8)
    assert scheduler.history["noise_bound"].isna().all()
    assert scheduler.history["volatility_bound"].notna().all()


def test_decoupled_weight_decay_is_no_part_of_the_loss():
    rows = {}
    for kind in (torch.optim.Adam, torch.optim.AdamW):
        model = network("mlp")
        optimizer = kind(model.parameters(), lr=0.01, weight_decay=0.5)
        train(model, optimizer, None, 1)
        rows[kind] = (model, PerLayerScheduler(model, optimizer, every=1))
    inputs, targets = batch()
    for kind, (model, scheduler) in rows.items():
        scheduler.step(F.cross_entropy, inputs, targets)
        decay = 0.5 if kind is torch.optim.Adam else 0.0
        expected = oracles.gradient(
            model,
            F.cross_entropy,
            inputs,
            targets,
            lambda theta, decay=decay: decay / 2 * theta.square().sum(),
        )
        found = scheduler.history["gradient_squares"].sum()
        assert found == pytest.approx(float(expected.square().sum()))


def test_weight_decay_and_a_penalty_add_up():
    model = network("mlp")
    optimizer = adam(model, weight_decay=0.5)
    train(model, optimizer, None, 1)
    scheduler = PerLayerScheduler(
        model, optimizer, every=1, penalty=lambda own: sum(value.pow(4).sum() for value in own.values())
    )
    inputs, targets = batch()
    scheduler.step(F.cross_entropy, inputs, targets)
    expected = oracles.gradient(
        model,
        F.cross_entropy,
        inputs,
        targets,
        lambda theta: 0.25 * theta.square().sum() + theta.pow(4).sum(),
    )
    assert scheduler.history["gradient_squares"].sum() == pytest.approx(float(expected.square().sum()))


def test_stacked_networks_have_a_row_each():
    models = [network("mlp", seed) for seed in range(2)]
    stacked = stack(models)
    optimizer = StackedAdam(stacked.parameters, 0.01)
    optimizer.step([torch.ones_like(value) for value in stacked.parameters.values()])
    scheduler = PerLayerScheduler(stacked, optimizer, every=1)
    inputs, targets = (torch.stack([value] * 2) for value in batch())
    scheduler.step(F.cross_entropy, inputs, targets)
    table = scheduler.history
    assert table[["network", "layer"]].to_numpy().tolist() == [
        [place, layer] for place in (0, 1) for layer in ("fc1", "fc2", "out")
    ]


@pytest.mark.parametrize(
    ("constants", "text"),
    [
        ({"every": 0}, r"\bevery=0\b.*\b1\b"),
        ({"every": 2.5}, r"\bevery=2\.5\b"),
        ({"window": 1}, r"\bwindow=1\b.*\b2\b"),
        ({"window": 3.5}, r"\bwindow=3\.5\b"),
        ({"decay": 1}, r"\bdecay=1\b.*\b0\b.*\b1\b"),
        ({"cap_delta": 1}, r"\bcap_delta=1\b.*\b0\b.*\b1\b"),
        ({"unbiased": "no"}, r"\bunbiased='no'.*\btrue\b.*\bfalse\b"),
        ({"gamma": "high"}, r"\bgamma='high'"),
        ({"gamma": 0}, r"\bgamma=0\b.*\b0\b"),
        ({"cool": 1.1}, r"\bcool=1\.1\b.*\b0\b.*\b1\b"),
        ({"warm": 0.9}, r"\bwarm=0\.9\b.*\b1\b"),
        ({"floor": -1}, r"\bfloor=-1\b.*\b0\b"),
        ({"beta": math.nan}, r"\bbeta=nan\b.*\b0\b"),
        ({"warmup": "on"}, r"\bwarmup='on'.*\bevery-task, first-task, off\b"),
        ({"warmup_fraction": 2}, r"\bwarmup_fraction=2\b.*\b0\b.*\b1\b"),
        ({"volatility": "std"}, r"\bvolatility='std'.*\bwindow, ema\b"),
    ],
)
def test_constants_are_checked(constants, text):
    with pytest.raises(OptionError, match=text):
        PerLayerScheduler(model := network("mlp"), adam(model), steps_per_task=9, **constants)


def test_layers_must_stay_those_of_the_start():
    model, optimizer, scheduler = make_scheduler(every=2)
    train(model, optimizer, scheduler, 3)
    model.fc1.requires_grad_(False)
    with pytest.raises(OptionError, match=r"\bparameters\b.*\bscheduler\b"):
        scheduler.step(F.cross_entropy, *batch())


def test_groups_that_mix_layers_later_are_refused():
    model = network("mlp")
    optimizer = torch.optim.Adam(model.fc1.parameters(), lr=0.01)
    optimizer.add_param_group({"params": [*model.fc2.parameters(), *model.out.parameters()]})
    scheduler = PerLayerScheduler(model, optimizer, every=2)
    train(model, optimizer, scheduler, 1)
    optimizer.param_groups[0]["params"] += optimizer.param_groups.pop()["params"]
    with pytest.raises(OptionError, match=r"\bfc1, out\b"):
        scheduler.step(F.cross_entropy, *batch())


def test_options_with_an_item_for_each_parameter_are_split_with_them():
    """As some projects' optimizers have them: names that are paired with parameters, initial weights."""
    model = network("mlp")
    names = [name for name, _ in model.named_parameters()]
    initial = [value.detach().clone() for value in model.parameters()]
    sides = {"each": ("in", "out"), "twice": ("a",) * len(names), "start": initial[:2]}
    options = {"param_names": names, "names": tuple(names), "initial": initial, **sides}
    optimizer = torch.optim.Adam([{"params": list(model.parameters()), **options}], lr=0.01)
    PerLayerScheduler(model, optimizer)
    for index, layer in enumerate(("fc1", "fc2", "out")):
        group = optimizer.param_groups[index]
        assert list(group["names"]) == group["param_names"] == [f"{layer}.weight", f"{layer}.bias"]
        assert [value.shape for value in group["initial"]] == [value.shape for value in group["params"]]
        assert group["initial"][0] is initial[2 * index]
        assert {key: group[key] for key in sides} == sides
        assert group["betas"] == (0.9, 0.999)


def test_wrappers_are_seen_through():
    model = torch.nn.DataParallel(network("mlp"), device_ids=[])
    scheduler = PerLayerScheduler(model, adam(model))
    assert scheduler.layers == ["fc1", "fc2", "out"]


def test_the_cap_binds_where_it_is_lower():
    tables = {}
    for delta in (0.0, 0.05):
        model, optimizer, scheduler = make_scheduler(every=2, adjust=False, cap_delta=delta, window=4)
        train(model, optimizer, scheduler, 12)
        tables[delta] = scheduler.history
    plain, capped = tables[0.0], tables[0.05]
    for layer, rows in plain.groupby("layer"):
        series = rows["normalized_sharpness"].tolist()
        for at, (index, row) in enumerate(rows.iterrows()):
            recent = series[max(0, at - 3) : at + 1]
            mean = sum(recent) / len(recent)
            cap = 2 / (abs(mean) + abs(series[at] - mean) * math.sqrt(0.95 / 0.05))
            for column in ("noise_bound", "volatility_bound", "combined_bound"):
                assert capped[column][index] == pytest.approx(min(row[column], cap), rel=1e-6), layer
    assert (capped["volatility_bound"] < plain["volatility_bound"]).any()


def test_what_does_not_exist_is_refused():
    model = network("mlp")
    with pytest.raises(OptionError, match=r"\bSGD\b.*\bAdamW\b"):
        PerLayerScheduler(model, torch.optim.SGD(model.parameters(), lr=0.1))
    with pytest.raises(OptionError, match=r"\bstr\b.*\bstep_sizes\b"):
        PerLayerScheduler(model, "adam")
    with pytest.raises(OptionError, match=r"\bsteps_per_task=0\b.*\b1\b"):
        PerLayerScheduler(model, adam(model), steps_per_task=0)
    with pytest.raises(UnknownNameError, match="'gama'.*'gamma'"):
        PerLayerScheduler(model, adam(model), gama=0.8)
    with pytest.raises(OptionError, match=r"'fc2\.weight'"):
        PerLayerScheduler(model, torch.optim.Adam(model.fc1.parameters()))
    with pytest.raises(OptionError, match=r"\bAdadelta\b.*\bAdamW\b"):
        PerLayerScheduler(model, torch.optim.Adadelta(model.parameters()))
