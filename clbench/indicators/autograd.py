"""Derivatives by autograd, its graph, and errors that say what PyTorch cannot compute."""

import contextlib
from collections.abc import Container, Iterator, Sequence

import torch
from torch.autograd.graph import Node

from clbench.errors import UndefinedError


def differentiate(
    what: str,
    outputs: torch.Tensor | Sequence[torch.Tensor],
    inputs: Sequence[torch.Tensor],
    grad_outputs: Sequence[torch.Tensor] | None = None,
    create_graph: bool = False,
    retain_graph: bool | None = None,
) -> list[torch.Tensor]:
    """Return dense derivatives, zero where there is no dependence, or raise `UndefinedError` with `what` in it."""
    derivatives: Sequence[torch.Tensor | None] = [None] * len(inputs)
    if not isinstance(outputs, torch.Tensor) or outputs.requires_grad:
        with undefined_if_it_fails(what):
            derivatives = torch.autograd.grad(
                outputs,
                list(inputs),
                grad_outputs,
                create_graph=create_graph,
                retain_graph=retain_graph,
                allow_unused=True,
            )
    return [
        torch.zeros_like(source) if value is None else value.to_dense() if value.is_sparse else value
        for source, value in zip(inputs, derivatives, strict=True)
    ]


def ancestors(node: Node | None, until: Container[Node] = ()) -> Iterator[Node]:
    """Yield a node of autograd's graph and all that it was computed from, no further back than nodes in `until`."""
    waiting, visited = [node], set[Node]()
    while waiting:
        current = waiting.pop()
        if current is None or current in visited:
            continue
        visited.add(current)
        yield current
        if current not in until:
            waiting += [source for source, _ in current.next_functions]


@contextlib.contextmanager
def undefined_if_it_fails(what: str) -> Iterator[None]:
    """Turn PyTorch's errors into an `UndefinedError` that says what could not be computed."""
    try:
        yield
    except (RuntimeError, ValueError, IndexError) as error:
        reason = str(error).strip().partition("\n")[0].rstrip(".")
        raise UndefinedError(
            f"PyTorch cannot compute {what} of this model: {reason}. Measure a model without that layer, "
            "or with it in eval mode"
        ) from error
