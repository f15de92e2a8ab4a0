"""TFL, the token head: which cells of a patch hold AI pixels."""

from __future__ import annotations

from timm.models.vision_transformer import Block
from torch import Tensor, nn

from hidascan.model.detail import DetailStem, in_phase


class TokenLocaliser(nn.Module):
    """Detail tokens, transformer layers over those of one patch, and one linear layer shared by all.

    It reads pixels and not the frozen tokens: those tell well what a patch shows and badly how it was made, and a
    region that went through a decoder differs in its texture alone.
    """

    def __init__(self, dim: int, depth: int, heads: int, grid: int, dropout: float = 0.0):
        super().__init__()
        self.stem = DetailStem(grid)
        self.standard = nn.BatchNorm1d(DetailStem.FEATURES, affine=False)
        self.embed = nn.Sequential(nn.Dropout(dropout), nn.Linear(DetailStem.FEATURES, dim))
        self.blocks = nn.Sequential(*(Block(dim, heads, 2, qkv_bias=True, proj_drop=dropout) for _ in range(depth)))
        self.norm = nn.LayerNorm(dim)
        self.linear = nn.Linear(dim, 1)

    def forward(self, views: Tensor, corners: Tensor | None = None) -> Tensor:
        """views (B, 3, 224, 224) uint8 -> logits (B, N) that a token's cell holds AI pixels.

        corners (B, 2): where each view starts in its image, pixels; multiples of 8 if there are none.
        """
        if corners is not None:
            views = in_phase(views, corners)
        features = self.standard(self.stem(views).transpose(1, 2)).transpose(1, 2).clamp(-6, 6)
        x = self.embed(features.to(self.linear.weight.dtype))
        return self.linear(self.norm(self.blocks(x))).squeeze(-1)
