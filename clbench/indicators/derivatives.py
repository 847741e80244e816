"""Derivatives by autograd, or what could not be computed and why."""

import contextlib
from collections.abc import Container, Iterator, Sequence
from typing import Any

import torch

from clbench.errors import UndefinedError


def differentiated(
    what: str, outputs: Any, inputs: Sequence[torch.Tensor], **options: Any
) -> list[torch.Tensor]:
    """Return derivatives, dense, and zero where there is no dependence.

    Raises:
        UndefinedError: PyTorch has no such derivative.
    """
    found: Sequence[torch.Tensor | None] = [None] * len(inputs)
    if not isinstance(outputs, torch.Tensor) or outputs.requires_grad:
        with undefined_if_it_fails(what):
            found = torch.autograd.grad(outputs, list(inputs), allow_unused=True, **options)
    pairs = zip(inputs, found, strict=True)
    dense = (
        (place, value.to_dense() if value is not None and value.is_sparse else value)
        for place, value in pairs
    )
    return [torch.zeros_like(place) if value is None else value for place, value in dense]


def nodes_before(node: Any, until: Container[Any] = ()) -> Iterator[Any]:
    """Yield a node of autograd's graph and all that it was made of, going no further back than nodes in `until`."""
    waiting, been = [node], {None}
    while waiting:
        one = waiting.pop()
        if one in been:
            continue
        been.add(one)
        yield one
        if one not in until:
            waiting += [before for before, _ in one.next_functions]


@contextlib.contextmanager
def undefined_if_it_fails(what: str) -> Iterator[None]:
    """Turn what PyTorch raises into an `UndefinedError` that says what could not be computed."""
    try:
        yield
    except (RuntimeError, ValueError, IndexError) as error:
        reason = str(error).strip().partition("\n")[0].rstrip(".")
        raise UndefinedError(
            f"PyTorch cannot compute {what} of this model: {reason}. Measure a model without the layer at fault, "
            "or with it in eval mode"
        ) from error
