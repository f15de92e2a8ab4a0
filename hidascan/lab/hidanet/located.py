"""Locate in windows by networks that saw nothing of their sources, nor of some autoencoders."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from hidascan.detectors.hidanet.heatmap import HeatmapThresholds
from hidascan.lab.hidanet.localiser import TrainedTFL, train_localiser
from hidascan.lab.hidanet.recipe import HiDANetRecipe
from hidascan.lab.hidanet.window_cells import WindowStore
from hidascan.lab.hidanet.windows import REPAINTED
from hidascan.lab.measure.metrics import auc

FOLDS = 3  # of the sources: each costs a training


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
