"""Processes forked from one that has environments, as those of `gymnasium.vector.AsyncVectorEnv` are on Linux.

GNU OpenMP, which PyTorch's wheels for Linux use, does not survive a fork: its threads stay behind, and the child waits
for them for ever in its first operation on several threads. So such a child computes on one thread, as PyTorch's own
`DataLoader` has its workers do; `torch.set_num_threads` can raise that again where the parent has used one thread only.
"""

import os
import sys

import torch

if sys.platform == "linux":
    os.register_at_fork(after_in_child=lambda: torch.set_num_threads(1))
