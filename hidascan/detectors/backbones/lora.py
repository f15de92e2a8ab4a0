"""Low-rank adapters for linear layers ("LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_SCALE = 2.0  # of an adapter's output


class Adapter(nn.Module):
    """Low-rank adapter: adds 2 B A x to the output of a linear layer; B is initially zero."""

    def __init__(self, inputs: int, outputs: int, rank: int):
        super().__init__()
        self.down = nn.Parameter(nn.init.normal_(torch.empty(rank, inputs), std=1 / math.sqrt(inputs)))
        self.up = nn.Parameter(torch.zeros(outputs, rank))

    def forward(self, x: Tensor) -> Tensor:
        """Map x (..., inputs) to the term added to the output, (..., outputs)."""
        return F.linear(F.linear(x, self.down.to(x.dtype)), _SCALE * self.up.to(x.dtype))


@torch.no_grad()
def merge(linear: nn.Linear, adapter: Adapter) -> None:
    """Add an adapter to the matrix of its layer, in the precision of the matrix."""
    added = linear.weight.float() + _SCALE * adapter.up.float() @ adapter.down.float()
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
