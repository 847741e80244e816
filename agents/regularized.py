"""What regularised learners share: a penalty with a strength."""

from collections.abc import Mapping, Sequence
from typing import Any

from clbench.agent import AgentSpec
from clbench.errors import OptionError

from .learner import Learner


class RegularizedLearner(Learner):
    """A learner whose `penalty` is scaled by `strength`.

    Args:
        spec: the stream to learn on.
        seeds: one per network.
        step_size: Adam's.
        strength: lambda, 0 or above.
        **scheduling: the scheduler and its constants, as for `Learner`.
    """

    def __init__(
        self,
        spec: AgentSpec,
        seeds: Sequence[int],
        step_size: float = 1e-3,
        strength: float = 1e-3,
        **scheduling: Any,
    ) -> None:
        self.check_arguments({"strength": strength})
        self.strength = strength
        super().__init__(spec, seeds, step_size, **scheduling)

    @classmethod
    def check_arguments(cls, arguments: Mapping[str, Any]) -> None:
        """Raise unless a learner can be made with these."""
        super().check_arguments(arguments)
        if not arguments.get("strength", 0) >= 0:
            raise OptionError(f"strength={arguments['strength']} must not be negative")
