import torch


class SingleDeviceMuonWithAuxAdam(torch.optim.Optimizer):
    """Two rules in one optimizer, by group; only the second has second moments."""

    def __init__(self, param_groups):
        super().__init__([{"eps": 1e-10, **group} for group in param_groups], {})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for value in group["params"]:
                state = self.state[value]
                if group["use_muon"]:
                    state["momentum_buffer"] = 0.9 * state.get("momentum_buffer", 0) + value.grad
                    value.sub_(group["lr"] * state["momentum_buffer"].sign() / len(value))
                    continue
                first, second = group["betas"]
                state["step"] = state.get("step", 0) + 1
                state["exp_avg"] = first * state.get("exp_avg", 0) + (1 - first) * value.grad
                state["exp_avg_sq"] = second * state.get("exp_avg_sq", 0) + (1 - second) * value.grad.square()
                mean, square = state["exp_avg"] / (1 - first ** state["step"]), state["exp_avg_sq"]
                root = (square / (1 - second ** state["step"])).sqrt()
                value.sub_(group["lr"] * mean / (root + group["eps"]))
