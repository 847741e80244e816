import torch


class AdamGnT(torch.optim.Optimizer):
    """It counts steps for each weight."""

    def __init__(self, params, lr):
        super().__init__(params, {"lr": lr, "betas": (0.9, 0.999), "eps": 1e-8})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            first, second = group["betas"]
            for value in group["params"]:
                state = self.state[value]
                for name in ("step", "exp_avg", "exp_avg_sq") if not state else ():
                    state[name] = torch.zeros_like(value)
                state["step"] += 1
                state["exp_avg"].lerp_(value.grad, 1 - first)
                state["exp_avg_sq"].lerp_(value.grad.square(), 1 - second)
                scale = group["lr"] * (1 - second ** state["step"])
                value.sub_(scale * state["exp_avg"] / (state["exp_avg_sq"].sqrt() + group["eps"]))
