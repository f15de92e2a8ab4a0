"""Set the thresholds of a heatmap by what TFL finds in real pictures of sources that it never saw."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from hidascan.detectors.hidanet.heatmap import LARGE, SMALL, HeatmapThresholds, above_background, neighbourhood_means
from hidascan.lab.hidanet.out_of_fold import OutOfFold
from hidascan.lab.hidanet.probe_samples import ProbeSamples
from hidascan.lab.measure.agreement import likelihood_ratio

_LIKELY = 0.02  # share of the cells of real pictures that may reach the lower threshold
_SURE, _SURE_AREA = 0.01, 0.005  # shares of real windows with a small or a large neighbourhood over its threshold
_EVIDENCE = 0.005  # share of real images with a patch that may be hot as a whole


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
