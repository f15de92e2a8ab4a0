"""NPR: neighbouring pixel relations, a small CNN on the residual that up-sampling layers leave.

"Rethinking the Up-Sampling Operations in CNN-based Generative Network for Generalizable Deepfake Detection" (CVPR
2024), after its public code (chuangchuangtan/NPR-DeepfakeDetection @ 73cde1c).

One view, the image at its own size. NPR(x) = x - up(down(x)), both by nearest neighbour, times 2/3, goes through a
ResNet-50 that is cut off after its second layer. From scratch, 1.44 million parameters.

Departures: an odd last row or column is left out, as the code does; an image shorter than 64 pixels is mirrored; a
large one is read in strips, which changes nothing but memory.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hidascan.detectors.base import DetectorConfig, SingleView
from hidascan.geometry import ViewPlan

_STRIDE = 8  # pixels a position of the last layer
_HALO = 64  # pixels that it sees to each side, and no more; a multiple of _STRIDE
_STRIP = 512  # rows, a multiple of _STRIDE
_FACTOR = 2 / 3


@dataclass(frozen=True)
class NPRConfig(DetectorConfig):
    """What a checkpoint must say to build its network."""

    width: int = 64  # channels of the first convolution


class NPR(SingleView):
    """The baseline of the paper."""

    Config = NPRConfig

    def __init__(self, config: NPRConfig):
        super().__init__(config)
        self.plan = ViewPlan(side=None, thumbnail=False)
        self.network = NPRNetwork(config.width)


class NPRNetwork(nn.Module):
    """Standardised views (B, 3, H, W) -> logits (B,)."""

    def __init__(self, width: int):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = _layer(width, width, 3, stride=1)  # -> 4 * width
        self.layer2 = _layer(4 * width, 2 * width, 4, stride=2)  # -> 8 * width
        self.fc = nn.Linear(8 * width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Classify views of one size."""
        height, width = (side // 2 * 2 for side in x.shape[2:])
        x = x[:, :, :height, :width]
        if height <= _STRIP + 2 * _HALO:
            return self.fc(self.features(x).mean((2, 3))).squeeze(1)
        total, count = torch.zeros(len(x), self.fc.in_features, device=x.device), 0
        for top in range(0, height, _STRIP):
            first = max(0, top - _HALO)
            strip = self.features(x[:, :, first : top + _STRIP + _HALO])
            rows = strip[:, :, (top - first) // _STRIDE :][:, :, : _STRIP // _STRIDE]
            total, count = total + rows.float().sum((2, 3)), count + rows.shape[2] * rows.shape[3]
        return self.fc(total / count).squeeze(1)

    def features(self, x: Tensor) -> Tensor:
        """Map views (B, 3, H, W) of even sides to (B, 8 * width, ceil(H / 8), ceil(W / 8))."""
        x = F.relu(self.bn1(self.conv1(npr(x) * _FACTOR)))
        return self.layer2(self.layer1(F.max_pool2d(x, 3, stride=2, padding=1)))


def npr(x: Tensor) -> Tensor:
    """Compute x - up(down(x)) by nearest neighbour, (B, C, H, W) with even sides in and out."""
    return x - F.interpolate(x[..., ::2, ::2], scale_factor=2, mode="nearest")


class Bottleneck(nn.Module):
    """The residual block of ResNet-50: 1x1, 3x3, 1x1 convolutions; four times as wide outside as inside."""

    def __init__(self, inputs: int, width: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != 4 * width:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, 4 * width, 1, stride, bias=False), nn.BatchNorm2d(4 * width)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, H, W) to (B, 4 * width, H / stride, W / stride)."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        return F.relu(self.bn3(self.conv3(y)) + self.shortcut(x))


def _layer(inputs: int, width: int, blocks: int, stride: int) -> nn.Sequential:
    first = Bottleneck(inputs, width, stride)
    return nn.Sequential(first, *(Bottleneck(4 * width, width, 1) for _ in range(blocks - 1)))
