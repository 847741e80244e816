"""One network's part of a pass, or S networks' at once: its forward pass and all derivatives."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.func import functional_call, grad, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from clbench.errors import OptionError, UndefinedError
from clbench.indicators.networks import LossFunction, Tensors, wide
from clbench.indicators.watching import (
    Calls,
    check_per_sample,
    plain_linear_layers,
    random_state_kept,
    watched,
)
from clbench.machine import seen

CHUNK = 64  # samples whose gradients of general layers are in memory together


class Part:
    """One network without a stacking axis, or S at once with it (`many`).

    Attributes:
        leaves: copies of the trained parameters that gradients are taken by.
        linear: linear layers whose per-sample gradients have a closed form.
        graph: gradients of the data loss, with their graph if Hessian-vector products are wanted.
        data: the same without.
        trained: the same plus the penalty's, once that is added.
    """

    def __init__(
        self,
        model: nn.Module,
        state: Tensors,
        inputs: torch.Tensor,
        targets: torch.Tensor,
        many: bool = False,
    ) -> None:
        trained = [name for name, value in model.named_parameters() if value.requires_grad]
        self.model, self.inputs, self.targets, self.many = model, inputs, targets, many
        self.leaves = {name: state[name].detach().requires_grad_() for name in trained}
        # Buffers are copied: a forward pass in training mode updates them.
        self.constants = {
            name: value.detach().clone() for name, value in state.items() if name not in self.leaves
        }
        self.linear = plain_linear_layers(model)
        self._calls: Calls = {}
        self._probes: Tensors = {}

    def run(self, loss_fn: LossFunction, hessian: bool, closed: Sequence[str] | None) -> None:
        """Run forward and backward; keep gradients of parameters and of linear layers' outputs."""
        if closed is not None:
            self.linear = list(closed)
        # Fused attention has no second derivative.
        kernel = sdpa_kernel(SDPBackend.MATH) if hessian else contextlib.nullcontext()
        with torch.enable_grad(), random_state_kept(self.inputs.device), kernel:
            outputs = self._forward_many() if self.many else self._forward_one()
            if not isinstance(outputs, torch.Tensor):
                raise OptionError(
                    f"the model gives a {type(outputs).__name__}, not one tensor: wrap it in one that does"
                )
            losses = self._losses(loss_fn, outputs)
        if closed is None or seen(self.inputs.device.type):
            self._check_mean(loss_fn, outputs, samples=8 if closed is None else 2)
        self._sort_calls()
        places = [*self.leaves.values(), *(self._calls[name][0][1] for name in self.linear)]
        with torch.enable_grad():
            found = differentiated(
                "the gradient", losses.sum(), places, create_graph=hessian, retain_graph=hessian
            )
        self.graph = dict(zip(self.leaves, found, strict=False))
        self.data = {name: value.detach() for name, value in self.graph.items()}
        self.trained = dict(self.data)
        size = self.inputs.shape[1 if self.many else 0]
        # d_i, the gradient of sample i's own loss: the mean's times B.
        outer = zip(self.linear, found[len(self.leaves) :], strict=True)
        self._outer = {name: wide(value.detach()) * size for name, value in outer}
        self._inner = {name: wide(self._calls[name][0][0].detach()) for name in self.linear}
        if closed is None:
            self.linear = [name for name in self.linear if self._has_closed_form(name, size)]

    def _has_closed_form(self, name: str, size: int) -> bool:
        """Tell whether the batch's gradient of a linear layer is the mean of d_i a_i^T.

        It is not where the weight is also used elsewhere, or a hook changes the output. Compared are the two
        matrices' products with one vector (as in Freivalds' check), at the cost of next to nothing.
        """
        outer, inner = self._outer[name], self._inner[name]
        for kind in ("weight", "bias"):
            gradient = self.data.get(f"{name}.{kind}".lstrip("."))
            if gradient is None:
                continue
            gradient = wide(gradient)
            if kind == "weight":
                vector = torch.arange(inner.shape[-1], device=inner.device).to(inner).cos()
                ours, theirs = outer.mT @ (inner @ vector).unsqueeze(-1), (gradient @ vector).unsqueeze(-1)
            else:
                ours, theirs = outer.sum(dim=-2), gradient
            scale = theirs.abs().max() + outer.abs().mean()
            if ((ours / size - theirs).abs().max() > 1e-2 * scale).item():
                return False
        return True

    def _forward_one(self) -> torch.Tensor:
        with watched(self.model, self.linear) as self._calls:
            outputs: torch.Tensor = functional_call(
                self.model, {**self.leaves, **self.constants}, (self.inputs,)
            )
        return outputs

    def _forward_many(self) -> torch.Tensor:
        """Run all networks at once. Zeros are added to linear outputs, since only what comes from
        outside of `vmap` can be differentiated by.
        """
        first = row({**self.leaves, **self.constants}, 0)
        with torch.no_grad(), watched(self.model, self.linear) as self._calls:
            functional_call(self.model, {k: v.detach().clone() for k, v in first.items()}, (self.inputs[0],))
        self._sort_calls()
        count = len(self.inputs)
        self._probes = {
            name: torch.zeros_like(output).expand(count, *output.shape).clone().requires_grad_()
            for name, [(_, output)] in self._calls.items()
        }

        def call(
            leaves: Tensors, constants: Tensors, inputs: torch.Tensor, probes: Tensors
        ) -> tuple[torch.Tensor, Tensors]:
            with watched(self.model, self.linear, probes) as calls:
                outputs = functional_call(self.model, {**leaves, **constants}, (inputs,))
            return outputs, {name: calls[name][0][0] for name in self.linear}

        outputs, inner = vmap(call, randomness="different")(
            self.leaves, self.constants, self.inputs, self._probes
        )
        self._calls = {name: [(inner[name], self._probes[name])] for name in self.linear}
        return outputs

    def _losses(self, loss_fn: LossFunction, outputs: torch.Tensor) -> torch.Tensor:
        losses = vmap(loss_fn)(outputs, self.targets) if self.many else loss_fn(outputs, self.targets)
        if losses.ndim != int(self.many):
            raise OptionError(
                f"loss_fn must give one number, the batch's mean; it gave {tuple(losses.shape)}"
            )
        return losses

    def _check_mean(self, loss_fn: LossFunction, outputs: torch.Tensor, samples: int) -> None:
        """Raise unless the loss of some samples is the mean of their own losses."""
        out, wanted = (outputs[0], self.targets[0]) if self.many else (outputs, self.targets)
        out, wanted = out.detach()[:samples], wanted[:samples]
        with torch.no_grad():
            try:
                together = loss_fn(out, wanted)
                each = torch.stack([loss_fn(out[i : i + 1], wanted[i : i + 1]) for i in range(len(out))])
            except (RuntimeError, ValueError) as error:
                raise OptionError(f"loss_fn must take any part of a batch; it raised: {error}") from error
        tolerance = 1e-4 if torch.finfo(each.dtype).bits >= 32 else 3e-2
        if torch.isfinite(together) and not torch.isclose(together, each.mean(), rtol=tolerance, atol=1e-6):
            raise OptionError(
                f"loss_fn gives {float(together):.4g} for samples whose own losses have the mean "
                f"{float(each.mean()):.4g}; the definitions need that mean: give reduction='mean', "
                "and no class weights, masks or ignored targets"
            )

    def _sort_calls(self) -> None:
        """Keep those linear layers that were called once, with a row for each sample."""
        size = self.inputs.shape[1 if self.many else 0]
        self.linear = [
            name
            for name in self.linear
            if len(calls := self._calls.get(name, [])) == 1
            and calls[0][0].ndim == 2 + (self.many and bool(self._probes))
            and calls[0][0].shape[-2] == size
        ]
        self._calls = {name: self._calls[name] for name in self.linear}

    def square(self, value: torch.Tensor) -> torch.Tensor:
        """Return ||value||^2, a scalar or `(S,)`."""
        return self.dot(value, value)

    def dot(self, one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        """Return the inner product of parameter-shaped tensors, a scalar or `(S,)`."""
        one, other = wide(one), wide(other)
        if self.many:
            return (one * other).flatten(1).sum(dim=1)
        return torch.dot(one.flatten(), other.flatten())

    def _closed_form(self) -> Iterator[tuple[str, torch.Tensor, torch.Tensor | None]]:
        """Yield each linear layer's parameter, d, and for weights a; g_i of a weight is d_i a_i^T."""
        for module in self.linear:
            for kind in ("weight", "bias"):
                if (name := f"{module}.{kind}".lstrip(".")) in self.leaves:
                    yield name, self._outer[module], self._inner[module] if kind == "weight" else None

    def sample_squares(self, loss_fn: LossFunction) -> Tensors:
        """Return (1/B) sum_i ||g_i||^2 of each parameter."""
        check_per_sample(self.model)
        found = {}
        for name, outer, inner in self._closed_form():
            squares = outer.square().sum(dim=-1)
            if inner is not None:
                squares = squares * inner.square().sum(dim=-1)
            found[name] = squares.mean(dim=-1)
        for name, rows in self._sample_gradients(loss_fn, set(self.leaves) - set(found)).items():
            found[name] = rows.square().sum(dim=-1).mean(dim=-1)
        return found

    def grams(self, loss_fn: LossFunction) -> Tensors:
        """Return <g_i, g_j> of each parameter, `(B, B)` or `(S, B, B)`."""
        check_per_sample(self.model)
        found = {}
        for name, outer, inner in self._closed_form():
            gram = outer @ outer.mT
            found[name] = gram if inner is None else gram * (inner @ inner.mT)
        for name, rows in self._sample_gradients(loss_fn, set(self.leaves) - set(found)).items():
            found[name] = rows @ rows.mT
        return found

    def _sample_gradients(self, loss_fn: LossFunction, names: set[str]) -> Tensors:
        """Return per-sample gradients `(B, N)` or `(S, B, N)` of parameters without a closed form."""
        if not names:
            return {}
        own = {name: value.detach() for name, value in self.leaves.items() if name in names}
        rest = {name: value.detach() for name, value in self.leaves.items() if name not in names}

        def loss(chosen: Tensors, others: Tensors, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            state = {**others, **chosen}
            return loss_fn(functional_call(self.model, state, (x.unsqueeze(0),)), y.unsqueeze(0))

        rows = vmap(grad(loss), in_dims=(None, None, 0, 0), chunk_size=CHUNK, randomness="different")
        rest |= self.constants
        with (
            random_state_kept(self.inputs.device),
            sdpa_kernel(SDPBackend.MATH),
            undefined_if_it_fails(f"per-sample gradients of {', '.join(sorted(names))}"),
        ):
            if not self.many:
                found = rows(own, rest, self.inputs, self.targets)
                return {name: wide(value.flatten(1)) for name, value in found.items()}
            each = [
                rows(row(own, place), row(rest, place), x, y)
                for place, (x, y) in enumerate(zip(self.inputs, self.targets, strict=True))
            ]
        return {name: torch.stack([wide(found[name].flatten(1)) for found in each]) for name in names}

    def slopes(self, loss_fn: LossFunction, direction: Tensors) -> torch.Tensor:
        """Return <g_i, u> of the data loss for a direction u, `(B,)` or `(S, B)`.

        It is the derivative by c_i of the derivative of sum_i c_i loss_i along u: two backward passes for all i.
        """
        check_per_sample(self.model)

        def losses(leaves: Tensors, rest: Tensors, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            outputs = functional_call(self.model, {**rest, **leaves}, (x,))
            return vmap(lambda out, wanted: loss_fn(out.unsqueeze(0), wanted.unsqueeze(0)))(outputs, y)

        leaves = {name: self.leaves[name].detach().requires_grad_() for name in direction}
        rest = {name: value.detach() for name, value in self.leaves.items() if name not in direction}
        state = (leaves, {**rest, **self.constants}, self.inputs, self.targets)
        with torch.enable_grad(), random_state_kept(self.inputs.device), sdpa_kernel(SDPBackend.MATH):
            found = vmap(losses, randomness="different")(*state) if self.many else losses(*state)
            weights = torch.ones_like(found, requires_grad=True)
            gradients = differentiated(
                "the gradient", (weights * found).sum(), list(leaves.values()), create_graph=True
            )
            pairs = zip(gradients, direction.values(), strict=True)
            along = torch.stack([(gradient * u).sum() for gradient, u in pairs]).sum()
            return differentiated("the gradient along a direction", along, [weights])[0]

    def product(self, names: Sequence[str], vectors: Tensors) -> Tensors:
        """Return H v of the data loss for the block of the parameters `names`."""
        curved = [name for name in names if self.graph[name].requires_grad]
        if not curved:
            return {name: torch.zeros_like(self.leaves[name]) for name in names}
        found = differentiated(
            "a Hessian-vector product",
            [self.graph[name] for name in curved],
            [self.leaves[name] for name in names],
            grad_outputs=[vectors[name] for name in curved],
            retain_graph=True,
        )
        return {name: value.detach() for name, value in zip(names, found, strict=True)}


def row(stack: Mapping[str, torch.Tensor], place: int) -> Tensors:
    """Return one network's tensors of stacked ones."""
    return {name: value[place] for name, value in stack.items()}


def differentiated(
    what: str, outputs: Any, inputs: Sequence[torch.Tensor], **options: Any
) -> list[torch.Tensor]:
    """Return derivatives, zero where there is no dependence.

    Raises:
        UndefinedError: PyTorch has no such derivative.
    """
    with undefined_if_it_fails(what):
        found = torch.autograd.grad(outputs, list(inputs), allow_unused=True, **options)
    pairs = zip(inputs, found, strict=True)
    return [torch.zeros_like(place) if value is None else value for place, value in pairs]


@contextlib.contextmanager
def undefined_if_it_fails(what: str) -> Iterator[None]:
    """Turn what PyTorch raises into an `UndefinedError` that says what could not be computed."""
    try:
        yield
    except (RuntimeError, NotImplementedError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise UndefinedError(
            f"PyTorch cannot compute {what} of this model: {reason}. Measure a model without the layer at fault, "
            "or with it in eval mode"
        ) from error
