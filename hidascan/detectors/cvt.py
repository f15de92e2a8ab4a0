"""CvT-13: a transformer whose tokens, queries, keys and values come from convolutions.

"CvT: Introducing Convolutions to Vision Transformers" (ICCV 2021). Each of three stages begins with a convolution that
makes fewer and wider tokens. Queries, keys and values come from depth-wise 3x3 convolutions on the token map, with
stride 2 for keys and values. There are no position embeddings; a [CLS] token is added in the last stage. About 20
million parameters.

One view: the whole image, resized to a square. Differences: trained from scratch, one logit; our thumbnail shrinks by
area averaging.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hidascan.detectors.base import DetectorConfig, SingleView
from hidascan.geometry import ViewPlan

_KERNELS, _STRIDES = (7, 3, 3), (4, 2, 2)  # of the convolutions that begin the stages
_EXPANSION = 4  # of the MLP


@dataclass(frozen=True)
class CvTConfig(DetectorConfig):
    """Network configuration in a checkpoint.

    Raises:
        ValueError: Also unless there are three stages whose heads divide their widths.
    """

    side: int = 224  # pixels
    widths: tuple[int, ...] = (64, 192, 384)
    depths: tuple[int, ...] = (1, 2, 10)  # blocks of each stage
    heads: tuple[int, ...] = (1, 3, 6)

    def __post_init__(self) -> None:
        """Check every field."""
        super().__post_init__()
        for name in ("widths", "depths", "heads"):
            if len(getattr(self, name)) != len(_STRIDES):
                raise ValueError(f"{name} must be three numbers, not {getattr(self, name)!r:.40}")
        if any(width % heads for width, heads in zip(self.widths, self.heads, strict=True)):
            raise ValueError(f"invalid heads: {self.heads!r:.40}")


class CvT(SingleView):
    """CvT-13."""

    Config = CvTConfig

    def __init__(self, config: CvTConfig):
        super().__init__(config)
        self.plan = ViewPlan(config.side, patches=0)
        self.network = CvTNetwork(config)


class CvTNetwork(nn.Module):
    """Standardised views (B, 3, S, S) -> logits (B,)."""

    def __init__(self, config: CvTConfig):
        super().__init__()
        shapes = list(zip(config.widths, config.depths, config.heads, strict=True))
        inputs = (3, *config.widths[:-1])
        self.stages = nn.ModuleList(
            Stage(inputs[i], *shape, _KERNELS[i], _STRIDES[i], with_cls=i == len(shapes) - 1)
            for i, shape in enumerate(shapes)
        )
        self.norm = nn.LayerNorm(config.widths[-1])
        self.head = nn.Linear(config.widths[-1], 1)

    def forward(self, x: Tensor) -> Tensor:
        """Classify views."""
        cls = None
        for stage in self.stages:
            x, cls = stage(x)
        logits: Tensor = self.head(self.norm(cls))[:, 0]
        return logits


class Stage(nn.Module):
    """A convolution to tokens, then blocks; the last stage prepends a [CLS] token."""

    def __init__(self, inputs: int, width: int, depth: int, heads: int, kernel: int, stride: int, with_cls: bool):
        super().__init__()
        self.embed = nn.Conv2d(inputs, width, kernel, stride, padding=kernel // 2)
        self.norm = nn.LayerNorm(width)
        self.cls = nn.Parameter(nn.init.trunc_normal_(torch.empty(1, 1, width), std=0.02)) if with_cls else None
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Map (B, inputs, H, W) to (B, width, H / stride, W / stride), and the [CLS] token (B, width), if any."""
        x = self.embed(x)
        height, width = x.shape[2:]
        tokens = self.norm(x.flatten(2).transpose(1, 2))
        if self.cls is not None:
            tokens = torch.cat([self.cls.expand(len(x), -1, -1).to(tokens.dtype), tokens], dim=1)
        for block in self.blocks:
            tokens = block(tokens, height, width)
        cls, patches = (None, tokens) if self.cls is None else (tokens[:, 0], tokens[:, 1:])
        return patches.transpose(1, 2).unflatten(2, (height, width)), cls


class Block(nn.Module):
    """x + attention(norm(x)), then x + MLP(norm(x))."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = ConvolutionalAttention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, _EXPANSION * width), nn.GELU(), nn.Linear(_EXPANSION * width, width))

    def forward(self, x: Tensor, height: int, width: int) -> Tensor:
        """Map tokens (B, [1 +] height * width, C) to the same shape."""
        x = x + self.attention(self.norm1(x), height, width)
        return x + self.mlp(self.norm2(x))


class ConvolutionalAttention(nn.Module):
    """Self-attention whose queries, keys and values each come from a convolution and a linear layer."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.to_q, self.to_k, self.to_v = (_depthwise(width, stride) for stride in (1, 2, 2))
        self.q, self.k, self.v, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: Tensor, height: int, width: int) -> Tensor:
        """Map tokens (B, [1 +] height * width, C) to the same shape."""
        cls, patches = x.split([x.shape[1] - height * width, height * width], dim=1)
        grid = patches.transpose(1, 2).unflatten(2, (height, width))
        rows = []
        for convolution, linear in ((self.to_q, self.q), (self.to_k, self.k), (self.to_v, self.v)):
            tokens = torch.cat([cls, convolution(grid).flatten(2).transpose(1, 2)], dim=1)
            rows.append(linear(tokens).unflatten(2, (self.heads, -1)).transpose(1, 2))  # (B, heads, N, C / heads)
        q, k, v = rows
        # Paper and code divide by the root of the full width, not of a head's.
        mixed = F.scaled_dot_product_attention(q, k, v, scale=x.shape[2] ** -0.5)
        return self.out(mixed.transpose(1, 2).flatten(2))


def _depthwise(width: int, stride: int) -> nn.Sequential:
    convolution = nn.Conv2d(width, width, 3, stride, padding=1, groups=width, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(width))
