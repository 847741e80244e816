import copy

import torch
import tqdm
from torch.nn import functional as F


class BaseTrainer:
    """It makes optimizer and schedule for each call, and replaces parameters' data."""

    def __init__(self, cfg, device, train_loaders, test_loader, logger, model):
        self.cfg, self.logger, self.model = cfg, logger, model.to(device)
        self.target_model = copy.deepcopy(self.model)

    def train(self, task_idx):
        optimizer, schedule = self._build_optimizer("adamw", {}), self._build_scheduler(None, {})
        assert not self.model.training or self.cfg.base_test_every == -1
        for x, y in tqdm.tqdm(self.train_loaders[task_idx]):
            self.model.train()
            loss = F.cross_entropy(self.model.head(self.model.backbone(x)), y)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 0.5)
            optimizer.step()
            pairs = list(zip(self.target_model.parameters(), self.model.parameters()))
            for slow, fast in pairs:
                slow.data = self.cfg.ema * slow.data + (1 - self.cfg.ema) * fast.data
            self.logger.update_log(train_nll_loss=loss.item(), lr=schedule.get_lr()[0])
            self.logger.log_to_wandb(0)
            schedule.step()
            if self.cfg.hare_tortoise.reset_every != -1:
                for slow, fast in pairs:
                    fast.data = slow.data.clone()
