"""NPR: neighbouring pixel relations, a small CNN on the residuals of up-sampling layers.

"Rethinking the Up-Sampling Operations in CNN-based Generative Network for Generalizable Deepfake Detection" (CVPR
2024), after its public code (chuangchuangtan/NPR-DeepfakeDetection @ 73cde1c), with the extensions of the Tiny-GenImage
report (CVLabWorks/CVIMGDetection @ e4cb578).

One view, the image at its own size. NPR(x) = x - up(down(x)), both by nearest neighbour, times 2/3, is the input of a
ResNet-50 without its last two layers. Trained from scratch, 1.44 million parameters. The report adds several scales of
`down`, weighed by a softmax, with a learnable factor; channel attention after the first convolution and after the first
layer; and, in a separate row, spatial attention: both of CBAM (ECCV 2018).

Differences: training crops images at their own size, without a resize to 256; odd last rows and columns are cropped, as
in the code (with several scales, up to three); an image with a side below 64 pixels is mirrored; a large one is processed
in strips, which only saves memory. If code and text of the report differ on channel attention, this follows the code.
Neither gives the place of spatial attention: here it is after the first layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hidascan.detectors.base import DetectorConfig, SingleView
from hidascan.detectors.layers import SpatialAttention, down_and_up, npr
from hidascan.geometry import ViewPlan

_HALO = 64  # receptive field of the last layer to each side, pixels
_STRIP = 512  # rows; both are multiples of 8, the stride of the last layer
_FACTOR = 2 / 3
_REDUCTION = 16  # of the MLP of channel attention


@dataclass(frozen=True)
class NPRConfig(DetectorConfig):
    """Network configuration in a checkpoint.

    Raises:
        ValueError: Also for a scale other than 25, 50 or 75 %.
    """

    width: int = 64  # channels of the first convolution
    scales: tuple[int, ...] = (50,)  # scales of `down`, per cent; any other choice is weighed and learned
    channel_attention: bool = False
    spatial_attention: bool = False

    def __post_init__(self) -> None:
        """Check every field."""
        super().__post_init__()
        if not self.scales or not {25, 50, 75}.issuperset(self.scales):
            raise ValueError(f"scales must be some of 25, 50 and 75, not {self.scales!r:.40}")


class NPR(SingleView):
    """NPR of the paper, or of the report."""

    Config = NPRConfig

    def __init__(self, config: NPRConfig):
        super().__init__(config)
        self.plan = ViewPlan(side=None, thumbnail=False)
        self.network = NPRNetwork(config)


class NPRNetwork(nn.Module):
    """Standardised views (B, 3, H, W) -> logits (B,)."""

    def __init__(self, config: NPRConfig):
        super().__init__()
        width = config.width
        several = config.scales != (50,)
        self.residual = MultiScaleNPR(config.scales) if several else SingleScaleNPR()
        self.conv1 = nn.Conv2d(3, width, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = _layer(width, width, 3, stride=1)  # -> 4 * width
        self.layer2 = _layer(4 * width, 2 * width, 4, stride=2)  # -> 8 * width
        self.fc = nn.Linear(8 * width, 1)
        self.channels1 = ChannelAttention(width) if config.channel_attention else None
        self.channels2 = ChannelAttention(4 * width) if config.channel_attention else None
        self.space = SpatialAttention() if config.spatial_attention else None

    def forward(self, x: Tensor) -> Tensor:
        """Classify views of equal size."""
        step = self.residual.step
        height, width = (side // step * step for side in x.shape[2:])
        x = x[:, :, :height, :width]
        if height <= _STRIP + 2 * _HALO:
            return self.fc(self.layer2(self.middle(self.first(x))).mean((2, 3))).squeeze(1)
        # Channel attention depends on the whole image: one pass over the strips for each.
        gate1 = None if self.channels1 is None else self.channels1.gate(*_pooled(x, self.stem, 2))
        first = lambda strip: self.first(strip, gate1)  # noqa: E731
        gate2 = None if self.channels2 is None else self.channels2.gate(*_pooled(x, lambda s: self.layer1(first(s)), 4))
        mean, _ = _pooled(x, lambda strip: self.layer2(self.middle(first(strip), gate2)), 8)
        return self.fc(mean).squeeze(1)

    def stem(self, x: Tensor) -> Tensor:
        """Map views (B, 3, H, W) to (B, width, H / 2, W / 2)."""
        return F.relu(self.bn1(self.conv1(self.residual(x))))

    def first(self, x: Tensor, gate: Tensor | None = None) -> Tensor:
        """Map views to (B, width, H / 4, W / 4); `gate` is that of the whole image if `x` is a strip."""
        x = self.stem(x)
        if self.channels1 is not None:
            x = self.channels1(x, gate)
        return F.max_pool2d(x, 3, stride=2, padding=1)

    def middle(self, x: Tensor, gate: Tensor | None = None) -> Tensor:
        """Map (B, width, H / 4, W / 4) to (B, 4 * width, H / 4, W / 4)."""
        x = self.layer1(x)
        if self.channels2 is not None:
            x = self.channels2(x, gate)
        return x if self.space is None else self.space(x)


class SingleScaleNPR(nn.Module):
    """NPR(x) * 2/3, as in the paper."""

    step = 2  # sides must be multiples of this

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        return npr(x) * _FACTOR


class MultiScaleNPR(nn.Module):
    """NPR at several scales, weighed by a softmax of parameters, times a learnable factor (the report)."""

    step = 4

    def __init__(self, scales: tuple[int, ...]):
        super().__init__()
        self.scales = scales
        self.weights = nn.Parameter(torch.zeros(len(scales)))
        self.factor = nn.Parameter(torch.tensor(_FACTOR))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        shares = torch.softmax(self.weights, dim=0)
        kept = sum(share * down_and_up(x, scale / 100) for share, scale in zip(shares, self.scales, strict=True))
        return (x - kept) * self.factor


def _pooled(x: Tensor, network: Callable[[Tensor], Tensor], stride: int) -> tuple[Tensor, Tensor]:
    """Pool the output of a network on tall views, strip by strip: mean and maximum over positions, (B, C) each."""
    total, count, largest = torch.zeros(()), 0, torch.full((), -torch.inf)
    for strip, skipped in _strips(x):
        rows = network(strip)[:, :, skipped // stride :][:, :, : _STRIP // stride].float()
        total, count = total + rows.sum((2, 3)), count + rows.shape[2] * rows.shape[3]
        largest = torch.maximum(largest.to(rows), rows.amax((2, 3)))
    return total / count, largest


def _strips(x: Tensor) -> Iterator[tuple[Tensor, int]]:
    """Yield overlapping strips of views, and the number of overlapping rows at the top of each."""
    for top in range(0, x.shape[2], _STRIP):
        first = max(0, top - _HALO)
        yield x[:, :, first : top + _STRIP + _HALO], top - first


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


class ChannelAttention(nn.Module):
    """Channel attention: weights sigmoid(MLP(mean)) + sigmoid(MLP(max)), with a shared MLP."""

    def __init__(self, channels: int):
        super().__init__()
        hidden = max(1, channels // _REDUCTION)
        self.mlp = nn.Sequential(
            nn.Linear(channels, hidden, bias=False), nn.ReLU(), nn.Linear(hidden, channels, bias=False)
        )

    def gate(self, mean: Tensor, largest: Tensor) -> Tensor:
        """Return weights (B, C), 0..2, of channels, given their means and maxima (B, C)."""
        return torch.sigmoid(self.mlp(mean)) + torch.sigmoid(self.mlp(largest))

    def forward(self, x: Tensor, gate: Tensor | None = None) -> Tensor:
        """Weigh the channels of (B, C, H, W), by `gate` (B, C) if given."""
        if gate is None:
            gate = self.gate(x.mean((2, 3)), x.amax((2, 3)))
        return x * gate[:, :, None, None].to(x.dtype)
