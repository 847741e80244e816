"""One pass of S networks over a batch: gradients, per-sample gradients, Hessian-vector products.

All of it on copies: parameters, `.grad`, buffers, modes and random states stay as they were.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.func import functional_call, grad, jvp, vmap

from clbench.errors import OptionError
from clbench.indicators.networks import (
    LossFunction,
    Measures,
    Model,
    Penalty,
    Stacked,
    Tensors,
    batched,
    by_layer,
    layers,
    trainable,
)
from clbench.indicators.watching import (
    Calls,
    check_per_sample,
    plain_linear_layers,
    random_state_kept,
    watched,
)

CHUNK = 64  # samples whose gradients of general layers are in memory together


class Pass:
    """A forward pass, and what follows from it; made anew for each batch.

    Args:
        model: one network, or S stacked ones.
        loss_fn: from outputs `(B, ...)` and targets `(B, ...)` of one network to their mean loss.
        inputs: `(B, ...)`, or `(S, B, ...)` for stacked networks.
        targets: ditto.
        penalty: what is added to the loss as trained: from parameters by name to a scalar, or for stacked
            networks from stacked ones to `(S,)`.
        hessian: whether Hessian-vector products will be wanted.

    Raises:
        OptionError: inputs and targets do not fit together, or `loss_fn` is no mean over the batch.
    """

    def __init__(
        self,
        model: Model,
        loss_fn: LossFunction,
        inputs: torch.Tensor,
        targets: torch.Tensor,
        penalty: Penalty | None = None,
        hessian: bool = False,
        check: bool = True,
    ) -> None:
        self.model, self.loss_fn, self.hessian = model, loss_fn, hessian
        self.layers = layers(model)
        stacked = isinstance(model, Stacked)
        shape = inputs.shape[1:] if stacked else inputs.shape
        if isinstance(model, Stacked) and len(inputs) != model.count:
            raise OptionError(f"inputs for {len(inputs)} networks were given to {model.count} stacked ones")
        if not len(shape) or not shape[0]:
            raise OptionError("the batch is empty: there is nothing to measure on")
        self.batch_size = shape[0]
        if targets.shape[: 1 + stacked] != inputs.shape[: 1 + stacked]:
            raise OptionError(
                f"targets {tuple(targets.shape)} do not go with inputs {tuple(inputs.shape)}: "
                "both need the same batch size"
            )
        if isinstance(model, Stacked):
            module, state = model.model, {**model.parameters, **model.buffers}
        else:
            module, state = model, {**dict(model.named_parameters()), **dict(model.named_buffers())}
        if isinstance(model, Stacked) and not batched(model):
            pieces = zip(inputs, targets, strict=True)
            self.parts = [_Part(module, _row(state, place), x, y) for place, (x, y) in enumerate(pieces)]
        else:
            self.parts = [_Part(module, state, inputs, targets, many=batched(model))]
        for part in self.parts:
            part.run(loss_fn, hessian, check)
        self._penalise(penalty)

    def _penalise(self, penalty: Penalty | None) -> None:
        """Add the penalty's gradients; they are taken for all networks at once, as the penalty wants them."""
        self._leaves: Tensors = {}
        self._penalty_gradients: dict[str, torch.Tensor | None] = {}
        if penalty is None:
            return
        with torch.enable_grad():
            everything = self.model.parameters if isinstance(self.model, Stacked) else None
            if everything is None:
                assert isinstance(self.model, nn.Module)
                everything = dict(self.model.named_parameters())
            copies = {name: value.detach() for name, value in everything.items()}
            self._leaves = {name: copies[name].requires_grad_() for name in trainable(self.model)}
            total = penalty({**copies, **self._leaves})
            found: Sequence[torch.Tensor | None] = [None] * len(self._leaves)
            if total is not None and total.requires_grad:
                found = torch.autograd.grad(
                    total.sum(), list(self._leaves.values()), create_graph=self.hessian, allow_unused=True
                )
        self._penalty_gradients = dict(zip(self._leaves, found, strict=True))
        for place, part in enumerate(self.parts):
            for name, value in self._penalty_gradients.items():
                if value is not None:
                    part.trained[name] = part.trained[name] + self._share(value.detach(), place)

    def _share(self, value: torch.Tensor, place: int) -> torch.Tensor:
        """Return the part's own of a parameter-shaped tensor of all networks."""
        return value[place] if isinstance(self.model, Stacked) and not self.parts[0].many else value

    def collect(self, values: Sequence[torch.Tensor]) -> torch.Tensor:
        """Join the parts' values, scalars or `(S,)` each, to a scalar for one network or `(S,)`."""
        if not isinstance(self.model, Stacked):
            return values[0]
        return values[0] if self.parts[0].many else torch.stack(list(values))

    def gradient_squares(self) -> Measures:
        """Return ||g_hat||^2 of the batch loss as trained, penalty included."""
        squares = {
            name: self.collect([part.square(part.trained[name]) for part in self.parts])
            for name in self.parts[0].leaves
        }
        return by_layer(self.model, squares)

    def noise(self) -> Measures:
        """Return sigma^2 = (1/B) sum_i ||g_i||^2 - ||g_bar||^2 of the data loss."""
        if self.batch_size == 1:
            return {layer: torch.zeros_like(value) for layer, value in self.gradient_squares().items()}
        pieces: dict[str, list[torch.Tensor]] = {name: [] for name in self.parts[0].leaves}
        for part in self.parts:
            norms = part.sample_squares(self.loss_fn)
            for name, found in pieces.items():
                found.append((norms[name] - part.square(part.data[name])).clamp_min(0))
        return by_layer(self.model, {name: self.collect(found) for name, found in pieces.items()})

    def grams(self) -> Measures:
        """Return the matrices of inner products <g_i, g_j> of the data loss, `(B, B)` or `(S, B, B)`."""
        pieces = [part.grams(self.loss_fn) for part in self.parts]
        return by_layer(self.model, {name: self.collect([own[name] for own in pieces]) for name in pieces[0]})

    def products(self, names: Sequence[str], vectors: Sequence[Tensors]) -> list[Tensors]:
        """Return, part by part, H v for the block of the parameters `names`; `vectors` likewise part by part."""
        found = [part.product(names, own) for part, own in zip(self.parts, vectors, strict=True)]
        curved = [
            name
            for name in names
            if (gradient := self._penalty_gradients.get(name)) is not None and gradient.requires_grad
        ]
        if curved:
            if isinstance(self.model, Stacked) and not self.parts[0].many:
                whole = {name: torch.stack([own[name] for own in vectors]) for name in curved}
            else:
                whole = {name: vectors[0][name] for name in curved}
            more = torch.autograd.grad(
                [g for name in curved if (g := self._penalty_gradients[name]) is not None],
                [self._leaves[name] for name in names],
                [whole[name] for name in curved],
                retain_graph=True,
                allow_unused=True,
            )
            for name, value in zip(names, more, strict=True):
                if value is not None:
                    for place, own in enumerate(found):
                        own[name] = own[name] + self._share(value, place)
        return found


