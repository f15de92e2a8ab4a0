"""Measure the contribution of each step, from a kernel on few sources to both votes, by cross-validation."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hidascan.lab.hidanet.out_of_fold import OutOfFold, predict_out_of_fold
from hidascan.lab.hidanet.probe_samples import ProbeSamples
from hidascan.lab.hidanet.recipe import HiDANetRecipe
from hidascan.lab.measure import markdown
from hidascan.lab.measure.metrics import auc, interval_over_sources, source_weights, tpr_at_fpr


@dataclass(frozen=True)
class Step:
    """One row of the table of steps.

    Attributes:
        name: Name of the step.
        kernel: Changed settings of the kernel probe.
        vote: Weight of FAM's logit.
        included: Function that returns the mask of the samples to fit to; None for all.
    """

    name: str
    kernel: dict[str, Any] = field(default_factory=dict)
    vote: float = 0.0
    included: Callable[[ProbeSamples], Tensor] | None = None


_ALONE = 1e4  # weight beside which the kernel's vote is negligible


def _share(share: float) -> Callable[[ProbeSamples], Tensor]:
    """Select a share of the sources, those with the lowest hashes."""
    digests = lambda image: zlib.crc32(image.source.encode()) / 2**32  # noqa: E731
    return lambda samples: torch.tensor([digests(image) < share for image in samples.images])


STEPS = (
    Step("a kernel on images as published, a quarter of the sources", included=_share(0.25)),
    Step("a kernel, half of the sources", included=_share(0.5)),
    Step("a kernel on the thumbnail, all sources", {"share": (1.0, 0.0)}),
    Step("a kernel on the patches", {"share": (0.0, 1.0)}),
    Step("all taps and components with equal weights", {"tap_weights": (), "emphasis": 0.0}),
    Step("fitted only to images as published", {"delivered": 0.0}),
    Step("fitted to delivered images with equal weight", {"delivered": 1.0}),
    Step("a kernel on thumbnail and patches side by side"),
    Step("FAM alone", vote=_ALONE),
)


@dataclass(frozen=True)
class StepFigures:
    """Figures of a step out of fold: AUC, AUC with equal weight of sources, TPR at 5 % FPR.

    Attributes:
        name: Name of the step.
        as_published: Figures on images as published.
        interval: 95 % interval of the first AUC, over sources.
        delivered: Figures on delivered copies.
    """

    name: str
    as_published: tuple[float, float, float]
    interval: tuple[float, float]
    delivered: tuple[float, float, float]


def measure_steps(
    samples: ProbeSamples, recipe: HiDANetRecipe, out_of_fold: OutOfFold, steps: tuple[Step, ...]
) -> list[StepFigures]:
    """Measure the figures of each step, on the same folds; the last row is the recipe itself, by `out_of_fold`."""
    rows = []
    for step in steps:
        included = None if step.included is None else step.included(samples)
        changed = dataclasses.replace(
            recipe,
            kernel=dataclasses.replace(recipe.kernel, **step.kernel),
            fusion=dataclasses.replace(recipe.fusion, vote=step.vote),
        )
        logits = predict_out_of_fold(samples, changed, included).predictions.logits
        rows.append(_figures(step.name, samples, logits.numpy()))
    return [*rows, _figures("kernel and FAM", samples, out_of_fold.predictions.logits.numpy())]


def _figures(name: str, samples: ProbeSamples, logits: np.ndarray) -> StepFigures:
    labels, interval = samples.pooled.labels.numpy(), (float("nan"), float("nan"))
    parts: list[tuple[float, float, float]] = []
    sources = np.array([image.source for image in samples.images])
    for mask in (samples.as_published.numpy(), ~samples.as_published.numpy()):
        truth, part, names = labels[mask], logits[mask], sources[mask]
        if not parts:
            interval = interval_over_sources(auc, truth, part, names.tolist())
        weighted = auc(truth, part, source_weights(truth, names.tolist()))
        parts.append((auc(truth, part), weighted, tpr_at_fpr(truth, part, 0.05)))
    return StepFigures(name, parts[0], interval, parts[1])


def steps_as_markdown(rows: list[StepFigures]) -> str:
    """Write the table of steps."""
    head = [
        "step",
        "AUC",
        "95 % over sources",
        "sources weighted equally",
        "TPR at 5 % FPR",
        "delivered: AUC",
        "sources weighted equally",
        "TPR at 5 %",
    ]
    cells = [
        [
            row.name,
            f"{row.as_published[0]:.3f}",
            f"{row.interval[0]:.3f} to {row.interval[1]:.3f}",
            *(f"{value:.3f}" for value in (*row.as_published[1:], *row.delivered)),
        ]
        for row in rows
    ]
    return markdown.table(head, cells)
