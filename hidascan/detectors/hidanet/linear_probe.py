"""A linear probe of the frozen [CLS] tokens, whose logit is added to that of the classifier."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class LinearProbe(nn.Module):
    """Two linear readouts of the frozen [CLS] tokens, one for patches and one for thumbnails.

    Fitted in closed form (ridge regression), not by descent: what is linear in frozen features holds longer on
    generators that training never saw than what deeper layers learn. `sharpness` turns the mean over the patches
    towards their maximum: sky and bare walls tell little, and need not outvote the rest.
    """

    weight: Tensor
    bias: Tensor
    sharpness: Tensor

    def __init__(self, taps: int, backbone_dim: int):
        super().__init__()
        self.register_buffer("weight", torch.zeros(2, taps * backbone_dim))  # 0: patches, 1: thumbnails
        self.register_buffer("bias", torch.zeros(2))
        self.register_buffer("sharpness", torch.zeros(()))  # 1 / logits; 0: the mean

    def forward(self, cls: Tensor, is_thumbnail: Tensor) -> Tensor:
        """Return the logit (B,) float32 of each view: standardised [CLS] (B, T, C), is_thumbnail (B,) bool."""
        both = cls.flatten(1).float() @ self.weight.float().T + self.bias.float()  # (B, 2)
        return torch.where(is_thumbnail, both[:, 1], both[:, 0])

    def pool(self, logits: Tensor) -> Tensor:
        """Pool the logits (1 + K,) of the views of one image, its thumbnail first, into one ()."""
        local, thumbnail = self.pool_apart(logits)
        return local + thumbnail

    def pool_apart(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Pool the patches, and return what they and the thumbnail add, () each.

        Patches are pooled by log(mean(exp(sharpness * logit))) / sharpness; 0 if there are none.
        """
        patches, sharpness = logits[1:], self.sharpness.float()
        if not len(patches):
            return patches.new_zeros(()), logits[0]
        if not sharpness:
            return patches.mean(), logits[0]
        return (torch.logsumexp(sharpness * patches, 0) - math.log(len(patches))) / sharpness, logits[0]
