"""What a layer is: which trained parameters are counted together, and under which name."""

import fnmatch
import re
from collections.abc import Collection, Iterable, Mapping, Sequence

from torch import nn

from clbench.errors import OptionError, UnknownNameError, did_you_mean
from clbench.indicators.module_kinds import HOLDERS, outer_paths, parent_path, scales_units, wrapped_paths

LayerChoice = int | str | Sequence[str] | Mapping[str, str | Sequence[str]] | None  # see `layer_parameters`
WHOLE = "whole network"  # no module can have this name

TRANSFORMERS = {
    nn.TransformerEncoderLayer: {"norm1": "self_attn.out_proj", "norm2": "linear2"},
    nn.TransformerDecoderLayer: {
        "norm1": "self_attn.out_proj",
        "norm2": "multihead_attn.out_proj",
        "norm3": "linear2",
    },
}  # which layer each normalisation follows: these are registered last

WIDTHS = ("out_features", "out_channels", "embedding_dim", "embed_dim", "hidden_size")
NORM_WIDTHS = ("num_features", "num_channels", "normalized_shape", "num_parameters")


def layer_parameters(model: nn.Module, layers: LayerChoice = None) -> dict[str, list[str]]:
    """Return the names of trained parameters by layer, in the model's order.

    A layer is a leaf module that owns trained parameters, under its full name: `fc1`, `net.0`, `blocks.3.attn`. What
    only scales and shifts units counts with the layer that it follows, since nobody would give it a separate step size:
    a normalisation (a class of `torch.nn`, or one with "Norm" in its name and parameters of one dimension), and
    `nn.PReLU`. The order of registration decides: it follows the layer before it that has the same number and width
    (`bn2` goes to `conv2`, `bns.2` to `convs.2`), or else the last one before it in the same module; one before all
    layers of its module counts with the first of them. A parameter of the model itself, or of a module that holds
    layers, is a separate layer (`pos_embedding`, `encoder.pos_embedding`); `nn.MultiheadAttention` is one layer (`attn`
    next to `attn.out_proj`). A parameter with two names counts once, under the first. Wrappers are seen through:
    `DataParallel`, `DistributedDataParallel` and `torch.compile`.

    Args:
        model: any module. Frozen parameters and empty ones belong to no layer.
        layers: None for the above; a number, the depth at which modules count as a whole (1: the model's
            children); one or several names or patterns of modules to count as a whole, such as `"blocks.*"`, the
            outermost match; or names of layers with such patterns. Parameters that match none belong to no layer: they
            count in the whole network only, and a scheduler leaves them alone.

    >>> net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.Linear(3, 1))
    >>> layer_parameters(net)
    {'0': ['0.weight', '0.bias', '1.weight', '1.bias'], '3': ['3.weight', '3.bias']}
    >>> list(layer_parameters(nn.ModuleDict({"body": net, "head": nn.Linear(1, 1)}), layers=1))
    ['body', 'head']
    """
    return group_parameters(model, list(trained_parameters(model)), layers)


def trained_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters that are neither frozen nor empty, by name."""
    return {name: value for name, value in model.named_parameters() if value.requires_grad and value.numel()}


def group_parameters(
    model: nn.Module, parameters: Sequence[str], layers: LayerChoice
) -> dict[str, list[str]]:
    check_layer_choice(layers)
    names = name_layers(model)
    if layers is None or isinstance(layers, int):
        chosen: dict[str, str | None] = {name: ".".join(names[name][:layers]) for name in parameters}
    else:
        patterns = _patterns(layers)
        for _, pattern in patterns:
            _check_pattern(pattern, names, parameters)
        chosen = {name: _first_match(names[name], patterns) for name in parameters}
    grouped: dict[str, list[str]] = {}
    for name, layer in chosen.items():
        if layer is not None:
            grouped.setdefault(layer, []).append(name)
    if WHOLE in grouped:
        raise OptionError(f"'{WHOLE}' is reserved: give the layer another name")
    return grouped


def _check_pattern(pattern: str, names: Mapping[str, Sequence[str]], parameters: Sequence[str]) -> None:
    if any(_match(names[name], pattern) for name in parameters):
        return
    known = list(dict.fromkeys(".".join(names[name]) for name in parameters))
    if any(_match(path, pattern) for path in names.values()):
        raise OptionError(
            f"layers={pattern!r} matches frozen parameters only. Trained layers: {', '.join(known)}"
        )
    raise UnknownNameError(
        f"layers={pattern!r} matches no layer of the model.{did_you_mean(pattern, known)} "
        f"Layers: {', '.join(known)}"
    )


def _first_match(path: Sequence[str], patterns: Iterable[tuple[str | None, str]]) -> str | None:
    for layer, pattern in patterns:
        if module := _match(path, pattern):
            return layer or module
    return None


def check_layer_choice(layers: object) -> None:
    if layers is None or (isinstance(layers, int) and not isinstance(layers, bool) and layers >= 1):
        return
    if isinstance(layers, int):
        raise OptionError(f"layers={layers} is not a depth: it must be at least 1 (the model's children)")
    _patterns(layers)


def is_layer_choice(layers: object) -> bool:
    try:
        check_layer_choice(layers)
    except OptionError:
        return False
    return True


def _patterns(layers: object) -> list[tuple[str | None, str]]:
    """Return patterns, each with the name of its layer; None for the name of the module that matches."""
    named = layers.items() if isinstance(layers, Mapping) else [(None, layers)]
    pairs: list[tuple[str | None, str]] = []
    for layer, value in named:
        patterns = [value] if isinstance(value, str) else list(value) if isinstance(value, Iterable) else []
        if not patterns or not all(isinstance(pattern, str) for pattern in patterns):
            raise OptionError(
                f"layers={layers!r} must be a depth, names or patterns, or layers' names with patterns"
            )
        pairs += [(layer, pattern) for pattern in patterns]
    if not pairs:
        raise OptionError(f"layers={layers!r} names no layer")
    return pairs


def _match(path: Sequence[str], pattern: str) -> str | None:
    """Return the outermost module whose name matches, of a layer and the modules that it is in."""
    names = (".".join(path[: depth + 1]) for depth in range(len(path)))
    return next((name for name in names if fnmatch.fnmatchcase(name, pattern)), None)


def name_layers(model: nn.Module) -> dict[str, tuple[str, ...]]:
    """Return each parameter's layer, as the names of the modules down to it."""
    owners = {name: _owner(model, name) for name, _ in model.named_parameters()}
    modules, wrapped = dict(model.named_modules()), wrapped_paths(model)
    layers = _leaf_layers(modules, set(owners.values()))
    names = {}
    for parameter, owner in owners.items():
        suffix = parameter.removeprefix(f"{owner}.").removeprefix("parametrizations.")
        if not isinstance(modules.get(parent_path(parameter)), nn.ParameterList | nn.ParameterDict):
            suffix = suffix.partition(".")[0]
        path = layers.get(owner, f"{owner}.{suffix}".lstrip("."))
        names[parameter] = _visible_names(path, wrapped) or (suffix,)
    return names


