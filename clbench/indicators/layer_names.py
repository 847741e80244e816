"""Which layer each parameter of a model belongs to, by how its modules are nested and registered."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence

from torch import nn

from clbench.indicators.module_kinds import HOLDERS, outer_paths, parent_path, scales_units, wrapped_paths

TRANSFORMERS = {
    nn.TransformerEncoderLayer: {"norm1": "self_attn.out_proj", "norm2": "linear2"},
    nn.TransformerDecoderLayer: {
        "norm1": "self_attn.out_proj",
        "norm2": "multihead_attn.out_proj",
        "norm3": "linear2",
    },
}
"""Which layer each normalisation follows: these are registered last."""

WIDTHS = ("out_features", "out_channels", "embedding_dim", "embed_dim", "hidden_size")
NORM_WIDTHS = ("num_features", "num_channels", "normalized_shape", "num_parameters")


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
