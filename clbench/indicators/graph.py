"""One forward pass of one network, or of S mapped by `torch.vmap`, and all derivatives in its graph."""

import contextlib
from collections.abc import Callable, Iterator, Sequence

import torch
from torch.func import vmap

from clbench.errors import OptionError
from clbench.indicators.autograd import differentiate
from clbench.indicators.batch_checks import (
    check_batch_normalisation,
    check_mean,
    check_parameters_are_borrowed,
    closed_form_holds,
)
from clbench.indicators.borrowing import borrowed, keep_random_states
from clbench.indicators.calls import Calls, plain_linear_layers, recorded
from clbench.indicators.kernels import plain_kernels, unmappable_refused
from clbench.indicators.networks import Network, at_least_float32
from clbench.indicators.samples import Batch, Reduce, gradients_apart, sample_gradients
from clbench.indicators.stacked import Axis, Tensors, cloned
from clbench.machine import can_read

ClosedForm = Callable[[torch.Tensor, torch.Tensor | None], torch.Tensor]
"""From d `(..., B, out)`, and for a weight a `(..., B, in)`, where each sample's gradient is d a^T or d."""


class Graph:
    """A forward and backward pass over a batch, done when it is constructed.

    `axis` is that of the networks in this graph, and `state` has copies of their parameters and buffers. `gradients`
    are those of the data loss; `closed` are linear layers whose per-sample gradients have a closed form, as far as is
    known, see `Derivatives`. Without it the loss and the model are checked.
    """

    def __init__(
        self,
        network: Network,
        axis: Axis,
        state: Tensors,
        batch: Batch,
        hessian: bool,
        closed: Sequence[str] | None,
    ) -> None:
        self.axis, self._network, self._module, self._batch = axis, network, network.module, batch
        self._leaves = {name: state[name].requires_grad_() for name in network.trained}
        self._constants = {name: value for name, value in state.items() if name not in self._leaves}
        self._lent, self._samples_checked = False, closed is not None
        self._batch_size = batch.inputs.shape[len(axis.shape)]
        # Checks read numbers, for which the host would have to wait for an accelerator: there only the first time.
        checked = closed is None or can_read(batch.inputs.device)
        linear = [name for name in plain_linear_layers(self._module) if closed is None or name in closed]
        with self.lent(plain=hessian or axis.batched):
            forward = self._forward_batched if axis.batched else self._forward
            outputs, inner, linear_outputs = forward(linear)
            losses = axis.each(batch.loss_fn, outputs, batch.targets.clone())
            if losses.shape != axis.shape:
                raise OptionError(
                    f"loss_fn must give one number, the batch's mean; it gave {tuple(losses.shape)}"
                )
            self._outputs = outputs.detach()
            if checked:
                first, targets = axis.first(self._outputs), axis.first(batch.targets)
                check_mean(batch.loss_fn, first, targets, samples=8 if closed is None else 2)
            derivatives = differentiate(
                "the gradient",
                losses.sum(),
                [*self._leaves.values(), *linear_outputs.values()],
                create_graph=hessian,
                retain_graph=hessian,
            )
        if closed is None:
            check_parameters_are_borrowed(network, outputs)
        self._graph = dict(zip(self._leaves, derivatives, strict=False))
        self.gradients = {name: value.detach() for name, value in self._graph.items()}
        # d_i, the gradient of sample i's own loss: the mean's times B.
        outer = zip(inner, derivatives[len(self._leaves) :], strict=True)
        self._outer = {name: at_least_float32(value.detach()) * self._batch_size for name, value in outer}
        self._inner = {name: at_least_float32(value.detach()) for name, value in inner.items()}
        self.closed = list(inner)
        if checked:
            self.closed = self._agreeing(self.gradients, self._outer, self._inner)

    @contextlib.contextmanager
    def lent(self, plain: bool = True) -> Iterator[None]:
        """Lend the module these tensors; a backward pass may compute activations again, and needs that, too."""
        if self._lent:  # for all products of an iteration
            yield
            return
        with contextlib.ExitStack() as stack:
            stack.enter_context(torch.enable_grad())
            if plain:
                stack.enter_context(plain_kernels(self._module))
            stack.enter_context(keep_random_states(self._batch.inputs.device))
            stack.enter_context(borrowed(self._module, self._state))
            self._lent = True
            try:
                yield
            finally:
                self._lent = False

    @property
    def _state(self) -> Tensors:
        return {**self._leaves, **self._constants}

    def _forward(self, linear: Sequence[str]) -> tuple[torch.Tensor, Tensors, Tensors]:
        with recorded(self._module, linear, {}) as calls:
            outputs = _check_output(self._network.inner(self._batch.inputs.clone()))
        usable = {name: call for name, call in self._select(calls).items() if call[1].requires_grad}
        inner = {name: call[0] for name, call in usable.items()}
        return outputs, inner, {name: call[1] for name, call in usable.items()}

    def _forward_batched(self, linear: Sequence[str]) -> tuple[torch.Tensor, Tensors, Tensors]:
        """Return the same of all networks at once.

        Only tensors from outside of `vmap` can be differentiated by: zeros, `probes`, are added to linear outputs.
        """
        first = cloned(self.axis.first(self._state))
        with torch.no_grad(), borrowed(self._module, first), recorded(self._module, linear, {}) as calls:
            self._network.inner(self._batch.inputs[0].clone())
        probes = {
            name: output.new_zeros(*self.axis.shape, *output.shape).requires_grad_()
            for name, (_, output) in self._select(calls).items()
        }

        def run(
            leaves: Tensors, constants: Tensors, inputs: torch.Tensor, probes: Tensors
        ) -> tuple[torch.Tensor, Tensors]:
            with (
                borrowed(self._module, {**leaves, **constants}),
                recorded(self._module, list(probes), probes) as calls,
            ):
                outputs = _check_output(self._network.inner(inputs.clone()))
            return outputs, {name: calls[name][0][0] for name in probes}

        with unmappable_refused():
            outputs, inner = self.axis.each(run, self._leaves, self._constants, self._batch.inputs, probes)
        return outputs, inner, probes

    def _select(self, calls: Calls) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        """Return the calls of those linear layers that were called once, with a row for each sample."""
        single = {name: group[0] for name, group in calls.items() if len(group) == 1}
        return {
            name: (given, output)
            for name, (given, output) in single.items()
            if given.ndim == 2 and len(given) == self._batch_size
        }

    def _agreeing(self, gradients: Tensors, outer: Tensors, inner: Tensors) -> list[str]:
        return [name for name in self.closed if closed_form_holds(name, gradients, outer[name], inner[name])]

    def product(self, names: Sequence[str], vector: Tensors) -> Tensors:
        """Return H v of the data loss for the block of the parameters `names`; call it while tensors are lent."""
        curved = [name for name in names if self._graph[name].requires_grad]
        if not curved:
            return {name: torch.zeros_like(self._leaves[name]) for name in names}
        products = differentiate(
            "a Hessian-vector product",
            [self._graph[name] for name in curved],
            [self._leaves[name] for name in names],
            grad_outputs=[vector[name] for name in curved],
            retain_graph=True,
        )
        return {name: value.detach() for name, value in zip(names, products, strict=True)}

    def sample_squares(self) -> Tensors:
        """Return (1/B) sum_i ||g_i||^2 of each parameter."""

        def closed_form(outer: torch.Tensor, inner: torch.Tensor | None) -> torch.Tensor:
            squares = outer.square().sum(dim=-1)
            return squares if inner is None else squares * inner.square().sum(dim=-1)

        squares = self._over_samples(closed_form, lambda gradient: at_least_float32(gradient).square().sum())
        return {name: value.mean(dim=-1) for name, value in squares.items()}

    def grams(self) -> Tensors:
        """Return <g_i, g_j> of each parameter, `(B, B)` or `(S, B, B)`."""

        def closed_form(outer: torch.Tensor, inner: torch.Tensor | None) -> torch.Tensor:
            gram = outer @ outer.mT
            return gram if inner is None else gram * (inner @ inner.mT)

        return self._over_samples(
            closed_form, lambda gradient: at_least_float32(gradient).flatten(), lambda rows: rows @ rows.mT
        )

    def _over_samples(
        self, closed_form: ClosedForm, reduce: Reduce, finish: Reduce = lambda rows: rows
    ) -> Tensors:
        """Reduce per-sample gradients by parameter: by the closed form, or `finish(reduce(gradient) of each)`."""
        self._check_samples()
        values = {}
        for module in self.closed:
            for kind, inner in (("weight", self._inner[module]), ("bias", None)):
                if (name := f"{module}.{kind}".lstrip(".")) in self._leaves:
                    values[name] = closed_form(self._outer[module], inner)
        leaves = {name: value.detach() for name, value in self._leaves.items() if name not in values}
        if not leaves:
            return values
        rest = {name: value.detach() for name, value in self._state.items() if name not in leaves}

        def rows(leaves: Tensors, rest: Tensors, inputs: torch.Tensor, targets: torch.Tensor) -> Tensors:
            batch = Batch(self._batch.loss_fn, inputs, targets)
            return sample_gradients(self._network, leaves, rest, batch, reduce)

        with keep_random_states(self._batch.inputs.device), plain_kernels(self._module):
            looped = Axis(self.axis.count)  # samples are mapped already
            rest_values = looped.each(rows, leaves, rest, self._batch.inputs, self._batch.targets)
        return values | {name: finish(value) for name, value in rest_values.items()}

    def slopes(self, direction: Tensors) -> torch.Tensor:
        """Return <g_i, u> of the data loss for a direction u, `(B,)` or `(S, B)`.

        It is the derivative by c_i of the derivative of sum_i c_i loss_i along u: two backward passes for all i.
        """
        self._check_samples()
        batch = self._batch

        def losses(leaves: Tensors, rest: Tensors, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            with borrowed(self._module, {**rest, **leaves}):
                outputs = self._network.inner(x.clone())
            each: torch.Tensor = vmap(lambda out, target: batch.loss_fn(out[None], target[None]))(outputs, y)
            return each

        with self.lent():
            rows = self.axis.each(losses, self._leaves, self._constants, batch.inputs, batch.targets)
            weights = torch.ones_like(rows, requires_grad=True)
            leaves = [self._leaves[name] for name in direction]
            gradients = differentiate("the gradient", (weights * rows).sum(), leaves, create_graph=True)
            pairs = zip(gradients, direction.values(), strict=True)
            along = torch.stack([(gradient * u).sum() for gradient, u in pairs]).sum()
            return differentiate("the gradient along a direction", along, [weights])[0]

    def _check_samples(self) -> None:
        """Check that samples have gradients, and which layers' closed form gives them; raise `UndefinedError`.

        A few samples run apart, unless the network draws at random: outputs must be those within the batch, and
        gradients those of the closed form.
        """
        check_batch_normalisation(self._module)
        count = min(2, self._batch_size - 1)
        if self._samples_checked or not count:
            return
        self._samples_checked = True
        first, few = self.axis.first, slice(count)
        batch = Batch(self._batch.loss_fn, first(self._batch.inputs), first(self._batch.targets))[few]
        gradients = gradients_apart(self._network, first(self._state), batch, first(self._outputs))
        if gradients is not None:
            outer, inner = (
                {name: value[few] for name, value in first(values).items()}
                for values in (self._outer, self._inner)
            )
            self.closed = self._agreeing(gradients, outer, inner)


def _check_output(outputs: object) -> torch.Tensor:
    if not isinstance(outputs, torch.Tensor):
        raise OptionError(
            f"the model gives a {type(outputs).__name__}, not one tensor: wrap it in one that does"
        )
    return outputs