def _leaf_layers(modules: Mapping[str, nn.Module], owners: Collection[str]) -> dict[str, str]:
    """Return the layer of each leaf module that owns parameters: itself, or for a normalisation the one it follows."""
    holding = {outer for owner in owners for outer in outer_paths(owner)}
    leaves = [
        path
        for path, module in modules.items()
        if path in owners and (path not in holding or isinstance(module, nn.MultiheadAttention)) and path
    ]
    positions = {path: index for index, path in enumerate(leaves)}
    layers = [path for path in leaves if not scales_units(modules[path])]

    def followed(path: str) -> str:
        siblings = [layer for layer in layers if parent_path(path) in outer_paths(layer)]
        earlier, earlier_siblings = (
            [layer for layer in group if positions[layer] < positions[path]] for group in (layers, siblings)
        )
        return (
            _by_name(path, modules, earlier)
            or _last(earlier_siblings)
            or next(iter(siblings), None)
            or _last(earlier)
            or next(iter(layers), path)
        )

    return {path: followed(path) if scales_units(modules[path]) else path for path in leaves}


def _last(paths: Sequence[str]) -> str | None:
    return paths[-1] if paths else None


def _owner(model: nn.Module, parameter: str) -> str:
    """Return the path of the module that a parameter belongs to; lists and parametrizations are seen through."""
    owner = parent_path(parameter)
    while owner and isinstance(model.get_submodule(owner), HOLDERS):
        owner = parent_path(owner)
        if owner.rpartition(".")[2] == "parametrizations":
            owner = parent_path(owner)
    return owner


def _by_name(path: str, modules: Mapping[str, nn.Module], earlier: Iterable[str]) -> str | None:
    """Return which of the layers registered before a normalisation goes with it by name, number and width."""
    parent, _, name = path.rpartition(".")
    for kind, followed in TRANSFORMERS.items():
        if isinstance(modules[parent], kind) and name in followed:
            return f"{parent}.{followed[name]}".lstrip(".")
    width, number = _width(modules[path], NORM_WIDTHS), _number(path, modules)
    for layer in earlier if number and width is not None else ():
        if _number(layer, modules) == number and _width(modules[layer], WIDTHS) == width:
            return layer
    return None


def _number(path: str, modules: Mapping[str, nn.Module]) -> tuple[str, str] | None:
    """Return a module's number after the module that numbers it: of `bn2`, or `bns.2` if that is in a `ModuleList`."""
    parent, _, name = path.rpartition(".")
    if name.isdecimal():
        return (parent_path(parent), name) if isinstance(modules[parent], nn.ModuleList) else None
    match = re.fullmatch(r"\D+(\d+)", name)
    return (parent, match[1]) if match else None


def _width(module: nn.Module, names: Iterable[str]) -> int | None:
    for name in names:
        width = getattr(module, name, None)
        if isinstance(width, int):
            return width
        if isinstance(width, tuple) and width:
            return int(width[-1])
    return None


def _visible_names(path: str, wrapped: Collection[str]) -> tuple[str, ...]:
    names = path.split(".") if path else []
    return tuple(name for depth, name in enumerate(names) if ".".join(names[: depth + 1]) not in wrapped)
