"""Backbones: a frozen ViT, our own or one of timm, read after selected blocks; CNNs of timm, which are trained."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor, nn

from hidascan.detectors.backbones.vit import CLIP, Block, PlainViT
from hidascan.errors import CheckpointError

_NAME = re.compile(r"[\w.]+")
_CNN = re.compile(r"resnet|resnext|convnext|efficientnet|regnet|densenet|mobilenet")


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
            raise CheckpointError(f"taps {taps} must be ascending numbers of blocks in 1..{len(vit.blocks)}")
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
            views: (B, 3, S, S) uint8 RGB.

        Returns:
            (B, T, 1 + N, C) float32 of T taps. Token 0 is [CLS], then the N = grid * grid patch tokens row by row;
            register tokens are dropped.
        """
        return self.tokens(self.standardise(views))

    @torch.no_grad()
    def cls(self, views: Tensor) -> Tensor:
        """Encode views (B, 3, S, S) uint8 to their [CLS] tokens (B, T, C), faster than `forward`."""
        return torch.stack([tokens[:, 0] for tokens in self.tapped(self.standardise(views), ())], dim=1)

    def standardise(self, views: Tensor) -> Tensor:
        """Standardise views (B, 3, S, S) uint8 as in the ViT's training."""
        return (views.float() / 255 - self.mean) / self.std

    def tokens(self, x: Tensor) -> Tensor:
        """Encode standardised views (B, 3, S, S) like `forward`."""
        return torch.stack(self.tapped(x, self.taps), dim=1)  # (B, T, 1 + N, C)

    def embed(self, x: Tensor) -> Tensor:
        """Turn standardised views (B, 3, S, S) into the input (B, P + N, C) of the first block, with registers."""
        return self.vit.embed(x) if isinstance(self.vit, PlainViT) else embed_with_timm(self.vit, x)

    def last_blocks(self, x: Tensor, count: int) -> Tensor:
        """Map the input (B, P + N, C) of the last `count` blocks to the last tap, (B, 1 + N, C), with gradients."""
        return _without_registers(self.vit.blocks[len(self.vit.blocks) - count :](x), self.vit.num_prefix_tokens)

    @torch.no_grad()
    def first_blocks(self, views: Tensor, count: int) -> Tensor:
        """Map views (B, 3, S, S) uint8 to the input (B, P + N, C) of the last `count` blocks."""
        x: Tensor = self.vit.blocks[: len(self.vit.blocks) - count](self.embed(self.standardise(views)))
        return x

    def tapped(self, x: Tensor, with_patches: Collection[int]) -> list[Tensor]:
        """Encode standardised views (B, 3, S, S) up to the last tap.

        Args:
            x: Standardised views.
            with_patches: Taps to return with patch tokens. For other taps [CLS] is enough, so that the last block may be
                computed for [CLS] only.

        Returns:
            (B, 1 + N, C) or (B, 1, C) for each tap.
        """
        x = self.embed(x)
        tapped, last = [], self.taps[-1]
        for number, block in enumerate(self.vit.blocks, start=1):
            alone = number == last and last not in with_patches and isinstance(block, Block)
            x = block.cls(x) if alone else block(x)
            if number in self.taps:
                tapped.append(_without_registers(x, self.vit.num_prefix_tokens))
        return tapped


def _without_registers(x: Tensor, prefix: int) -> Tensor:
    """Drop the register tokens of (B, P + N, C); keep [CLS] and the N patch tokens."""
    return x if prefix == 1 else torch.cat([x[:, :1], x[:, prefix:]], dim=1)


def check_timm_name(name: str) -> None:
    """Refuse names with a colon, for which timm would access a hub or a folder.

    Raises:
        CheckpointError: If the name is not plain, as weights must not cause such accesses.
    """
    if not _NAME.fullmatch(name):
        raise CheckpointError(f"{name!r:.60} is not the name of a timm model")


def create_model(name: str, outputs: int = 0, **options: Any) -> Any:
    """Build a network of timm with random weights, and a classifier of some outputs, 0 for none.

    Raises:
        CheckpointError: If the name is not plain, or timm is missing or cannot build it.
    """
    check_timm_name(name)
    try:
        import timm  # here, as it takes two seconds
    except ImportError:
        raise CheckpointError(f"the backbone {name!r} needs timm: pip install timm") from None
    try:
        return timm.create_model(name, pretrained=False, num_classes=outputs, **options)
    except (RuntimeError, TypeError) as error:
        raise CheckpointError(f"timm cannot build the backbone {name!r}: {error}") from error


def build_timm_vit(name: str, image_size: int) -> Any:
    """Build a ViT with a [CLS] token, with random weights and without the layers after its blocks.

    Raises:
        CheckpointError: If timm cannot build it for the size, or it is not such a ViT.
    """
    vit = create_model(name, img_size=image_size)
    from timm.models import VisionTransformer

    if not isinstance(vit, VisionTransformer) or not vit.has_class_token:
        raise CheckpointError(f"the backbone {name!r} is not a ViT with a [CLS] token")
    vit.norm = vit.fc_norm = vit.head = nn.Identity()
    return vit


def embed_with_timm(vit: Any, x: Tensor) -> Tensor:
    """Turn standardised views (B, 3, S, S) into input tokens (B, P + N, C) of the first block."""
    tokens: Tensor = vit.norm_pre(vit.patch_drop(vit._pos_embed(vit.patch_embed(x))))
    return tokens


def is_cnn(name: str) -> bool:
    """Return whether a timm model is a CNN, by its name."""
    return bool(_CNN.search(name))


def build_timm_cnn(name: str, pooled: bool = True) -> tuple[nn.Module, int]:
    """Build a CNN of timm with random weights and without its classifier, and return it with its width D.

    Its output is (B, D) if `pooled`, averaged over positions, otherwise (B, D, h, w).

    Raises:
        CheckpointError: If timm has no such CNN.
    """
    check_timm_name(name)
    if not is_cnn(name):
        raise CheckpointError(f"{name[:40]!r} is not a timm CNN")
    options: dict[str, Any] = {} if pooled else {"global_pool": ""}
    network = create_model(name, **options)
    return network, int(network.num_features)


def standardisation_of(network: Any) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation (1, 3, 1, 1) of RGB in 0..1 in the training of a ViT or a timm model."""
    settings = network.pretrained_cfg
    mean, std = (torch.tensor(settings[name]).view(1, 3, 1, 1) for name in ("mean", "std"))
    return mean, std
