import math
import re

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from agents import batchnorm, crelu, l2, perlayer, reset, vanilla
from clbench import indicators as measures
from clbench.errors import TouchedError
from clbench.observing import ALL, BOUNDS, DEFAULT, INDICATORS, TRAJECTORIES, Observer
from clbench.records import IndicatorRecord, TaskRecord, Undefined
from clbench.scheduling import PerLayerScheduler
from tests.cases import short_env, short_vec
from tests.loops import Run

pytestmark = pytest.mark.usefixtures("small_networks")


class Plain:
    """An agent as users write it."""

    def __init__(self, spec, seed, decay=0.0):
        torch.manual_seed(seed)
        self.model = nn.Sequential(nn.Linear(784, 12), nn.ReLU(), nn.Dropout(0.2), nn.Linear(12, 10))
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3, weight_decay=decay)
        self.batches = []

    def act(self, obs):
        self.inputs = torch.as_tensor(obs)
        self.logits = self.model(self.inputs)
        return self.logits

    def learn(self, targets):
        targets = torch.as_tensor(targets)
        self.before = {name: value.detach().clone() for name, value in self.model.named_parameters()}
        self.batches.append((self.inputs, targets))
        self.optimizer.zero_grad()
        F.cross_entropy(self.logits, targets).backward()
        self.optimizer.step()


def observe(env, agent, seeds, indicators, every=None):
    observer = Observer(agent, "a", seeds, indicators, every) if indicators else None
    events = list(Run(env, agent, name="a", seeds=seeds, observer=observer))
    return {
        kind: [event for event in events if isinstance(event, kind)]
        for kind in (TaskRecord, IndicatorRecord, Undefined)
    }


def test_every_indicator_is_measured_at_each_tasks_end():
    env = short_vec(2)
    found = observe(env, vanilla.Agent(env.agent_spec, [3, 5]), [3, 5], ALL)
    records = found[IndicatorRecord]
    assert {record.indicator for record in records} >= set(INDICATORS)
    assert {one.indicator for one in found[Undefined]} == {BOUNDS}  # the tasks are too short for a decision
    for indicator in INDICATORS:
        own = [record for record in records if record.indicator == indicator]
        assert {(record.seed, record.task, record.step) for record in own} == {
            (seed, task, 6) for seed in (3, 5) for task in (0, 1)
        }
        assert {"fc1", "fc2", "whole network"} <= {record.layer for record in own}
    assert all(math.isfinite(record.value) for record in records)


def test_values_are_those_of_the_public_functions():
    """Measured on the task's last batch, before the agent learns from it."""
    env = short_env(num_tasks=1)
    agent = Plain(env.agent_spec, 0, decay=0.1)
    agent.model[2].eval()
    records = observe(env, agent, [0], INDICATORS)[IndicatorRecord]
    inputs, targets = agent.batches[-1]
    with torch.no_grad():
        for name, value in agent.model.named_parameters():
            value.copy_(agent.before[name])

    def decay(own):
        return 0.05 * sum(value.square().sum() for value in own.values())

    sharpness = measures.sharpness(agent.model, F.cross_entropy, inputs, targets, decay)
    expected = {
        "sharpness": sharpness,
        "gradient_noise": measures.gradient_noise(agent.model, F.cross_entropy, inputs, targets),
        "gradient_norm": measures.gradient_norm(agent.model, F.cross_entropy, inputs, targets, decay),
        "gradient_rms": measures.gradient_norm(agent.model, F.cross_entropy, inputs, targets, decay, "rms"),
        "gradient_parameter_ratio": measures.gradient_parameter_ratio(
            agent.model, F.cross_entropy, inputs, targets, decay
        ),
        "hessian_rank": measures.hessian_rank(agent.model, F.cross_entropy, inputs, targets),
        "weight_norm": measures.weight_norm(agent.model),
        "weight_rms": measures.weight_norm(agent.model, "rms"),
        "dormant_units": measures.dormant_units(agent.model, inputs),
        "unit_sign_entropy": measures.unit_sign_entropy(agent.model, inputs),
        "feature_rank": measures.feature_rank(agent.model, inputs),
    }
    for indicator, values in expected.items():
        own = {record.layer: record.value for record in records if record.indicator == indicator}
        assert own == pytest.approx({layer: float(value) for layer, value in values.items()}, rel=1e-5), (
            indicator
        )


