"""QFE: estimate the JPEG quality of an image by the statistics of its pixel residuals."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hidascan.detectors.hidanet.filters import standardise
from hidascan.detectors.hidanet.residuals import FEATURES

QUALITIES = 100  # classes: the IJG qualities 1..100; 100 also stands for pixels without a trace of JPEG


class QualityEstimator(nn.Module):
    """Predict a distribution over 100 qualities from standardised residual statistics; its mean is the estimate.

    Each patch is embedded separately, and the embeddings are averaged over the patches of an image.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, dim: int, dropout: float = 0.0, hidden: float = 0.0):
        """Build the layers.

        Args:
            dim: Width of the hidden layers.
            dropout: Probability of dropping a hidden channel during training.
            hidden: Probability of dropping an input feature during training.
        """
        super().__init__()
        self.register_buffer("mean", torch.zeros(FEATURES))
        self.register_buffer("scale", torch.ones(FEATURES))
        self.embedding = nn.Sequential(nn.Dropout(hidden), nn.Linear(FEATURES, dim))
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
