import torch


@torch.inference_mode()
def run_redo(obs, model, optimizer, tau, re_initialize, use_lecun_init):
    """Resets one unit by chance, and the steps of its layer's weight."""
    print("resetting")
    layer, after = list(model.children())[:2]
    unit = torch.randint(len(layer.weight), ())
    layer.weight.data[unit] = torch.empty_like(layer.weight.data[unit]).uniform_(-0.1, 0.1)
    after.weight.data[:, unit] = 0.0
    state = optimizer.state_dict()["state"][0]
    state["exp_avg"][unit] = 0.0
    state["step"].zero_()
