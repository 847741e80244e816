import pytest
import torch
from torch import nn
from torch.nn import functional as F

from agents.adam import StackedAdam
from clbench.errors import OptionError
from clbench.indicators import aggregated_step_size, effective_step_size
from tests.cases import batch, network, stack

BETA1, BETA2, EPS, ETA = 0.8, 0.95, 1e-6, 0.02


def trained(kind=torch.optim.Adam, steps=5, **options):
    """A small network after some steps, and the gradients of all of them."""
    model, (inputs, targets) = network("linear layers"), batch()
    optimizer = kind(model.parameters(), lr=ETA, betas=(BETA1, BETA2), eps=EPS, **options)
    gradients = []
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(model(inputs), targets).backward()
        gradients.append({name: value.grad.clone() for name, value in model.named_parameters()})
        optimizer.step()
    return model, optimizer, gradients


def second_moment(gradients, name):
    """v_hat by its definition, as a weighted sum."""
    steps = len(gradients)
    total = sum((1 - BETA2) * BETA2 ** (steps - 1 - t) * g[name] ** 2 for t, g in enumerate(gradients))
    return total / (1 - BETA2**steps)


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.AdamW])
def test_rms_is_the_definition(kind):
    model, optimizer, gradients = trained(kind)
    found = effective_step_size(model, optimizer)
    correction = 1 - BETA1 ** len(gradients)
    expected = {
        layer: ETA / (correction * (second_moment(gradients, f"{layer}.weight").mean().sqrt() + EPS))
        for layer in ("0", "2", "4")
    }
    expected["whole network"] = sum(expected.values()) / 3
    assert list(found) == list(expected)
    for layer, value in expected.items():
        torch.testing.assert_close(found[layer], value, rtol=1e-10, atol=0)


def test_mean_is_elementwise():
    model, optimizer, gradients = trained()
    found = effective_step_size(model, optimizer, "mean")
    for layer in ("0", "2", "4"):
        moment = second_moment(gradients, f"{layer}.weight")
        expected = (ETA / ((1 - BETA1 ** len(gradients)) * (moment.sqrt() + EPS))).mean()
        torch.testing.assert_close(found[layer], expected, rtol=1e-10, atol=0)


def test_mean_explodes_at_dead_units_and_rms_does_not():
    model, optimizer, _ = trained()
    optimizer.state[model[0].weight]["exp_avg_sq"][0] = 0
    assert (
        effective_step_size(model, optimizer, "mean")["0"]
        > 100 * effective_step_size(model, optimizer, layers=1)["0"]
    )
    optimizer.state[model[0].weight]["exp_avg_sq"].zero_()
    assert float(effective_step_size(model, optimizer, layers=1)["0"]) == pytest.approx(
        ETA / ((1 - BETA1**5) * EPS), rel=1e-6
    )


def test_a_layer_of_several_tensors_has_their_mean():
    model = nn.Sequential(nn.Sequential(nn.Linear(16, 4), nn.Linear(4, 3))).double()
    optimizer = torch.optim.Adam(model.parameters(), lr=ETA)
    F.cross_entropy(model(batch()[0]), batch()[1]).backward()
    optimizer.step()
    apart = [
        ETA / (0.1 * ((optimizer.state[layer.weight]["exp_avg_sq"] / 0.001).mean().sqrt() + 1e-8))
        for layer in model[0]
    ]
    torch.testing.assert_close(effective_step_size(model, optimizer, layers=1)["0"], sum(apart) / 2)


def test_aggregated_is_over_all_parameters():
    model, optimizer, gradients = trained()
    moments = torch.cat([second_moment(gradients, name).flatten() for name, _ in model.named_parameters()])
    expected = ETA / (moments.mean().sqrt() + EPS)
    for value in aggregated_step_size(model, optimizer).values():
        torch.testing.assert_close(value, expected, rtol=1e-10, atol=0)


def test_aggregated_takes_each_layers_own_step_size():
    model, optimizer, _ = trained()
    before = aggregated_step_size(model, optimizer)
    groups = [
        {
            "params": [value for name, value in model.named_parameters() if name[0] == layer],
            "lr": ETA * factor,
        }
        for layer, factor in (("0", 1), ("2", 2), ("4", 5))
    ]
    apart = torch.optim.Adam(groups, betas=(BETA1, BETA2), eps=EPS)
    apart.state = optimizer.state
    after = aggregated_step_size(model, apart)
    for layer, factor in (("0", 1), ("2", 2), ("4", 5)):
        torch.testing.assert_close(after[layer], factor * before[layer])
    sizes = [sum(v.numel() for n, v in model.named_parameters() if n[0] == layer) for layer in "024"]
    mean = sum(size * factor for size, factor in zip(sizes, (1, 2, 5), strict=True)) / sum(sizes)
    torch.testing.assert_close(after["whole network"], mean * before["whole network"])
    assert effective_step_size(model, apart)["4"] == pytest.approx(
        5 * float(effective_step_size(model, optimizer)["4"])
    )