def test_a_custom_indicator_is_measured_like_the_built_in_ones(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from clbench import indicators\n"
        "def norm(at): return indicators.weight_norm(at.model)\n"
        "def broken(at): return 1 / 0\n",
        encoding="utf-8",
    )
    own, broken = f"{tmp_path / 'mine.py'}:norm", f"{tmp_path / 'mine.py'}:broken"
    env = short_vec(2)
    found = observe(env, vanilla.Agent(env.agent_spec, [3, 5]), [3, 5], ["weight_norm", own, broken])
    values = {
        name: [
            (one.seed, one.task, one.layer, one.value)
            for one in found[IndicatorRecord]
            if one.indicator == name
        ]
        for name in ("weight_norm", own)
    }
    assert values[own] == values["weight_norm"] != []
    (undefined,) = found[Undefined]
    assert undefined.indicator == broken
    assert undefined.reason.startswith("ZeroDivisionError: ")


def test_measuring_changes_nothing():
    """Neither an agent with dropout, which draws from the global random state, nor stacked learners."""
    ends = []
    for indicators in ((), ALL):
        env = short_env()
        agent = Plain(env.agent_spec, 0)
        accuracies = [record.accuracy for record in observe(env, agent, [0], indicators, 4)[TaskRecord]]
        env = short_vec(2)
        learner = l2.Agent(env.agent_spec, [0, 1])
        accuracies += [record.accuracy for record in observe(env, learner, [0, 1], indicators)[TaskRecord]]
        ends.append((accuracies, [*agent.model.parameters(), *learner.parameters.values()]))
    assert ends[0][0] == ends[1][0]
    assert all(torch.equal(*pair) for pair in zip(ends[0][1], ends[1][1], strict=True))


def test_lockstep_seeds_are_measured_like_seeds_apart():
    env = short_vec(2)
    together = observe(env, l2.Agent(env.agent_spec, [3, 5], scheduler="per-layer", every=2), [3, 5], ALL)
    for seed in (3, 5):
        env = short_vec(1)
        alone = observe(env, l2.Agent(env.agent_spec, [seed], scheduler="per-layer", every=2), [seed], ALL)
        own = [record for record in together[IndicatorRecord] if record.seed == seed]
        assert own == alone[IndicatorRecord]


def test_every_n_steps_and_always_the_last():
    env = short_env()
    found = observe(env, Plain(env.agent_spec, 0), [0], ["weight_norm"], every=4)
    assert [(one.task, one.step) for one in found[IndicatorRecord] if one.layer == "0"] == [
        (0, 4),
        (0, 6),
        (1, 4),
        (1, 6),
    ]


def decisions_of(records, indicator, layer="fc1", seed=0):
    return [
        (one.task, one.step, one.value)
        for one in records
        if (one.indicator, one.layer, one.seed) == (indicator, layer, seed)
    ]


def test_a_schedulers_decisions_are_recorded():
    env = short_vec(1)
    agent = perlayer.Agent(env.agent_spec, [0], every=2, gamma=0.01, floor=0.0)
    records = observe(env, agent, [0], DEFAULT)[IndicatorRecord]
    sizes = decisions_of(records, "step_size")
    assert [(task, step) for task, step, _ in sizes] == [
        (task, step) for task in (0, 1) for step in (2, 4, 6)
    ]
    assert [value for _, _, value in sizes] == pytest.approx([1e-3 * 0.99**power for power in range(6)])
    assert {one.indicator for one in records} >= set(TRAJECTORIES)
    for task in (0, 1):
        alphas, bounds = (
            {
                layer: np.array([v for t, _, v in decisions_of(records, name, layer) if t == task])
                for layer in ("fc1", "fc2", "out")
            }
            for name in ("effective_step_size", "combined_bound")
        )
        above = {layer: alphas[layer] > bounds[layer] for layer in alphas}
        for layer, flags in above.items():
            (share,) = (v for t, _, v in decisions_of(records, "combined_violations", layer) if t == task)
            assert share == pytest.approx(flags.mean())
        (rho,) = (v for t, _, v in decisions_of(records, "rho", "whole network") if t == task)
        keys = [(one.task, one.step, one.layer, one.indicator) for one in records]
        assert len(keys) == len(set(keys))
        assert rho == pytest.approx(np.any(list(above.values()), axis=0).mean())


