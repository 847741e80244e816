"""One root seed gives any number of named, independent random generators."""

import zlib

import numpy as np

from clbench.errors import OptionError


def generator(seed: int, *path: str | int) -> np.random.Generator:
    """Return the generator that belongs to `path` under the root `seed`.

    A pure function: generators with different paths or seeds are independent (NumPy's
    `SeedSequence` with the path as spawn key), and none depends on how much was drawn from another.

    Args:
        seed: root seed, 0 or above.
        path: names and indices, for example `("order", task, epoch)`.

    >>> int(generator(0, "task", 3).integers(1000)) == int(generator(0, "task", 3).integers(1000))
    True
    """
    key = tuple(zlib.crc32(part.encode()) if isinstance(part, str) else part for part in path)
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(check_seed(seed), spawn_key=key)))


def check_seed(seed: object) -> int:
    """Return `seed` as an int, or raise `OptionError` if it is not a whole number of 0 or above."""
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise OptionError(f"seed {seed!r} is not a whole number of 0 or above")
    return int(seed)
