"""Refit the verdict without a family or domain, and with fewer sources or parts, and measure it by cross-validation."""

from __future__ import annotations

import dataclasses
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hidascan.lab.hidanet.recipe import HiDANetRecipe
from hidascan.lab.hidanet.samples import Samples
from hidascan.lab.hidanet.voters import OutOfFold, predict_out_of_fold
from hidascan.lab.measure import markdown
from hidascan.lab.measure.metrics import auc, interval_over_sources, source_weights, tpr_at_fpr

_LEAST = 10  # minimum number of held-out images
_FOLDS = 2  # folds that are predicted for each value, those with most of its images; each fold needs its own voters
_FAM_ALONE = 1e4  # weight beside which the kernel's vote is negligible


def held_out_as_markdown(samples: Samples, recipe: HiDANetRecipe, column: str) -> str:
    """Hold out each "family" of AI images or "domain" of real ones, and compare them with the other class in their folds."""
    values = np.array([getattr(image, column) for image in samples.images])
    label = 1 if column == "family" else 0
    rows = []
    for value in sorted(set(values) - {""}):
        members = torch.from_numpy(values == value) & (samples.labels == label)
        folds = [fold for fold, _ in Counter(samples.folds[members].tolist()).most_common(_FOLDS)]
        here = samples.as_published & torch.isin(samples.folds, torch.tensor(folds))
        tested, images = here & (members | (samples.labels != label)), int((members & here).sum())
        if images >= _LEAST:
            logits = predict_out_of_fold(samples, recipe, ~members, folds).predictions.logits[tested].numpy()
            truth = samples.labels[tested].numpy()
            rows.append([value, images, auc(truth, logits), tpr_at_fpr(truth, logits, 0.05)])
    worst = markdown.lowest([row[2] for row in rows])
    return markdown.table([f"{column} held out", "images", "AUC", "TPR at 5 % FPR"], rows, worst)


@dataclass(frozen=True)
class Step:
    """One row of the table of steps: a verdict with fewer sources, parts or views.

    Attributes:
        name: Name of the step.
        kernel: Changed settings of the kernel probe.
        vote: Weight of FAM's logit.
        included: Function that returns the mask of the samples to fit to; None for all.
        visible: Function that hides views of all samples; None to use all.
    """

    name: str
    kernel: dict[str, Any] = field(default_factory=dict)
    vote: float = 0.0
    included: Callable[[Samples], Tensor] | None = None
    visible: Callable[[Samples], Samples] | None = None


def _share(share: float) -> Callable[[Samples], Tensor]:
    """Select a share of the sources, those with the lowest hashes."""
    return lambda samples: torch.tensor([zlib.crc32(image.source.encode()) / 2**32 < share for image in samples.images])


def _with_patches(count: int) -> Callable[[Samples], Samples]:
    """Keep at most `count` patches of each sample, spread over all that it has."""

    def kept(view: Tensor) -> Tensor:
        patches = len(view) - 1
        spread = (torch.arange(min(count, patches)) + 0.5) * patches / min(count, patches)
        return torch.cat([view[:1], view[1 + spread.long()]])

    def keep(samples: Samples) -> Samples:
        views = [kept(view) for view in samples.views]
        return dataclasses.replace(
            samples, views=views, patches=torch.stack([view[1:].float().mean(0) for view in views])
        )

    return keep


def _without_thumbnail(samples: Samples) -> Samples:
    """Give all samples the same thumbnail."""
    mean = samples.thumbnail.mean(0)
    views = [torch.cat([mean[None].to(view.dtype), view[1:]]) for view in samples.views]
    return dataclasses.replace(samples, views=views, thumbnail=mean.expand_as(samples.thumbnail))


def _without_patches(samples: Samples) -> Samples:
    """Give all samples the same patch."""
    mean = samples.patches.mean(0)
    views = [torch.stack([view[0], mean.to(view.dtype)]) for view in samples.views]
    return dataclasses.replace(samples, views=views, patches=mean.expand_as(samples.patches))


STEPS = (
    Step("a kernel on images as published, a quarter of the sources", included=_share(0.25)),
    Step("a kernel, half of the sources", included=_share(0.5)),
    Step("a kernel on the thumbnail, all sources", {"share": (1.0, 0.0)}),
    Step("a kernel on the patches", {"share": (0.0, 1.0)}),
    Step("all taps and components with equal weights", {"tap_weights": (), "emphasis": 0.0}),
    Step("fitted only to images as published", {"delivered": 0.0}),
    Step("fitted to delivered images with equal weight", {"delivered": 1.0}),
    Step("a kernel on thumbnail and patches side by side"),
    Step("FAM alone", vote=_FAM_ALONE),
    Step("FAM alone, without thumbnail", vote=_FAM_ALONE, visible=_without_thumbnail),
    Step("FAM alone, without patches", vote=_FAM_ALONE, visible=_without_patches),
)


def _patch_steps(samples: Samples) -> list[Step]:
    """Return steps with 1, 2, 4, ... patches, fewer than the most that a sample has."""
    most = max(len(view) - 1 for view in samples.views)
    return [
        Step(f"FAM alone, at most {1 << power} of {most} patches", vote=_FAM_ALONE, visible=_with_patches(1 << power))
        for power in range(most.bit_length())
        if 1 << power < most
    ]


def steps_as_markdown(samples: Samples, recipe: HiDANetRecipe, out_of_fold: OutOfFold) -> str:
    """Measure each step on the same folds; the last row is the recipe itself, by `out_of_fold`."""
    rows = []
    for step in (*STEPS, *_patch_steps(samples)):
        seen = samples if step.visible is None else step.visible(samples)
        included = None if step.included is None else step.included(samples)
        kernel = dataclasses.replace(recipe.kernel, **step.kernel)
        fusion = dataclasses.replace(recipe.fusion, vote=step.vote)
        changed = dataclasses.replace(recipe, kernel=kernel, fusion=fusion)
        logits = predict_out_of_fold(seen, changed, included).predictions.logits
        rows.append([step.name, *_step_figures(samples, logits.numpy())])
    rows.append(["kernel and FAM", *_step_figures(samples, out_of_fold.predictions.logits.numpy())])
    of_each = ["sources weighted equally", "TPR at 5 % FPR"]
    head = ["step", "AUC", "95 % over sources", *of_each, "delivered: AUC", of_each[0], "TPR at 5 %"]
    return markdown.table(head, rows)


def _step_figures(samples: Samples, logits: np.ndarray) -> list[float | str]:
    """Return AUC, its interval, AUC with equal weight of sources and TPR as published; and without interval delivered."""
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
