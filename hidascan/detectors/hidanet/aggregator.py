"""The Feature Aggregation Module (FAM) of HiDA-Net: the [CLS] tokens of any number of patches -> one vector."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class LocalAggregator(nn.Module):
    """f_detail = Agg([t_out, t_1, ..., t_K])[0]: a small transformer without positions, so the order is free."""

    def __init__(self, dim: int, depth: int, heads: int, dropout: float = 0.0):
        super().__init__()
        self.out_token = nn.Parameter(nn.init.normal_(torch.empty(dim), std=0.02))
        layer = nn.TransformerEncoderLayer(
            dim, heads, 2 * dim, dropout, activation="gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, depth, norm=nn.LayerNorm(dim), enable_nested_tensor=False)

    def forward(self, patch_cls: Tensor, padding: Tensor | None = None) -> Tensor:
        """Aggregate patches. Memory grows with K, not with its square.

        Args:
            patch_cls: (B, K, D).
            padding: (B, K) bool, true where there is no patch.

        Returns:
            f_detail (B, D).
        """
        out = self.out_token.to(patch_cls.dtype).expand(len(patch_cls), 1, -1)
        if padding is not None:
            padding = torch.cat([padding.new_zeros(len(padding), 1), padding], dim=1)
        with _attention_in_linear_memory():
            return self.layers(torch.cat([out, patch_cls], dim=1), src_key_padding_mask=padding)[:, 0]


@contextmanager
def _attention_in_linear_memory() -> Iterator[None]:
    """Turn off torch's "fast path" for transformers, which writes out the weights of all pairs: 1 GB for 8,000 patches."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