def test_long_trajectories_are_thinned_and_keep_their_ends():
    env = short_vec(1, num_tasks=1, epochs_per_task=20)
    agent = perlayer.Agent(env.agent_spec, [0], every=1)
    steps = [
        step for _, step, _ in decisions_of(observe(env, agent, [0], DEFAULT)[IndicatorRecord], "step_size")
    ]
    assert len(steps) == 20
    assert (steps[0], steps[-1]) == (2, 60)
    assert steps == sorted(set(steps))


def test_bounds_of_an_agent_without_scheduler_are_measured_on_request():
    env = short_vec(1, num_tasks=2, epochs_per_task=30)
    found = observe(env, vanilla.Agent(env.agent_spec, [0]), [0], [BOUNDS])[IndicatorRecord]
    assert [(task, step) for task, step, _ in decisions_of(found, "combined_bound")] == [
        (0, 40),
        (0, 80),
        (1, 30),
        (1, 70),
    ]
    assert all(value == pytest.approx(1e-3) for _, _, value in decisions_of(found, "step_size"))
    env = short_vec(1, num_tasks=2, epochs_per_task=30)
    assert not observe(env, vanilla.Agent(env.agent_spec, [0]), [0], ["weight_norm"])[IndicatorRecord][8:]
    env = short_env(epochs_per_task=30)
    plain = observe(env, Plain(env.agent_spec, 0), [0], [BOUNDS])[IndicatorRecord]
    assert decisions_of(plain, "combined_bound", "0")


def test_bounds_are_measured_next_to_another_kind_of_scheduler():
    """A `scheduler` that is not one of ours does not hide the monitor's decisions."""
    env = short_env(epochs_per_task=30)
    agent = Plain(env.agent_spec, 0)
    agent.scheduler = torch.optim.lr_scheduler.ExponentialLR(agent.optimizer, 1.0)
    assert decisions_of(observe(env, agent, [0], [BOUNDS])[IndicatorRecord], "combined_bound", "0")


def test_a_learner_that_starts_over_is_still_monitored():
    env = short_vec(1, epochs_per_task=30)
    found = observe(env, reset.Agent(env.agent_spec, [0]), [0], [BOUNDS])[IndicatorRecord]
    assert {task for task, _, _ in decisions_of(found, "combined_bound")} == {0, 1}


@pytest.mark.parametrize("says", [True, False])
def test_a_users_scheduler_is_recorded(says):
    """Whether or not the agent tells it when a task begins."""

    class Scheduled(Plain):
        def __init__(self, spec, seed):
            super().__init__(spec, seed)
            self.scheduler = PerLayerScheduler(
                self.model, self.optimizer, steps_per_task=spec.steps_per_task, every=3
            )

        def begin_task(self, task):
            if says:
                self.scheduler.begin_task()

        def learn(self, targets):
            self.scheduler.step(F.cross_entropy, self.inputs, torch.as_tensor(targets))
            super().learn(targets)

    env = short_env()
    found = observe(env, Scheduled(env.agent_spec, 0), [0], ["weight_norm"])[IndicatorRecord]
    assert [(task, step) for task, step, _ in decisions_of(found, "step_size", "0")] == [
        (0, 3),
        (0, 6),
        (1, 3),
        (1, 6),
    ]


class Opaque:
    """Shows nothing."""

    def act(self, obs):
        return np.zeros(len(obs), dtype=int)

    def learn(self, targets):
        pass


class Several(Plain):
    """Two optimizers, shown in a list that is new each time."""

    def __init__(self, spec, seed):
        super().__init__(spec, seed)
        first, *_, last = self.model
        self.first = torch.optim.Adam(first.parameters(), lr=1e-3)
        self.last = torch.optim.RMSprop(last.parameters(), lr=1e-4)

    @property
    def optimizer(self):
        return [self.first, self.last]

    @optimizer.setter
    def optimizer(self, one):
        pass

    def learn(self, targets):
        self.model.zero_grad()
        F.cross_entropy(self.logits, torch.as_tensor(targets)).backward()
        for one in self.optimizer:
            one.step()


