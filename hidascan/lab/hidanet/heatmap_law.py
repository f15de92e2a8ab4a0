"""Set the thresholds of a heatmap by images that must stay cold."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from tqdm import tqdm

from hidascan.detectors.hidanet.network import HiDANet
from hidascan.image.decode import decode
from hidascan.image.perturb import jpeg
from hidascan.lab.data.tables import LabelledImage
from hidascan.lab.hidanet.out_of_fold import OutOfFold
from hidascan.lab.hidanet.probe_samples import ProbeSamples
from hidascan.lab.hidanet.recipe import HiDANetRecipe
from hidascan.lab.measure.heatmaps import encode_for_heatmap

QUALITIES = (None, 85, 75)  # of the JPEGs as which real images are saved anew; None for not at all
_MOST_PIXELS = 1_500_000  # of an image that is looked at whole: each patch costs a pass through the backbone
_LIKELY = 0.02  # share of the cells of real images that may reach the lower threshold
_SURE = 0.05  # share of real images in which one may reach the higher one
_EVIDENCE = 0.005  # share of real images with a patch that may be hot as a whole
_CELLS = np.linspace(0, 1, 401)  # as many of each image: large ones do not count for more


def unseen_images(recipe: HiDANetRecipe, samples: ProbeSamples, label: int) -> list[LabelledImage]:
    """Return the images of a class, not too large, of the fold that made no pairs, sorted by source."""
    kept = (samples.folds == recipe.localiser.pairs.held_out_fold) & samples.as_is & (samples.pooled.labels == label)
    images = sorted(samples.only(kept).images, key=lambda image: (image.source, str(image.path)))
    return [image for image in images if decode(image.path).pixels[..., 0].size <= _MOST_PIXELS]


def fit_heatmap_law(network: HiDANet, real: Iterable[LabelledImage], evidence: np.ndarray) -> None:
    """Set the thresholds of `network`.

    Args:
        network: Trained; its thresholds stay if there is no image.
        real: Images of sources that TFL never saw.
        evidence: (n,) the largest evidence of a patch in each of n real images, by probes that never saw their source.
    """
    images = tqdm(list(real), desc="heatmap", disable=None)
    logits = [tfl_logits_of(network, _saved(image, quality)) for image in images for quality in QUALITIES]
    if not logits or not len(evidence):
        return
    cells = np.concatenate([np.quantile(one, _CELLS) for one in logits])
    law = network.heatmap
    law.likely.fill_(float(np.quantile(cells, 1 - _LIKELY)))
    law.sure.fill_(float(np.quantile([one.max() for one in logits], 1 - _SURE)))
    law.evidence.fill_(float(np.quantile(evidence, 1 - _EVIDENCE)))


def tfl_logits_of(network: HiDANet, pixels: np.ndarray) -> np.ndarray:
    """Return what TFL says of the cells of (H, W, 3) uint8, before any threshold."""
    encoded, grid = encode_for_heatmap(network, pixels)
    with torch.inference_mode():
        return network.locate_cells(encoded, grid).cpu().numpy()


def _saved(image: LabelledImage, quality: int | None) -> np.ndarray:
    pixels = decode(image.path).pixels
    return pixels if quality is None else jpeg(pixels, quality)


def largest_evidence(samples: ProbeSamples, found: OutOfFold) -> np.ndarray:
    """Return the largest evidence of a patch in each real image as it is, out of fold."""
    wanted = samples.as_is & (samples.pooled.labels == 0)
    largest = []
    for number in torch.nonzero(wanted)[:, 0].tolist():
        probe, views = found.probes[int(samples.folds[number])], samples.views[number].float()
        tokens = probe.tokens(views)
        largest.append(float(probe.evidence(tokens[:1], tokens[1:]).max()) if len(views) > 1 else -1.0)
    return np.array(largest)
