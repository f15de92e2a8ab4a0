"""Losses. A training task returns a dict of weighted losses, whose sum is minimised.

Unlike in HiDA-Net (L = L_cls + alpha * L_tfl + beta * L_qfe), FAM, TFL and QFE are trained separately, each by its own
loss. L_con of PPL is added to L_cls if `training.contrast` is set.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

Losses = dict[str, Tensor]  # name -> weighted loss ()
_SPREAD = 2.0  # standard deviation of the soft labels of L_qfe, in steps of quality
_ABSOLUTE = 0.05  # weight of its absolute error


def classification_loss(
    logits: Tensor, labels: Tensor, ai_share: float, smoothing: float, samples: Tensor | float = 1.0
) -> Tensor:
    """Compute L_cls: BCE with class weights, so that each class contributes half of the loss.

    Args:
        logits: (B,) raw logits.
        labels: (B,) 0 or 1.
        ai_share: Share of AI in the training set, 0..1.
        smoothing: Label smoothing, 0..1.
        samples: (B,) weights of the samples, or a number.
    """
    weights = torch.where(labels > 0.5, 0.5 / ai_share, 0.5 / (1 - ai_share)) * samples
    target = labels * (1 - smoothing) + 0.5 * smoothing
    return F.binary_cross_entropy_with_logits(logits, target, weights)


def localisation_loss(logits: Tensor, shares: Tensor) -> Tensor:
    """Compute L_tfl: mean BCE over cells; `shares` (B, h, w) are those of AI-made pixels in each cell, 0..1."""
    return F.binary_cross_entropy_with_logits(logits, shares)


def quality_loss(logits: Tensor, qualities: Tensor) -> Tensor:
    """Compute L_qfe: cross-entropy with soft labels around the true quality, and the absolute error of the mean.

    Args:
        logits: (B, 100) of the qualities 1..100.
        qualities: (B,) true qualities.
    """
    classes = torch.arange(1.0, logits.shape[1] + 1, device=logits.device)
    target = (-(classes - qualities[:, None]).square() / (2 * _SPREAD**2)).softmax(1)
    return F.cross_entropy(logits, target) + _ABSOLUTE * F.l1_loss(logits.softmax(1) @ classes, qualities)


def contrastive_loss(tokens: Tensor, shares: Tensor, margin: float = 1.0) -> Tensor:
    """Compute L_con of PCL ("All Patches Matter, More Patches Better") over pairs of tokens.

    At distance d, a pair costs d^2 within a class, else max(0, margin - d)^2, where the paper has max(0, margin - d^2).

    Args:
        tokens: (n, D), normalised to unit length here.
        shares: (n,) shares of AI-made pixels, 0..1.
        margin: Minimum distance of tokens of different classes.
    """
    tokens = F.normalize(tokens, dim=-1)
    are_ai = shares > 0.5
    distance = (2 - 2 * tokens @ tokens.T).clamp_min(1e-6).sqrt()
    same = are_ai[:, None] == are_ai[None]
    return torch.where(same, distance.square(), (margin - distance).clamp_min(0).square()).mean()
