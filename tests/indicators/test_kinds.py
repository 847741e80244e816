"""Every kind of network x whatever is measured x every path: against loops over samples and finite differences.

The oracles run a deep copy of the network as its user would, by `backward()`, and know nothing of how it is written.
"""

import copy
import functools

import pytest
import torch
from torch.nn import functional as F

from clbench import indicators
from clbench.indicators import WHOLE, Stacked, layer_parameters
from clbench.indicators.derivatives import Derivatives
from clbench.scheduling import PerLayerScheduler
from tests.cases import batch
from tests.kinds import KINDS, exact, make

SEEDS = (0, 1)
SIZE = 4
CLOSE = {"rtol": 1e-6, "atol": 1e-10}


def close(name):
    return {"rtol": 1e-3, "atol": 1e-5} if name == "mixed precision" else CLOSE


FEW = [
    "wrapped",
    "residual",
    "GRU",
    "recomputed",
    "tied embedding",
    "shared dictionary",
]  # looped is as alone


def subjects(name, method):
    """The network, or two stacked ones, with inputs and targets; and each alone."""
    alone = [(make(name, seed), *batch(SIZE, seed)) for seed in SEEDS]
    if method is None:
        return alone[0], alone[:1]
    models, inputs, targets = zip(*alone, strict=True)
    parameters, buffers = torch.func.stack_module_state(list(models))
    parameters = {key: value.detach() for key, value in parameters.items()}
    return (Stacked(models[0], parameters, buffers, method), torch.stack(inputs), torch.stack(targets)), alone


def trained(model):
    return {name: value for name, value in model.named_parameters() if value.requires_grad and value.numel()}


def gradients(name, state, inputs, targets):
    """The gradient of a network like it, by the usual backward pass; a vector for each parameter."""
    model = exact(name, state)
    F.cross_entropy(model(inputs), targets).backward()
    return {
        key: torch.zeros(value.numel()).double()
        if value.grad is None
        else value.grad.to_dense().flatten().double()
        for key, value in trained(model).items()
    }


def sample_gradients(name, state, inputs, targets):
    found = [gradients(name, state, inputs[[place]], targets[[place]]) for place in range(len(inputs))]
    return {key: torch.stack([one[key] for one in found]) for key in found[0]}


def of_seed(function):
    """Call a function of a network's state and batch for a kind and a seed, once."""

    @functools.cache
    def called(name, seed):
        return function(name, make(name, seed).state_dict(), *batch(SIZE, seed))

    return called


batch_gradient, rows_of = of_seed(gradients), of_seed(sample_gradients)


def spread(rows):
    return (rows - rows.mean(dim=0)).square().sum(dim=1).mean()


@functools.cache
def hessian_product(name, seed, names):
    """H v by central differences of gradients, v of ones for the parameters `names`; by parameter.

    What has no gradient, as padding or what is under `no_grad`, is no coordinate of what is trained.
    """
    ends = []
    for step in (1e-6, -1e-6):
        moved = exact(name, make(name, seed).state_dict())
        with torch.no_grad():
            for key in names:
                value = trained(moved)[key]
                value.add_(step * (batch_gradient(name, seed)[key] != 0).view(value.shape))
        ends.append(gradients(name, moved.state_dict(), *batch(SIZE, seed)))
    return {key: (ends[0][key] - ends[1][key]) / 2e-6 for key in names}


@functools.cache
def hessian(name, seed):
    """By central differences of gradients, column by column."""
    columns, sizes = [], {key: value.numel() for key, value in trained(make(name)).items()}
    for key, size in sizes.items():
        for place in range(size):
            ends = []
            for step in (1e-6, -1e-6):
                moved = exact(name, make(name, seed).state_dict())
                with torch.no_grad():
                    trained(moved)[key].view(-1)[place] += step
                ends.append(torch.cat(list(gradients(name, moved.state_dict(), *batch(SIZE, seed)).values())))
            columns.append((ends[0] - ends[1]) / 2e-6)
    return torch.stack(columns, dim=1)


def expected_layers(name):
    """Names of trained parameters by layer, from the table."""
    names = list(trained(make(name)))
    return {
        layer: [one for one in names if any(one == part or one.startswith(f"{part}.") for part in parts)]
        for layer, parts in KINDS[name].layers.items()
    }


