"""Backbones: a frozen ViT, our own or one of timm, whose outputs are read after selected blocks."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor, nn

from hidascan.detectors.backbones.timm_models import build_timm_vit, embed_with_timm, standardisation_of
from hidascan.detectors.backbones.vit import CLIP, Block, PlainViT
from hidascan.errors import CheckpointError


class FrozenViT(nn.Module):
    """A frozen vision transformer by timm's name, such as `vit_base_patch16_clip_quickgelu_224`.

    The head and blocks after the last tap are not built.

    Attributes:
        name: Name in timm.
        taps: Numbers of the blocks whose outputs are returned, counted from 1, ascending.
        depth: Number of blocks of the complete ViT.
        dim: Width C of a token.
        grid: Number of patch tokens along a side of a view (14 or 16).
    """

    mean: Tensor
    std: Tensor

    def __init__(self, name: str, taps: tuple[int, ...], image_size: int = 224):
        """Build the ViT with random weights.

        Raises:
            CheckpointError: If timm does not know the name, the model is not a ViT, or a block does not exist.
        """
        super().__init__()
        vit: Any = PlainViT(CLIP[name], image_size) if name in CLIP else build_timm_vit(name, image_size)
        if not taps or list(taps) != sorted(set(taps)) or not 1 <= taps[0] <= taps[-1] <= len(vit.blocks):
            raise CheckpointError(f"taps {taps} exceed a backbone of {len(vit.blocks)} blocks")
        self.depth = len(vit.blocks)
        vit.blocks = vit.blocks[: taps[-1]]
        self.vit: Any = vit.requires_grad_(False).eval()
        self.name, self.taps = name, tuple(taps)
        self.dim: int = vit.embed_dim
        self.grid: int = vit.patch_embed.grid_size[0]
        self.register_buffer("mean", torch.empty(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.empty(1, 3, 1, 1), persistent=False)
        self.set_standardisation()

    def set_standardisation(self) -> None:
        """Set mean and standard deviation of RGB in 0..1 to those of the ViT's training."""
        self.mean, self.std = standardisation_of(self.vit)

    def train(self, mode: bool = True) -> FrozenViT:
        """Stay in evaluation mode, as the backbone is frozen."""
        return super().train(False)

    def compute_in(self, dtype: torch.dtype) -> None:
        """Set the precision of the blocks' matrices to `dtype`; keep everything else in full precision.

        A residual stream in bf16 would lose what late blocks add to large channels of early ones, and rounded norms
        and position embeddings would shift every token. The matrices are always rounded to bf16, so that the network
        is the same in every precision.
        """
        for block in self.vit.blocks:
            for part in (block.attn, block.mlp):
                part.bfloat16().to(dtype)
            for norm in (block.norm1, block.norm2):
                norm.register_forward_hook(lambda norm, inputs, output: output.to(dtype))

    @torch.no_grad()
    def forward(self, views: Tensor) -> Tensor:
        """Encode views.

        Args:
            views: (B, 3, 224, 224) uint8 RGB.

        Returns:
            (B, T, 1 + N, C) float32 of T taps. Token 0 is [CLS], then the N = grid * grid patch tokens row by row;
            register tokens are dropped.
        """
        return self.tokens(self.standard(views))

    @torch.no_grad()
    def cls(self, views: Tensor) -> Tensor:
        """Encode views (B, 3, S, S) uint8 to their [CLS] tokens (B, T, C), faster than `forward`."""
        return torch.stack([tokens[:, 0] for tokens in self.tapped(self.standard(views), ())], dim=1)

    def standard(self, views: Tensor) -> Tensor:
        """Standardise views (B, 3, S, S) uint8 as in the ViT's training."""
        return (views.float() / 255 - self.mean) / self.std

    def tokens(self, x: Tensor) -> Tensor:
        """Encode standardised views (B, 3, S, S) like `forward`, with gradients for adapters."""
        return torch.stack(self.tapped(x, self.taps), dim=1)  # (B, T, 1 + N, C)

    def tapped(self, x: Tensor, whole: Collection[int]) -> list[Tensor]:
        """Encode standardised views (B, 3, S, S) up to the last tap.

        Args:
            x: Standardised views.
            whole: Taps to return with patch tokens. For other taps [CLS] is enough, so that the last block may be
                computed for [CLS] only.

        Returns:
            (B, 1 + N, C) or (B, 1, C) for each tap.
        """
        x = self.vit.embed(x) if isinstance(self.vit, PlainViT) else embed_with_timm(self.vit, x)  # (B, P + N, C)
        tapped, last = [], self.taps[-1]
        for number, block in enumerate(self.vit.blocks, start=1):
            alone = number == last and last not in whole and isinstance(block, Block)
            x = block.cls(x) if alone else block(x)
            if number in self.taps:
                tapped.append(_without_registers(x, self.vit.num_prefix_tokens))
        return tapped


def _without_registers(x: Tensor, prefix: int) -> Tensor:
    """Drop the register tokens of (B, P + N, C); keep [CLS] and the N patch tokens."""
    return x if prefix == 1 else torch.cat([x[:, :1], x[:, prefix:]], dim=1)
