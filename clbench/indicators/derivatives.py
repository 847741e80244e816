"""First and second derivatives of a batch's loss: gradients, per-sample gradients, Hessian-vector products.

All computed on copies: parameters, `.grad`, buffers, modes and random states stay as they are.
"""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

import torch

from clbench.errors import OptionError
from clbench.indicators.graph import Graph
from clbench.indicators.hooks import check_can_be_borrowed
from clbench.indicators.networks import LossFunction, Measures, Network, Penalty, at_least_float32
from clbench.indicators.samples import Batch
from clbench.indicators.stacked import Axis, Model, Result, Tensors, Value, cloned, row, stack


class Derivatives:
    """Derivatives of the loss on a batch, in the shape of the network's parameters: `(S, ...)` for stacked ones.

    Args:
        hessian: whether Hessian-vector products will be needed.
        closed: linear layers whose per-sample gradients are known to have a closed form: `closed` of an earlier
            batch of the same model. Without it they are determined, and `loss_fn` is checked to be a mean.
    """

    def __init__(
        self,
        model: Model | Network,
        loss_fn: LossFunction,
        inputs: torch.Tensor,
        targets: torch.Tensor,
        penalty: Penalty | None = None,
        hessian: bool = False,
        closed: Sequence[str] | None = None,
    ) -> None:
        self.network = Network.of(model)
        check_can_be_borrowed(self.network.module)
        self._axis = self.network.axis
        _check_batch(self._axis, loss_fn, inputs, targets)
        self.batch_size = inputs.shape[len(self._axis.shape)]
        self._graphs = _graphs(self.network, Batch(loss_fn, inputs, targets), hessian, closed)
        self._leaves, self._penalty = _penalty_gradients(self.network, penalty, hessian)

    @property
    def closed(self) -> list[str]:
        """Linear layers whose per-sample gradients have a closed form, as far as that is known."""
        return self._graphs[0].closed

    @cached_property
    def data_gradients(self) -> Tensors:
        return self._collect(lambda graph: graph.gradients)

    @cached_property
    def gradients(self) -> Tensors:
        """Gradients of the loss as trained, penalty included, by parameter."""
        data = self.data_gradients
        return data | {name: data[name] + value.detach() for name, value in self._penalty.items()}

    def gradient_squares(self) -> Measures:
        """Return ||g_hat||^2 of the batch loss as trained, penalty included."""
        squares = {name: self._axis.each(dot, value, value) for name, value in self.gradients.items()}
        return self.network.sum_by_layer(squares)

    def noise(self) -> Measures:
        """Return sigma^2 = (1/B) sum_i ||g_i||^2 - ||g_bar||^2 of the data loss."""
        if self.batch_size == 1:
            return {layer: torch.zeros_like(value) for layer, value in self.gradient_squares().items()}
        squares = self._collect(lambda graph: graph.sample_squares())
        noise = {
            name: (squares[name] - self._axis.each(dot, value, value)).clamp_min(0)
            for name, value in self.data_gradients.items()
        }
        return self.network.sum_by_layer(noise)

    def grams(self) -> Measures:
        """Return the matrices of inner products <g_i, g_j> of the data loss, `(B, B)` or `(S, B, B)`."""
        return self.network.sum_by_layer(self._collect(lambda graph: graph.grams()))

    def slopes(self, direction: Tensors) -> torch.Tensor:
        """Return <g_i, u> of the data loss for a direction u, `(B,)` or `(S, B)`."""
        directions = [self.select(direction, index) for index in range(len(self._graphs))]
        return self.join([graph.slopes(u) for graph, u in zip(self._graphs, directions, strict=True)])

    def products(
        self, blocks: Mapping[str, Sequence[str]], vectors: Mapping[str, Tensors]
    ) -> list[dict[str, Tensors]]:
        """Return H v, penalty included, by graph and block of the Hessian."""
        products = []
        for index, graph in enumerate(self._graphs):
            with graph.lent():
                vector = {block: self.select(vectors[block], index) for block in blocks}
                products.append({block: graph.product(blocks[block], vector[block]) for block in blocks})
        for block, names in blocks.items():
            for name, added in self._penalty_products(names, vectors[block]).items():
                for index, of_graph in enumerate(products):
                    of_graph[block][name] = of_graph[block][name] + self.select(added, index)
        return products

    def _penalty_products(self, names: Sequence[str], vector: Tensors) -> Tensors:
        curved = [name for name in names if name in self._penalty and self._penalty[name].requires_grad]
        if not curved:
            return {}
        gradients = torch.autograd.grad(
            [self._penalty[name] for name in curved],
            [self._leaves[name] for name in names],
            [vector[name] for name in curved],
            retain_graph=True,
            allow_unused=True,
        )
        return {name: value for name, value in zip(names, gradients, strict=True) if value is not None}

    def lent(self) -> contextlib.AbstractContextManager[None]:
        """Lend the module its tensors once for many products; with several graphs, each needs it in turn."""
        return self._graphs[0].lent() if len(self._graphs) == 1 else contextlib.nullcontext()

    @property
    def graph_axis(self) -> Axis:
        """The axis of networks in each graph: the network's if one graph has all, none if each has one."""
        return self._graphs[0].axis

    def select(self, values: Value, index: int) -> Value:
        return values if self.graph_axis == self._axis else row(values, index)

    def store(self, share: Tensors, values: Tensors, index: int) -> None:
        for name, value in share.items():
            (values[name] if self.graph_axis == self._axis else values[name][index]).copy_(value)

    def join(self, shares: Sequence[Result]) -> Result:
        """Return the graphs' shares, tensors or dictionaries of them, in the network's layout."""
        return shares[0] if self.graph_axis == self._axis else stack(shares)

    def _collect(self, function: Callable[[Graph], Result]) -> Result:
        return self.join([function(graph) for graph in self._graphs])