def blocks(name):
    return {**expected_layers(name), WHOLE: list(trained(make(name)))}


def check(name, found, alone, expected):
    """Compare values, scalars or `(S,)`, with those expected of each network by layer."""
    assert set(found) == set(blocks(name))
    for place in range(len(alone)):
        for block, names in blocks(name).items():
            value = found[block].reshape(-1)[place].double()
            torch.testing.assert_close(value, expected(SEEDS[place], names), msg=block, **close(name))


@pytest.mark.parametrize("name", KINDS)
def test_layers_are_those_of_the_table(name):
    found = layer_parameters(make(name))
    assert {layer: set(names) for layer, names in found.items()} == {
        layer: set(names) for layer, names in expected_layers(name).items()
    }


def gradient_norms_are_right(name, subject, alone):
    def expected(seed, names):
        return torch.cat([batch_gradient(name, seed)[key] for key in names]).norm()

    check(name, indicators.gradient_norm(subject[0], F.cross_entropy, *subject[1:]), alone, expected)


def gradient_noise_is_right(name, subject, alone):
    def expected(seed, names):
        return spread(torch.cat([rows_of(name, seed)[key] for key in names], dim=1))

    check(name, indicators.gradient_noise(subject[0], F.cross_entropy, *subject[1:]), alone, expected)


def hessian_ranks_are_right(name, subject, alone):
    def expected(seed, names):
        rows = torch.cat([rows_of(name, seed)[key] for key in names], dim=1)
        spectrum = torch.linalg.svdvals(rows).square().cumsum(0)
        return (int((spectrum < 0.99 * spectrum[-1]).sum()) + 1) / torch.tensor(SIZE).double()

    check(name, indicators.hessian_rank(subject[0], F.cross_entropy, *subject[1:]), alone, expected)


def weight_norms_are_right(name, subject, alone):
    def expected(seed, names):
        own = trained(make(name, seed))
        return torch.cat([own[key].detach().double().flatten() for key in names]).norm()

    check(name, indicators.weight_norm(subject[0]), alone, expected)


def hessian_vector_products_are_right(name, subject, alone):
    """What sharpness is made of, for each layer's block and the whole network."""
    derivatives = Derivatives(subject[0], F.cross_entropy, *subject[1:], hessian=True)
    ones = {key: torch.ones_like(value) for key, value in derivatives.network.trained.items()}
    everything = blocks(name) if len(alone) == 1 else {WHOLE: blocks(name)[WHOLE]}
    vectors = {block: {key: ones[key] for key in names} for block, names in everything.items()}
    products = derivatives.join(derivatives.products(everything, vectors))
    for block, names in everything.items():
        for place in range(len(alone)):
            wanted = hessian_product(name, SEEDS[place], tuple(names))
            for key in names:
                value = products[block][key]
                value = value if isinstance(subject[0], torch.nn.Module) else value[place]
                rough = close(name) if name == "mixed precision" else {"rtol": 1e-4, "atol": 1e-6}
                torch.testing.assert_close(value.double().flatten(), wanted[key], **rough)


def hidden_units_are_those_of_the_table(name, subject, alone):
    """Which layers have them; what they are is tested in `test_units.py`."""
    for measure in (indicators.unit_sign_entropy, indicators.dormant_units, indicators.feature_rank):
        found = measure(subject[0], subject[1])
        assert set(found) == {*KINDS[name].hidden, WHOLE}
        for place, (model, inputs, _) in enumerate(alone):
            single = measure(model, inputs)
            for layer, value in found.items():
                torch.testing.assert_close(value.reshape(-1)[place], single[layer])
                assert torch.isfinite(value).all()


ALWAYS = (
    gradient_norms_are_right,
    weight_norms_are_right,
    hessian_vector_products_are_right,
    hidden_units_are_those_of_the_table,
)
OF_SAMPLES = (gradient_noise_is_right, hessian_ranks_are_right)


CASES = [(name, method) for method in (None, "loop", "vmap") for name in (FEW if method == "loop" else KINDS)]


