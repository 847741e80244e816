"""Networks by kind: every way to write one that we know of, small, with the layers that a researcher would name.

Each is run on batches of `tests.cases.batch`: 16 numbers a sample, three classes. Add a kind when one is found that is
measured wrongly: `tests/indicators/test_kinds.py` measures everything on all of them.
"""

import types
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations
from torch.utils.checkpoint import checkpoint

from tests.cases import ConvNet, Tied


@dataclass(frozen=True)
class Kind:
    """A network.

    Attributes:
        make: makes it.
        layers: the modules, or parameters of the network's own, that each layer is made of.
        hidden: layers with hidden units.
        per_sample: whether samples have gradients of their own.
        exact: makes the same network in float64, if `make` does not.
    """

    make: Callable[[], nn.Module]
    layers: Mapping[str, tuple[str, ...]]
    hidden: tuple[str, ...]
    per_sample: bool = True
    exact: Callable[[], nn.Module] | None = None


def each(*names):
    """Layers of a single module each."""
    return {name: (name,) for name in names}


class Wrapped(nn.Module):
    """All layers in one attribute, the usual way to write an MLP."""

    def __init__(self, *modules):
        super().__init__()
        self.net = nn.Sequential(
            *(modules or (nn.Linear(16, 5), nn.ReLU(), nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3)))
        )

    def forward(self, x):
        return self.net(x)


class Listed(nn.Module):
    """Layers in a ModuleList, one of them under a second name."""

    def __init__(self):
        super().__init__()
        self.fc1, self.fc2, self.out = nn.Linear(16, 5), nn.Linear(5, 4), nn.Linear(4, 3)
        self.layers = nn.ModuleList([self.fc1, self.fc2])

    def forward(self, x):
        for layer in self.layers:
            x = torch.tanh(layer(x))
        return self.out(x)


def twice():
    """One module registered twice and called twice."""
    shared = nn.Linear(16, 16)
    return nn.Sequential(shared, nn.Tanh(), shared, nn.Tanh(), nn.Linear(16, 3))


class Backbone(nn.Module):
    """A body and a head; the body may be frozen, or kept out of the graph."""

    def __init__(self, frozen=False, no_grad=False):
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(16, 6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU())
        self.head, self.no_grad = nn.Linear(5, 3), no_grad
        self.backbone.requires_grad_(not frozen)

    def forward(self, x):
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.no_grad):
            x = self.backbone(x)
        return self.head(x)


def first_frozen():
    model = nn.Sequential(nn.Linear(16, 5), nn.Tanh(), nn.Linear(5, 3))
    model[0].requires_grad_(False)
    return model


def weights_frozen():
    """Of the first layer only the bias is trained."""
    model = nn.Sequential(nn.Linear(16, 5), nn.Tanh(), nn.Linear(5, 3))
    model[0].weight.requires_grad_(False)
    return model


