"""Measure heatmaps on what training never saw: sources of one fold, and each autoencoder left out in turn."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from hidascan.detectors.backbones.frozen import FrozenViT
from hidascan.detectors.hidanet.kernel_probe import KernelProbe
from hidascan.detectors.hidanet.localiser import CellLocaliser
from hidascan.detectors.hidanet.network import HiDANet
from hidascan.image.decode import decode
from hidascan.lab.data.autoencoders.base import load_autoencoder
from hidascan.lab.data.tables import LabelledImage, spread
from hidascan.lab.hidanet.cell_artifacts import build_cells
from hidascan.lab.hidanet.cells import CellFilters
from hidascan.lab.hidanet.features import whole_backbone
from hidascan.lab.hidanet.heatmap_law import fit_heatmap_law, largest_evidence, unseen_images
from hidascan.lab.hidanet.localiser import train_localiser
from hidascan.lab.hidanet.out_of_fold import OutOfFold, judge
from hidascan.lab.hidanet.pairs import build_pairs
from hidascan.lab.hidanet.probe_samples import ProbeSamples, probe_samples
from hidascan.lab.hidanet.recipe import HiDANetRecipe
from hidascan.lab.measure import markdown
from hidascan.lab.measure.calibration import fit_calibration
from hidascan.lab.measure.heatmaps import heatmap_of
from hidascan.lab.measure.localisation import Edit, measure_edit, measure_localisation, read_edits

THRESHOLD = 0.5  # of a heatmap, by its law
_QUALITIES = (95, 85, 75)  # of the JPEGs as which repainted photos are saved
_MORE = 3  # times as many images are looked at where nothing is repainted
_REGION = (0.05, 0.4)  # share of the area that is repainted


def report_heatmaps(
    recipe: HiDANetRecipe,
    cache: Path,
    count: int,
    on: str,
    dtype: torch.dtype,
    on_part: Callable[[str], object],
) -> None:
    """Measure heatmaps, and hand out what is found, part by part, in Markdown.

    Images are those of the fold that made no pairs; probes are those that never saw it. The thresholds are fitted on
    half of its sources, and everything is measured on the others.

    Args:
        recipe: What is measured.
        cache: With its pairs and features; what is missing is made.
        count: Images that are repainted, at each quality by each autoencoder.
        on: The device.
        dtype: What in.
        on_part: Told each part.
    """
    if recipe.localiser.pairs.held_out_fold < 0:
        on_part("No fold was held out of the pairs (`localiser.pairs.held_out_fold`): there is nothing to measure on.")
        return
    build_pairs(recipe, cache, on, dtype)
    samples, device = probe_samples(recipe, cache, on, dtype), torch.device(on)
    found = judge(samples, recipe)
    evidence = largest_evidence(samples, found)
    real, ai = (unseen_images(recipe, samples, label) for label in (0, 1))
    sources = sorted({image.source for image in real})[::2]
    fitted_to = spread([image for image in real if image.source in sources], count)
    measured = [image for image in real if image.source not in sources]
    names = [Path(path).name for path in recipe.data.autoencoders]
    build_cells(recipe, cache, ["", *names], on, dtype)
    backbone = whole_backbone(recipe, on, dtype)
    rows = []
    for name, path in zip(names, recipe.data.autoencoders, strict=True):
        network = _network(recipe, backbone, *train_localiser(recipe, cache, on, dtype, name)).to(device).eval()
        fit_heatmap_law(network, fitted_to, evidence)
        rows += _repainted(network, name, path, spread(measured, count))
    on_part(f"Repainted by an autoencoder that TFL never saw, by TFL alone:\n\n{markdown.table(_HEAD, rows)}")
    probe = found.probes[recipe.localiser.pairs.held_out_fold]
    network = _network(recipe, backbone, *train_localiser(recipe, cache, on, dtype), probe).to(device).eval()
    fit_heatmap_law(network, fitted_to, evidence)
    on_part(_untouched(network, spread(measured, _MORE * count)))
    called = _called_ai(samples, found)
    on_part(_generated(network, spread([image for image in ai if image.path in called], _MORE * count)))
    if recipe.data.edits:
        on_part(_edited(network, read_edits(Path(recipe.data.edits))))


def _called_ai(samples: ProbeSamples, found: OutOfFold) -> set[Path]:
    """Return the paths of the images that are called `ai` out of fold."""
    as_is = samples.as_is.numpy()
    logits = found.said.logits.double().numpy()[as_is]
    calibration = fit_calibration(samples.pooled.labels.numpy()[as_is], logits, np.zeros(1))
    images = [image for image, kept in zip(samples.images, as_is, strict=True) if kept]
    said = (calibration.verdict(calibration.score(logit), "balanced") for logit in logits)
    return {image.path for image, verdict in zip(images, said, strict=True) if verdict == "ai"}


def _network(
    recipe: HiDANetRecipe,
    backbone: FrozenViT,
    filters: CellFilters,
    localiser: CellLocaliser,
    probe: KernelProbe | None = None,
) -> HiDANet:
    sizes: dict[str, Any] = dict(filters.sizes)
    network = HiDANet(dataclasses.replace(recipe.network, **sizes))
    network.backbone = backbone
    network.residuals, network.token_filters, network.localiser = filters.residuals, filters.tokens, localiser
    network.probe = probe
    return network


_HEAD = [
    "left out",
    "JPEG",
    "token AUC, mean of images",
    "pooled",
    "IoU",
    "hot area on untouched",
    "untouched with any",
]


def _repainted(network: HiDANet, name: str, path: str, images: list[LabelledImage]) -> list[list[str]]:
    with tqdm(total=len(images), desc=f"without {name}", disable=None) as bar:
        figures = measure_localisation(
            network, THRESHOLD, images, load_autoencoder(path), _REGION, _QUALITIES, on_image=bar.update
        )
    rows = []
    for one in figures:
        cells = (one.mean_auc, one.pooled_auc, one.iou, one.false_area, one.false_share)
        rows.append([name, str(one.jpeg), *(f"{value:.3f}" for value in cells)])
    return rows


def _hot_areas(network: HiDANet, images: list[LabelledImage], what: str) -> np.ndarray:
    bar = tqdm(images, desc=what, disable=None)
    return np.array([(heatmap_of(network, decode(image.path).pixels) >= THRESHOLD).mean() for image in bar])


def _untouched(network: HiDANet, images: list[LabelledImage]) -> str:
    hot = _hot_areas(network, images, "untouched")
    rows = []
    for name, kept in (("all real", None), ("photos", "photo")):
        here = hot[[kept in (None, image.domain) for image in images]]
        rows.append([name, str(len(here)), f"{(here > 0).mean():.3f}", f"{here.mean():.4f}"])
    return "Real images as they are:\n\n" + markdown.table(["", "n", "with any hot cell", "hot area, mean"], rows)


def _generated(network: HiDANet, images: list[LabelledImage]) -> str:
    hot = _hot_areas(network, images, "generated")
    return (
        f"{len(hot)} wholly generated images that are called `ai`: hot area {np.median(hot):.2f} in the middle, "
        f"{hot.mean():.2f} in the mean."
    )


def _edited(network: HiDANet, edits: list[Edit]) -> str:
    measured = [measure_edit(network, THRESHOLD, edit) for edit in tqdm(edits, desc="edits", disable=None)]
    rows = []
    for group in [*sorted({one.edit.group for one in measured}), ""]:
        those = [one for one in measured if group in ("", one.edit.group)]
        means = [float(np.nanmean([getattr(one, name) for one in those])) for name in ("auc", "iou", "hot", "edited")]
        rows.append([group or "all", str(len(those)), *(f"{value:.3f}" for value in means)])
    return "Edited by generators:\n\n" + markdown.table(["", "n", "token AUC", "IoU", "hot", "edited"], rows)
