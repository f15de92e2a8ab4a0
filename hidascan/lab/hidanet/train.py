"""Train a HiDA-Net: pairs, TFL, kernel probe and FAM, thresholds, and the file."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from hidascan.calibration import Calibration
from hidascan.detectors.checkpoint import CheckpointHeader, Part, load_detector, save_trained, sha256_of
from hidascan.detectors.hidanet.network import HiDANet
from hidascan.errors import RecipeError
from hidascan.lab.data.tables import tables_sha256
from hidascan.lab.hidanet.filters import residual_filters
from hidascan.lab.hidanet.heatmaps import (
    fit_evidence,
    fit_heatmap_thresholds,
    largest_evidence,
    locate_out_of_fold,
    region_odds,
)
from hidascan.lab.hidanet.localiser import train_localiser
from hidascan.lab.hidanet.out_of_fold import Voters, fit_voters, judge
from hidascan.lab.hidanet.pairs import build_pairs
from hidascan.lab.hidanet.probe_samples import known_qualities, probe_samples
from hidascan.lab.hidanet.quality import train_quality
from hidascan.lab.hidanet.recipe import HiDANetRecipe
from hidascan.lab.hidanet.window_cells import window_store
from hidascan.lab.hidanet.windows import EDIT, RETOUCHED, UNTOUCHED
from hidascan.lab.measure.calibration import fit_calibration, measure_reliability

VERDICT, HEATMAP = "verdict", "heatmap"  # parts that can be trained alone
_OF_HEATMAP = ("cell_taps", "cell_filters", "residual_filters", "localiser_dim", "dropout")
_OF_VERDICT = ("taps", "components", "landmarks", "quality_dim", "dim", "heads", "dropout")


def train(recipe: HiDANetRecipe, cache: Path, out: Path, device: torch.device, dtype: torch.dtype) -> None:
    """Make what is missing in `cache`, train on, from the last whole epochs if there are any, and write the weights."""
    torch.manual_seed(recipe.seed)
    network = _without_backbone(recipe)
    build_pairs(recipe, cache, str(device), dtype)
    network.residuals = residual_filters(recipe, cache)
    odds = _train_tfl(network, recipe, cache, device, dtype)
    calibration = _train_verdict(network, recipe, cache, device, dtype)
    write_network(recipe, network, dataclasses.replace(calibration, region_odds=odds), out, training_record(recipe))


def train_part(
    part: str, recipe: HiDANetRecipe, cache: Path, out: Path, device: torch.device, dtype: torch.dtype, weights: Path
) -> None:
    """Train the verdict or the heatmap alone, and take all else from finished weights.

    Args:
        part: VERDICT or HEATMAP.
        recipe: Recipe of the part.
        cache: Folder of features, windows and states.
        out: Path of the new weights.
        device: Device of the backbone.
        dtype: Precision of the backbone.
        weights: Path of the finished weights.

    Raises:
        RecipeError: If the network of these weights differs from the recipe's in more than this part.
    """
    finished, header = load_detector(weights)
    fields = _OF_VERDICT if part == VERDICT else _OF_HEATMAP
    ours = {name: getattr(recipe.network, name) for name in fields}
    if not isinstance(finished, HiDANet) or dataclasses.replace(finished.config, **ours) != recipe.network:
        raise RecipeError(f"{weights}: the network differs from the recipe's in more than the {part}")
    network = _without_backbone(recipe)
    if part == VERDICT:
        for name in ("residuals", "token_filters", "localiser", "heatmap"):
            setattr(network, name, getattr(finished, name))
        calibration = _train_verdict(network, recipe, cache, device, dtype)
        calibration = dataclasses.replace(calibration, region_odds=header.calibration.region_odds)
    else:
        for name in ("residuals", "probe", "fusion", "quality", "vote", "heatmap"):
            setattr(network, name, getattr(finished, name))
        odds = _train_tfl(network, recipe, cache, device, dtype)
        calibration = dataclasses.replace(header.calibration, region_odds=odds, reliability={})  # of other verdicts
    write_network(recipe, network, calibration, out, header.training | {part: training_record(recipe)})


def _without_backbone(recipe: HiDANetRecipe) -> HiDANet:
    """Build the network of a recipe without its backbone, which is not trained and has a file of its own."""
    network = HiDANet(recipe.network)
    del network.backbone
    return network


def _train_verdict(
    network: HiDANet, recipe: HiDANetRecipe, cache: Path, device: torch.device, dtype: torch.dtype
) -> Calibration:
    """Fit both voters and QFE, and return their calibration, fitted and measured on verdicts out of fold."""
    samples = probe_samples(recipe, cache, str(device), dtype)
    set_voters(network, fit_voters(samples, recipe))
    qualities = known_qualities(recipe, samples, cache)
    network.quality = train_quality(qualities, recipe.network.quality_dim, recipe.quality)
    found = judge(samples, recipe)
    fit_evidence(network.heatmap, largest_evidence(samples, found))
    labels, logits = samples.pooled.labels.numpy(), found.said.logits.double().numpy()
    reliability = measure_reliability(labels, logits, samples.folds.numpy(), samples.as_is.numpy())
    return dataclasses.replace(fit_calibration(labels, logits, np.zeros(1)), reliability=reliability)


def _train_tfl(network: HiDANet, recipe: HiDANetRecipe, cache: Path, device: torch.device, dtype: torch.dtype) -> float:
    """Train TFL for the residual filters of a network, set its thresholds out of fold, and return `region_odds`."""
    store = window_store(recipe, cache, network.residuals, str(device), dtype)
    trained = train_localiser(recipe, store, cache / "tfl.state")
    network.token_filters, network.localiser = trained.token_filters, trained.localiser
    located = locate_out_of_fold(recipe, store, cache)
    fit_heatmap_thresholds(network.heatmap, [window.logits for window in located if window.kind == UNTOUCHED])
    edits = [window.logits for window in located if window.kind == EDIT]
    real = [window.logits for window in located if window.kind in (UNTOUCHED, RETOUCHED)]
    return region_odds(network.heatmap, edits, real)


def set_voters(network: HiDANet, voters: Voters) -> None:
    """Let a network decide as these voters do."""
    network.probe, network.fusion = voters.probe, voters.fusion
    network.vote.fill_(voters.vote)


def training_record(recipe: HiDANetRecipe) -> dict[str, Any]:
    """Return what the header of the weights says of their training."""
    return {"recipe": dataclasses.asdict(recipe), "tables_sha256": tables_sha256(recipe.data.tables)}


def write_network(
    recipe: HiDANetRecipe, network: HiDANet, calibration: Calibration, out: Path, training: dict[str, Any]
) -> None:
    """Write the checkpoint, with a record of its training."""
    backbone = Path(recipe.data.backbone)
    parts = (Part("backbone", backbone.name, sha256_of(backbone)),)
    header = CheckpointHeader(out.stem, recipe.detector, recipe.network, parts, calibration, training)
    save_trained(out, network, header)
    tqdm.write(f"wrote {out}")


def train_for_comparison(
    recipe: HiDANetRecipe, cache: Path, out: Path, device: torch.device, dtype: torch.dtype
) -> None:
    """Fit the verdict to all folds but `data.without_folds`, and write the weights, with untrained TFL and QFE."""
    samples = probe_samples(recipe, cache, str(device), dtype)
    left_out = torch.tensor(recipe.data.without_folds, dtype=torch.long)
    network = HiDANet(recipe.network)
    del network.backbone  # it is not trained, and lies in a file of its own
    shown = ~torch.isin(samples.folds, left_out)
    set_voters(network, fit_voters(samples, recipe, shown))
    write_network(recipe, network, Calibration(), out, training_record(recipe))
