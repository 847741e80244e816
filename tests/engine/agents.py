"""Agents' files that several tests write."""

PLAIN = """
import torch
class Agent:
    def __init__(self, spec, seed, step_size=1e-2, fail_at=-1, die_at=-1, on_seed=1):
        torch.manual_seed(seed)
        self.spec, self.seed, self.count = spec, seed, 0
        self.fail_at = fail_at if seed == on_seed else -1
        self.die_at = die_at if seed == on_seed else -1
        self.model = torch.nn.Linear(*spec.input_shape, spec.num_classes)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=step_size)
        print("hello from seed", seed, "\u2713")
    def act(self, obs):
        if self.count == self.fail_at:
            raise RuntimeError("out of ideas")
        if self.count == self.die_at:
            import os; os._exit(7)
        self.count += 1
        self.logits = self.model(torch.as_tensor(obs))
        return self.logits.argmax(dim=1)
    def learn(self, targets):
        loss = torch.nn.functional.cross_entropy(self.logits, torch.as_tensor(targets))
        self.optimizer.zero_grad(); loss.backward(); self.optimizer.step()
        return loss
"""

DROPOUT = '''
import torch
from torch import nn
from clbench import PerLayerScheduler


class Agent:
    """Draws from the process's global generators, too; shows its network."""

    def __init__(self, spec, seed, step_size=1e-3):
        torch.manual_seed(seed)
        self.model = nn.Sequential(nn.Linear(784, 32), nn.ReLU(), nn.Dropout(0.2), nn.Linear(32, 10))
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=step_size)
        self.scheduler = PerLayerScheduler(self.model, self.optimizer, every=5)

    def act(self, obs):
        self.inputs = torch.as_tensor(obs)
        self.logits = self.model(self.inputs)
        return self.logits

    def learn(self, targets):
        targets = torch.as_tensor(targets)
        loss = nn.functional.cross_entropy(self.logits, targets)
        self.optimizer.zero_grad()
        loss.backward()
        self.scheduler.step(nn.functional.cross_entropy, self.inputs, targets)
        self.optimizer.step()
        return loss

    def state_dict(self):
        return {name: getattr(self, name).state_dict() for name in ("model", "optimizer", "scheduler")}

    def load_state_dict(self, state):
        for name, value in state.items():
            getattr(self, name).load_state_dict(value)
'''

FAILING = DROPOUT.replace(
    "        targets = torch.as_tensor(targets)\n",
    "        self.steps = getattr(self, 'steps', 0) + 1\n"
    "        if self.steps == 9:\n            raise RuntimeError('out of ideas')\n"
    "        targets = torch.as_tensor(targets)\n",
).replace(
    "    def load_state_dict(self, state):\n",
    "    def load_state_dict(self, state):\n        self.steps = 9\n",
)
"""Fails in the middle of its second short task, until it is resumed."""

FORGETFUL = """
class Agent:
    def __init__(self, spec, seed):
        self.size = spec.batch_size

    def act(self, obs):
        import numpy
        return numpy.zeros(self.size, int)

    def learn(self, targets):
        pass
"""
