"""Cross-validation over sources: figures of verdicts out of fold, by domain, family and source.

Folds are given by a hash of the source. Features, kernels, penalties and thresholds are chosen by these figures alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hidascan.detectors.hidanet.kernel_probe import DOMAINS, FAMILIES
from hidascan.detectors.hidanet.network import SURE
from hidascan.lab.data.tables import FOLDS, LabelledImage
from hidascan.lab.hidanet.held_out import held_out_as_markdown, measure_held_out
from hidascan.lab.hidanet.out_of_fold import OutOfFold, predict_out_of_fold
from hidascan.lab.hidanet.perturbed import measure_perturbed
from hidascan.lab.hidanet.probe_samples import ProbeSamples, known_qualities, probe_samples
from hidascan.lab.hidanet.quality import errors_as_markdown, estimate_out_of_fold
from hidascan.lab.hidanet.recipe import HiDANetRecipe
from hidascan.lab.hidanet.steps import STEPS, measure_steps, steps_as_markdown
from hidascan.lab.measure import detection, markdown, robustness
from hidascan.lab.measure.calibration import cross_fitted_verdicts
from hidascan.lab.measure.detection import Evaluation, GroupFigures

_WORST = 12  # sources in the table of the worst


@dataclass(frozen=True)
class CrossValidation:
    """Figures of verdicts that are calibrated on the other folds.

    Attributes:
        as_published: Figures of images as published.
        delivered: Figures of delivered copies.
        domains: Figures of real images by domain.
        families: Figures of AI images by family.
        sources: Figures by source.
    """

    as_published: Evaluation
    delivered: Evaluation
    domains: list[GroupFigures]
    families: list[GroupFigures]
    sources: list[GroupFigures]


def cross_validate(samples: ProbeSamples, out_of_fold: OutOfFold) -> CrossValidation:
    """Evaluate predictions out of fold."""
    labels = samples.pooled.labels.numpy()
    logits, folds, as_published = (
        out_of_fold.predictions.logits.double().numpy(),
        samples.folds.numpy(),
        samples.as_published.numpy(),
    )
    scores, verdicts = cross_fitted_verdicts(labels, logits, folds)

    def part(mask: np.ndarray) -> tuple[list[LabelledImage], np.ndarray, np.ndarray]:
        images = [image for image, kept in zip(samples.images, mask, strict=True) if kept]
        return images, scores[mask], verdicts[mask]

    cuts = [
        detection.figures_by(*part(as_published), key)
        for key in (
            lambda i: (i.domain or "unclear", ""),
            lambda i: (i.family or "unknown", ""),
            lambda i: (i.source, ""),
        )
    ]
    whole = [detection.evaluate_scores(*part(mask)) for mask in (as_published, ~as_published)]
    domains = [row for row in cuts[0] if not row.label]
    return CrossValidation(whole[0], whole[1], domains, [row for row in cuts[1] if row.label], cuts[2])


def report(
    recipe: HiDANetRecipe,
    cache: Path,
    device: str,
    dtype: torch.dtype,
    on_part: Callable[[str], object],
    steps: bool = True,
    perturbed: int = 0,
) -> None:
    """Cross-validate the verdict of a recipe, and report the figures in Markdown.

    Args:
        recipe: Recipe of the verdict.
        cache: Cache folder; missing features are computed.
        device: Device that computes missing features.
        dtype: Precision of the backbone.
        on_part: Callback for each part of the report.
        steps: Whether to measure the contribution of each step, too.
        perturbed: Number of images to score under every perturbation.
    """
    samples = probe_samples(recipe, cache, device, dtype)
    count, sources = int(samples.as_published.sum()), len({image.source for image in samples.images})
    on_part(f"{count} images of {sources} sources, {FOLDS} folds by source.")
    out_of_fold = predict_out_of_fold(samples, recipe)
    on_part(as_markdown(cross_validate(samples, out_of_fold)))
    qualities = known_qualities(recipe, samples, cache)
    estimates = estimate_out_of_fold(qualities, recipe.network.quality_dim, recipe.quality)
    on_part(f"JPEG quality from the pixels alone (QFE):\n\n{errors_as_markdown(qualities, estimates)}")
    for kind, names, predictions, truth in (
        ("domain", DOMAINS, out_of_fold.predictions.domains, samples.pooled.domains),
        ("family", FAMILIES, out_of_fold.predictions.families, samples.pooled.families),
    ):
        on_part(_confusion(kind, names, predictions[samples.as_published], truth[samples.as_published]))
    if perturbed:
        measured = measure_perturbed(recipe, samples, out_of_fold, perturbed, cache, device, dtype)
        on_part(f"{measured.images} images under perturbations, out of fold:\n\n{robustness.as_markdown(measured)}")
    for column in ("family", "domain"):
        on_part(held_out_as_markdown(measure_held_out(samples, recipe, column), column))
    if steps:
        on_part(steps_as_markdown(measure_steps(samples, recipe, out_of_fold, STEPS)))


def _confusion(kind: str, names: tuple[str, ...], predictions: Tensor, truth: Tensor) -> str:
    """Write the confusion matrix of a kind, rows adding up to 1, the worst row in bold."""
    named = torch.where(predictions.max(1).values >= SURE, predictions.argmax(1), len(names))
    rows, right = [], []
    for number in truth[truth >= 0].unique().tolist():
        shares = torch.bincount(named[truth == number], minlength=len(names) + 1).double()
        right.append(float(shares[number] / shares.sum()))
        rows.append(
            [names[number], str(int(shares.sum())), *(f"{share:.2f}" for share in (shares / shares.sum()).tolist())]
        )
    worst = min(range(len(rows)), key=lambda row: right[row]) if rows else None
    return markdown.table([f"{kind}: true", "n", *names, "unknown"], rows, worst)


def as_markdown(figures: CrossValidation) -> str:
    """Write all tables of a cross-validation."""
    parts = []
    for name, evaluation in (("as published", figures.as_published), ("as delivered", figures.delivered)):
        parts.append(f"Images {name}: {detection.figures_as_markdown(evaluation)}")
    for name, rows in (("Real images by domain", figures.domains), ("AI images by family", figures.families)):
        parts.append(f"{name}:\n\n{_groups_as_markdown(rows)}")
    large = sorted((row for row in figures.sources if row.count >= 4), key=lambda row: row.right)
    parts.append(f"The {_WORST} worst sources of 4 images or more:\n\n{_groups_as_markdown(large[:_WORST])}")
    return "\n\n".join(parts)


def _groups_as_markdown(rows: list[GroupFigures]) -> str:
    head = ["label", "", "n", "correct", "ai", "inconclusive", "median score"]
    cells = [
        ["AI" if row.label else "real", row.group, str(row.count)]
        + [f"{value:.2f}" for value in (row.right, row.ai, row.inconclusive, row.median)]
        for row in rows
    ]
    return markdown.table(head, cells, min(range(len(rows)), key=lambda number: rows[number].right) if rows else None)
