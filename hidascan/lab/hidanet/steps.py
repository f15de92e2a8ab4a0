"""Measure what each step from a kernel on few sources to both voters gives, by cross-validation on the same folds."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hidascan.lab.hidanet.out_of_fold import OutOfFold, judge
from hidascan.lab.hidanet.probe_samples import ProbeSamples
from hidascan.lab.hidanet.recipe import HiDANetRecipe
from hidascan.lab.measure import markdown
from hidascan.lab.measure.metrics import auc, interval_over_sources, source_weights, tpr_at_fpr


@dataclass(frozen=True)
class Step:
    """One row of the table of steps.

    Attributes:
        name: What is done.
        kernel: What differs in the kernel probe.
        vote: Weight of FAM's logit.
        shown: Which samples may be fitted to; None for all.
    """

    name: str
    kernel: dict[str, Any] = field(default_factory=dict)
    vote: float = 0.0
    shown: Callable[[ProbeSamples], Tensor] | None = None


_ALONE = 1e4  # a weight beside which the kernel's vote is lost


def _share(share: float) -> Callable[[ProbeSamples], Tensor]:
    """Show so many of the sources, those with the lowest hashes."""
    digests = lambda image: zlib.crc32(image.source.encode()) / 2**32  # noqa: E731
    return lambda samples: torch.tensor([digests(image) < share for image in samples.images])


STEPS = (
    Step("a kernel on images as they are, a quarter of the sources", shown=_share(0.25)),
    Step("a kernel, half of the sources", shown=_share(0.5)),
    Step("a kernel on the thumbnail, all sources", {"share": (1.0, 0.0)}),
    Step("a kernel on the patches", {"share": (0.0, 1.0)}),
    Step("all taps and components alike", {"tap_weights": (), "emphasis": 0.0}),
    Step("fitted to images as they are alone", {"delivered": 0.0}),
    Step("fitted to delivered images alike", {"delivered": 1.0}),
    Step("a kernel on thumbnail and patches side by side"),
    Step("FAM alone", vote=_ALONE),
)


@dataclass(frozen=True)
class StepFigures:
    """Out of fold, on images as they are and as they were delivered."""

    name: str
    as_is: tuple[float, float, float]  # AUC, AUC with sources alike, TPR at 5 % FPR
    interval: tuple[float, float]  # of the first
    delivered: tuple[float, float, float]


def measure_steps(
    samples: ProbeSamples, recipe: HiDANetRecipe, found: OutOfFold, steps: tuple[Step, ...]
) -> list[StepFigures]:
    """Measure what each step gives, on the same folds; the last row is the recipe itself, by `found`."""
    rows = []
    for step in steps:
        shown = None if step.shown is None else step.shown(samples)
        changed = dataclasses.replace(
            recipe,
            kernel=dataclasses.replace(recipe.kernel, **step.kernel),
            fusion=dataclasses.replace(recipe.fusion, vote=step.vote),
        )
        rows.append(_figures(step.name, samples, judge(samples, changed, shown).said.logits.numpy()))
    return [*rows, _figures("kernel and FAM", samples, found.said.logits.numpy())]


def _figures(name: str, samples: ProbeSamples, logits: np.ndarray) -> StepFigures:
    labels, interval = samples.pooled.labels.numpy(), (float("nan"), float("nan"))
    parts: list[tuple[float, float, float]] = []
    sources = np.array([image.source for image in samples.images])
    for mask in (samples.as_is.numpy(), ~samples.as_is.numpy()):
        truth, said, of = labels[mask], logits[mask], sources[mask]
        if not parts:
            interval = interval_over_sources(auc, truth, said, of.tolist())
        alike = auc(truth, said, source_weights(truth, of.tolist()))
        parts.append((auc(truth, said), alike, tpr_at_fpr(truth, said, 0.05)))
    return StepFigures(name, parts[0], interval, parts[1])


def steps_as_markdown(rows: list[StepFigures]) -> str:
    """Write the table of steps."""
    head = [
        "step",
        "AUC",
        "95 % over sources",
        "sources alike",
        "TPR at 5 % FPR",
        "delivered: AUC",
        "sources alike",
        "TPR at 5 %",
    ]
    cells = [
        [
            row.name,
            f"{row.as_is[0]:.3f}",
            f"{row.interval[0]:.3f} to {row.interval[1]:.3f}",
            *(f"{value:.3f}" for value in (*row.as_is[1:], *row.delivered)),
        ]
        for row in rows
    ]
    return markdown.table(head, cells)
