"""Heatmaps out of fold, of held-out sources and autoencoders: thresholds, and figures for reports."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from hidascan.detectors.hidanet.localiser import LARGE, SMALL, HeatmapThresholds, above_background, neighbourhood_means
from hidascan.detectors.hidanet.network import HiDANet
from hidascan.lab.artifacts import Workspace
from hidascan.lab.data.tables import fold_of
from hidascan.lab.hidanet.localiser import WindowInfo, WindowStore, train_localiser, window_store
from hidascan.lab.hidanet.recipe import HiDANetRecipe
from hidascan.lab.hidanet.voters import OutOfFold
from hidascan.lab.hidanet.windows import EDIT, GENERATED, KINDS, PASTED, REPAINTED, RETOUCHED, UNTOUCHED
from hidascan.lab.measure import markdown
from hidascan.lab.measure.metrics import auc, mean_of_known
from hidascan.lab.measure.region_odds import likelihood_ratio

FOLD_COUNT = 3  # folds of the sources; each needs a training
_LIKELY = 0.02  # share of the cells of real pictures that reach the lower threshold
_SURE, _SURE_AREA = 0.01, 0.005  # shares of real windows with a small or a large neighbourhood above its threshold
_EVIDENCE = 0.005  # share of real images with such a patch among the few that are sampled; larger in a scan of all


@dataclass(frozen=True)
class WindowHeatmap:
    """Logits of a window by a TFL that was trained without its source."""

    number: int  # index of the window
    kind: str  # one of `windows.KINDS`
    maker: str  # generator or editing method of the AI pixels, or kind of retouch
    new_maker: bool  # whether the autoencoder was held out, too
    logits: np.ndarray  # (h, w) logits of the cells
    shares: np.ndarray  # (h, w) shares of AI-made pixels in the cells

    @property
    def auc(self) -> float:
        """Token AUC over the cells that are wholly real or wholly AI-made; NaN without cells of both kinds."""
        clear = (self.shares == 0) | (self.shares == 1)
        return auc((self.shares[clear] == 1).astype(int), self.logits[clear])

    def marked(self, thresholds: HeatmapThresholds) -> np.ndarray:
        """Return a mask (h, w) of the cells that are marked as AI-made."""
        return (thresholds(torch.from_numpy(self.logits)) >= 0.5).numpy()


def locate_out_of_fold(recipe: HiDANetRecipe, store: WindowStore, cache: Path) -> list[WindowHeatmap]:
    """Compute the logits of each window with a TFL trained without its source and a third of the autoencoders."""
    autoencoders = sorted({window.maker for window in store.about if window.kind == REPAINTED})
    found: dict[int, WindowHeatmap] = {}
    for fold in range(FOLD_COUNT):
        unknown = set(autoencoders[fold::FOLD_COUNT])
        tested, held_out = split_windows(store.about, fold, unknown)
        if tested:
            state = cache / f"tfl-{fold}.state"
            trained = train_localiser(recipe, store, state, held_out, f"fold {fold}")
            for number in tested:
                window, cells = store.about[number], store[number]
                logits = trained.logits(cells.tokens, cells.residuals).numpy()
                new_maker = window.maker in unknown
                found[number] = WindowHeatmap(
                    number, window.kind, window.maker, new_maker, logits, cells.shares.numpy()
                )
    return [found[number] for number in sorted(found)]


def split_windows(about: Sequence[WindowInfo], fold: int, autoencoders: Collection[str]) -> tuple[list[int], set[int]]:
    """Split windows for a fold of sources and some autoencoders that are held out.

    Returns:
        Numbers of the windows to test, whose images are of the fold; and of all that training must not see: these, those
        with a region pasted from an image of the fold, and those repainted by one of the autoencoders.
    """

    def held_out(source: str) -> bool:
        return fold_of(source) % FOLD_COUNT == fold

    tested, unseen = [], set()
    for number, window in enumerate(about):
        if held_out(window.source):
            tested.append(number)
        pasted = bool(window.donor) and held_out(window.donor)
        if held_out(window.source) or pasted or (window.kind == REPAINTED and window.maker in autoencoders):
            unseen.add(number)
    return tested, unseen


def fit_heatmap_thresholds(thresholds: HeatmapThresholds, real: Sequence[np.ndarray]) -> None:
    """Set the thresholds of TFL's logits by windows (h, w) of real pictures, out of fold; do nothing without any."""
    if not real:
        return
    standing_out = [above_background(torch.from_numpy(cells)[None]) for cells in real]
    every = np.concatenate([cells.numpy().ravel() for cells in standing_out])
    thresholds.likely.fill_(float(np.quantile(every, 1 - _LIKELY)))
    for threshold, side, share in ((thresholds.sure, SMALL, _SURE), (thresholds.sure_area, LARGE, _SURE_AREA)):
        large = [cells for cells in standing_out if min(cells.shape[1:]) >= side]
        surest = [float(neighbourhood_means(cells, side).max()) for cells in large]
        threshold.fill_(float(np.quantile(surest, 1 - share)) if surest else np.inf)