def test_an_agent_may_have_several_optimizers():
    env = short_env(epochs_per_task=14)
    agent = Several(env.agent_spec, 0)
    found = observe(env, agent, [0], ["effective_step_size", "normalized_sharpness", BOUNDS])
    assert found[Undefined] == []
    last = [one for one in found[IndicatorRecord] if one.task == 1]
    assert {one.layer for one in last if one.indicator == "effective_step_size"} == {
        "0",
        "3",
        "whole network",
    }
    # Watched over both tasks of 42 steps by one and the same monitor.
    assert [one.step for one in last if one.indicator == "volatility" and one.layer == "0"] == [38]


def test_an_unknown_optimizer_is_named():
    env = short_env(num_tasks=1)
    agent = Plain(env.agent_spec, 0)
    agent.optimizer = torch.optim.Adadelta(agent.model.parameters())
    found = observe(env, agent, [0], ["effective_step_size", "weight_norm"])
    (noted,) = found[Undefined]
    assert "torch.optim.Adadelta" in noted.reason
    assert {one.indicator for one in found[IndicatorRecord]} == {"weight_norm"}


def test_an_agent_without_model_and_optimizer_is_reported():
    found = observe(short_env(), Opaque(), [0], ["weight_norm", BOUNDS])
    assert not found[IndicatorRecord]
    assert {one.indicator for one in found[Undefined]} == {"weight_norm", BOUNDS}
    for one in found[Undefined]:
        assert re.search(r"\bmodel\b.*\boptimizer\b", one.reason)  # the agent shows neither
    assert len(found[TaskRecord]) == 2


def test_a_model_of_another_library_is_named():
    """It acts and learns all the same; as a network in JAX does."""
    agent = Opaque()
    agent.model, agent.optimizer = type("MLP", (), {"__module__": "flaxen.nets"})(), len
    (noted,) = observe(short_env(num_tasks=1), agent, [0], ["weight_norm"])[Undefined]
    assert re.search(r"\btorch\.nn\.Module\b.*\bflaxen\.nets\.MLP\b", noted.reason)


def test_undefined_indicators_are_reported_once_and_the_rest_measured():
    env = short_vec(1)
    found = observe(env, batchnorm.Agent(env.agent_spec, [0]), [0], DEFAULT)
    undefined = {one.indicator: one.reason for one in found[Undefined]}
    assert set(undefined) == {"gradient_noise", "hessian_rank"}
    assert "BatchNorm1d" in undefined["gradient_noise"]
    assert len(found[Undefined]) == 2
    assert {one.indicator for one in found[IndicatorRecord]} == set(DEFAULT) - set(undefined)


def test_a_model_that_cannot_be_measured_does_not_end_the_run():
    class Odd(Plain):
        def act(self, obs):
            logits = super().act(obs)
            self.model.forward = lambda *_: 1 / 0
            return logits

        def learn(self, targets):
            del self.model.forward
            super().learn(targets)

    env = short_env()
    found = observe(env, Odd(env.agent_spec, 0), [0], ["weight_norm", "gradient_noise"])
    (undefined,) = found[Undefined]
    assert undefined.reason.startswith("ZeroDivisionError: ")
    assert {one.indicator for one in found[IndicatorRecord]} == {"weight_norm"}
    assert len(found[TaskRecord]) == 2


def test_an_agents_loss_and_penalty_are_used():
    class Own(Plain):
        def loss_fn(self, outputs, targets):
            return 3 * F.cross_entropy(outputs, targets)

        def penalty(self, parameters):
            return sum(value.pow(4).sum() for value in parameters.values())

    values = {}
    for kind in (Plain, Own):
        env = short_env(num_tasks=1)
        agent = kind(env.agent_spec, 0)
        agent.model.eval()
        records = observe(env, agent, [0], ["gradient_noise", "gradient_norm"])[IndicatorRecord]
        values[kind] = {(one.indicator, one.layer): one.value for one in records}
    for layer in ("0", "3"):
        ratio = values[Own]["gradient_noise", layer] / values[Plain]["gradient_noise", layer]
        assert ratio == pytest.approx(9, rel=1e-4)
    assert values[Own]["gradient_norm", "3"] != pytest.approx(
        3 * values[Plain]["gradient_norm", "3"], rel=1e-3
    )


def test_crelu_is_measured_at_its_true_width():
    env = short_vec(1, num_tasks=1)
    found = observe(env, crelu.Agent(env.agent_spec, [0]), [0], ["feature_rank"])[IndicatorRecord]
    assert all(1 <= one.value <= 100 for one in found)


