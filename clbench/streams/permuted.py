"""PermutedMNIST: true labels, a new permutation of the pixels at every task."""

import math
from dataclasses import dataclass

import numpy as np
import torch

from clbench.streams.base import Stream, Task


@dataclass(frozen=True)
class FeaturePermutation:
    """Moves feature `order[j]` of each flattened input to position j."""

    order: torch.Tensor

    def __call__(self, inputs: torch.Tensor) -> torch.Tensor:
        return inputs.flatten(1).index_select(1, self.order).view_as(inputs)


class Permuted(Stream):
    """Each task applies its own permutation of the features to every image; labels are true.

    Source: Goodfellow et al., "An Empirical Investigation of Catastrophic Forgetting
    in Gradient-Based Neural Networks", 2013.
    """

    can_replay = True

    def draw_task(self, rng: np.random.Generator, rows: np.ndarray, previous: Task | None) -> Task:
        """Draw a permutation of all features, for the first task as well."""
        order = torch.from_numpy(rng.permutation(math.prod(self.data.input_shape))).to(self.device)
        targets = previous.targets if previous else self.true_labels(rows)
        return Task(rows, targets, FeaturePermutation(order))