class ConvAll(nn.Module):
    """All convolutions registered before all normalisations, which are in eval mode."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 2, 2), nn.Conv2d(2, 3, 2)
        self.bn1, self.bn2 = nn.BatchNorm2d(2), nn.BatchNorm2d(3)
        self.fc = nn.Linear(12, 3)
        self.eval()

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x.view(-1, 1, 4, 4))))
        return self.fc(F.relu(self.bn2(self.conv2(x))).flatten(1))


class Block(nn.Module):
    """A residual block with group normalisation and a projection, its additions in place."""

    def __init__(self):
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(2, 3, 3, padding=1, bias=False), nn.GroupNorm(1, 3)
        self.relu = nn.ReLU(inplace=True)
        self.conv2, self.norm2 = nn.Conv2d(3, 3, 3, padding=1, bias=False), nn.GroupNorm(1, 3)
        self.downsample = nn.Sequential(nn.Conv2d(2, 3, 1, bias=False), nn.GroupNorm(1, 3))

    def forward(self, x):
        out = self.norm2(self.conv2(self.relu(self.norm1(self.conv1(x)))))
        out += self.downsample(x)
        return self.relu(out)


class ResNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.block, self.fc = nn.Conv2d(1, 2, 2), Block(), nn.Linear(3, 3)

    def forward(self, x):
        x = self.block(F.relu(self.stem(x.view(-1, 1, 4, 4)), inplace=True))
        return self.fc(x.mean(dim=(2, 3)))


class Recurrent(nn.Module):
    """A recurrent layer over four steps of four numbers."""

    def __init__(self, cell):
        super().__init__()
        self.rnn, self.out = cell(4, 3, batch_first=True), nn.Linear(3, 3)

    def forward(self, x):
        return self.out(self.rnn(x.view(-1, 4, 4))[0][:, -1])


class LastState(nn.Module):
    """It goes on with the last state, on packed sequences, and calls by keyword."""

    def __init__(self):
        super().__init__()
        self.rnn, self.out = nn.LSTM(4, 3, batch_first=True), nn.Linear(3, 3)

    def forward(self, x):
        lengths = torch.full((len(x),), 4)
        packed = nn.utils.rnn.pack_padded_sequence(x.view(-1, 4, 4), lengths, batch_first=True)
        return self.out(input=self.rnn(packed)[1][0][-1])


class Skips(nn.Module):
    """Two modules that share a dictionary, and a mean of features kept in an object of its own."""

    class Down(nn.Module):
        def __init__(self, shared):
            super().__init__()
            self.fc, self.shared = nn.Linear(16, 5), shared

        def forward(self, x):
            self.shared["skip"] = torch.tanh(self.fc(x))
            return self.shared["skip"]

    class Up(nn.Module):
        def __init__(self, shared, means):
            super().__init__()
            self.fc, self.shared, self.means = nn.Linear(5, 3), shared, means

        def forward(self, x):
            self.means.last = x.detach().mean(dim=0)
            return self.fc(x + self.shared["skip"] ** 2)

    def __init__(self):
        super().__init__()
        shared = {}
        self.down, self.up = Skips.Down(shared), Skips.Up(shared, types.SimpleNamespace(last=None))

    def forward(self, x):
        return self.up(self.down(x))


class Target(nn.Module):
    """A second network under `no_grad`, though its weights are trainable."""

    def __init__(self):
        super().__init__()
        self.own, self.target, self.out = nn.Linear(16, 5), nn.Linear(16, 5), nn.Linear(5, 3)

    def forward(self, x):
        with torch.no_grad():
            target = self.target(x)
        return self.out(torch.tanh(self.own(x)) + target)


class Transformer(nn.Module):
    """An encoder layer on four tokens, with a learned position."""

    def __init__(self, norm_first=False):
        super().__init__()
        self.position = nn.Parameter(torch.zeros(4, 4))
        self.encoder = nn.TransformerEncoderLayer(
            4, 2, 5, dropout=0.0, batch_first=True, norm_first=norm_first
        )
        self.out = nn.Linear(4, 3)

    def forward(self, x):
        return self.out(self.encoder(x.view(-1, 4, 4) + self.position).mean(dim=1))


class TiedEmbedding(nn.Module):
    """Tokens made of signs; the embedding's weight is the last layer's, too, unless asked otherwise."""

    def __init__(self, tied=True, **options):
        super().__init__()
        self.embed = nn.Embedding(3, 4, **options)
        self.hidden = nn.Linear(4, 4)
        self.decoder = nn.Linear(4, 3)
        if tied:
            self.decoder.weight = self.embed.weight

    def forward(self, x):
        tokens = 1 + x.detach().clamp(-1.4, 1.4).round().long()
        return self.decoder(torch.tanh(self.hidden(self.embed(tokens).mean(dim=1))))


class InPlace(nn.Module):
    """What modules and functions do in place: a threshold, a clamp, an addition."""

    def __init__(self):
        super().__init__()
        self.fc1, self.cut = nn.Linear(16, 5), nn.Threshold(0.5, 0.0, inplace=True)
        self.fc2, self.tanh = nn.Linear(5, 4), nn.Hardtanh(inplace=True)
        self.fc3, self.out = nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x):
        x = self.tanh(self.fc2(self.cut(self.fc1(x))))
        z = self.fc3(x)
        z += x
        return self.out(F.relu_(z))


class Recomputed(nn.Module):
    """A block with batch normalisation whose activations are computed again in the backward pass."""

    def __init__(self, reentrant=False):
        super().__init__()
        self.first, self.out = nn.Linear(16, 5), nn.Linear(4, 3)
        self.block = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Tanh())
        self.reentrant = reentrant

    def forward(self, x):
        return self.out(checkpoint(self.block, torch.tanh(self.first(x)), use_reentrant=self.reentrant))


class RecomputedAlone(Recomputed):
    """The same without the batch's statistics: samples have gradients of their own."""

    def __init__(self, reentrant=False):
        super().__init__(reentrant)
        self.block = nn.Sequential(nn.Linear(5, 4), nn.LayerNorm(4), nn.Tanh())