class _Part:
    """One network without a stacking axis, or S at once with it (`many`)."""

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

    def run(self, loss_fn: LossFunction, hessian: bool, check: bool) -> None:
        """Run forward and backward; keep gradients of parameters and of linear layers' outputs."""
        with torch.enable_grad(), random_state_kept(self.inputs.device):
            outputs = self._forward_many() if self.many else self._forward_one()
            losses = self._losses(loss_fn, outputs)
        if check:
            self._check_mean(loss_fn, outputs, losses)
        self._sort_calls()
        with torch.enable_grad():
            places = [*self.leaves.values(), *(self._output(name) for name in self.linear)]
            found = torch.autograd.grad(
                losses.sum(), places, create_graph=hessian, retain_graph=hessian, allow_unused=True
            )
        pairs = zip(places, found, strict=True)
        values = [torch.zeros_like(place) if value is None else value for place, value in pairs]
        self.graph = dict(zip(self.leaves, values, strict=False))
        self.data = {name: value.detach() for name, value in self.graph.items()}
        self.trained = dict(self.data)
        size = self.inputs.shape[1 if self.many else 0]
        # d_i, the gradient of sample i's own loss: the mean's times B.
        self._outer = {
            name: value.detach() * size
            for name, value in zip(self.linear, values[len(self.leaves) :], strict=True)
        }
        self._inner = {name: self._calls[name][0][0].detach() for name in self.linear}

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
        first = _row({**self.leaves, **self.constants}, 0)
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

    def _output(self, name: str) -> torch.Tensor:
        return self._calls[name][0][1]

    def _losses(self, loss_fn: LossFunction, outputs: torch.Tensor) -> torch.Tensor:
        losses = vmap(loss_fn)(outputs, self.targets) if self.many else loss_fn(outputs, self.targets)
        if losses.ndim != int(self.many):
            raise OptionError(
                f"loss_fn must give one number, the batch's mean; it gave {tuple(losses.shape)}"
            )
        return losses

    def _check_mean(self, loss_fn: LossFunction, outputs: torch.Tensor, losses: torch.Tensor) -> None:
        """Raise if the loss is a sum over the batch: of the same samples twice it would be twice as large."""
        with torch.no_grad():
            out, wanted = (outputs[0], self.targets[0]) if self.many else (outputs, self.targets)
            single = losses[0] if self.many else losses
            doubled = loss_fn(torch.cat([out, out]), torch.cat([wanted, wanted]))
            if (doubled - 2 * single).abs() < 1e-3 * single.abs():
                raise OptionError(
                    "loss_fn sums over the batch; the definitions need the mean: give reduction='mean'"
                )

    def _sort_calls(self) -> None:
        """Keep those linear layers that were called once, on a plain batch: the closed form is theirs."""
        self.linear = [
            name
            for name in self.linear
            if len(calls := self._calls.get(name, [])) == 1
            and calls[0][0].ndim == 2 + (self.many and bool(self._probes))
        ]
        self._calls = {name: self._calls[name] for name in self.linear}

    def square(self, value: torch.Tensor) -> torch.Tensor:
        """Return ||value||^2, a scalar or `(S,)`."""
        return self.dot(value, value)

    def dot(self, one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        """Return the inner product of parameter-shaped tensors, a scalar or `(S,)`."""
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
        with random_state_kept(self.inputs.device):
            if not self.many:
                found = rows(own, {**rest, **self.constants}, self.inputs, self.targets)
                return {name: value.flatten(1) for name, value in found.items()}
            each = [
                rows(_row(own, place), _row({**rest, **self.constants}, place), x, y)
                for place, (x, y) in enumerate(zip(self.inputs, self.targets, strict=True))
            ]
        return {name: torch.stack([found[name].flatten(1) for found in each]) for name in names}

    def slopes(self, loss_fn: LossFunction, direction: Tensors) -> torch.Tensor:
        """Return <g_i, u> of the data loss for a direction u, `(B,)` or `(S, B)`: one forward-mode pass."""
        check_per_sample(self.model)

        def losses(chosen: Tensors, rest: Tensors, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            outputs = functional_call(self.model, {**rest, **chosen}, (x,))
            return vmap(lambda out, wanted: loss_fn(out.unsqueeze(0), wanted.unsqueeze(0)))(outputs, y)

        def along(
            chosen: Tensors, rest: Tensors, u: Tensors, x: torch.Tensor, y: torch.Tensor
        ) -> torch.Tensor:
            slopes: torch.Tensor = jvp(lambda own: losses(own, rest, x, y), (chosen,), (u,))[1]
            return slopes

        chosen = {name: self.leaves[name].detach() for name in direction}
        rest = {name: value.detach() for name, value in self.leaves.items() if name not in direction}
        state = (chosen, {**rest, **self.constants}, direction, self.inputs, self.targets)
        with random_state_kept(self.inputs.device):
            return vmap(along, randomness="different")(*state) if self.many else along(*state)

    def product(self, names: Sequence[str], vectors: Tensors) -> Tensors:
        """Return H v of the data loss for the block of the parameters `names`."""
        curved = [name for name in names if self.graph[name].requires_grad]
        found: Sequence[Any] = [None] * len(names)
        if curved:
            found = torch.autograd.grad(
                [self.graph[name] for name in curved],
                [self.leaves[name] for name in names],
                [vectors[name] for name in curved],
                retain_graph=True,
                allow_unused=True,
            )
        return {
            name: torch.zeros_like(self.leaves[name]) if value is None else value.detach()
            for name, value in zip(names, found, strict=True)
        }


def _row(stack: Mapping[str, torch.Tensor], place: int) -> Tensors:
    return {name: value[place] for name, value in stack.items()}
