from types import SimpleNamespace

import torch
from lop.utils.AdamGnT import AdamGnT
from torch.nn import functional as F


class ContinualBackprop:
    """After a step it may replace a unit; which one depends on the utilities it keeps."""

    def __init__(self, net, step_size, loss, opt, replacement_rate, decay_rate, device, **others):
        self.net, self.opt = net, AdamGnT(net.parameters(), lr=step_size)
        self.decay, units = decay_rate, net.layers[0].out_features
        empty = {"bias_corrected_util": [], "mean_feature_act": [], "accumulated_num_features_to_replace": [0]}
        self.gnt = SimpleNamespace(util=[torch.zeros(units)], ages=[torch.zeros(units)], **empty)

    def learn(self, x, target):
        output, (features,) = self.net.predict(x)
        loss = F.cross_entropy(output, target)
        self.opt.zero_grad()
        loss.backward()
        self.opt.step()
        with torch.no_grad():
            self.gnt.util[0].lerp_(features.mean(dim=0), 0.1)
            self.gnt.ages[0] += 1
            if self.gnt.ages[0].max() >= 3:
                unit, weight = self.gnt.util[0].argmin(), self.net.layers[0].weight
                weight.data[unit] = torch.empty(weight.shape[1]).uniform_(-0.1, 0.1)
                self.gnt.ages[0][unit] = 0
                for name in ("step", "exp_avg", "exp_avg_sq"):
                    self.opt.state[weight][name][unit] = 0.0
        return loss.detach(), output.detach()
