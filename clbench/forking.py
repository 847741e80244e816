"""Processes forked from one that uses clbench, as those of `gymnasium.vector.AsyncVectorEnv` are on Linux.

GNU OpenMP, which PyTorch's wheels for Linux use, does not survive a fork: its threads stay behind, and the child waits
for them for ever in its first operation on several threads. So a forked process that has environments computes on one
thread, as PyTorch's own `DataLoader` has its workers do. `torch.set_num_threads` raises that again, which is safe only
if the parent has always used one thread.
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
