"""Cross-validation over sources: what the probe says of images whose sources it never saw, by every cut that matters.

Folds are fixed by a hash of the source. Nothing else decides on features, kernels, penalties or thresholds.
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
from hidascan.lab.hidanet.left_out import leave_out, left_out_as_markdown
from hidascan.lab.hidanet.out_of_fold import OutOfFold, judge
from hidascan.lab.hidanet.perturbed import measure_perturbed
from hidascan.lab.hidanet.probe_samples import ProbeSamples, known_qualities, probe_samples
from hidascan.lab.hidanet.quality import errors_as_markdown, estimate_out_of_fold
from hidascan.lab.hidanet.recipe import HiDANetRecipe
from hidascan.lab.hidanet.steps import STEPS, measure_steps, steps_as_markdown
from hidascan.lab.measure import detection, markdown, robustness
from hidascan.lab.measure.calibration import cross_fitted_verdicts
from hidascan.lab.measure.detection import Evaluation, GroupFigures

_WORST = 12  # sources that are named


@dataclass(frozen=True)
class CrossValidation:
    """What images as they are, and as they are delivered, are called by verdicts calibrated on the other folds."""

    as_is: Evaluation
    delivered: Evaluation
    domains: list[GroupFigures]
    families: list[GroupFigures]
    sources: list[GroupFigures]


def cross_validate(samples: ProbeSamples, found: OutOfFold) -> CrossValidation:
    """Evaluate what was found out of fold."""
    labels = samples.pooled.labels.numpy()
    logits, folds, as_is = found.said.logits.double().numpy(), samples.folds.numpy(), samples.as_is.numpy()
    scores, verdicts = cross_fitted_verdicts(labels, logits, folds)

    def part(mask: np.ndarray) -> tuple[list[LabelledImage], np.ndarray, np.ndarray]:
        images = [image for image, kept in zip(samples.images, mask, strict=True) if kept]
        return images, scores[mask], verdicts[mask]

    cuts = [
        detection.figures_by(*part(as_is), key)
        for key in (
            lambda i: (i.domain or "unclear", ""),
            lambda i: (i.family or "unknown", ""),
            lambda i: (i.source, ""),
        )
    ]
    whole = [detection.evaluate_scores(*part(mask)) for mask in (as_is, ~as_is)]
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
    """Cross-validate the kernel probe of a recipe, and hand out what is found, part by part, in Markdown.

    Args:
        recipe: What is cross-validated.
        cache: With its features.
        device: Where features are computed that are missing.
        dtype: What in.
        on_part: Told each part.
        steps: Whether what each step gives is measured, too.
        perturbed: How many images are judged under every perturbation.
    """
    samples = probe_samples(recipe, cache, device, dtype)
    count, sources = int(samples.as_is.sum()), len({image.source for image in samples.images})
    on_part(f"{count} images of {sources} sources, {FOLDS} folds by source.")
    found = judge(samples, recipe)
    on_part(as_markdown(cross_validate(samples, found)))
    qualities = known_qualities(recipe, samples, cache)
    estimates = estimate_out_of_fold(qualities, recipe.network.quality_dim, recipe.quality)
    on_part(f"JPEG quality by the pixels alone (QFE):\n\n{errors_as_markdown(qualities, estimates)}")
    for kind, names, said, truth in (
        ("domain", DOMAINS, found.said.domains, samples.pooled.domains),
        ("family", FAMILIES, found.said.families, samples.pooled.families),
    ):
        on_part(_confusion(kind, names, said[samples.as_is], truth[samples.as_is]))
    if perturbed:
        measured = measure_perturbed(recipe, samples, found, perturbed, cache, device, dtype)
        on_part(f"{measured.images} images under perturbations, out of fold:\n\n{robustness.as_markdown(measured)}")
    for column in ("family", "domain"):
        on_part(left_out_as_markdown(leave_out(samples, recipe, column), column))
    if steps:
        on_part(steps_as_markdown(measure_steps(samples, recipe, found, STEPS)))


def _confusion(kind: str, names: tuple[str, ...], said: Tensor, truth: Tensor) -> str:
    """Write how often images of each kind are taken for which, rows adding up to 1, the worst row in bold."""
    named = torch.where(said.max(1).values >= SURE, said.argmax(1), len(names))
    rows, right = [], []
    for number in truth[truth >= 0].unique().tolist():
        shares = torch.bincount(named[truth == number], minlength=len(names) + 1).double()
        right.append(float(shares[number] / shares.sum()))
        rows.append(
            [names[number], str(int(shares.sum())), *(f"{share:.2f}" for share in (shares / shares.sum()).tolist())]
        )
    worst = min(range(len(rows)), key=lambda row: right[row]) if rows else None
    return markdown.table([f"{kind}: true", "n", *names, "unknown"], rows, worst)


def as_markdown(found: CrossValidation) -> str:
    """Write all tables of a cross-validation."""
    parts = []
    for name, evaluation in (("as they are", found.as_is), ("as they are delivered", found.delivered)):
        parts.append(f"Images {name}: {detection.figures_as_markdown(evaluation)}")
    for name, rows in (("Real images by domain", found.domains), ("AI images by family", found.families)):
        parts.append(f"{name}:\n\n{_groups_as_markdown(rows)}")
    large = sorted((row for row in found.sources if row.count >= 4), key=lambda row: row.right)
    parts.append(f"The {_WORST} worst sources of 4 images or more:\n\n{_groups_as_markdown(large[:_WORST])}")
    return "\n\n".join(parts)


def _groups_as_markdown(rows: list[GroupFigures]) -> str:
    head = ["label", "", "n", "right", "ai", "inconclusive", "median score"]
    cells = [
        ["AI" if row.label else "real", row.group, str(row.count)]
        + [f"{value:.2f}" for value in (row.right, row.ai, row.inconclusive, row.median)]
        for row in rows
    ]
    return markdown.table(head, cells, min(range(len(rows)), key=lambda number: rows[number].right) if rows else None)
