"""Kinds of modules: wrappers, holders of parameters, normalisations; and their paths."""

from torch import nn
from torch.nn.utils.parametrize import ParametrizationList

HOLDERS = (nn.ParameterList, nn.ParameterDict, ParametrizationList)  # their parameters are their parent's
PARALLEL = (nn.DataParallel, nn.parallel.DistributedDataParallel)
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
INSTANCE_NORMS = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)
CONVOLUTIONS = (
    *(nn.Conv1d, nn.Conv2d, nn.Conv3d),
    *(nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d),
)
NORMALISATIONS = (*BATCH_NORMS, *INSTANCE_NORMS, nn.LayerNorm, nn.GroupNorm)


def scales_units(module: nn.Module) -> bool:
    """Return whether a module only scales and shifts the units of another layer: a normalisation, or a PReLU."""
    return isinstance(module, nn.PReLU) or is_normalisation(module)


def is_normalisation(module: nn.Module) -> bool:
    """Return whether a module is a normalisation: a class of `torch.nn`, or one with that name that only scales."""
    if isinstance(module, NORMALISATIONS):
        return True
    parameters = list(module.parameters())
    named = "norm" in type(module).__name__.lower()
    return named and bool(parameters) and all(value.ndim <= 1 for value in parameters)


def is_parametrized(module: nn.Module) -> bool:
    return isinstance(module._modules.get("parametrizations"), nn.ModuleDict)


def unwrap(model: nn.Module) -> nn.Module:
    while (child := _wrapped_child(model)) is not None:
        model = model.get_submodule(child)
    return model


def wrapped_paths(model: nn.Module) -> set[str]:
    children = ((path, _wrapped_child(module)) for path, module in model.named_modules())
    return {f"{path}.{child}".lstrip(".") for path, child in children if child is not None}


def _wrapped_child(module: nn.Module) -> str | None:
    """Return the name of the module in a wrapper; None if this is not a wrapper."""
    if isinstance(module, PARALLEL):
        return "module"
    return "_orig_mod" if "_orig_mod" in module._modules else None  # made by `torch.compile`


def outer_paths(path: str) -> list[str]:
    """Return the paths of the modules that a module is in, from the model itself on.

    >>> outer_paths("blocks.3.attn")
    ['', 'blocks', 'blocks.3']
    """
    names = path.split(".") if path else []
    return [".".join(names[:depth]) for depth in range(len(names))]


def parent_path(path: str) -> str:
    return path.rpartition(".")[0]
