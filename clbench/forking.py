"""Processes forked from one that uses clbench, as those of `gymnasium.vector.AsyncVectorEnv` are on Linux.

PyTorch's wheels for Linux use GNU OpenMP, whose threads do not survive a fork: the child waits for them forever in its
first operation on several threads. So PyTorch computes on one thread in forked processes that have environments, as it
does in the workers of its own `DataLoader`. `torch.set_num_threads` raises the number again, which is safe only if the
parent has never used more than one.
"""

import os
import sys

_IMPORTED_BY = os.getpid()


def survive_forks() -> None:
    """Let processes forked from here on use one thread, and so this one if it was forked after clbench was imported."""
    if sys.platform != "linux":
        return
    import torch

    def use_one_thread() -> None:
        torch.set_num_threads(1)

    os.register_at_fork(after_in_child=use_one_thread)
    if os.getpid() != _IMPORTED_BY:
        use_one_thread()
