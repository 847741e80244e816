from torch import nn


class Backbone(nn.Module):
    def __init__(self, in_shape, norm_type, hidden_dims):
        super().__init__()
        layers = [nn.Linear(in_shape[-1], 8), nn.BatchNorm1d(8), nn.ReLU(inplace=True), nn.Linear(8, hidden_dims[-1])]
        self.fc = nn.Sequential(*layers)

    def forward(self, x):
        return self.fc(x.flatten(1)).view(len(x), -1, 1, 1)


class Head(nn.Module):
    def __init__(self, in_shape, output_size, norm_type, activ_type, drop_prob, hidden_dims):
        super().__init__()
        self.fc = nn.Linear(in_shape[0], output_size)

    def forward(self, x):
        return self.fc(x.flatten(1))


class Model(nn.Module):
    """Its hooks are closures that return what another closure does: None."""

    def __init__(self, backbone, head):
        super().__init__()
        self.backbone, self.head, self.kept = backbone, head, {}

        def keep(module, input, output, name):
            self.kept[name] = len(output)

        for name, module in self.named_modules():
            module.register_forward_hook(lambda module, input, output, name=name: keep(module, input, output, name))

    def forward(self, x):
        return self.head(self.backbone(x))


BACKBONES, HEADS = {"mlp": Backbone}, {"mlp": Head}