def region_odds(thresholds: HeatmapThresholds, forged: Sequence[np.ndarray], real: Sequence[np.ndarray]) -> float:
    """Return the ratio of the shares of forged and of real windows with a region.

    Both are logits (h, w) out of fold, of real edits, and of real pictures, including retouched ones.
    """
    found = [[bool((thresholds(torch.from_numpy(cells)) >= 0.5).any()) for cells in part] for part in (forged, real)]
    return likelihood_ratio(*found)


def fit_patch_threshold(thresholds: HeatmapThresholds, out_of_fold: OutOfFold) -> None:
    """Set the threshold of the kernel vote from which a patch is marked as a whole; do nothing without real images.

    It is fitted to the largest vote among the sampled patches (two in hidascan-b) of each real image as published, out of
    fold.
    """
    samples, largest = out_of_fold.samples, []
    wanted = samples.as_published & (samples.labels == 0)
    for number in torch.nonzero(wanted)[:, 0].tolist():
        probe = out_of_fold.voters[int(samples.folds[number])].probe
        views = samples.views[number].float()
        tokens = probe.tokens(views)
        largest.append(float(probe.patch_votes(tokens[:1], tokens[1:]).max()) if len(views) > 1 else -1.0)
    if largest:
        thresholds.evidence.fill_(float(np.quantile(largest, 1 - _EVIDENCE)))


def report_heatmaps(recipe: HiDANetRecipe, detector: HiDANet, workspace: Workspace) -> Iterator[str]:
    """Measure heatmaps out of fold, and yield the parts of a report in Markdown; missing windows are computed.

    Only the residual filters of `detector` are used.
    """
    store = window_store(recipe, copy.deepcopy(detector.residuals).cpu(), workspace)
    located = locate_out_of_fold(recipe, store, workspace.cache)
    kinds = {kind: [one for one in located if one.kind == kind] for kind in KINDS}
    thresholds = HeatmapThresholds()
    edits = len(kinds[EDIT]) // max(1, recipe.localiser.windows.edit_draws)
    fit_heatmap_thresholds(thresholds, [one.logits for one in kinds[UNTOUCHED]])
    yield f"{len(located)} windows, {FOLD_COUNT} folds by source."
    as_published = [one for one in kinds[EDIT] if one.number < edits]
    repainted = [one for one in kinds[REPAINTED] if one.new_maker]
    parts = {
        "edits as published": as_published,
        "edits delivered": [one for one in kinds[EDIT] if one.number >= edits],
        "repainted by a held-out autoencoder": repainted,
        "repainted by an autoencoder of the training": [one for one in kinds[REPAINTED] if not one.new_maker],
        "pasted from a generated image": kinds[PASTED],
    }
    yield _as_markdown(parts, thresholds, _FORGED)
    yield "Edits as published, by method:\n\n" + _as_markdown(_by_maker(as_published), thresholds, _FORGED)
    yield "Repainted by held-out autoencoders:\n\n" + _as_markdown(_by_maker(repainted), thresholds, _FORGED)
    whole = {kind: kinds[kind] for kind in (UNTOUCHED, RETOUCHED, GENERATED)}
    yield "Wholly real and wholly generated windows:\n\n" + _as_markdown(whole, thresholds, _HONEST)
    yield "Retouched without AI:\n\n" + _as_markdown(_by_maker(kinds[RETOUCHED]), thresholds, _HONEST)


def _by_maker(located: list[WindowHeatmap]) -> dict[str, list[WindowHeatmap]]:
    makers = sorted({one.maker for one in located})
    return {maker: [one for one in located if one.maker == maker] for maker in makers}


def _as_markdown(parts: dict[str, list[WindowHeatmap]], thresholds: HeatmapThresholds, columns: tuple[str, ...]) -> str:
    rows = []
    for name, located in parts.items():
        marked = [(one, one.marked(thresholds)) for one in located]
        figures = ([_FIGURES[column](one, cells) for one, cells in marked] for column in columns)
        rows.append([name, len(located), *map(_mean, figures)])
    return markdown.table(["", "n", *columns], rows)


def _mean(values: list[float]) -> float | str:
    """Return the mean of all values except NaN; an empty cell of a table, if there is none."""
    mean = mean_of_known(values)
    return "" if np.isnan(mean) else mean


def _iou(located: WindowHeatmap, marked: np.ndarray) -> float:
    wanted = located.shares >= 0.5
    return float((marked & wanted).sum() / max(1, (marked | wanted).sum()))


# Figures of a window and the mask (h, w) of its marked cells, by column.
_FIGURES: dict[str, Callable[[WindowHeatmap, np.ndarray], float]] = {
    "token AUC": lambda located, marked: located.auc,
    "IoU": _iou,
    "with a region": lambda located, marked: float(marked.any()),
    "mean marked area": lambda located, marked: float(marked.mean()),
}
_FORGED, _HONEST = ("token AUC", "IoU", "with a region"), ("with a region", "mean marked area")
