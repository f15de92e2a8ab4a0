"""The three parts of L = L_cls + alpha * L_tfl + beta * L_qfe, as in HiDA-Net.

TFL has parameters of its own in the shipped network, so alpha would only scale its learning rate there; it is for
ablations (lab.ablate), as is L_con.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def classification_loss(logits: Tensor, labels: Tensor, ai_share: float, smoothing: float) -> Tensor:
    """L_cls: BCE on logits (B,), each class weighted to count half; labels (B,) 0/1 smoothed by `smoothing`."""
    weights = torch.where(labels > 0.5, 0.5 / ai_share, 0.5 / (1 - ai_share))
    target = labels * (1 - smoothing) + 0.5 * smoothing
    return F.binary_cross_entropy_with_logits(logits, target, weights)


def localisation_loss(logits: Tensor, shares: Tensor) -> Tensor:
    """L_tfl: BCE, mean over cells. logits, shares (B, h, w); shares: of AI pixels in each cell, 0..1."""
    return F.binary_cross_entropy_with_logits(logits, shares)


def quality_loss(estimates: Tensor, qualities: Tensor) -> Tensor:
    """L_qfe: MSE of quality / 100 over the images whose quality is known (not NaN); 0 if there is none."""
    known = ~qualities.isnan()
    if not known.any():
        return estimates.sum() * 0
    return F.mse_loss(estimates[known] / 100, qualities[known] / 100)


def contrastive_loss(tokens: Tensor, shares: Tensor, margin: float = 1.0) -> Tensor:
    """L_con of PCL ("All Patches Matter"): over pairs of tokens at distance d, d^2 where both are AI or both real, else
    max(0, margin - d)^2. tokens (n, D), each of unit length here; shares (n,) of AI pixels, 0..1."""
    tokens, are_ai = F.normalize(tokens, dim=-1), shares > 0.5
    distance = (2 - 2 * tokens @ tokens.T).clamp_min(1e-6).sqrt()
    same = are_ai[:, None] == are_ai[None]
    return torch.where(same, distance.square(), (margin - distance).clamp_min(0).square()).mean()
