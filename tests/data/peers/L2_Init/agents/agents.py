import torch
from nets import MLP
from utils import squared


class L2InitAgent:
    """It imports its neighbours by names that others have, too."""

    def __init__(self, model_constructor, optimizer_cfg, loss_fn, device, l2_weight, sample_init_values):
        self.model, self.loss_fn, self.l2_weight = model_constructor().to(device), loss_fn, l2_weight
        assert isinstance(self.model, MLP)
        self.optimizer = getattr(torch.optim, optimizer_cfg.name)(self.model.parameters(), lr=optimizer_cfg.lr)
        self.init_params_dict = {name: value.data.clone() for name, value in self.model.named_parameters()}

    def step(self, x, y):
        logits = self.model(x)
        distance = sum(squared(value - self.init_params_dict[name]) for name, value in self.model.named_parameters())
        loss = self.loss_fn(logits, y) + 0.5 * self.l2_weight * distance
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return logits, {"curr_train_loss": loss.detach()}
