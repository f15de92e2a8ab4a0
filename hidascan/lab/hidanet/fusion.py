"""Train refiner, FAM, classifier and QFE on cached features."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from hidascan.detectors.hidanet.network import Fused, FusionHead
from hidascan.detectors.hidanet.refiner import TapNorm
from hidascan.lab.data.tables import tables_sha256
from hidascan.lab.hidanet.features import CachedSample, FeatureCache, load_statistics, statistics_fingerprint
from hidascan.lab.hidanet.recipe import FusionSpec, HiDANetRecipe
from hidascan.lab.training.artifacts import fingerprint
from hidascan.lab.training.losses import Losses, classification_loss, quality_loss
from hidascan.lab.training.trainer import Trainer, hide_channels, read_ahead

Visible = tuple[Tensor | float, Tensor | float]


@dataclass(frozen=True)
class Batch:
    """Samples of several K, side by side: V views in all, the K_i patches of sample i after its thumbnail.

    Attributes:
        tokens: (V, T, 1 + N, C) int8.
        counts: Views a sample, thumbnail included.
        labels: (B,) float32.
        qualities: (B,) float32, NaN where unknown.
    """

    tokens: Tensor
    counts: list[int]
    labels: Tensor
    qualities: Tensor

    def to(self, device: torch.device) -> Batch:
        """Move it."""
        return Batch(self.tokens.to(device), self.counts, self.labels.to(device), self.qualities.to(device))

    @property
    def is_thumbnail(self) -> Tensor:
        """(V,) bool."""
        first = torch.zeros(len(self.tokens), dtype=torch.bool, device=self.tokens.device)
        first[torch.tensor([0, *self.counts[:-1]]).cumsum(0)] = True
        return first


def new_head(recipe: HiDANetRecipe, cache: Path) -> FusionHead:
    """Build the head before training, with the statistics of the cached tokens."""
    statistics = load_statistics(recipe, cache)
    head = FusionHead(recipe.network, statistics["mean"].shape[-1])
    head.tap_norm.load_state_dict(statistics)
    return head


def train_fusion(recipe: HiDANetRecipe, cache: Path, head: FusionHead, state: Path, bf16: bool) -> FusionHead:
    """Train on, from `state` if there is one, and return the averaged weights."""
    spec = recipe.fusion
    data = FeatureCache(*(cache / part.name for part in recipe.rounds))
    trainer = Trainer(head, spec, math.ceil(len(data) / spec.batch))
    ai_share = float(np.mean([data.label(i) for i in range(len(data))]))

    def epoch(number: int) -> None:
        torch.manual_seed(recipe.seed * 1000 + number)
        _train_epoch(trainer, spec, data, np.random.default_rng([recipe.seed, 7, number]), ai_share, bf16)

    trainer.run(_made_by(recipe), state, epoch)
    return trainer.averaged


def _train_epoch(
    trainer: Trainer[FusionHead],
    spec: FusionSpec,
    data: FeatureCache,
    rng: np.random.Generator,
    ai_share: float,
    bf16: bool,
) -> None:
    head, device = trainer.module, next(trainer.module.parameters()).device
    order = rng.permutation(len(data))
    total = math.ceil(len(order) / spec.batch)
    for batch in tqdm(_batches(data, order, spec.batch, rng), total=total, desc="fusion", disable=None):
        batch = batch.to(device)
        visible = _visible(len(batch.counts), spec, rng, device)
        _, fused = forward(head, batch, visible, bf16, spec.drop_channels)
        trainer.step(_losses(fused, batch, spec, ai_share))


def _losses(fused: Fused, batch: Batch, spec: FusionSpec, ai_share: float) -> Losses:
    return {
        "cls": classification_loss(fused.logits, batch.labels, ai_share, spec.label_smoothing),
        "qfe": spec.beta * quality_loss(fused.qualities, batch.qualities),
    }


def forward(
    head: FusionHead, batch: Batch, visible: Visible = (1.0, 1.0), bf16: bool = True, drop_channels: float = 0.0
) -> tuple[Tensor, Fused]:
    """Run the head over cached tokens.

    Args:
        head: What is trained.
        batch: On the device of the head.
        visible: As of `FusionHead.fuse`.
        bf16: Whether the refiner computes in bf16.
        drop_channels: Share of the frozen channels that is hidden.

    Returns:
        Refined tokens (V, 1 + N, D) float32, and what they were fused to.
    """
    with torch.autocast(batch.tokens.device.type, torch.bfloat16, enabled=bf16):
        standard = batch.tokens.to(torch.bfloat16 if bf16 else torch.float32) * TapNorm.QUANTUM
        if drop_channels:
            standard = hide_channels(standard, drop_channels)
        refined = head.refine(standard, batch.is_thumbnail).float()
    return refined, head.fuse(refined[:, 0], batch.counts, visible)


def _batches(data: FeatureCache, order: np.ndarray, size: int, rng: np.random.Generator) -> Iterator[Batch]:
    """Yield batches in order, read by a thread ahead of the training; patches are dropped at random."""
    seeds = rng.integers(2**63, size=len(order))

    def load(number: int) -> Batch:
        chosen = slice(number * size, (number + 1) * size)
        return collate([_thin(data[int(i)], seed) for i, seed in zip(order[chosen], seeds[chosen], strict=True)])

    return read_ahead(load, math.ceil(len(order) / size))


def _thin(sample: CachedSample, seed: int) -> CachedSample:
    """Keep a random number of the patches half the time; all of an image that is AI only in part."""
    rng = np.random.default_rng(seed)
    patches = len(sample.token_labels)
    partly = 0 < float(sample.token_labels.float().mean()) < 1
    if partly or patches == 1 or rng.random() < 0.5:
        return sample
    shown = torch.from_numpy(np.sort(rng.choice(patches, rng.integers(1, patches + 1), replace=False)))
    tokens = torch.cat([sample.tokens[:1], sample.tokens[1 + shown]])
    return dataclasses.replace(sample, tokens=tokens, token_labels=sample.token_labels[shown])


def collate(samples: list[CachedSample]) -> Batch:
    """Put samples side by side."""
    return Batch(
        torch.cat([s.tokens for s in samples]),
        [len(s.tokens) for s in samples],
        torch.tensor([s.label for s in samples]),
        torch.tensor([s.quality for s in samples]),
    )


def _visible(size: int, spec: FusionSpec, rng: np.random.Generator, device: torch.device) -> Visible:
    """Draw (B, 1) factors for f_global and f_detail: 0 hides the path of a sample, never both."""
    draw = rng.random(size)
    hidden = draw < spec.drop_global, draw > 1 - spec.drop_detail
    f_global, f_detail = (torch.tensor(1.0 - one, device=device, dtype=torch.float32)[:, None] for one in hidden)
    return f_global, f_detail


def _made_by(recipe: HiDANetRecipe) -> str:
    """Return the fingerprint without what is fitted apart: TFL, the kernel probe and the calibration."""
    network = dataclasses.replace(recipe.network, residual_filters=1, localiser_dim=1)
    data = [tables_sha256(recipe.data.tables), statistics_fingerprint(recipe)]
    return fingerprint(
        what="fusion", seed=recipe.seed, network=network, rounds=list(recipe.rounds), data=data, spec=recipe.fusion
    )