class Scalars(nn.Module):
    """A scalar parameter and an empty one beside layers."""

    def __init__(self):
        super().__init__()
        self.scale, self.empty = nn.Parameter(torch.tensor(1.5)), nn.Parameter(torch.empty(0))
        self.fc, self.out = nn.Linear(16, 5), nn.Linear(5, 3)

    def forward(self, x):
        return self.out(self.scale * torch.tanh(self.fc(x))) + self.empty.sum()


class Branches(nn.Module):
    """Two ways from the inputs to the outputs."""

    def __init__(self):
        super().__init__()
        self.left, self.right, self.out = nn.Linear(8, 4), nn.Linear(8, 3), nn.Linear(7, 3)

    def forward(self, x):
        both = torch.tanh(self.left(x[:, :8])), torch.relu(self.right(x[:, 8:]))
        return self.out(torch.cat(both, dim=1))


class Caching(nn.Module):
    """It keeps what it last computed, counts its calls, and clips its weights."""

    def __init__(self):
        super().__init__()
        self.fc, self.out = nn.Linear(16, 5), nn.Linear(5, 3)
        self.calls, self.kept, self.last = 0, [], None
        self.seen = torch.zeros(())

    def forward(self, x):
        self.calls += 1
        self.last = torch.tanh(self.fc(x))
        self.kept.append(self.last)
        self.seen += 1
        self.out.weight.data.clamp_(-2, 2)
        return self.out(self.last)


class Chained(nn.Module):
    """A parametrised activation, and a normalisation of our own kind."""

    class RootNorm(nn.Module):
        def __init__(self, size):
            super().__init__()
            self.gain = nn.Parameter(torch.ones(size))

        def forward(self, x):
            return self.gain * x / (1e-3 + x.square().mean(dim=-1, keepdim=True)).sqrt()

    def __init__(self):
        super().__init__()
        self.fc1, self.act, self.fc2 = nn.Linear(16, 5), nn.PReLU(), nn.Linear(5, 4)
        self.norm, self.out = Chained.RootNorm(4), nn.Linear(4, 3)

    def forward(self, x):
        return self.out(torch.tanh(self.norm(self.fc2(self.act(self.fc1(x))))))


