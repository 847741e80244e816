"""One network's part of a pass, or S networks' at once: its forward pass and all derivatives."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.func import vmap

from clbench.errors import OptionError
from clbench.indicators.borrowing import borrowed, random_states_kept
from clbench.indicators.closed_form import agrees, check_mean
from clbench.indicators.derivatives import differentiated
from clbench.indicators.few import Few, check_parameters
from clbench.indicators.kernels import Mappable
from clbench.indicators.networks import LossFunction, Network, Tensors, cloned, row, wide
from clbench.indicators.samples import Reduce, Samples
from clbench.indicators.watching import Call, Calls, check_per_sample, plain_linear_layers, watched
from clbench.machine import can_read


class Part:
    """One network without a stacking axis, or S at once with it (`many`).

    Args:
        network: what is measured.
        parameters: all parameters of this part by name; copies, which a pass may write to.
        buffers: ditto.
        inputs: of this part.
        targets: ditto.
        many: see above.

    Attributes:
        leaves: the trained parameters that gradients are taken by.
        linear: linear layers whose per-sample gradients have a closed form.
        graph: gradients of the data loss, with their graph if Hessian-vector products are wanted.
        data: the same without.
        trained: the same plus the penalty's, once that is added.
    """

    def __init__(
        self,
        network: Network,
        parameters: Tensors,
        buffers: Tensors,
        inputs: torch.Tensor,
        targets: torch.Tensor,
        many: bool = False,
    ) -> None:
        self.network, self.module = network, network.module
        self.inputs, self.targets, self.many = inputs, targets, many
        self.leaves = {name: parameters[name].requires_grad_() for name in network.trained}
        frozen = {name: value for name, value in parameters.items() if name not in self.leaves}
        self.constants = {**frozen, **buffers}
        self.linear = plain_linear_layers(self.module)
        self._calls: dict[str, Call] = {}
        self._probes: Tensors = {}
        self._sampled = self._running = False

    @property
    def batch_size(self) -> int:
        """B."""
        return self.inputs.shape[1 if self.many else 0]

    @property
    def _state(self) -> Tensors:
        return {**self.leaves, **self.constants}

    @contextlib.contextmanager
    def running(self, plain: bool = True) -> Iterator[None]:
        """Let the module have this part's tensors, for backward passes too: it may compute again in them.

        Args:
            plain: whether second derivatives will be wanted, which fused kernels have not.
        """
        if self._running:  # as for all products of an iteration
            yield
            return
        self._running = True
        with (
            torch.enable_grad(),
            self.network.plain_kernels() if plain else contextlib.nullcontext(),
            random_states_kept(self.inputs.device),
            borrowed(self.module, self._state),
        ):
            try:
                yield
            finally:
                self._running = False

    def run(self, loss_fn: LossFunction, hessian: bool, closed: Sequence[str] | None) -> None:
        """Run forward and backward; keep gradients of parameters and of linear layers' outputs."""
        if closed is not None:
            self.linear = [name for name in self.linear if name in closed]
            self._sampled = True
        with self.running(plain=hessian or self.many):
            outputs = self._forward_many() if self.many else self._forward_one()
            if not isinstance(outputs, torch.Tensor):
                raise OptionError(
                    f"the model gives a {type(outputs).__name__}, not one tensor: wrap it in one that does"
                )
            self._outputs = outputs.detach()
            losses = self._losses(loss_fn, outputs)
            if closed is None or can_read(self.inputs.device):
                out, wanted = (outputs[0], self.targets[0]) if self.many else (outputs, self.targets)
                check_mean(loss_fn, out.detach(), wanted, samples=8 if closed is None else 2)
            places = [*self.leaves.values(), *(self._calls[name].returned for name in self.linear)]
            found = differentiated(
                "the gradient", losses.sum(), places, create_graph=hessian, retain_graph=hessian
            )
        if closed is None:
            check_parameters(self.network, outputs)
        self.graph = dict(zip(self.leaves, found, strict=False))
        self.data = {name: value.detach() for name, value in self.graph.items()}
        self.trained = dict(self.data)
        # d_i, the gradient of sample i's own loss: the mean's times B.
        outer = zip(self.linear, found[len(self.leaves) :], strict=True)
        self._outer = {name: wide(value.detach()) * self.batch_size for name, value in outer}
        self._inner = {name: wide(self._calls[name].given.detach()) for name in self.linear}
        self._calls = {}  # they hold the graph
        if closed is None or can_read(self.inputs.device):
            self.linear = [
                name for name in self.linear if agrees(name, self.data, self._outer[name], self._inner[name])
            ]

    def _forward_one(self) -> Any:
        with watched(self.module, self.linear) as calls:
            outputs = self.network.inner(self.inputs.clone())
        self._keep(calls)
        return outputs

    def _forward_many(self) -> Any:
        """Run all networks at once. Zeros are added to linear outputs, since only what comes from
        outside of `vmap` can be differentiated by.
        """
        first = cloned(row(self._state, 0))
        with torch.no_grad(), borrowed(self.module, first), watched(self.module, self.linear) as calls:
            self.network.inner(self.inputs[0].clone())
        self._keep(calls, many=True)
        self._probes = {
            name: torch.zeros_like(one.returned).expand(len(self.inputs), *one.returned.shape).clone()
            for name, one in self._calls.items()
        }
        for probe in self._probes.values():
            probe.requires_grad_()

        def run(
            leaves: Tensors, constants: Tensors, inputs: torch.Tensor, probes: Tensors
        ) -> tuple[Any, Tensors]:
            with (
                borrowed(self.module, {**leaves, **constants}),
                watched(self.module, self.linear, probes) as calls,
            ):
                outputs = self.network.inner(inputs.clone())
            return outputs, {name: calls[name][0].given for name in self.linear}

        with Mappable():
            outputs, inner = vmap(run, randomness="different")(
                self.leaves, self.constants, self.inputs, self._probes
            )
        self._calls = {name: Call(inner[name], self._probes[name], 0) for name in self.linear}
        return outputs

    def _keep(self, calls: Calls, many: bool = False) -> None:
        """Keep those linear layers that were called once, with a row for each sample, and whose outputs stand."""
        self._calls = {
            name: found[0]
            for name in self.linear
            if len(found := calls.get(name, [])) == 1
            and found[0].given.ndim == 2
            and len(found[0].given) == self.batch_size
            and (many or (found[0].returned.requires_grad and not found[0].overwritten))
        }
        self.linear = list(self._calls)

    def _losses(self, loss_fn: LossFunction, outputs: torch.Tensor) -> torch.Tensor:
        targets = self.targets.clone()
        losses = vmap(loss_fn)(outputs, targets) if self.many else loss_fn(outputs, targets)
        if losses.ndim != int(self.many):
            raise OptionError(
                f"loss_fn must give one number, the batch's mean; it gave {tuple(losses.shape)}"
            )
        return losses

    def _check_samples(self, loss_fn: LossFunction) -> None:
        """Raise if samples have no gradients of their own; find out for which layers the closed form is theirs.

        A few samples are run apart, unless the network draws at random: they must come out as within the batch, and
        their gradient as the closed form has it.

        Raises:
            UndefinedError: samples depend on each other, or a parameter is used that is not the module's own.
        """
        check_per_sample(self.module)
        count = min(2, self.batch_size - 1)
        if self._sampled or not count:
            return
        self._sampled = True
        state, inputs, targets = self._state, self.inputs, self.targets
        if self.many:
            state, inputs, targets = row(state, 0), inputs[0], targets[0]
        few = Few(self.network, loss_fn, list(self.leaves), state, inputs[:count], targets[:count])
        gradients = few.gradients(self._outputs[0] if self.many else self._outputs)
        if gradients is not None:
            outer, inner = (
                {name: (value[0] if self.many else value)[:count] for name, value in own.items()}
                for own in (self._outer, self._inner)
            )
            self.linear = [name for name in self.linear if agrees(name, gradients, outer[name], inner[name])]

    def square(self, value: torch.Tensor) -> torch.Tensor:
        """Return ||value||^2, a scalar or `(S,)`."""
        return self.dot(value, value)

    def dot(self, one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        """Return the inner product of parameter-shaped tensors, a scalar or `(S,)`."""
        one, other = wide(one), wide(other)
        if one.dtype != other.dtype:
            one, other = one.double(), other.double()
        if self.many:
            return (one * other).reshape(len(one), -1).sum(dim=1)
        return torch.dot(one.flatten(), other.flatten())

    def _closed_form(self) -> Iterator[tuple[str, torch.Tensor, torch.Tensor | None]]:
        """Yield each linear layer's trained parameter, d, and for weights a; g_i of a weight is d_i a_i^T."""
        for module in self.linear:
            for kind in ("weight", "bias"):
                if (name := f"{module}.{kind}".lstrip(".")) in self.leaves:
                    yield name, self._outer[module], self._inner[module] if kind == "weight" else None

    def sample_squares(self, loss_fn: LossFunction) -> Tensors:
        """Return (1/B) sum_i ||g_i||^2 of each parameter."""
        self._check_samples(loss_fn)
        found = {}
        for name, outer, inner in self._closed_form():
            squares = outer.square().sum(dim=-1)
            if inner is not None:
                squares = squares * inner.square().sum(dim=-1)
            found[name] = squares.mean(dim=-1)
        rest = [name for name in self.leaves if name not in found]
        squares_of = self._of_samples(loss_fn, rest, lambda gradient: wide(gradient).square().sum())
        return found | {name: squares.mean(dim=-1) for name, squares in squares_of.items()}

    def grams(self, loss_fn: LossFunction) -> Tensors:
        """Return <g_i, g_j> of each parameter, `(B, B)` or `(S, B, B)`."""
        self._check_samples(loss_fn)
        found = {}
        for name, outer, inner in self._closed_form():
            gram = outer @ outer.mT
            found[name] = gram if inner is None else gram * (inner @ inner.mT)
        rest = [name for name in self.leaves if name not in found]
        rows_of = self._of_samples(loss_fn, rest, lambda gradient: wide(gradient).flatten())
        return found | {name: rows @ rows.mT for name, rows in rows_of.items()}

    def _of_samples(self, loss_fn: LossFunction, names: Sequence[str], reduce: Reduce) -> Tensors:
        """Return what is made of each sample's gradients, `(B, ...)` or `(S, B, ...)`, by parameter."""
        if not names:
            return {}
        own = {name: self.leaves[name].detach() for name in names}
        rest = {name: value.detach() for name, value in self._state.items() if name not in own}
        with random_states_kept(self.inputs.device), self.network.plain_kernels():
            if not self.many:
                samples = Samples(self.network, loss_fn, own, rest, self.inputs, self.targets)
                return samples.gradients(reduce)
            each = [
                Samples(self.network, loss_fn, row(own, place), row(rest, place), x, y).gradients(reduce)
                for place, (x, y) in enumerate(zip(self.inputs, self.targets, strict=True))
            ]
        return {name: torch.stack([found[name] for found in each]) for name in names}

    def slopes(self, loss_fn: LossFunction, direction: Tensors) -> torch.Tensor:
        """Return <g_i, u> of the data loss for a direction u, `(B,)` or `(S, B)`.

        It is the derivative by c_i of the derivative of sum_i c_i loss_i along u: two backward passes for all i.
        """
        self._check_samples(loss_fn)

        def of_each(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
            return vmap(lambda out, wanted: loss_fn(out.unsqueeze(0), wanted.unsqueeze(0)))(outputs, targets)

        def losses(leaves: Tensors, rest: Tensors, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            with borrowed(self.module, {**rest, **leaves}):
                return of_each(self.network.inner(x.clone()), y)

        with self.running():
            if self.many:
                found = vmap(losses, randomness="different")(
                    self.leaves, self.constants, self.inputs, self.targets
                )
            else:
                found = of_each(self.network.inner(self.inputs.clone()), self.targets)
            weights = torch.ones_like(found, requires_grad=True)
            leaves = [self.leaves[name] for name in direction]
            gradients = differentiated("the gradient", (weights * found).sum(), leaves, create_graph=True)
            pairs = zip(gradients, direction.values(), strict=True)
            along = torch.stack([(gradient * u).sum() for gradient, u in pairs]).sum()
            return differentiated("the gradient along a direction", along, [weights])[0]

    def product(self, names: Sequence[str], vectors: Tensors) -> Tensors:
        """Return H v of the data loss for the block of the parameters `names`; while the part is running."""
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
