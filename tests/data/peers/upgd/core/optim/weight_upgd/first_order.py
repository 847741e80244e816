import torch


class FirstOrderGlobalUPGD(torch.optim.Optimizer):
    """It takes names with parameters, and draws noise from PyTorch's generator."""

    def __init__(self, params, lr, weight_decay, beta_utility, sigma):
        names, params = zip(*params)
        super().__init__(params, {"lr": lr, "sigma": sigma, "names": names})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for name, value in zip(group["names"], group["params"], strict=True):
                value.sub_(group["lr"] * (value.grad + group["sigma"] * torch.randn_like(value)))
