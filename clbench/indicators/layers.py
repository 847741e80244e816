"""What a layer is: which trained parameters are counted together, and under which name."""

import fnmatch
import re
from collections.abc import Container, Iterable, Mapping, Sequence

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.utils.parametrize import ParametrizationList

from clbench.errors import OptionError, UnknownNameError, did_you_mean

LayerChoice = int | str | Sequence[str] | Mapping[str, str | Sequence[str]] | None
"""How parameters are grouped, see `layer_parameters`."""

WHOLE = "whole network"
"""The key of the whole network; no module can have this name."""

HOLDERS = (nn.ParameterList, nn.ParameterDict, ParametrizationList)  # their parameters are their parent's
PARALLEL = (nn.DataParallel, nn.parallel.DistributedDataParallel)
NORMALISATIONS = (_NormBase, nn.LayerNorm, nn.GroupNorm)
TRANSFORMERS = {
    nn.TransformerEncoderLayer: {"norm1": "self_attn.out_proj", "norm2": "linear2"},
    nn.TransformerDecoderLayer: {
        "norm1": "self_attn.out_proj",
        "norm2": "multihead_attn.out_proj",
        "norm3": "linear2",
    },
}
"""Their normalisations are registered last."""

WIDTHS = ("out_features", "out_channels", "embedding_dim", "embed_dim", "hidden_size")
NORM_WIDTHS = ("num_features", "num_channels", "normalized_shape", "num_parameters")


def layer_parameters(model: nn.Module, layers: LayerChoice = None) -> dict[str, list[str]]:
    """Return the names of trained parameters by layer, in the model's order.

    A layer is a leaf module that owns trained parameters, under its full name: `fc1`, `net.0`, `blocks.3.attn`. What
    only scales and shifts units counts with the layer that it follows, for its parameters are no layer that one
    would give a step size of its own: a normalisation (a class of `torch.nn`, or one with "Norm" in its name and
    parameters of one dimension), and `nn.PReLU`. It goes by the order in which modules were
    registered: it follows the layer before it that has the same number and width (`bn2` goes to `conv2`, `bns.2` to
    `convs.2`), or else the last one before it in the same module; one that comes before all layers of its module counts
    with the first of them. A parameter of the model itself, or of a module that holds layers, is a layer of its own
    (`pos_embedding`, `encoder.pos_embedding`), but for `nn.MultiheadAttention` (`attn` beside `attn.out_proj`). What is
    there twice counts once, under its first name. `DataParallel`, `DistributedDataParallel` and `torch.compile` are
    seen through.

    Args:
        model: any module. Frozen parameters and empty ones belong to no layer.
        layers: None for the above; a number, the depth at which modules are taken as a whole (1: the model's own
            children); one or several names or patterns such as `"blocks.*"` of modules to be taken as a whole, the
            outermost that matches; or names of layers with such patterns. What matches none belongs to no layer: it
            counts in the whole network only, and a scheduler leaves it alone.

    Raises:
        UnknownNameError: a name or pattern matches nothing that is trained.
        OptionError: `layers` is nothing of these.

    >>> net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.Linear(3, 1))
    >>> layer_parameters(net)
    {'0': ['0.weight', '0.bias', '1.weight', '1.bias'], '3': ['3.weight', '3.bias']}
    >>> list(layer_parameters(nn.ModuleDict({"body": net, "head": nn.Linear(1, 1)}), layers=1))
    ['body', 'head']
    """
    return grouped(model, list(trained_parameters(model)), layers)