def test_a_scheduler_that_never_decides_is_reported():
    env = short_vec(1)
    found = observe(env, perlayer.Agent(env.agent_spec, [0]), [0], ["weight_norm"])
    (note,) = found[Undefined]
    assert note.indicator == BOUNDS
    assert re.search(r"\b6 steps\b.*\bevery=40\b", note.reason)


def test_one_seeds_gap_is_not_the_others():
    """A measurement that is not finite in one network is left out of its shares, and is not a dead layer."""
    env = short_vec(2, num_tasks=1)
    agent = perlayer.Agent(env.agent_spec, [3, 5], every=2)
    observer = Observer(agent, "a", [3, 5], ["weight_norm"], None)
    list(Run(env, agent, name="a", seeds=[3, 5]))
    decisions = agent.scheduler.decisions
    decisions.column("combined_bound")[:] = 0.5
    decisions.column("effective_step_size")[:] = 0.1
    decisions.column("effective_step_size")[:2, 0] = 0.9  # two of three decisions are above it
    decisions.column("combined_bound")[1, 0, 0] = torch.nan
    records = list(observer.end_task(0))
    rho, shares = (
        {one.seed: one.value for one in records if (one.indicator, one.layer) == wanted}
        for wanted in (("rho", "whole network"), ("combined_violations", "fc1"))
    )
    assert rho == {3: pytest.approx(1 / 3), 5: pytest.approx(2 / 3)}  # the other layers had a bound
    assert shares == {3: pytest.approx(1 / 2), 5: pytest.approx(2 / 3)}
    assert {one.value for one in records if one.indicator == "dead_decisions"} == {0}
    bounds = [one for one in records if one.indicator == "combined_bound"]
    assert all(math.isfinite(one.value) for one in bounds)
    assert len(bounds) == 2 * 3 * 3 - 1
    decisions.column("combined_bound")[:, :, 0] = torch.nan
    records = list(observer.end_task(0))
    assert {one.seed for one in records if one.indicator == "rho"} == {5}
    assert {one.seed for one in records if one.indicator == "rho_noise"} == {3, 5}


class Wrapped(Plain):
    """All its layers are in one module, and two of them are one."""

    def __init__(self, spec, seed):
        super().__init__(spec, seed)
        shared = nn.Linear(12, 12)
        body = [nn.Linear(784, 12), nn.ReLU(), shared, nn.ReLU(), shared, nn.ReLU()]
        self.model = nn.Sequential(nn.Sequential(*body), nn.Linear(12, 10))
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3)


def layers_measured(agent, env, **options):
    observer = Observer(agent, "a", [0], INDICATORS, None, **options)
    events = list(Run(env, agent, name="a", seeds=[0], observer=observer))
    return {
        event.layer
        for event in events
        if isinstance(event, IndicatorRecord) and event.indicator == "weight_norm"
    }


@pytest.mark.parametrize(
    ("by_agent", "by_run", "expected"),
    [
        (None, None, {"0.0", "0.2", "1"}),
        (1, None, {"0", "1"}),
        (["0.0", "1"], {"top": "1"}, {"top"}),
        (nn.ModuleList(), None, {"0.0", "0.2", "1"}),  # something else of that name
    ],
)
def test_layers_are_the_runs_or_else_the_agents(by_agent, by_run, expected):
    env = short_env()
    agent = Wrapped(env.agent_spec, 0)
    agent.layers = by_agent
    assert layers_measured(agent, env, layers=by_run) == {*expected, "whole network"}


def test_a_network_with_a_module_under_two_names_learns_the_same_when_measured():
    weights = []
    for indicators in ((), ALL):
        env = short_env()
        agent = Wrapped(env.agent_spec, 0)
        observe(env, agent, [0], indicators)
        weights.append(agent.model.state_dict())
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


def test_a_measurement_that_changes_the_network_ends_the_run(tmp_path):
    meddling = tmp_path / "meddling.py"
    meddling.write_text(
        "import torch\n\n\ndef meddle(at):\n    with torch.no_grad():\n"
        "        next(iter(at.network.trained.values())).add_(1)\n    return {}\n",
        encoding="utf-8",
    )
    env = short_env()
    with pytest.raises(TouchedError, match=r"meddling\.py:meddle.*\b0\.weight\b"):
        observe(env, Plain(env.agent_spec, 0), [0], [f"{meddling}:meddle"])
