"""A plain pre-norm ViT with a [CLS] token; modules and parameters are named as in timm, so that its weights fit.

On a CPU, its linear layers can be replaced by ones with weights in the memory layout of oneDNN. Importing timm itself
would load torchvision and torch's compiler, which takes two seconds.
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
    """Hyperparameters of a ViT."""

    dim: int  # width C of tokens, 64 per head
    depth: int  # number of blocks
    patch: int  # side of the square that a token represents, pixels
    quick_gelu: bool = False  # whether the MLP uses x * sigmoid(QUICK_GELU x), as the first CLIP did


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
        self.blocks = nn.Sequential(*(Block(shape.dim, heads, shape.quick_gelu) for _ in range(shape.depth)))

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

    def __init__(self, dim: int, heads: int, quick_gelu: bool):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn = Attention(dim, heads)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = MLP(dim, 4 * dim, quick_gelu)

    def forward(self, x: Tensor) -> Tensor:
        """Map x (B, N, C) to the same shape."""
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))

    def cls(self, x: Tensor) -> Tensor:
        """Map x (B, N, C) to the [CLS] output of `forward`, (B, 1, C); other tokens are only keys and values."""
        y = x[:, :1] + self.attn(self.norm1(x), queries=1)
        return y + self.mlp(self.norm2(y))


class Attention(nn.Module):
    """Self-attention of all tokens of a view."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, queries: int | None = None) -> Tensor:
        """Map x (B, N, C) to the same shape, or to (B, queries, C) if only the first `queries` tokens are queries."""
        qkv = self.qkv(x).unflatten(2, (3, self.heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # (B, heads, N, C / heads) each
        q = q[:, :, :queries]
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


class PackedLinear(nn.Module):
    """Replacement for nn.Linear on a CPU, 10 % faster; for inference only, as it has no parameters."""

    def __init__(self, linear: nn.Linear, activation: str = "none"):
        """Pack a layer, with an activation by oneDNN's name: "none", "swish" or "gelu"."""
        super().__init__()
        self._weight = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach())
        self._bias = linear.bias.detach()
        self._activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """Map x (..., C) to (..., D)."""
        return torch.ops.mkldnn._linear_pointwise(x, self._weight, self._bias, self._activation, [], "none")


class PackedMLP(nn.Module):
    """Replacement for an MLP on a CPU, with the GELU fused into the first product.

    oneDNN has x sigmoid(x), not the x sigmoid(1.702 x) of the first CLIP, so the factor is moved into the weights:
    x sigmoid(1.702 x) is y sigmoid(y) / 1.702 for y = 1.702 x.
    """

    def __init__(self, mlp: MLP):
        super().__init__()
        factor = QUICK_GELU if mlp.quick_gelu else 1.0
        self._first = PackedLinear(_scaled(mlp.fc1, factor, factor), "swish" if mlp.quick_gelu else "gelu")
        self._second = PackedLinear(_scaled(mlp.fc2, 1 / factor))

    def forward(self, x: Tensor) -> Tensor:
        """Map x (..., C) to the same shape."""
        return self._second(self._first(x))


def pack_linears(module: nn.Module) -> None:
    """Replace every nn.Linear in `module` by a PackedLinear, and every MLP by a PackedMLP, if supported."""
    for name, child in module.named_children():
        if type(child) is nn.Linear and _can_pack(child.weight.dtype):
            setattr(module, name, PackedLinear(child))
        elif type(child) is MLP and _can_pack(child.fc1.weight.dtype):
            setattr(module, name, PackedMLP(child))
        else:
            pack_linears(child)


def _scaled(linear: nn.Linear, of_weight: float, of_bias: float = 1.0) -> nn.Linear:
    """Return a copy of a layer with scaled weight and bias, multiplied before rounding to its dtype."""
    copy = nn.Linear(linear.in_features, linear.out_features, device="meta")
    dtype = linear.weight.dtype
    copy.weight = nn.Parameter((linear.weight.detach().float() * of_weight).to(dtype))
    copy.bias = nn.Parameter((linear.bias.detach().float() * of_bias).to(dtype))
    return copy


def _can_pack(dtype: torch.dtype) -> bool:
    operations = torch.ops.mkldnn
    if not all(hasattr(operations, name) for name in ("_reorder_linear_weight", "_linear_pointwise")):
        return False
    return torch.backends.mkldnn.is_available() and (
        dtype == torch.float32 or (dtype == torch.bfloat16 and operations._is_mkldnn_bf16_supported())
    )
