"""A frozen ViT, tapped after chosen blocks and cut off after the last of them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hidascan.errors import CheckpointError
from hidascan.model.vit import CLIP, PlainViT


class FrozenViT(nn.Module):
    """Any vision transformer by timm's name, e.g. `vit_base_patch16_clip_quickgelu_224`, with random weights.

    taps: numbers of the blocks whose output is wanted, counted from 1, ascending. Blocks after the last tap are not
    built, nor is the head. `dim` is the token width C, `grid` the number of patch tokens along a side (14 or 16).
    Raises CheckpointError for a name that timm does not know, or a model that is no ViT or has no such block.
    """

    def __init__(self, name: str, taps: tuple[int, ...], image_size: int = 224):
        super().__init__()
        vit = PlainViT(CLIP[name], image_size) if name in CLIP else _from_timm(name, image_size)
        if list(taps) != sorted(set(taps)) or not 1 <= taps[0] <= taps[-1] <= len(vit.blocks):
            raise CheckpointError(f"taps {taps} do not fit a backbone of {len(vit.blocks)} blocks")
        vit.blocks = vit.blocks[: taps[-1]]
        self.vit = vit.requires_grad_(False).eval()
        self.name, self.taps = name, tuple(taps)
        self.dim = vit.embed_dim
        self.grid = vit.patch_embed.grid_size[0]
        self.register_buffer("mean", torch.tensor(vit.pretrained_cfg["mean"]).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(vit.pretrained_cfg["std"]).view(1, 3, 1, 1), persistent=False)

    def train(self, mode: bool = True) -> FrozenViT:
        """Frozen: stays in evaluation mode whatever its parent does."""
        return super().train(False)

    def compute_in(self, dtype: torch.dtype) -> None:
        """Let the matrices of the blocks work in `dtype`, and keep all else in full precision.

        In bf16, each addition to the residual stream would round away what late blocks add to the large channels of
        early ones, and rounded norms and position embeddings would shift every token. The matrices are rounded to
        bf16 whatever `dtype` is, so that the network is the same in every precision.
        """
        for block in self.vit.blocks:
            for part in (block.attn, block.mlp):
                part.bfloat16().to(dtype)
            for norm in (block.norm1, block.norm2):
                norm.register_forward_hook(lambda norm, inputs, output: output.to(dtype))

    @torch.no_grad()
    def forward(self, views: Tensor) -> Tensor:
        """views (B, 3, 224, 224) uint8 RGB -> tokens (B, T, 1 + N, C) float32.

        T taps; token 0 is [CLS], then the N = grid * grid patch tokens row by row (register tokens are dropped).
        """
        x = _embedded(self.vit, (views.float() / 255 - self.mean) / self.std)  # (B, P + N, C)
        tapped = []
        for number, block in enumerate(self.vit.blocks, start=1):
            x = block(x)
            if number in self.taps:
                tapped.append(_without_registers(x, self.vit.num_prefix_tokens))
        return torch.stack(tapped, dim=1)  # (B, T, 1 + N, C)


def _from_timm(name: str, image_size: int) -> nn.Module:
    """A ViT that is not one of CLIP's, without what comes after its blocks."""
    try:
        import timm
    except ImportError:
        raise CheckpointError(f"the backbone {name!r} needs timm: pip install 'hidascan[timm]'") from None
    try:
        vit = timm.create_model(name, pretrained=False, num_classes=0, img_size=image_size)
    except (RuntimeError, TypeError) as error:
        raise CheckpointError(f"timm cannot build the backbone {name!r}: {error}") from error
    if not isinstance(vit, timm.models.VisionTransformer) or not vit.has_class_token:
        raise CheckpointError(f"the backbone {name!r} is not a ViT with a [CLS] token")
    vit.norm = vit.fc_norm = vit.head = nn.Identity()
    return vit


def _embedded(vit: nn.Module, x: Tensor) -> Tensor:
    """Standardised views -> tokens as the first block takes them."""
    if isinstance(vit, PlainViT):
        return vit.embed(x)
    return vit.norm_pre(vit.patch_drop(vit._pos_embed(vit.patch_embed(x))))


def _without_registers(x: Tensor, prefix: int) -> Tensor:
    return x if prefix == 1 else torch.cat([x[:, :1], x[:, prefix:]], dim=1)
