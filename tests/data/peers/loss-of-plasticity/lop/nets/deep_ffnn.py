from torch import nn


class DeepFFNN(nn.Module):
    """It has no forward, and its modules are registered twice."""

    def __init__(self, input_size, num_features, num_outputs):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(input_size, 8), nn.ReLU(), nn.Linear(8, num_outputs)])
        self.in_layer = nn.Sequential(*self.layers[:2])

    def predict(self, x):
        features = self.in_layer(x)
        return self.layers[2](features), [features]