def trained_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return what is trained, by name: neither frozen nor empty."""
    return {name: value for name, value in model.named_parameters() if value.requires_grad and value.numel()}


def grouped(model: nn.Module, trained: Sequence[str], layers: LayerChoice) -> dict[str, list[str]]:
    """Return `layer_parameters` of the parameters given."""
    check_layer_choice(layers)
    homes = _homes(model)
    found: dict[str, list[str]] = {}
    if layers is None:
        for name in trained:
            found.setdefault(".".join(homes[name]), []).append(name)
    elif isinstance(layers, int):
        for name in trained:
            found.setdefault(".".join(homes[name][:layers]), []).append(name)
    else:
        patterns = _patterns(layers)
        for _, pattern in patterns:
            if not any(_matching(homes[name], pattern) for name in trained):
                known = list(dict.fromkeys(".".join(homes[name]) for name in trained))
                if any(_matching(home, pattern) for home in homes.values()):
                    raise OptionError(
                        f"layers={pattern!r}: all of that is frozen. Trained are: {', '.join(known)}"
                    )
                raise UnknownNameError(
                    f"layers={pattern!r} matches no layer of the model.{did_you_mean(pattern, known)} "
                    f"There are: {', '.join(known)}"
                )
        for name in trained:
            fitting = ((layer, _matching(homes[name], pattern)) for layer, pattern in patterns)
            for layer, module in fitting:
                if module:
                    found.setdefault(layer or module, []).append(name)
                    break
    if WHOLE in found:
        raise OptionError(f"no layer can be called '{WHOLE}'")
    return found


def check_layer_choice(layers: object) -> None:
    """Raise `OptionError` unless it is None, a depth, patterns, or patterns by layer."""
    if layers is None or (isinstance(layers, int) and not isinstance(layers, bool) and layers >= 1):
        return
    if isinstance(layers, int):
        raise OptionError(f"layers={layers} is no depth: 1, for the model's own modules, is the least")
    _patterns(layers)


def is_layer_choice(layers: object) -> bool:
    """Tell whether it is None, a depth, patterns, or patterns by layer."""
    try:
        check_layer_choice(layers)
    except OptionError:
        return False
    return True


def _patterns(layers: object) -> list[tuple[str | None, str]]:
    """Return patterns, each with the name of the layer that it makes; None for the name of the module that matches."""
    named = layers.items() if isinstance(layers, Mapping) else [(None, layers)]
    found: list[tuple[str | None, str]] = []
    for layer, own in named:
        patterns = [own] if isinstance(own, str) else list(own) if isinstance(own, Iterable) else []
        if not patterns or not all(isinstance(pattern, str) for pattern in patterns):
            raise OptionError(
                f"layers={layers!r} must be a depth, names or patterns, or layers' names with patterns"
            )
        found += [(layer, pattern) for pattern in patterns]
    if not found:
        raise OptionError(f"layers={layers!r} names no layer")
    return found


def _matching(home: Sequence[str], pattern: str) -> str | None:
    """Return the outermost module, of those that a layer is in and itself, whose name matches."""
    names = (".".join(home[: depth + 1]) for depth in range(len(home)))
    return next((name for name in names if fnmatch.fnmatchcase(name, pattern)), None)


def _homes(model: nn.Module) -> dict[str, tuple[str, ...]]:
    """Return the layer that each parameter belongs to, as the names of the modules down to it."""
    owner_of = {name: _owner(model, name) for name, _ in model.named_parameters()}
    owners, hidden = set(owner_of.values()), wrapped(model)
    holding = {outer for owner in owners for outer in above(owner)}
    modules = dict(model.named_modules())
    leaves = [
        path
        for path, module in modules.items()
        if path in owners and (path not in holding or isinstance(module, nn.MultiheadAttention)) and path
    ]
    layers = {path: place for place, path in enumerate(leaves) if not scales_units(modules[path])}
    within: dict[str, list[str]] = {"": []}  # the layers in each module
    for path in layers:
        for outer in above(path):
            within.setdefault(outer, []).append(path)
    layer_of = {}
    for place, path in enumerate(leaves):
        if path in layers:
            layer_of[path] = path
            continue
        near, far = within.get(_parent(path), []), within[""]
        earlier = [layer for layer in near if layers[layer] < place]
        layer_of[path] = (
            _followed(path, modules, [layer for layer in far if layers[layer] < place])
            or next(reversed(earlier), None)
            or next(iter(near), None)
            or next((layer for layer in reversed(far) if layers[layer] < place), None)
            or next(iter(far), path)
        )
    found = {}
    for name, owner in owner_of.items():
        own = name.removeprefix(f"{owner}.").removeprefix("parametrizations.")
        if not isinstance(modules.get(_parent(name)), nn.ParameterList | nn.ParameterDict):
            own = own.partition(".")[0]
        names = (
            _shown(layer_of[owner], hidden)
            if owner in layer_of
            else (*_shown(owner, hidden), *own.split("."))
        )
        found[name] = names or (own,)
    return found


def above(path: str) -> list[str]:
    """Return the paths of the modules that a module is in, from the model itself on."""
    names = path.split(".") if path else []
    return [".".join(names[:depth]) for depth in range(len(names))]


def _owner(model: nn.Module, parameter: str) -> str:
    """Return the path of the module that a parameter belongs to; lists and parametrizations are seen through."""
    owner = _parent(parameter)
    while owner and isinstance(model.get_submodule(owner), HOLDERS):
        owner = _parent(owner)
        if owner.rpartition(".")[2] == "parametrizations":
            owner = _parent(owner)
    return owner


def scales_units(module: nn.Module) -> bool:
    """Tell whether a module is a normalisation, or a PReLU: it scales and shifts the units of another layer."""
    return isinstance(module, nn.PReLU) or is_normalisation(module)


def is_normalisation(module: nn.Module) -> bool:
    """Tell whether a module is a normalisation: a class of `torch.nn`, or one that is called so and only scales."""
    if isinstance(module, NORMALISATIONS):
        return True
    own = list(module.parameters())
    return "norm" in type(module).__name__.lower() and bool(own) and all(value.ndim <= 1 for value in own)


def _followed(path: str, modules: Mapping[str, nn.Module], before: Sequence[str]) -> str | None:
    """Return which of the layers registered before a normalisation goes with it by its name, if any."""
    parent, own = path.rpartition(".")[0::2]
    for kind, followed in TRANSFORMERS.items():
        if isinstance(modules[parent], kind) and own in followed:
            return f"{parent}.{followed[own]}".lstrip(".")
    width, number = _width(modules[path], NORM_WIDTHS), _numbered(path, modules)
    for layer in before if number and width is not None else ():
        if _numbered(layer, modules) == number and _width(modules[layer], WIDTHS) == width:
            return layer
    return None


def _numbered(path: str, modules: Mapping[str, nn.Module]) -> tuple[str, str] | None:
    """Return a module's number, and where it is numbered: 2 of `bn2`, and 2 of `bns.2` if that is in a `ModuleList`."""
    parent, own = path.rpartition(".")[0::2]
    if own.isdecimal():
        return (_parent(parent), own) if isinstance(modules[parent], nn.ModuleList) else None
    found = re.fullmatch(r"\D+(\d+)", own)
    return (parent, found[1]) if found else None


