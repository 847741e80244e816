import pytest
import torch
from torch.nn import functional as F

from clbench.errors import OptionError
from clbench.indicators import gradient_noise, gradient_norm, rank_projected_step_size
from tests import oracles
from tests.cases import batch, network


@pytest.mark.parametrize(("name", "seed"), [("mlp", 0), ("convolution", 5)])  # with a gap after the third
def test_it_is_the_noise_bound_within_the_top_eigenvectors(name, seed):
    model, (inputs, targets) = network(name, seed), batch()
    whole = oracles.hessian(model, F.cross_entropy, inputs, targets)
    rows = oracles.sample_gradients(model, F.cross_entropy, inputs, targets)
    found = rank_projected_step_size(model, F.cross_entropy, inputs, targets, rank=3, iterations=60)
    blocks = oracles.places(model) | {"whole network": slice(None)}
    assert list(found) == list(blocks)
    for layer, place in blocks.items():
        values, vectors = torch.linalg.eigh(whole[place][:, place])
        top = vectors[:, values.abs().argsort(descending=True)[:3]]
        own = rows[:, place] @ top
        noise = (own - own.mean(dim=0)).square().sum(dim=1).mean()
        expected = len(inputs) * own.mean(dim=0).square().sum() / noise
        torch.testing.assert_close(found[layer], expected, rtol=1e-4, atol=0)


def test_full_rank_is_the_noise_bound():
    model, (inputs, targets) = network("mlp"), batch()
    found = rank_projected_step_size(model, F.cross_entropy, inputs, targets, rank=10_000, iterations=1)[
        "out"
    ]
    g2 = gradient_norm(model, F.cross_entropy, inputs, targets)["out"] ** 2
    noise = gradient_noise(model, F.cross_entropy, inputs, targets)["out"]
    torch.testing.assert_close(found, 12 * g2 / noise)


def test_arguments_are_checked():
    with pytest.raises(OptionError, match=r"\brank=0\b.*\b1\b"):
        rank_projected_step_size(network("mlp"), F.cross_entropy, *batch(), rank=0)
