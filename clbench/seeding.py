"""Independent random generators by name, from one root seed; and the global random states."""

import contextlib
import random
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from clbench.errors import OptionError


def generator(seed: int, *path: str | int) -> np.random.Generator:
    """Return the generator of `path` under the root `seed`.

    A pure function: generators with different paths or seeds are independent (NumPy's `SeedSequence` with the path as
    spawn key), however much is drawn from each.

    >>> int(generator(0, "task", 3).integers(1000)) == int(generator(0, "task", 3).integers(1000))
    True
    """
    key = tuple(zlib.crc32(part.encode()) if isinstance(part, str) else part for part in path)
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(check_seed(seed), spawn_key=key)))


def check_seed(seed: object) -> int:
    """Return `seed` as an int; refuse all but whole numbers of 0 or above."""
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise OptionError(f"seed {seed!r} is not a whole number of at least 0")
    return int(seed)


@contextlib.contextmanager
def global_states_kept() -> Iterator[None]:
    """Restore the states of the global generators after the block."""
    before = global_states()
    try:
        yield
    finally:
        set_global_states(before)


def seed_globals(seed: int) -> None:
    """Seed the global generators of Python, NumPy and PyTorch, for agents that draw from them."""
    import torch

    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    torch.manual_seed(seed % 2**64)


def global_states() -> dict[str, Any]:
    import torch

    cuda: bool = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    return {
        "python": random.getstate(),
        "numpy": np.random.get_state(legacy=False),  # noqa: NPY002 (kept for agents, not drawn from)
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if cuda else [],
    }


def set_global_states(states: Mapping[str, Any]) -> None:
    """Restore the states of `global_states`, on accelerators as far as this machine has them."""
    import torch

    random.setstate(states["python"])
    np.random.set_state(states["numpy"])  # noqa: NPY002
    torch.set_rng_state(states["torch"])
    if states["cuda"] and torch.cuda.is_available():
        for index, state in enumerate(states["cuda"][: torch.cuda.device_count()]):
            torch.cuda.set_rng_state(state, index)
