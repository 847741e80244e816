"""Recording a step and replaying it on a CPU, much as a CUDA graph does: the same operations, with the same numbers, on
the same memory; what the host does in between is not done again, and most ways to look at a tensor are refused. What it
cannot show: copies between devices, and memory that is freed under a recorded step."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

LOOKS = {
    torch.ops.aten._local_scalar_dense.default,
    torch.ops.aten.nonzero.default,
    torch.ops.aten.masked_select.default,
}


class _Recorder(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function in LOOKS:
            raise RuntimeError("the host looked at a tensor while a step was recorded")
        found = function(*args, **(kwargs or {}))
        self.calls.append((function, args, kwargs or {}, found))
        return found


def record(step):
    """Record a step; like CUDA's recording it leaves nothing done but what the host does."""
    recorder = _Recorder()
    memory = _Memory()
    with memory, recorder:
        step()
    memory.put_back()
    return lambda: _replay(recorder.calls)


class _Memory(TorchDispatchMode):
    """Keeps what tensors held before they were written to."""

    def __init__(self):
        super().__init__()
        self.before = {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        # Batch normalisation writes its running statistics, though its schema does not say so.
        if function._schema.is_mutable or "batch_norm" in function.name():
            for value in tree_flatten((args, kwargs or {}))[0]:
                if isinstance(value, torch.Tensor):
                    storage = value.untyped_storage()
                    self.before.setdefault(storage.data_ptr(), (storage, storage.clone()))
        return function(*args, **(kwargs or {}))

    def put_back(self):
        for storage, before in self.before.values():
            storage.copy_(before)


def _replay(calls):
    with torch.no_grad():
        for function, args, kwargs, found in calls:
            given = {value.untyped_storage().data_ptr() for value in _tensors((args, kwargs))}
            for old, new in zip(_tensors(found), _tensors(function(*args, **kwargs)), strict=True):
                if old.untyped_storage().data_ptr() not in given:
                    old.copy_(new)


def _tensors(tree):
    return [value for value in tree_flatten(tree)[0] if isinstance(value, torch.Tensor)]
