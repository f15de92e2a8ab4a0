"""Linear layers with weights in the memory layout of oneDNN, for CPUs."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hidascan.detectors.backbones.vit import MLP, QUICK_GELU


class PackedLinear(nn.Module):
    """Replacement for nn.Linear on a CPU, 10 % faster; for inference only, as it has no parameters."""

    def __init__(self, linear: nn.Linear, activation: str = "none"):
        """Pack a layer.

        Args:
            linear: Layer to pack.
            activation: Activation by oneDNN's name: "none", "swish" or "gelu".
        """
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
