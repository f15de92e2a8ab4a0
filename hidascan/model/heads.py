"""The heads of the whole image: the verdict (classifier and linear evidence) and the JPEG quality (QFE)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class Classifier(nn.Module):
    """logit = MLP(concat(f_global, f_detail)); over 0 leans to AI."""

    def __init__(self, dim: int, dropout: float = 0.0):
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(2 * dim, dim), nn.GELU(), nn.Dropout(dropout), nn.Linear(dim, 1))

    def forward(self, f_global: Tensor, f_detail: Tensor) -> Tensor:
        """(B, D), (B, D) -> (B,)"""
        return self.mlp(torch.cat([f_global, f_detail], dim=-1)).squeeze(-1)


class LinearEvidence(nn.Module):
    """Two linear readouts of the frozen [CLS] tokens, one for thumbnails and one for patches -> evidence of each view.

    Fitted in closed form (ridge regression), not by descent. It adds to the classifier's logit: what is linear in
    frozen features holds on generators that training never saw longer than what deeper layers learn. `sharpness` turns
    the mean over the patches towards their maximum: sky and bare walls tell little, and need not outvote the rest.
    """

    def __init__(self, taps: int, backbone_dim: int):
        super().__init__()
        self.register_buffer("weight", torch.zeros(2, taps * backbone_dim))  # 0: patches, 1: thumbnails
        self.register_buffer("bias", torch.zeros(2))
        self.register_buffer("sharpness", torch.zeros(()))  # 1 / logits; 0: the mean

    def forward(self, cls: Tensor, is_global: Tensor) -> Tensor:
        """Standardised frozen [CLS] tokens (B, T, C), is_global (B,) bool -> (B,) float32, over 0 leans to AI."""
        both = cls.flatten(1).float() @ self.weight.float().T + self.bias.float()  # (B, 2)
        return torch.where(is_global, both[:, 1], both[:, 0])

    def pool(self, evidence: Tensor) -> tuple[Tensor, Tensor]:
        """Evidence (1 + K,) of the views of one image, its thumbnail first -> that of all patches () and of the
        thumbnail (): log(mean(exp(sharpness * e))) / sharpness over the patches, 0 if there are none."""
        patches, sharpness = evidence[1:], self.sharpness.float()
        if not len(patches):
            return patches.new_zeros(()), evidence[0]
        if not sharpness:
            return patches.mean(), evidence[0]
        return (torch.logsumexp(sharpness * patches, 0) - math.log(len(patches))) / sharpness, evidence[0]


class QualityEstimator(nn.Module):
    """QFE: MLP(f_detail) -> JPEG quality in 1..100, where 100 stands for pixels without a trace of JPEG."""

    def __init__(self, dim: int):
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(dim, dim // 2), nn.GELU(), nn.Linear(dim // 2, 1))

    def forward(self, f_detail: Tensor) -> Tensor:
        """(B, D) -> (B,), 1..100"""
        return 1 + 99 * torch.sigmoid(self.mlp(f_detail).squeeze(-1))
