"""What a layer is: which trained parameters are counted together, and under which name."""

import fnmatch
from collections.abc import Iterable, Mapping, Sequence

from torch import nn

from clbench.errors import OptionError, UnknownNameError, did_you_mean
from clbench.indicators.layer_names import name_layers

LayerChoice = int | str | Sequence[str] | Mapping[str, str | Sequence[str]] | None
"""How parameters are grouped, see `layer_parameters`."""

WHOLE = "whole network"
"""The key of the whole network; no module can have this name."""


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
    """Return the names of the given parameters by layer, see `layer_parameters`."""
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
    """Return the layer of the first pattern that matches."""
    for layer, pattern in patterns:
        if module := _match(path, pattern):
            return layer or module
    return None


def check_layer_choice(layers: object) -> None:
    """Raise `OptionError` unless it is None, a depth, patterns, or patterns by layer."""
    if layers is None or (isinstance(layers, int) and not isinstance(layers, bool) and layers >= 1):
        return
    if isinstance(layers, int):
        raise OptionError(f"layers={layers} is not a depth: it must be at least 1 (the model's children)")
    _patterns(layers)


def is_layer_choice(layers: object) -> bool:
    """Return whether it is None, a depth, patterns, or patterns by layer."""
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
