"""Train QFE on JPEGs of known quality, and measure it on sources that it never saw."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from hidascan.detectors.hidanet.quality import QUALITIES, QualityEstimator
from hidascan.lab.hidanet.features import QualitySamples
from hidascan.lab.measure import markdown
from hidascan.lab.training.losses import quality_loss
from hidascan.lab.training.trainer import Trainer, TrainerSpec

_BOUNDS = (20, 40, 60, 80, 100)  # of the table's columns, JPEG quality
_RESIZED = ((0.4, 0.6), (0.6, 0.8), (0.8, 1.0))  # of its rows, factors


@dataclass(frozen=True)
class QualitySpec(TrainerSpec):
    """L_qfe: QFE."""

    epochs: int = 20
    batch: int = 64  # samples
    lr: float = 1e-3
    weight_decay: float = 0.05
    dropout: float = 0.3  # probability of dropping a hidden channel
    hidden: float = 0.1  # probability of dropping an input feature
    seed: int = 0


def train_quality(samples: QualitySamples, dim: int, spec: QualitySpec) -> QualityEstimator:
    """Train QFE of width `dim` on samples that fit into memory."""
    torch.manual_seed(spec.seed)
    estimator, features = QualityEstimator(dim, spec.dropout, spec.hidden), samples.residuals.float()
    estimator.mean.copy_(features.mean(0))
    estimator.scale.copy_(features.std(0).clamp_min(1e-4))
    trainer = Trainer(estimator, spec, math.ceil(len(features) / spec.batch))
    estimator.train()
    for _ in range(spec.epochs):
        for chosen in torch.randperm(len(features)).split(spec.batch):
            logits = estimator(estimator.embed(features[chosen]))
            trainer.step({"qfe": quality_loss(logits, samples.qualities[chosen])})
    return trainer.averaged.eval()


@torch.no_grad()
def estimate_out_of_fold(samples: QualitySamples, dim: int, spec: QualitySpec) -> Tensor:
    """Estimate the quality (n,) of each sample by a QFE that saw nothing of its source."""
    estimates = torch.zeros(len(samples.qualities))
    for fold in samples.folds.unique().tolist():
        here = samples.folds == fold
        with torch.enable_grad():
            estimator = train_quality(samples.only(~here), dim, spec)
        estimates[here] = estimator.estimate(estimator.embed(samples.residuals[here]))
    return estimates


def errors_as_markdown(samples: QualitySamples, estimates: Tensor) -> str:
    """Write the mean absolute error by quality, and by the factor of a resize after the save."""
    errors, saved = (estimates - samples.qualities).abs(), samples.qualities < QUALITIES
    rows = [("as saved", saved & (samples.resized == 1))]
    rows += [
        (f"resized to {low} to {high}", saved & (samples.resized >= low) & (samples.resized < high))
        for low, high in _RESIZED
    ]
    cells = []
    for name, row in rows:
        columns = [
            row & (samples.qualities >= low) & (samples.qualities < high) for low, high in itertools.pairwise(_BOUNDS)
        ]
        cells.append([name, str(int(row.sum())), *(_mean(errors[part]) for part in (*columns, row))])
    clean = ~saved
    cells.append(["never saved as JPEG", str(int(clean.sum())), *[""] * (len(_BOUNDS) - 1), _mean(errors[clean])])
    names = [f"{low} to {high - 1}" for low, high in itertools.pairwise(_BOUNDS)]
    return markdown.table(["mean absolute error at quality", "n", *names, "all"], cells)


def _mean(values: Tensor) -> str:
    return f"{float(values.mean()):.1f}" if len(values) else ""
