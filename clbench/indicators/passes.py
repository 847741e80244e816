"""One pass of S networks over a batch: gradients, per-sample gradients, Hessian-vector products.

All of it on copies: parameters, `.grad`, buffers, modes and random states stay as they were.
"""

from collections.abc import Mapping, Sequence

import torch

from clbench.errors import OptionError
from clbench.indicators.hooks import check_can_be_borrowed
from clbench.indicators.networks import LossFunction, Measures, Model, Network, Penalty, Tensors, cloned, row
from clbench.indicators.part import Part


class Pass:
    """A forward pass, and what follows from it; made anew for each batch.

    Args:
        model: one network, or S stacked ones, or as `Network` already.
        loss_fn: from outputs `(B, ...)` and targets `(B, ...)` of one network to their mean loss.
        inputs: `(B, ...)`, or `(S, B, ...)` for stacked networks.
        targets: ditto.
        penalty: what is added to the loss as trained: from parameters by name to a scalar, or for stacked
            networks from stacked ones to `(S,)`.
        hessian: whether Hessian-vector products will be wanted.
        closed: linear layers whose per-sample gradients are known to have a closed form: `closed` of an earlier
            pass of the same model. Without it that is found out, and `loss_fn` is checked to be a mean.

    Attributes:
        parts: networks that are computed together.
        batch_size: B.
        closed: see above.

    Raises:
        OptionError: inputs and targets do not fit together, or `loss_fn` is no mean over the batch.
        UndefinedError: PyTorch cannot differentiate the model as it has to be.
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
        for name, value in (("inputs", inputs), ("targets", targets)):
            if not isinstance(value, torch.Tensor):
                raise OptionError(
                    f"{name} must be one tensor, not a {type(value).__name__}: use torch.as_tensor({name}), or "
                    "wrap a model of several inputs"
                )
        if not callable(loss_fn):
            raise OptionError(
                f"loss_fn must be a function of outputs and targets such as F.cross_entropy, "
                f"not a {type(loss_fn).__name__}"
            )
        self.network, self.loss_fn, self.hessian = Network.of(model), loss_fn, hessian
        check_can_be_borrowed(self.network.module)
        stacked = self.network.stacked
        shape = inputs.shape[1:] if stacked else inputs.shape
        if stacked and len(inputs) != self.network.count:
            raise OptionError(
                f"inputs for {len(inputs)} networks were given to {self.network.count} stacked ones"
            )
        if not len(shape) or not shape[0]:
            raise OptionError("the batch is empty: there is nothing to measure on")
        self.batch_size = shape[0]
        if targets.shape[: 1 + stacked] != inputs.shape[: 1 + stacked]:
            raise OptionError(
                f"targets {tuple(targets.shape)} do not go with inputs {tuple(inputs.shape)}: "
                "both need the same batch size"
            )
        self.parts = self._run(inputs, targets, closed)
        self._penalise(penalty)

    def _run(self, inputs: torch.Tensor, targets: torch.Tensor, closed: Sequence[str] | None) -> list[Part]:
        """Run forward and backward: all networks at once where that is better and possible, or else one by one."""
        if self.network.batched:
            part = Part(self.network, *self._copies(), inputs, targets, many=True)
            try:
                part.run(self.loss_fn, self.hessian, closed)
                return [part]
            except OptionError:
                raise
            except Exception:  # whatever a model may say to tensors within `vmap`
                pass  # one by one
        parameters, buffers = self._copies()
        if self.network.stacked:
            parts = [
                Part(self.network, row(parameters, place), cloned(row(buffers, place)), x, y)
                for place, (x, y) in enumerate(zip(inputs, targets, strict=True))
            ]
        else:
            parts = [Part(self.network, parameters, buffers, inputs, targets)]
        for part in parts:
            part.run(self.loss_fn, self.hessian, closed)
        return parts

    def _copies(self) -> tuple[Tensors, Tensors]:
        """Return copies of all parameters and buffers: a forward pass may write to them."""
        return cloned(self.network.parameters), cloned(self.network.buffers)

    @property
    def closed(self) -> list[str]:
        """Linear layers whose per-sample gradients have a closed form, as far as that has been found out."""
        return self.parts[0].linear

    def _penalise(self, penalty: Penalty | None) -> None:
        """Add the penalty's gradients; they are taken for all networks at once, as the penalty wants them."""
        self._leaves: Tensors = {}
        self._penalty_gradients: dict[str, torch.Tensor | None] = {}
        if penalty is None:
            return
        with torch.enable_grad():
            copies = cloned(self.network.parameters)
            self._leaves = {name: copies[name].requires_grad_() for name in self.network.trained}
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
        return value[place] if self.network.stacked and not self.parts[0].many else value

    def collect(self, values: Sequence[torch.Tensor]) -> torch.Tensor:
        """Join the parts' values, scalars or `(S,)` each, to a scalar for one network or `(S,)`."""
        if not self.network.stacked:
            return values[0]
        return values[0] if self.parts[0].many else torch.stack(list(values))

    def gradient_squares(self) -> Measures:
        """Return ||g_hat||^2 of the batch loss as trained, penalty included."""
        squares = {
            name: self.collect([part.square(part.trained[name]) for part in self.parts])
            for name in self.parts[0].leaves
        }
        return self.network.sums(squares)

    def noise(self) -> Measures:
        """Return sigma^2 = (1/B) sum_i ||g_i||^2 - ||g_bar||^2 of the data loss."""
        if self.batch_size == 1:
            return {layer: torch.zeros_like(value) for layer, value in self.gradient_squares().items()}
        pieces: dict[str, list[torch.Tensor]] = {name: [] for name in self.parts[0].leaves}
        for part in self.parts:
            norms = part.sample_squares(self.loss_fn)
            for name, found in pieces.items():
                found.append((norms[name] - part.square(part.data[name])).clamp_min(0))
        return self.network.sums({name: self.collect(found) for name, found in pieces.items()})

    def grams(self) -> Measures:
        """Return the matrices of inner products <g_i, g_j> of the data loss, `(B, B)` or `(S, B, B)`."""
        pieces = [part.grams(self.loss_fn) for part in self.parts]
        return self.network.sums({name: self.collect([own[name] for own in pieces]) for name in pieces[0]})

    def products(self, names: Sequence[str], vectors: Sequence[Tensors]) -> list[Tensors]:
        """Return, part by part, H v for the block of the parameters `names`; `vectors` likewise part by part."""
        return self.products_of({"": names}, {"": vectors})[""]

    def products_of(
        self, blocks: Mapping[str, Sequence[str]], vectors: Mapping[str, Sequence[Tensors]]
    ) -> dict[str, list[Tensors]]:
        """Return `products` of several blocks."""
        found: dict[str, list[Tensors]] = {block: [] for block in blocks}
        for place, part in enumerate(self.parts):
            with part.running():
                for block, names in blocks.items():
                    found[block].append(part.product(names, vectors[block][place]))
        for block, names in blocks.items():
            self._add_penalty(found[block], names, vectors[block])
        return found

    def _add_penalty(
        self, found: Sequence[Tensors], names: Sequence[str], vectors: Sequence[Tensors]
    ) -> None:
        """Add the penalty's products, taken for all networks at once."""
        curved = [
            name
            for name in names
            if (gradient := self._penalty_gradients.get(name)) is not None and gradient.requires_grad
        ]
        if curved:
            if self.network.stacked and not self.parts[0].many:
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