def test_before_the_first_update_there_is_no_value():
    model = network("mlp")
    optimizer = torch.optim.Adam(model.parameters(), lr=ETA)
    stacked = stack([model, network("mlp", 1)])
    for measure in (effective_step_size, aggregated_step_size):
        assert all(value.isnan() for value in measure(model, optimizer).values())
        found = measure(stacked, StackedAdam(stacked.parameters, ETA))
        assert all(value.shape == (2,) and value.isnan().all() for value in found.values())


def test_an_untrained_head_does_not_count():
    """Adam has no state for parameters that never had a gradient."""
    torch.manual_seed(0)
    model = nn.ModuleDict({"used": nn.Linear(16, 3), "unused": nn.Linear(16, 3)}).double()
    optimizer = torch.optim.Adam(model.parameters(), lr=ETA)
    F.cross_entropy(model["used"](batch()[0]), batch()[1]).backward()
    optimizer.step()
    alone = aggregated_step_size(model["used"], optimizer)["whole network"]
    found = aggregated_step_size(model, optimizer)
    assert all(float(value) == pytest.approx(float(alone)) for value in found.values())
    found = effective_step_size(model, optimizer)
    assert found["unused"].isnan()
    assert found["whole network"] == found["used"]


def test_sgd_goes_as_far_as_its_step_size():
    model = network("mlp")
    optimizer = torch.optim.SGD(model.parameters(), lr=ETA)
    assert all(float(value) == ETA for value in effective_step_size(model, optimizer).values())
    assert all(value == 1 for value in aggregated_step_size(model, optimizer).values())


def test_amsgrad_divides_by_its_maximum():
    model, optimizer, _ = trained(amsgrad=True)
    before = effective_step_size(model, optimizer)
    for value in model.parameters():
        optimizer.state[value]["max_exp_avg_sq"] *= 4
    after = effective_step_size(model, optimizer)
    for layer, value in before.items():
        torch.testing.assert_close(after[layer], value / 2, rtol=1e-4, atol=0)


def test_stacked_adam_knows_what_torch_adam_knows():
    models = [network("mlp", seed) for seed in range(3)]
    stacked = stack(models)
    adam = StackedAdam(stacked.parameters, 0.01)
    adam.step_sizes[1, 2] = 0.05
    optimizers = [torch.optim.Adam(model.parameters(), lr=0.01) for model in models]
    for step in range(4):
        gradients = []
        for place, (model, optimizer) in enumerate(zip(models, optimizers, strict=True)):
            inputs, targets = batch(seed=10 * step + place)
            optimizer.zero_grad()
            F.cross_entropy(model(inputs), targets).backward()
            gradients.append([value.grad for value in model.parameters()])
            optimizer.step()
        adam.step([torch.stack(rows) for rows in zip(*gradients, strict=True)])
    for measure in (effective_step_size, aggregated_step_size):
        found = measure(stacked, adam)
        for place, (model, optimizer) in enumerate(zip(models, optimizers, strict=True)):
            for layer, value in measure(model, optimizer).items():
                times = 5 if (layer, place) == ("fc2", 2) else 1
                if (layer, place) != ("whole network", 2):
                    torch.testing.assert_close(found[layer][place], times * value)


def test_what_cannot_be_answered_is_refused():
    model = network("mlp")
    with pytest.raises(OptionError, match=r"\bAdadelta\b.*\bAdamW\b"):
        effective_step_size(model, torch.optim.Adadelta(model.parameters()))
    with pytest.raises(OptionError, match=r"'fc2\.weight'"):
        effective_step_size(model, torch.optim.Adam(model.fc1.parameters()))
    with pytest.raises(OptionError, match=r"\breduction='max'.*\brms, mean\b"):
        effective_step_size(model, torch.optim.Adam(model.parameters()), "max")
    with pytest.raises(OptionError, match=r"\bstr\b.*\bstep_sizes\b"):
        effective_step_size(model, "adam")
