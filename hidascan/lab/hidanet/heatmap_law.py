"""Set the thresholds of a heatmap by what TFL finds in real pictures of sources that it never saw."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from hidascan.calibration import Calibration
from hidascan.detectors.hidanet.heatmap import HeatmapLaw, above_background, neighbourhood_means
from hidascan.geometry import CELL
from hidascan.lab.hidanet.out_of_fold import OutOfFold
from hidascan.lab.hidanet.probe_samples import ProbeSamples
from hidascan.lab.measure.agreement import AREAS, FALSE_ALARMS, SURE
from hidascan.regions import find_regions

_LIKELY = 0.02  # share of the cells of real pictures that may reach the lower threshold
_SURE = 0.01  # share of real windows with a neighbourhood that may reach the higher threshold
_EVIDENCE = 0.005  # share of real images with a patch that may be hot as a whole


def fit_heatmap_law(law: HeatmapLaw, real: Sequence[np.ndarray]) -> None:
    """Set the thresholds of TFL's logits.

    Args:
        law: Thresholds to set; they stay if there is no window.
        real: (h, w) logits of windows of real pictures, out of fold.
    """
    if not real:
        return
    standing_out = [above_background(torch.from_numpy(cells)[None]) for cells in real]
    law.likely.fill_(float(np.quantile(np.concatenate([cells.numpy().ravel() for cells in standing_out]), 1 - _LIKELY)))
    surest = [float(neighbourhood_means(cells).max()) for cells in standing_out]
    law.sure.fill_(float(np.quantile(surest, 1 - _SURE)))


def fit_sure_region(law: HeatmapLaw, real: Sequence[np.ndarray]) -> tuple[float, float] | None:
    """Find the smallest region that contradicts a verdict of `real`, by pictures that must keep it.

    Args:
        law: Thresholds of the heatmap.
        real: (h, w) logits of windows of real pictures, retouched ones too, out of fold.

    Returns:
        Least share of the cells and least mean probability; None if even the largest region moves too many.
    """
    heatmaps = [law(torch.from_numpy(cells)).numpy() for cells in real]
    found = [find_regions(cells, 0.5, CELL * cells.shape[1], CELL * cells.shape[0], CELL) for cells in heatmaps]
    for area in AREAS if found else ():
        rule = Calibration(sure_region=(area, SURE))
        if np.mean([rule.contradicting("real", regions) is not None for regions in found]) <= FALSE_ALARMS:
            return area, SURE
    return None


def fit_evidence(law: HeatmapLaw, evidence: np.ndarray) -> None:
    """Set the threshold from which a patch is hot as a whole.

    Args:
        law: Threshold to set; it stays if there is no image.
        evidence: (n,) largest evidence of a patch in each of n real images, out of fold.
    """
    if len(evidence):
        law.evidence.fill_(float(np.quantile(evidence, 1 - _EVIDENCE)))


def largest_evidence(samples: ProbeSamples, found: OutOfFold) -> np.ndarray:
    """Return the largest evidence of a patch in each real image as it is, out of fold."""
    wanted = samples.as_is & (samples.pooled.labels == 0)
    largest = []
    for number in torch.nonzero(wanted)[:, 0].tolist():
        probe, views = found.voters[int(samples.folds[number])].probe, samples.views[number].float()
        tokens = probe.tokens(views)
        largest.append(float(probe.evidence(tokens[:1], tokens[1:]).max()) if len(views) > 1 else -1.0)
    return np.array(largest)
