"""Heatmaps out of fold, of windows whose sources and autoencoders TFL never saw: thresholds, and figures for reports."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from hidascan.detectors.hidanet.heatmap import LARGE, SMALL, HeatmapThresholds, above_background, neighbourhood_means
from hidascan.detectors.hidanet.residuals import ResidualFilters
from hidascan.lab.hidanet.localiser import TrainedTFL, train_localiser
from hidascan.lab.hidanet.out_of_fold import OutOfFold
from hidascan.lab.hidanet.probe_samples import ProbeSamples
from hidascan.lab.hidanet.recipe import HiDANetRecipe
from hidascan.lab.hidanet.window_cells import WindowStore, window_store
from hidascan.lab.hidanet.windows import EDIT, GENERATED, PASTED, REPAINTED, RETOUCHED, UNTOUCHED
from hidascan.lab.measure import markdown
from hidascan.lab.measure.agreement import likelihood_ratio
from hidascan.lab.measure.metrics import auc

FOLDS = 3  # of the sources: each costs a training
_LIKELY = 0.02  # share of the cells of real pictures that may reach the lower threshold
_SURE, _SURE_AREA = 0.01, 0.005  # shares of real windows with a small or a large neighbourhood over its threshold
_EVIDENCE = 0.005  # share of real images with a patch that may be hot as a whole
_FORGED = ["", "n", "token AUC", "IoU", "with a region"]
_HONEST = ["", "n", "with a region", "hot area, mean"]


@dataclass(frozen=True)
class Located:
    """The logits of a window by a TFL that was trained without it.

    Attributes:
        number: Of the window.
        kind: One of `windows.KINDS`.
        maker: What made its AI pixels, or what was done to real ones.
        new_maker: Whether TFL never saw this autoencoder.
        logits: (h, w) of its cells.
        shares: (h, w) share of AI-made pixels in each.
    """

    number: int
    kind: str
    maker: str
    new_maker: bool
    logits: np.ndarray
    shares: np.ndarray

    @property
    def auc(self) -> float:
        """Token AUC over the cells that are wholly of one kind; NaN where the other kind is missing."""
        clear = (self.shares == 0) | (self.shares == 1)
        return auc((self.shares[clear] == 1).astype(int), self.logits[clear])

    def hot(self, thresholds: HeatmapThresholds) -> np.ndarray:
        """Return which cells (h, w) count as AI-made."""
        return (thresholds(torch.from_numpy(self.logits)) >= 0.5).numpy()


def locate_out_of_fold(recipe: HiDANetRecipe, store: WindowStore, cache: Path) -> list[Located]:
    """Locate in every window by a TFL that saw nothing of its source, nor of a third of the autoencoders."""
    autoencoders = sorted({store.about(number)[2] for number in store.of_kind(REPAINTED)})
    found: dict[int, Located] = {}
    for fold in range(FOLDS):
        by_source = [number for number in range(len(store)) if store.fold(number, FOLDS) == fold]
        unknown = set(autoencoders[fold::FOLDS])
        hidden = {*by_source, *(number for number in store.of_kind(REPAINTED) if store.about(number)[2] in unknown)}
        if by_source:
            shown = partial(_is_not_in, hidden)
            trained = train_localiser(recipe, store, cache / f"tfl-{fold}.state", shown, f"fold {fold}")
            found |= {number: _located(trained, store, number, unknown) for number in by_source}
    return [found[number] for number in sorted(found)]


def _is_not_in(hidden: set[int], number: int) -> bool:
    return number not in hidden


def _located(trained: TrainedTFL, store: WindowStore, number: int, unknown: set[str]) -> Located:
    (kind, _, maker), cells = store.about(number), store[number]
    logits = trained.logits(cells.tokens, cells.residuals).numpy()
    return Located(number, kind, maker, maker in unknown, logits, cells.shares.numpy())


def fit_heatmap_thresholds(thresholds: HeatmapThresholds, real: Sequence[np.ndarray]) -> None:
    """Set the thresholds of TFL's logits.

    Args:
        thresholds: Thresholds to set; they stay if there is no window.
        real: (h, w) logits of windows of real pictures, out of fold.
    """
    if not real:
        return
    standing_out = [above_background(torch.from_numpy(cells)[None]) for cells in real]
    thresholds.likely.fill_(
        float(np.quantile(np.concatenate([cells.numpy().ravel() for cells in standing_out]), 1 - _LIKELY))
    )
    for threshold, side, share in ((thresholds.sure, SMALL, _SURE), (thresholds.sure_area, LARGE, _SURE_AREA)):
        surest = [
            float(neighbourhood_means(cells, side).max()) for cells in standing_out if min(cells.shape[1:]) >= side
        ]
        threshold.fill_(float(np.quantile(surest, 1 - share)) if surest else np.inf)


def region_odds(thresholds: HeatmapThresholds, forged: Sequence[np.ndarray], real: Sequence[np.ndarray]) -> float:
    """Return how many times as often a region is found in forged windows as in real ones.

    Args:
        thresholds: Thresholds of the heatmap.
        forged: (h, w) logits of windows of real edits, out of fold.
        real: (h, w) logits of windows of real pictures, retouched ones too, out of fold.
    """
    found = [[bool((thresholds(torch.from_numpy(cells)) >= 0.5).any()) for cells in part] for part in (forged, real)]
    return likelihood_ratio(*found)


def fit_evidence(thresholds: HeatmapThresholds, evidence: np.ndarray) -> None:
    """Set the threshold from which a patch is hot as a whole.

    Args:
        thresholds: Threshold to set; it stays if there is no image.
        evidence: (n,) largest evidence of a patch in each of n real images, out of fold.
    """
    if len(evidence):
        thresholds.evidence.fill_(float(np.quantile(evidence, 1 - _EVIDENCE)))


def largest_evidence(samples: ProbeSamples, found: OutOfFold) -> np.ndarray:
    """Return the largest evidence of a patch in each real image as it is, out of fold."""
    wanted = samples.as_is & (samples.pooled.labels == 0)
    largest = []
    for number in torch.nonzero(wanted)[:, 0].tolist():
        probe, views = found.voters[int(samples.folds[number])].probe, samples.views[number].float()
        tokens = probe.tokens(views)
        largest.append(float(probe.evidence(tokens[:1], tokens[1:]).max()) if len(views) > 1 else -1.0)
    return np.array(largest)


def report_heatmaps(
    recipe: HiDANetRecipe,
    cache: Path,
    residuals: ResidualFilters,
    device: str,
    dtype: torch.dtype,
    on_part: Callable[[str], object],
) -> None:
    """Measure heatmaps out of fold, and hand out what is found, part by part, in Markdown.

    Args:
        recipe: What is measured.
        cache: With its windows; what is missing is made.
        residuals: Filters of pixel residuals that TFL sees.
        device: Where features are computed that are missing.
        dtype: What in.
        on_part: Called with each part.
    """
    store = window_store(recipe, cache, residuals, device, dtype)
    located = locate_out_of_fold(recipe, store, cache)
    thresholds, edits = HeatmapThresholds(), len(_of(located, EDIT)) // max(1, recipe.localiser.windows.edit_draws)
    fit_heatmap_thresholds(thresholds, [one.logits for one in _of(located, UNTOUCHED)])
    on_part(f"{len(located)} windows, {FOLDS} folds by source.")
    as_they_are = [one for one in _of(located, EDIT) if one.number < edits]
    delivered = [one for one in _of(located, EDIT) if one.number >= edits]
    parts = {"edits as they are": as_they_are, "edits delivered": delivered}
    repainted = [one for one in _of(located, REPAINTED) if one.new_maker]
    parts |= {
        "repainted by an autoencoder that TFL never saw": repainted,
        "repainted by one that it saw": [one for one in _of(located, REPAINTED) if not one.new_maker],
        "pasted from a generated image": _of(located, PASTED),
    }
    on_part(markdown.table(_FORGED, [_forged_row(name, part, thresholds) for name, part in parts.items()]))
    on_part("Edits as they are, by method:\n\n" + _by_maker(as_they_are, thresholds, _forged_row, _FORGED))
    on_part("Repainted, by autoencoder, never seen:\n\n" + _by_maker(repainted, thresholds, _forged_row, _FORGED))
    rows = [_honest_row(name, _of(located, name), thresholds) for name in (UNTOUCHED, RETOUCHED, GENERATED)]
    on_part("Wholly real and wholly generated windows:\n\n" + markdown.table(_HONEST, rows))
    on_part("Retouched without AI:\n\n" + _by_maker(_of(located, RETOUCHED), thresholds, _honest_row, _HONEST))


def _of(located: list[Located], kind: str) -> list[Located]:
    return [one for one in located if one.kind == kind]


def _by_maker(
    located: list[Located],
    thresholds: HeatmapThresholds,
    row: Callable[[str, list[Located], HeatmapThresholds], list[str]],
    head: list[str],
) -> str:
    makers = sorted({one.maker for one in located})
    return markdown.table(
        head, [row(maker, [one for one in located if one.maker == maker], thresholds) for maker in makers]
    )


def _forged_row(name: str, located: list[Located], thresholds: HeatmapThresholds) -> list[str]:
    if not located:
        return [name, "0", "", "", ""]
    hot, wanted = [one.hot(thresholds) for one in located], [one.shares >= 0.5 for one in located]
    overlap = [(a & b).sum() / max(1, (a | b).sum()) for a, b in zip(hot, wanted, strict=True)]
    figures = (np.nanmean([one.auc for one in located]), np.mean(overlap), np.mean([cells.any() for cells in hot]))
    return [name, str(len(located)), *(f"{float(figure):.3f}" for figure in figures)]


def _honest_row(name: str, located: list[Located], thresholds: HeatmapThresholds) -> list[str]:
    if not located:
        return [name, "0", "", ""]
    hot = [one.hot(thresholds) for one in located]
    figures = (np.mean([cells.any() for cells in hot]), np.mean([cells.mean() for cells in hot]))
    return [name, str(len(located)), *(f"{float(figure):.3f}" for figure in figures)]