def spectral():
    """The older weight normalisation, by a hook of PyTorch's, and the newer one, by parametrisation."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        first = torch.nn.utils.weight_norm(nn.Linear(16, 5))
    return nn.Sequential(
        first, nn.Tanh(), parametrizations.weight_norm(nn.Linear(5, 4)), nn.Tanh(), nn.Linear(4, 3)
    )


class Mixed(nn.Module):
    """A body in float32 and a head in float64; or both in float64, for comparison."""

    def __init__(self, body=torch.float32):
        super().__init__()
        self.body, self.head, self.dtype = nn.Linear(16, 5).to(body), nn.Linear(5, 3).double(), body

    def double(self):
        return self

    def forward(self, x):
        return self.head(torch.tanh(self.body(x.to(self.dtype))).double())


MLP3 = ("net.0", "net.2", "net.4")
ENCODER = {
    "position": ("position",),
    "encoder.self_attn": ("encoder.self_attn.in_proj_weight", "encoder.self_attn.in_proj_bias"),
    "encoder.self_attn.out_proj": ("encoder.self_attn.out_proj", "encoder.norm1"),
    "encoder.linear1": ("encoder.linear1",),
    "encoder.linear2": ("encoder.linear2", "encoder.norm2"),
    "out": ("out",),
}
KINDS = {
    "wrapped": Kind(Wrapped, each(*MLP3), ("net.0", "net.2")),
    "listed": Kind(Listed, each("fc1", "fc2", "out"), ("fc1", "fc2")),
    "registered twice": Kind(twice, each("0", "4"), ("0",)),
    "tied": Kind(
        Tied,
        {**each("inner", "first"), "second": ("second.bias",), "out": ("out",)},
        ("inner", "first", "second"),
    ),
    "backbone and head": Kind(
        Backbone, each("backbone.0", "backbone.2", "head"), ("backbone.0", "backbone.2")
    ),
    "frozen backbone": Kind(lambda: Backbone(frozen=True), each("head"), ("backbone.0", "backbone.2")),
    "backbone without graph": Kind(
        lambda: Backbone(frozen=True, no_grad=True), each("head"), ("backbone.0", "backbone.2")
    ),
    "first layer frozen": Kind(first_frozen, each("2"), ("0",)),
    "weights frozen": Kind(weights_frozen, {"0": ("0.bias",), "2": ("2",)}, ("0",)),
    "convolutions": Kind(
        ConvNet,
        {"conv": ("conv", "norm"), "head.0": ("head.0", "head.1"), "head.3": ("head.3",)},
        ("conv", "head.0"),
    ),
    "normalisations last": Kind(
        ConvAll, {"conv1": ("conv1", "bn1"), "conv2": ("conv2", "bn2"), "fc": ("fc",)}, ("conv1", "conv2")
    ),
    "residual": Kind(
        ResNet,
        {
            "stem": ("stem",),
            "block.conv1": ("block.conv1", "block.norm1"),
            "block.conv2": ("block.conv2", "block.norm2"),
            "block.downsample.0": ("block.downsample",),
            "fc": ("fc",),
        },
        ("stem", "block.conv1", "block.conv2", "block.downsample.0"),
    ),
    "LSTM": Kind(lambda: Recurrent(nn.LSTM), each("rnn", "out"), ("rnn",)),
    "GRU": Kind(lambda: Recurrent(nn.GRU), each("rnn", "out"), ("rnn",)),
    "RNN": Kind(lambda: Recurrent(nn.RNN), each("rnn", "out"), ("rnn",)),
    "transformer": Kind(Transformer, ENCODER, ("encoder.self_attn", "encoder.linear1", "encoder.linear2")),
    "transformer, normalised first": Kind(
        lambda: Transformer(norm_first=True),
        ENCODER,
        ("encoder.self_attn", "encoder.linear1", "encoder.linear2"),
    ),
    "tied embedding": Kind(
        TiedEmbedding, {**each("embed", "hidden"), "decoder": ("decoder.bias",)}, ("embed", "hidden")
    ),
    "sparse embedding": Kind(
        lambda: TiedEmbedding(sparse=True),
        {**each("embed", "hidden"), "decoder": ("decoder.bias",)},
        ("embed", "hidden"),
    ),
    "in place": Kind(InPlace, each("fc1", "fc2", "fc3", "out"), ("fc1", "fc2", "fc3")),
    "recomputed": Kind(
        Recomputed,
        {"first": ("first",), "out": ("out",), "block.0": ("block.0", "block.1")},
        ("first", "block.0"),
        per_sample=False,
    ),
    "recomputed, without batch statistics": Kind(
        RecomputedAlone,
        {"first": ("first",), "out": ("out",), "block.0": ("block.0", "block.1")},
        ("first", "block.0"),
    ),
    "recomputed, reentrant": Kind(
        lambda: RecomputedAlone(reentrant=True),
        {"first": ("first",), "out": ("out",), "block.0": ("block.0", "block.1")},
        ("first", "block.0"),
    ),
    "padded embedding": Kind(
        lambda: TiedEmbedding(tied=False, padding_idx=0),
        each("embed", "hidden", "decoder"),
        ("embed", "hidden"),
    ),
    "last state of an LSTM": Kind(LastState, each("rnn", "out"), ("rnn",)),
    "shared dictionary": Kind(Skips, each("down.fc", "up.fc"), ("down.fc",)),
    "target network": Kind(Target, each("own", "target", "out"), ("own",)),
    "scalar and empty parameters": Kind(Scalars, each("scale", "fc", "out"), ("fc",)),
    "branches": Kind(Branches, each("left", "right", "out"), ("left", "right")),
    "caching": Kind(Caching, each("fc", "out"), ("fc",)),
    "own normalisation": Kind(
        Chained, {"fc1": ("fc1", "act"), "fc2": ("fc2", "norm"), "out": ("out",)}, ("fc1", "fc2")
    ),
    "weight normalisation": Kind(spectral, each("0", "2", "4"), ("0", "2")),
    "mixed precision": Kind(Mixed, each("body", "head"), ("body",), exact=lambda: Mixed(body=torch.float64)),
}


def make(name, seed=0):
    """One of `KINDS` in float64, its weights moved away from any special place."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = KINDS[name].make().double()
        with torch.no_grad():
            for value in model.parameters():
                value.add_(0.1 * torch.randn_like(value))
    return model


def exact(name, state):
    """One of `KINDS` in float64 all through, with these weights."""
    kind = KINDS[name]
    model = kind.exact() if kind.exact else make(name)
    model.load_state_dict(state)
    return model