def dot(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    a, b = at_least_float32(a), at_least_float32(b)
    if a.dtype != b.dtype:
        a, b = a.double(), b.double()
    return torch.dot(a.flatten(), b.flatten())


def _check_batch(axis: Axis, loss_fn: LossFunction, inputs: torch.Tensor, targets: torch.Tensor) -> None:
    for name, value in (("inputs", inputs), ("targets", targets)):
        if not isinstance(value, torch.Tensor):
            raise OptionError(
                f"{name} must be one tensor, not a {type(value).__name__}: use torch.as_tensor({name}), or "
                "wrap a model that has several inputs"
            )
    if not callable(loss_fn):
        raise OptionError(
            f"loss_fn must be a function of outputs and targets such as F.cross_entropy, "
            f"not a {type(loss_fn).__name__}"
        )
    leading = len(axis.shape) + 1
    if axis.count is not None and len(inputs) != axis.count:
        raise OptionError(f"inputs are for {len(inputs)} networks, but {axis.count} are stacked")
    if inputs.ndim < leading or not inputs.shape[leading - 1]:
        raise OptionError("the batch is empty")
    if targets.shape[:leading] != inputs.shape[:leading]:
        raise OptionError(
            f"targets {tuple(targets.shape)} do not match inputs {tuple(inputs.shape)}: "
            "both need the same batch size"
        )


def _graphs(network: Network, batch: Batch, hessian: bool, closed: Sequence[str] | None) -> list[Graph]:
    """Run forward and backward: in one graph if all networks are computed at once, else in one for each."""
    axis = network.axis

    def state() -> Tensors:
        return cloned({**network.parameters, **network.buffers})

    if axis.batched:
        try:
            return [Graph(network, axis, state(), batch, hessian, closed)]
        except OptionError:
            raise
        except Exception:  # whatever a model may say to tensors within `vmap`
            pass  # one by one
    copies = state()
    if axis.count is None:
        return [Graph(network, axis, copies, batch, hessian, closed)]
    return [
        Graph(network, Axis(), row(copies, index), batch[index], hessian, closed)
        for index in range(axis.count)
    ]


def _penalty_gradients(network: Network, penalty: Penalty | None, hessian: bool) -> tuple[Tensors, Tensors]:
    """Return parameters, and a penalty's gradients by them; for all networks at once, as a penalty takes them."""
    if penalty is None:
        return {}, {}
    with torch.enable_grad():
        copies = cloned(network.parameters)
        leaves = {name: copies[name].requires_grad_() for name in network.trained}
        total = penalty({**copies, **leaves})
        if total is None or not total.requires_grad:
            return {}, {}
        gradients = torch.autograd.grad(
            total.sum(), list(leaves.values()), create_graph=hessian, allow_unused=True
        )
    return leaves, {name: value for name, value in zip(leaves, gradients, strict=True) if value is not None}
