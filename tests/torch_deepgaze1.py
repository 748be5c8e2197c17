"""DeepGaze I in PyTorch, for tests that compare with it (marker torch).

Written from the text of the model, with the names that the public state dict has. It
imports nothing of the library.
"""

import math
from collections import OrderedDict

import torch
from torch import nn
from torch.nn import functional


class Normalise(nn.Module):
    """RGB 0..255 as the pictures that AlexNet was trained on."""

    def forward(self, image):
        mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
        std = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
        return (image / 255 - mean) / std


class AlexNet(nn.Module):
    """Torchvision's AlexNet up to its last convolution, before the ReLU."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 11, stride=4, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(64, 192, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(192, 384, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(384, 256, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(256, 256, 3, padding=1),
        )

    def forward(self, x):
        return self.features(x)


class Features(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(Normalise(), AlexNet())

    def forward(self, image):
        return self.features(image)


class Gaussian(nn.Module):
    """Blur of maps [batch, 1, height, width]: 2 ceil(3 sigma) + 1 taps per axis."""

    def __init__(self, sigma):
        super().__init__()
        self.sigma = nn.Parameter(torch.tensor(sigma))

    def forward(self, x):
        radius = int(torch.ceil(3 * self.sigma))
        distance = torch.arange(-radius, radius + 1, dtype=torch.float32)
        taps = torch.exp(-0.5 * (distance / self.sigma) ** 2)
        taps = taps / taps.sum()
        x = functional.pad(x, (radius, radius, radius, radius), mode="replicate")
        x = functional.conv2d(x, taps.view(1, 1, -1, 1))
        return functional.conv2d(x, taps.view(1, 1, 1, -1))


class Finalizer(nn.Module):
    def __init__(self):
        super().__init__()
        self.gauss = Gaussian(8.0)
        self.center_bias_weight = nn.Parameter(torch.tensor([1.0]))

    def forward(self, readout, center_bias):
        size = list(center_bias.shape[1:])
        # Every 4th pixel, starting with the first: floor(size / 4) of them.
        small = functional.interpolate(
            center_bias[:, None], scale_factor=1 / 4, recompute_scale_factor=False
        )
        x = functional.interpolate(readout, size=list(small.shape[2:]))
        x = self.gauss(x) + self.center_bias_weight * small
        x = functional.interpolate(x, size=size)[:, 0]
        return x - torch.logsumexp(x, dim=(1, 2), keepdim=True)


class DeepGaze1(nn.Module):
    """`forward(image [batch, 3, H, W], center_bias [batch, H, W])` -> log density."""

    def __init__(self):
        super().__init__()
        self.features = Features()
        readout = nn.Conv2d(256, 1, 1, bias=False)
        self.readout_network = nn.Sequential(OrderedDict(conv0=readout))
        self.finalizer = Finalizer()

    def forward(self, image, center_bias):
        height, width = image.shape[2:]
        half = functional.interpolate(
            image, scale_factor=1 / 2, recompute_scale_factor=False
        )
        # Of the whole image's size, so an odd one is rounded up here and down above.
        grid = [math.ceil(height / 2 / 4), math.ceil(width / 2 / 4)]
        features = functional.interpolate(self.features(half), size=grid)
        return self.finalizer(self.readout_network(features), center_bias)


def torch_log_density(state_dict, image, center_bias):
    """float32 [H, W] of an image [H, W, 3] and a log density [H, W], all numpy."""
    model = DeepGaze1()
    tensors = {name: torch.from_numpy(array) for name, array in state_dict.items()}
    model.load_state_dict(tensors)
    with torch.no_grad():
        image = torch.from_numpy(image).permute(2, 0, 1)[None]
        return model(image, torch.from_numpy(center_bias)[None])[0].numpy()
