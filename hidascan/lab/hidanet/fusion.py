"""Train FAM and the classifier on cached [CLS] tokens of images, as published and as delivered."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hidascan.detectors.hidanet.fusion import FusionHead
from hidascan.detectors.hidanet.network import HiDANetConfig
from hidascan.lab.training.losses import classification_loss
from hidascan.lab.training.trainer import Trainer, TrainerSpec


@dataclass(frozen=True)
class FusionSpec(TrainerSpec):
    """L_cls: training of FAM and classifier."""

    epochs: int = 12
    batch: int = 64  # samples
    lr: float = 1e-3
    weight_decay: float = 0.05
    dropout: float = 0.5  # probability of dropping a channel after fusion
    hidden: float = 0.5  # probability of dropping a feature of a token
    thinned: float = 0.5  # probability that a sample is trained on with only one of its patches
    label_smoothing: float = 0.05
    seed: int = 0
    vote: float = 0.1  # weight of its logit; that of the kernel probe is 1


@dataclass(frozen=True)
class Views:
    """Standardised [CLS] tokens of S samples.

    Attributes:
        thumbnail: (S, F) float16 tokens of the thumbnails.
        patches: (S, K, F) float16 tokens of the patches, padded with zeros.
        padding: (S, K) bool, true at positions without a patch.
    """

    thumbnail: Tensor
    patches: Tensor
    padding: Tensor

    @classmethod
    def of(cls, views: Sequence[Tensor]) -> Views:
        """Stack samples (1 + K_i, F), the thumbnail first, and pad their patches."""
        counts = torch.tensor([len(one) - 1 for one in views])
        patches = nn.utils.rnn.pad_sequence([one[1:] for one in views], batch_first=True)
        return cls(torch.stack([one[0] for one in views]), patches, torch.arange(patches.shape[1]) >= counts[:, None])

    def only(self, chosen: Tensor) -> Views:
        """Return the samples with these numbers (n,), or for which a mask (S,) is true."""
        return Views(self.thumbnail[chosen], self.patches[chosen], self.padding[chosen])

    def thin(self, alone: Tensor) -> Views:
        """Mask all patches but the first of the samples for which alone (S,) is true."""
        padding = self.padding.clone()
        padding[alone, 1:] = True
        return Views(self.thumbnail, self.patches, padding)

    def logits(self, head: FusionHead) -> Tensor:
        """Return the logits (S,) of a head."""
        samples, patches = self.padding.shape
        is_thumbnail = torch.ones(samples, dtype=torch.bool)
        f_global = head.embed(self.thumbnail.float(), is_thumbnail)
        local = head.embed(self.patches.float().flatten(0, 1), ~is_thumbnail.repeat_interleave(patches))
        return head(f_global, local.unflatten(0, (samples, patches)), self.padding)


def train_fusion(views: Views, labels: Tensor, weights: Tensor, network: HiDANetConfig, spec: FusionSpec) -> FusionHead:
    """Train on samples that fit into memory.

    Args:
        views: Views of S samples.
        labels: (S,) 0 or 1.
        weights: (S,) weights of the samples in the loss.
        network: Sizes of the head.
        spec: Settings of the training.
    """
    torch.manual_seed(spec.seed)
    head = FusionHead(views.thumbnail.shape[1], network.dim, network.heads, spec.dropout, spec.hidden)
    steps, truth = math.ceil(len(labels) / spec.batch), labels.float()
    trainer = Trainer(head, spec, steps)
    ai_share = float(((weights * truth).sum() / weights.sum()).clamp(0.01, 0.99))  # a class may be missing
    head.train()
    for _ in range(spec.epochs):
        for chosen in torch.randperm(len(labels)).split(spec.batch):
            seen = views.only(chosen).thin(torch.rand(len(chosen)) < spec.thinned)
            logits = seen.logits(head)
            part = classification_loss(logits, truth[chosen], ai_share, spec.label_smoothing, weights[chosen])
            trainer.step({"cls": part})
    return trainer.averaged.eval()
