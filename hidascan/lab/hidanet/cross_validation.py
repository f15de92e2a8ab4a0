"""Cross-validation over sources: figures of verdicts out of fold, by domain, family and source; and ablations.

Folds are given by a hash of the source. Features, kernels, penalties and thresholds are chosen by these figures alone.
Ablations refit the verdict without a family or domain, and with fewer sources or parts.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hidascan.detectors.hidanet.kernel_probe import DOMAINS, FAMILIES
from hidascan.detectors.hidanet.network import MIN_SHARE_NAMED
from hidascan.image.perturb import PERTURBATIONS, Perturbation
from hidascan.lab.artifacts import Workspace
from hidascan.lab.data.tables import FOLDS, LabelledImage, spread
from hidascan.lab.hidanet.quality import errors_as_markdown, estimate_out_of_fold, quality_samples
from hidascan.lab.hidanet.recipe import HiDANetRecipe
from hidascan.lab.hidanet.samples import Delivery, VerdictFeatures, delivered_samples, verdict_samples
from hidascan.lab.hidanet.voters import OutOfFold, predict_by_fold, predict_out_of_fold
from hidascan.lab.measure import detection, markdown, robustness
from hidascan.lab.measure.calibration import cross_fitted_verdicts
from hidascan.lab.measure.metrics import auc, interval_over_sources, source_weights, tpr_at_fpr

_WORST = 12  # sources in the table of the worst
_PATCHES = 1  # per perturbed copy; a scan examines all
_MIN_IMAGES = 10  # minimum number of held-out images
_FOLDS = 2  # folds that are predicted for each value, those with most of its images; each fold needs its own voters
_FAM_ALONE = 1e4  # weight beside which the kernel's vote is negligible


def cross_validate(
    recipe: HiDANetRecipe, workspace: Workspace, ablations: bool = True, perturbed: int = 0
) -> Iterator[str]:
    """Cross-validate the verdict of a recipe, and yield the parts of a report in Markdown.

    Missing features are computed. With `ablations`, these are measured, too; `perturbed` is the number
    of images to score under every perturbation.
    """
    samples = verdict_samples(recipe, workspace)
    count, sources = int(samples.as_published.sum()), len({image.source for image in samples.images})
    yield f"{count} images of {sources} sources, {FOLDS} folds by source."
    out_of_fold = predict_out_of_fold(samples, recipe)
    yield "\n\n".join(_verdicts(out_of_fold))
    qualities = quality_samples(recipe, samples, workspace.cache)
    estimates = estimate_out_of_fold(qualities, recipe.network.quality_dim, recipe.quality)
    yield f"JPEG quality from the pixels alone (QFE):\n\n{errors_as_markdown(qualities, estimates)}"
    found, measured = out_of_fold.predictions, out_of_fold.samples
    published = measured.as_published
    yield _confusion("domain", DOMAINS, found.domains[published], measured.domains[published])
    yield _confusion("family", FAMILIES, found.families[published], measured.families[published])
    if perturbed:
        copies = _measure_perturbed(recipe, out_of_fold, perturbed, workspace)
        yield f"{copies.images} images under perturbations, out of fold:\n\n{robustness.as_markdown(copies)}"
    for column in ("family", "domain"):
        yield held_out_as_markdown(samples, recipe, column)
    if ablations:
        yield ablations_as_markdown(samples, recipe, out_of_fold)


def _verdicts(out_of_fold: OutOfFold) -> Iterator[str]:
    """Yield all tables of verdicts that are calibrated on the other folds."""
    samples = out_of_fold.samples
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
    sources = sorted(groups(lambda image: image.source), key=lambda row: row.correct)
    worst = [row for row in sources if row.count >= 4][:_WORST]
    yield f"The {_WORST} worst sources of 4 images or more:\n\n{_groups_as_markdown(worst)}"


def _groups_as_markdown(rows: list[detection.GroupFigures]) -> str:
    return detection.groups_as_markdown(rows, [""], markdown.lowest([row.correct for row in rows]), digits=2)


def _confusion(kind: str, names: tuple[str, ...], predictions: Tensor, truth: Tensor) -> str:
    """Write the confusion matrix of a kind, rows adding up to 1, the worst row in bold."""
    named = torch.where(predictions.max(1).values >= MIN_SHARE_NAMED, predictions.argmax(1), len(names))
    rows, right = [], []
    for number in truth[truth >= 0].unique().tolist():
        counts = torch.bincount(named[truth == number], minlength=len(names) + 1).double()
        shares = (counts / counts.sum()).tolist()
        right.append(shares[number])
        rows.append([names[number], int(counts.sum()), *shares])
    return markdown.table([f"{kind}: true", "n", *names, "unknown"], rows, markdown.lowest(right), digits=2)


def _measure_perturbed(
    recipe: HiDANetRecipe, out_of_fold: OutOfFold, count: int, workspace: Workspace
) -> robustness.Robustness:
    """Predict `count` images, spread over all, unchanged and under each of PERTURBATIONS, without their sources."""
    samples = out_of_fold.samples
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


def held_out_as_markdown(samples: VerdictFeatures, recipe: HiDANetRecipe, column: str) -> str:
    """Hold out each "family" of AI images or "domain" of real ones, and compare them with the other class in their folds."""
    values = np.array([getattr(image, column) for image in samples.images])
    label = 1 if column == "family" else 0
    rows = []
    for value in sorted(set(values) - {""}):
        members = torch.from_numpy(values == value) & (samples.labels == label)
        folds = [fold for fold, _ in Counter(samples.folds[members].tolist()).most_common(_FOLDS)]
        here = samples.as_published & torch.isin(samples.folds, torch.tensor(folds))
        tested = here & (members | (samples.labels != label))
        images = int((members & here).sum())
        if images >= _MIN_IMAGES:
            found = predict_out_of_fold(samples, recipe, ~members, folds)
            tested = tested[~samples.hard]
            logits, truth = found.predictions.logits[tested].numpy(), found.samples.labels[tested].numpy()
            rows.append([value, images, auc(truth, logits), tpr_at_fpr(truth, logits, 0.05)])
    worst = markdown.lowest([row[2] for row in rows])
    return markdown.table([f"{column} held out", "images", "AUC", "TPR at 5 % FPR"], rows, worst)


@dataclass(frozen=True)
class Ablation:
    """One ablation: a verdict with fewer sources, parts or views."""

    name: str
    kernel: dict[str, Any] = field(default_factory=dict)  # changed settings of the kernel probe
    vote: float = 0.0  # weight of FAM's logit
    sources: float = 1.0  # share of the sources to fit to, those with the lowest hashes
    thumbnail: bool = True  # False gives all samples the same thumbnail
    patches: int | None = None  # maximum number per sample; 0 gives all samples the same patch


ABLATIONS = (
    Ablation("a kernel on images as published, a quarter of the sources", sources=0.25),
    Ablation("a kernel, half of the sources", sources=0.5),
    Ablation("a kernel on the thumbnail, all sources", {"share": (1.0, 0.0)}),
    Ablation("a kernel on the patches", {"share": (0.0, 1.0)}),
    Ablation("all taps and components with equal weights", {"tap_weights": (), "emphasis": 0.0}),
    Ablation("fitted only to images as published", {"delivered": 0.0}),
    Ablation("fitted to delivered images with equal weight", {"delivered": 1.0}),
    Ablation("a kernel on thumbnail and patches side by side"),
    Ablation("FAM alone", vote=_FAM_ALONE),
    Ablation("FAM alone, without thumbnail", vote=_FAM_ALONE, thumbnail=False),
    Ablation("FAM alone, without patches", vote=_FAM_ALONE, patches=0),
)


def ablations_as_markdown(samples: VerdictFeatures, recipe: HiDANetRecipe, out_of_fold: OutOfFold) -> str:
    """Measure each ablation on the same folds; the last row is the recipe itself, by `out_of_fold`."""
    hashes = np.array([zlib.crc32(image.source.encode()) / 2**32 for image in samples.images])
    rows = []
    most = max(len(view) - 1 for view in samples.views)
    counts = [1 << power for power in range(most.bit_length()) if 1 << power < most]
    fewer = [
        Ablation(f"FAM alone, at most {count} of {most} patches", vote=_FAM_ALONE, patches=count) for count in counts
    ]
    for ablation in (*ABLATIONS, *fewer):
        kernel = dataclasses.replace(recipe.kernel, **ablation.kernel)
        fusion = dataclasses.replace(recipe.fusion, vote=ablation.vote)
        changed = dataclasses.replace(recipe, kernel=kernel, fusion=fusion)
        included = torch.from_numpy(hashes < ablation.sources)
        rows.append(
            [ablation.name, *_ablation_figures(predict_out_of_fold(_visible(samples, ablation), changed, included))]
        )
    rows.append(["kernel and FAM", *_ablation_figures(out_of_fold)])
    of_each = ["sources weighted equally", "TPR at 5 % FPR"]
    head = ["ablation", "AUC", "95 % over sources", *of_each, "delivered: AUC", of_each[0], "TPR at 5 %"]
    return markdown.table(head, rows)


def _visible(samples: VerdictFeatures, ablation: Ablation) -> VerdictFeatures:
    """Hide the views that an ablation does without, by giving all samples the same thumbnail or patch."""
    if ablation.thumbnail and ablation.patches is None:
        return samples
    thumbnails, views = samples.thumbnail, [view[1:] for view in samples.views]
    if not ablation.thumbnail:
        thumbnails = thumbnails.mean(0).expand_as(thumbnails)
    if ablation.patches == 0:
        views = [samples.patches.mean(0)[None]] * len(views)
    elif ablation.patches is not None:
        views = [_spread_rows(view, ablation.patches) for view in views]
    patches = torch.stack([view.float().mean(0) for view in views])
    joined = [torch.cat([one[None], view.float()]).half() for one, view in zip(thumbnails, views, strict=True)]
    return dataclasses.replace(samples, views=joined, thumbnail=thumbnails, patches=patches)


def _spread_rows(rows: Tensor, count: int) -> Tensor:
    """Return at most `count` of the rows (n, F), spread over all."""
    count = min(count, len(rows))
    return rows[((torch.arange(count) + 0.5) * len(rows) / count).long()]


def _ablation_figures(out_of_fold: OutOfFold) -> list[float | str]:
    """Return the cells of a row.

    AUC, its 95 % interval, AUC with equal weight of sources, and TPR at 5 % FPR on images as published; then the same
    without the interval on delivered copies.
    """
    samples, logits = out_of_fold.samples, out_of_fold.predictions.logits.numpy()
    labels, as_published = samples.labels.numpy(), samples.as_published.numpy()
    sources = np.array([image.source for image in samples.images])
    cells: list[float | str] = []
    for mask in (as_published, ~as_published):
        truth, part, names = labels[mask], logits[mask], sources[mask].tolist()
        weighted = auc(truth, part, source_weights(truth, names))
        cells += [auc(truth, part), weighted, tpr_at_fpr(truth, part, 0.05)]
        if mask is as_published:
            cells.insert(1, "{:.3f} to {:.3f}".format(*interval_over_sources(auc, truth, part, names)))
    return cells
