"""Cross-validation over sources: figures of verdicts out of fold, by domain, family and source.

Folds are given by a hash of the source. Features, kernels, penalties and thresholds are chosen by these figures alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from hidascan.detectors.hidanet.kernel_probe import DOMAINS, FAMILIES
from hidascan.detectors.hidanet.network import SURE
from hidascan.image.perturb import PERTURBATIONS, Perturbation
from hidascan.lab.data.tables import FOLDS, LabelledImage, spread
from hidascan.lab.hidanet.ablations import held_out_as_markdown, steps_as_markdown
from hidascan.lab.hidanet.quality import errors_as_markdown, estimate_out_of_fold, quality_samples
from hidascan.lab.hidanet.recipe import HiDANetRecipe
from hidascan.lab.hidanet.samples import Delivery, Samples, delivered_samples, verdict_samples
from hidascan.lab.hidanet.voters import OutOfFold, predict_by_fold, predict_out_of_fold
from hidascan.lab.measure import detection, markdown, robustness
from hidascan.lab.measure.calibration import cross_fitted_verdicts
from hidascan.lab.training.artifacts import Workspace

_WORST = 12  # sources in the table of the worst
_PATCHES = 1  # per perturbed copy; a scan examines all


def cross_validate(
    recipe: HiDANetRecipe, workspace: Workspace, steps: bool = True, perturbed: int = 0
) -> Iterator[str]:
    """Cross-validate the verdict of a recipe, and yield the parts of a report in Markdown.

    Missing features are computed. With `steps`, the contribution of each step is measured, too; `perturbed` is the number
    of images to score under every perturbation.
    """
    samples = verdict_samples(recipe, workspace)
    count, sources = int(samples.as_published.sum()), len({image.source for image in samples.images})
    yield f"{count} images of {sources} sources, {FOLDS} folds by source."
    out_of_fold = predict_out_of_fold(samples, recipe)
    yield "\n\n".join(_verdicts(samples, out_of_fold))
    qualities = quality_samples(recipe, samples, workspace.cache)
    estimates = estimate_out_of_fold(qualities, recipe.network.quality_dim, recipe.quality)
    yield f"JPEG quality from the pixels alone (QFE):\n\n{errors_as_markdown(qualities, estimates)}"
    found, published = out_of_fold.predictions, samples.as_published
    yield _confusion("domain", DOMAINS, found.domains[published], samples.domains[published])
    yield _confusion("family", FAMILIES, found.families[published], samples.families[published])
    if perturbed:
        measured = _measure_perturbed(recipe, samples, out_of_fold, perturbed, workspace)
        yield f"{measured.images} images under perturbations, out of fold:\n\n{robustness.as_markdown(measured)}"
    for column in ("family", "domain"):
        yield held_out_as_markdown(samples, recipe, column)
    if steps:
        yield steps_as_markdown(samples, recipe, out_of_fold)


def _verdicts(samples: Samples, out_of_fold: OutOfFold) -> Iterator[str]:
    """Yield all tables of verdicts that are calibrated on the other folds."""
    logits, as_published = out_of_fold.predictions.logits.double().numpy(), samples.as_published.numpy()
    scores, verdicts = cross_fitted_verdicts(samples.labels.numpy(), logits, samples.folds.numpy())

    def part(mask: np.ndarray) -> tuple[list[LabelledImage], np.ndarray, np.ndarray]:
        images = [image for image, kept in zip(samples.images, mask, strict=True) if kept]
        return images, scores[mask], verdicts[mask]

    def groups(key: Callable[[LabelledImage], str]) -> list[detection.GroupFigures]:
        return detection.figures_by(*part(as_published), lambda image: (key(image),))

    for name, mask in (("as published", as_published), ("as delivered", ~as_published)):
        yield f"Images {name}: {detection.figures_as_markdown(detection.evaluate_scores(*part(mask)))}"
    domains = [row for row in groups(lambda image: image.domain or "unclear") if not row.label]
    yield f"Real images by domain:\n\n{_groups_as_markdown(domains)}"
    families = [row for row in groups(lambda image: image.family or "unknown") if row.label]
    yield f"AI images by family:\n\n{_groups_as_markdown(families)}"
    sources = sorted(groups(lambda image: image.source), key=lambda row: row.right)
    worst = [row for row in sources if row.count >= 4][:_WORST]
    yield f"The {_WORST} worst sources of 4 images or more:\n\n{_groups_as_markdown(worst)}"


def _groups_as_markdown(rows: list[detection.GroupFigures]) -> str:
    return detection.groups_as_markdown(rows, [""], markdown.lowest([row.right for row in rows]), digits=2)


def _confusion(kind: str, names: tuple[str, ...], predictions: Tensor, truth: Tensor) -> str:
    """Write the confusion matrix of a kind, rows adding up to 1, the worst row in bold."""
    named = torch.where(predictions.max(1).values >= SURE, predictions.argmax(1), len(names))
    rows, right = [], []
    for number in truth[truth >= 0].unique().tolist():
        counts = torch.bincount(named[truth == number], minlength=len(names) + 1).double()
        shares = (counts / counts.sum()).tolist()
        right.append(shares[number])
        rows.append([names[number], int(counts.sum()), *shares])
    return markdown.table([f"{kind}: true", "n", *names, "unknown"], rows, markdown.lowest(right), digits=2)


def _measure_perturbed(
    recipe: HiDANetRecipe, samples: Samples, out_of_fold: OutOfFold, count: int, workspace: Workspace
) -> robustness.Robustness:
    """Predict `count` images, spread over all, unchanged and under each of PERTURBATIONS, without their sources."""
    as_published = [image for image, kept in zip(samples.images, samples.as_published.tolist(), strict=True) if kept]
    chosen = spread(sorted(as_published, key=lambda image: (image.source, str(image.path))), count)
    deliveries = [Delivery("as it is", _PATCHES), *(_always(name, how) for name, how in PERTURBATIONS.items())]
    copies = delivered_samples(recipe, chosen, deliveries, f"perturbed-{count}", workspace)
    known = samples.labels.numpy(), out_of_fold.predictions.logits.double().numpy(), samples.folds.numpy()
    scored = predict_by_fold(out_of_fold.voters, copies).logits.double().numpy(), copies.folds.numpy()
    shape = (-1, len(deliveries))
    scores, verdicts = (part.reshape(shape) for part in cross_fitted_verdicts(*known, scored=scored))
    labels = copies.labels.numpy().reshape(shape)[:, 0]
    return robustness.tabulate([robustness.UNTOUCHED, *PERTURBATIONS], labels, scores, verdicts)


def _always(name: str, perturb: Perturbation) -> Delivery:
    return Delivery(name, _PATCHES, lambda rng: perturb)