@pytest.mark.parametrize(("name", "method"), CASES)
def test_everything_measured_is_right(name, method):
    subject, alone = subjects(name, method)
    for check_it in (*ALWAYS, *(OF_SAMPLES if KINDS[name].per_sample else ())):
        check_it(name, subject, alone)


@pytest.mark.parametrize("name", ["tied embedding"])
def test_sharpness(name):
    model, sizes = make(name), [value.numel() for value in trained(make(name)).values()]
    found = indicators.sharpness(model, F.cross_entropy, *batch(SIZE), iterations=400, tolerance=0)
    for block, names in blocks(name).items():
        parts = [torch.full((size,), key in names) for key, size in zip(trained(model), sizes, strict=True)]
        inside = torch.cat(parts)
        values = torch.linalg.eigvalsh(hessian(name, 0)[inside][:, inside])
        assert float(found[block]) == pytest.approx(float(values[values.abs().argmax()]), rel=1e-2), block


@pytest.mark.parametrize("name", KINDS)
def test_the_scheduler(name):
    """Each layer has a step size of its own, and bounds from its own gradients; nothing else is changed."""
    kind, model = KINDS[name], make(name)
    optimizer = torch.optim.Adam(trained(model).values(), lr=1e-3)
    scheduler = PerLayerScheduler(model, optimizer, every=1, adjust=kind.per_sample)
    for seed in SEEDS:
        inputs, targets = batch(SIZE, seed)
        optimizer.zero_grad()
        F.cross_entropy(model(inputs), targets).backward()
        for value in model.parameters():
            if value.grad is not None and value.grad.is_sparse:
                value.grad = value.grad.to_dense()
        state = copy.deepcopy(model.state_dict())
        scheduler.step(F.cross_entropy, inputs, targets)
        assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
        optimizer.step()
    last = scheduler.history[scheduler.history.step == 2].set_index("layer")
    assert set(last.index) == set(kind.layers)
    whole = gradients(name, state, inputs, targets)
    rows = sample_gradients(name, state, inputs, targets) if kind.per_sample else {}
    rough = 1e-3 if name == "mixed precision" else 1e-6
    for layer, names in expected_layers(name).items():
        square = float(torch.cat([whole[key] for key in names]).square().sum())
        assert last.gradient_squares[layer] == pytest.approx(square, rel=rough)
        if kind.per_sample:
            noise = float(spread(torch.cat([rows[key] for key in names], dim=1)))
            assert last.gradient_noise[layer] == pytest.approx(noise, rel=rough)


@pytest.mark.parametrize(("name", "method"), CASES)
def test_nothing_is_touched(name, method):
    """All that is measured, one after the other: every tensor and attribute is the same object, unwritten."""
    (subject, inputs, targets), _ = subjects(name, method)
    module = subject.model if isinstance(subject, Stacked) else subject
    if not isinstance(subject, Stacked):
        module(inputs)
    state = torch.random.get_rng_state()

    def held():
        found = {}
        for path, own in module.named_modules():
            for key, value in vars(own).items():
                found[path, key] = id(value)
                if isinstance(value, list | dict | set):
                    found[path, key, "items"] = [
                        id(one) for one in (value.values() if isinstance(value, dict) else value)
                    ]
                if isinstance(value, torch.Tensor):
                    found[path, key, "version"] = value._version
            for kind in ("_parameters", "_buffers"):
                for key, value in vars(own)[kind].items():
                    if value is not None:
                        found[path, kind, key] = (id(value), value._version)
        return found

    before = held()
    indicators.gradient_parameter_ratio(subject, F.cross_entropy, inputs, targets)
    indicators.sharpness(subject, F.cross_entropy, inputs, targets, iterations=2)
    if KINDS[name].per_sample:
        indicators.gradient_noise(subject, F.cross_entropy, inputs, targets)
        indicators.hessian_rank(subject, F.cross_entropy, inputs, targets)
        indicators.rank_projected_step_size(subject, F.cross_entropy, inputs, targets, rank=1, iterations=1)
    for measure in (indicators.unit_sign_entropy, indicators.dormant_units, indicators.feature_rank):
        measure(subject, inputs)
    assert held() == before
    assert torch.equal(torch.random.get_rng_state(), state)
