"""Layers of several detectors: attention of CBAM (ECCV 2018), a Bayesian linear layer (ICML 2015), LoRA (ICLR 2022)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_REDUCTION = 16  # of the MLP of channel attention
_SEED = 0  # of the samples of Bayesian weights outside training
_ADAPTER_SCALE = 2.0  # factor on the output of an adapter


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


class SpatialAttention(nn.Module):
    """Spatial attention: weights of positions by a 7x7 convolution on mean and maximum over channels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, 7, padding=3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Weigh the positions of (B, C, H, W)."""
        seen = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], dim=1)
        return x * torch.sigmoid(self.conv(seen))


class BayesianLinear(nn.Module):
    """y = W x + b with normal W and b, of mean mu and standard deviation softplus(rho); the prior is N(0, 1)."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        shapes = {"weight": (outputs, inputs), "bias": (outputs,)}
        self.mu = nn.ParameterDict(
            {n: nn.Parameter(nn.init.normal_(torch.empty(s), 0.0, 0.1)) for n, s in shapes.items()}
        )
        self.rho = nn.ParameterDict(
            {n: nn.Parameter(nn.init.normal_(torch.empty(s), -3.0, 0.1)) for n, s in shapes.items()}
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map x (..., inputs) to (..., outputs) by newly sampled weights."""
        drawn = {name: mu + F.softplus(self.rho[name]) * torch.randn_like(mu) for name, mu in self.mu.items()}
        return F.linear(x, drawn["weight"], drawn["bias"])

    def samples(self, x: Tensor, count: int) -> Tensor:
        """Map x (inputs,) to (count, outputs) by `count` samples of the weights, with a fixed seed.

        For normal W and b, Wx + b is normal, too; it is sampled directly, at a hundredth of the cost.
        """
        mean = F.linear(x, self.mu["weight"], self.mu["bias"])
        spread = {name: F.softplus(rho).square() for name, rho in self.rho.items()}
        deviation = F.linear(x.square(), spread["weight"], spread["bias"]).sqrt()
        noise = torch.randn(count, len(mean), generator=torch.Generator().manual_seed(_SEED))
        return mean + deviation * noise.to(mean)

    def divergence(self) -> Tensor:
        """Compute KL(q || prior), summed over weights and biases."""
        total = torch.zeros((), device=self.mu["bias"].device)
        for name, mu in self.mu.items():
            variance = F.softplus(self.rho[name]).square()
            total = total + 0.5 * (variance + mu.square() - 1 - variance.log()).sum()
        return total


class Adapter(nn.Module):
    """Low-rank adapter: adds 2 B A x to the output of a linear layer; B is initially zero."""

    def __init__(self, inputs: int, outputs: int, rank: int):
        super().__init__()
        self.down = nn.Parameter(nn.init.normal_(torch.empty(rank, inputs), std=1 / math.sqrt(inputs)))
        self.up = nn.Parameter(torch.zeros(outputs, rank))

    def forward(self, x: Tensor) -> Tensor:
        """Map x (..., inputs) to the term added to the output, (..., outputs)."""
        return F.linear(F.linear(x, self.down.to(x.dtype)), _ADAPTER_SCALE * self.up.to(x.dtype))


@torch.no_grad()
def merge(linear: nn.Linear, adapter: Adapter) -> None:
    """Add an adapter to the matrix of its layer, in the precision of the matrix."""
    added = linear.weight.float() + _ADAPTER_SCALE * adapter.up.float() @ adapter.down.float()
    linear.weight.data = added.to(linear.weight.dtype)


@contextmanager
def attached(pairs: Iterable[tuple[nn.Linear, Adapter]]) -> Iterator[None]:
    """Attach adapters to their layers within a context."""

    def adding(adapter: Adapter) -> Any:
        return lambda layer, inputs, output: output + adapter(inputs[0])

    hooks = [linear.register_forward_hook(adding(adapter)) for linear, adapter in pairs]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
