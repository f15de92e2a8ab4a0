"""Trained heads of HiDA-Net: FAM over the [CLS] tokens of the patches, with a classifier; QFE, for JPEG quality."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hidascan.detectors.hidanet.filters import FEATURES, standardise

QUALITIES = 100  # classes: the IJG qualities 1..100; 100 also stands for pixels without a trace of JPEG


class FeatureAggregation(nn.Module):
    """FAM: f_detail = Agg([t_out, t_1, ..., t_K])[0], one layer of attention with t_out as its only query.

    There are no position embeddings, so the order of patches is irrelevant; time and memory grow linearly with K.
    """

    def __init__(self, dim: int, heads: int, dropout: float):
        super().__init__()
        self.out_token = nn.Parameter(nn.init.normal_(torch.empty(heads, dim // heads), std=0.02))
        self.key, self.value, self.mix = (nn.Linear(dim, dim) for _ in range(3))
        self.dropout = nn.Dropout(dropout)
        self._scale = (dim // heads) ** -0.5

    def forward(self, patches: Tensor, padding: Tensor | None = None) -> Tensor:
        """Aggregate patches.

        Args:
            patches: (B, K, D) embedded patches; without patches, the pooled values are zeros.
            padding: (B, K) bool, true at positions without a patch.

        Returns:
            f_detail (B, D).
        """
        scores, values = self._attended(patches)
        if padding is not None:
            scores = scores.masked_fill(padding[..., None], -torch.inf)
        pooled = (scores.softmax(1)[..., None] * values).sum(1)  # (B, heads, D / heads)
        return self.dropout(self.mix(pooled.flatten(1)))

    def leave_one_out(self, patches: Tensor) -> Tensor:
        """Aggregate all other patches, for each of patches (K, D): (K, D), in time linear in K."""
        scores, values = self._attended(patches)
        wide = torch.float32 if scores.device.type == "mps" else torch.float64  # Apple GPUs have no float64
        weights = (scores - scores.amax(0)).to(wide).exp()[..., None]  # (K, heads, 1)
        weighted = weights * values
        rest = (weights.sum(0) - weights).clamp_min(1e-12)
        return self.mix(((weighted.sum(0) - weighted) / rest).to(patches.dtype).flatten(1))

    def _attended(self, patches: Tensor) -> tuple[Tensor, Tensor]:
        """Return scores (..., K, heads) of patches (..., K, D), and their values (..., K, heads, D / heads)."""
        keys, values = (layer(patches).unflatten(-1, self.out_token.shape) for layer in (self.key, self.value))
        return (keys * self.out_token).sum(-1) * self._scale, values


class FusionHead(nn.Module):
    """logit = MLP(concat(f_global, f_detail)), on standardised [CLS] tokens of F features.

    Views are embedded separately, so that only D numbers per patch are kept, even for thousands of patches.
    """

    def __init__(self, features: int, dim: int, heads: int, dropout: float, input_dropout: float = 0.0):
        """Set up for F features of a token, with layers of width D.

        In training, a channel after fusion is dropped with probability `dropout`, a feature of a token with `input_dropout`.
        """
        super().__init__()
        self.input_dropout = nn.Dropout(input_dropout)
        self.thumbnail, self.patch = nn.Linear(features, dim), nn.Linear(features, dim)
        self.aggregation = FeatureAggregation(dim, heads, dropout)
        self.classifier = nn.Sequential(
            nn.Dropout(dropout), nn.Linear(2 * dim, dim), nn.GELU(), nn.Dropout(dropout), nn.Linear(dim, 1)
        )

    def embed(self, tokens: Tensor, is_thumbnail: Tensor) -> Tensor:
        """Embed views (B, F), is_thumbnail (B,) bool -> (B, D)."""
        tokens = self.input_dropout(tokens)
        both = torch.where(is_thumbnail[:, None], self.thumbnail(tokens), self.patch(tokens))
        return nn.functional.gelu(both)

    def forward(self, f_global: Tensor, patches: Tensor, padding: Tensor | None = None) -> Tensor:
        """Classify B images from embedded views.

        Args:
            f_global: (B, D) embedded thumbnails.
            patches: (B, K, D) embedded patches.
            padding: (B, K) bool, true at positions without a patch.

        Returns:
            Logits (B,), above 0 for AI.
        """
        return self._classified(f_global, self.aggregation(patches, padding))

    def leave_one_out(self, f_global: Tensor, patches: Tensor) -> Tensor:
        """Classify an image from its thumbnail (1, D) and all other patches, for each of patches (K, D): logits (K,)."""
        return self._classified(f_global.expand(len(patches), -1), self.aggregation.leave_one_out(patches))

    def _classified(self, f_global: Tensor, f_detail: Tensor) -> Tensor:
        return self.classifier(torch.cat([f_global, f_detail], dim=1)).squeeze(1)


class QualityEstimator(nn.Module):
    """Predict a distribution over 100 qualities from standardised residual statistics; its mean is the estimate.

    Each patch is embedded separately, and the embeddings are averaged over the patches of an image.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, dim: int, dropout: float = 0.0, input_dropout: float = 0.0):
        """Build layers of width `dim`; training drops channels by `dropout`, input features by `input_dropout`."""
        super().__init__()
        self.register_buffer("mean", torch.zeros(FEATURES))
        self.register_buffer("scale", torch.ones(FEATURES))
        self.embedding = nn.Sequential(nn.Dropout(input_dropout), nn.Linear(FEATURES, dim))
        self.classifier = nn.Sequential(
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(dim, dim),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(dim, QUALITIES),
        )

    def embed(self, features: Tensor) -> Tensor:
        """Embed residual statistics of patches, (B, FEATURES) -> (B, dim) float32."""
        return self.embedding(standardise(features, self.mean, self.scale))

    def forward(self, embedded: Tensor) -> Tensor:
        """Return the logits (B, 100) of the qualities 1..100 of images, from embeddings (B, dim) averaged over patches."""
        return self.classifier(embedded)

    def estimate(self, embedded: Tensor) -> Tensor:
        """Return the mean quality (B,), 1..100, of the predicted distributions."""
        return self(embedded).softmax(1) @ torch.arange(1.0, QUALITIES + 1, device=embedded.device)
