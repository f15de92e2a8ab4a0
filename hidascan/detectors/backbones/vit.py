"""A plain pre-norm ViT with a [CLS] token; modules and parameters are named as in timm, so that its weights fit.

Importing timm itself would load torchvision and torch's compiler, which takes two seconds.
"""

from __future__ import annotations

import functools
import types
from dataclasses import dataclass

import torch
from torch import Tensor, nn

QUICK_GELU = 1.702  # of the first CLIP's x * sigmoid(1.702 x)


@dataclass(frozen=True)
class ViTShape:
    """Hyperparameters of a ViT.

    Attributes:
        dim: Width C of tokens, 64 per head.
        depth: Number of blocks.
        patch: Side in pixels of the square that a token represents.
        quick_gelu: Whether the MLP uses x * sigmoid(QUICK_GELU x), as the first CLIP did.
    """

    dim: int
    depth: int
    patch: int
    quick_gelu: bool = False


CLIP = {  # image encoders of CLIP and TinyCLIP, by timm's names
    "vit_base_patch16_clip_quickgelu_224": ViTShape(768, 12, 16, quick_gelu=True),
    "vit_large_patch14_clip_224.openai": ViTShape(1024, 24, 14),
    "vit_xsmall_patch16_clip_224.tinyclip_yfcc15m": ViTShape(256, 10, 16),
}


class PlainViT(nn.Module):
    """CLIP image encoder up to its last block, with random weights."""

    num_prefix_tokens = 1
    pretrained_cfg = types.MappingProxyType(  # of RGB in 0..1
        {"mean": (0.48145466, 0.4578275, 0.40821073), "std": (0.26862954, 0.26130258, 0.27577711)}
    )

    def __init__(self, shape: ViTShape, image_size: int = 224):
        """Build the encoder for views of `image_size` pixels per side."""
        super().__init__()
        self.embed_dim = shape.dim
        self.patch_embed = PatchEmbed(shape.dim, shape.patch, image_size)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, shape.dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + self.patch_embed.grid_size[0] ** 2, shape.dim))
        self.norm_pre = nn.LayerNorm(shape.dim)
        heads = shape.dim // 64
        self.blocks = nn.Sequential(*(Block(shape.dim, heads, 4, shape.quick_gelu) for _ in range(shape.depth)))

    def embed(self, x: Tensor) -> Tensor:
        """Turn standardised views (B, 3, S, S) into input tokens (B, 1 + N, C) of the first block."""
        x = self.patch_embed.proj(x).flatten(2).transpose(1, 2)  # (B, N, C)
        return self.norm_pre(torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], dim=1) + self.pos_embed)


class PatchEmbed(nn.Module):
    """Projection of squares of pixels to tokens."""

    def __init__(self, dim: int, patch: int, image_size: int):
        super().__init__()
        self.grid_size = (image_size // patch, image_size // patch)
        self.proj = nn.Conv2d(3, dim, patch, patch, bias=False)


class Block(nn.Module):
    """x + attention(norm(x)), then x + MLP(norm(x))."""

    def __init__(self, dim: int, heads: int, expansion: int, quick_gelu: bool = False, drop_path: float = 0.0):
        """Build a block.

        Args:
            dim: Width of tokens.
            heads: Number of attention heads.
            expansion: Width of the MLP as a multiple of `dim`.
            quick_gelu: As in ViTShape.
            drop_path: Share of samples that skip a branch in training, 0..1.
        """
        super().__init__()
        self.drop_path = drop_path
        self.norm1 = nn.LayerNorm(dim)
        self.attn = Attention(dim, heads)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = MLP(dim, dim * expansion, quick_gelu)

    def forward(self, x: Tensor) -> Tensor:
        """Map x (B, N, C) to the same shape."""
        x = x + self._thinned(self.attn(self.norm1(x)))
        return x + self._thinned(self.mlp(self.norm2(x)))

    def cls(self, x: Tensor) -> Tensor:
        """Map x (B, N, C) to the [CLS] output of `forward`, (B, 1, C); other tokens are only keys and values."""
        y = x[:, :1] + self.attn(self.norm1(x), asking=1)
        return y + self.mlp(self.norm2(y))

    def _thinned(self, branch: Tensor) -> Tensor:
        if not self.training or not self.drop_path:
            return branch
        mask = torch.empty(len(branch), 1, 1, dtype=branch.dtype, device=branch.device).bernoulli_(1 - self.drop_path)
        return branch * mask / (1 - self.drop_path)


class Attention(nn.Module):
    """Self-attention of all tokens of a view."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, asking: int | None = None) -> Tensor:
        """Map x (B, N, C) to the same shape, or to (B, asking, C) if only the first `asking` tokens are queries."""
        qkv = self.qkv(x).unflatten(2, (3, self.heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # (B, heads, N, C / heads) each
        q = q[:, :, :asking]
        if x.dtype == torch.bfloat16 and x.device.type == "cpu" and not _has_amx():  # a third faster for few tokens
            x = torch.softmax((q * q.shape[-1] ** -0.5) @ k.transpose(2, 3), dim=3) @ v
        else:
            x = nn.functional.scaled_dot_product_attention(q, k, v)
        return self.proj(x.transpose(1, 2).flatten(2))


@functools.cache
def _has_amx() -> bool:
    """Return whether this CPU has AMX, with which torch's fused attention is faster."""
    return bool(getattr(torch.cpu, "_is_amx_tile_supported", bool)())


class MLP(nn.Module):
    """Two linear layers with a GELU between them."""

    def __init__(self, dim: int, width: int, quick_gelu: bool):
        super().__init__()
        self.quick_gelu = quick_gelu
        self.fc1 = nn.Linear(dim, width)
        self.fc2 = nn.Linear(width, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map x (..., C) to the same shape."""
        if not self.quick_gelu:
            return self.fc2(nn.functional.gelu(self.fc1(x)))
        # x sigmoid(1.702 x) is y sigmoid(y) / 1.702 for y = 1.702 x, and scaling a product is free
        bias, rows = QUICK_GELU * self.fc1.bias, x.flatten(0, -2)
        y = nn.functional.silu(torch.addmm(bias, rows, self.fc1.weight.T, alpha=QUICK_GELU))
        return torch.addmm(self.fc2.bias, y, self.fc2.weight.T, alpha=1 / QUICK_GELU).unflatten(0, x.shape[:-1])