def _width(module: nn.Module, names: Sequence[str]) -> int | None:
    for name in names:
        width = getattr(module, name, None)
        if isinstance(width, int):
            return width
        if isinstance(width, tuple) and width:
            return int(width[-1])
    return None


def _parent(path: str) -> str:
    return path.rpartition(".")[0]


def wrapped(model: nn.Module) -> set[str]:
    """Return the paths of modules that are in a wrapper."""
    found = set()
    for path, module in model.named_modules():
        above = f"{path}." if path else ""
        if isinstance(module, PARALLEL):
            found.add(f"{above}module")
        if is_compiled(module):
            found.add(f"{above}_orig_mod")
    return found


def is_parametrized(module: nn.Module) -> bool:
    """Tell whether a module's own weight is made of others, as by `torch.nn.utils.parametrizations`."""
    return isinstance(module._modules.get("parametrizations"), nn.ModuleDict)


def is_compiled(module: nn.Module) -> bool:
    """Tell whether a module is what `torch.compile` made of another."""
    return "_orig_mod" in module._modules


def unwrapped(model: nn.Module) -> nn.Module:
    """Return what is in a model's wrappers: `DataParallel`, `DistributedDataParallel`, `torch.compile`."""
    while True:
        if isinstance(model, PARALLEL):
            model = model.module
        elif is_compiled(model):
            inner = model._modules["_orig_mod"]
            assert inner is not None
            model = inner
        else:
            return model


def _shown(path: str, hidden: Container[str]) -> tuple[str, ...]:
    """Return a path's names but for those of wrapped modules."""
    names = path.split(".") if path else []
    return tuple(name for place, name in enumerate(names) if ".".join(names[: place + 1]) not in hidden)
