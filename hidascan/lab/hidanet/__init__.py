"""Train a HiDA-Net: pairs, TFL, kernel probe and FAM, thresholds; and write the weights."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, cast

import torch

from hidascan.calibration import Calibration
from hidascan.detectors.checkpoint import load_detector
from hidascan.detectors.hidanet.network import HiDANet
from hidascan.errors import RecipeError
from hidascan.lab.artifacts import Workspace
from hidascan.lab.data.tables import tables_sha256
from hidascan.lab.hidanet import heatmaps
from hidascan.lab.hidanet.cross_validation import cross_validate
from hidascan.lab.hidanet.filters import build_pairs, residual_filters
from hidascan.lab.hidanet.heatmaps import locate_out_of_fold, report_heatmaps
from hidascan.lab.hidanet.localiser import train_localiser, window_store
from hidascan.lab.hidanet.quality import quality_samples, train_quality
from hidascan.lab.hidanet.recipe import HiDANetRecipe as Recipe
from hidascan.lab.hidanet.samples import verdict_samples
from hidascan.lab.hidanet.voters import Voters, fit_voters, predict_out_of_fold
from hidascan.lab.hidanet.windows import EDIT, RETOUCHED, UNTOUCHED
from hidascan.lab.measure.calibration import fit_calibration, measure_reliability
from hidascan.lab.measure.card import CardSpec, Sections
from hidascan.lab.training.recipe import write_weights
from hidascan.scanner import Scanner

__all__ = ["SECTIONS", "Recipe", "cross_validate", "report_heatmaps", "train", "train_for_comparison", "train_part"]

_FROZEN = ("backbone",)
_PARTS = {  # parts that can be trained alone, and their settings of the network
    "verdict": ("taps", "components", "landmarks", "quality_dim", "dim", "heads", "dropout"),
    "heatmap": ("cell_taps", "cell_filters", "localiser_dim", "dropout"),  # residual filters are kept
}


def train(recipe: Recipe, out: Path, workspace: Workspace) -> None:
    """Compute what is missing in the cache, train, resuming after the last complete epoch, and write the weights.

    Raises:
        RecipeError: If the recipe excludes folds.
    """
    if recipe.data.excluded != (-1,) or recipe.data.calibration:
        raise RecipeError(
            "HiDA-Net is calibrated out of fold: omit data.calibration, data.calibration_fold and data.without_folds"
        )
    torch.manual_seed(recipe.seed)
    network = _without_backbone(recipe)
    build_pairs(recipe, workspace)
    network.residuals = residual_filters(recipe, workspace.cache)
    odds = _train_tfl(network, recipe, workspace)
    calibration = dataclasses.replace(_train_verdict(network, recipe, workspace), region_odds=odds)
    write_weights(recipe, network, _FROZEN, out, _training_record(recipe), calibration)


def train_part(part: str, recipe: Recipe, out: Path, workspace: Workspace, weights: Path) -> None:
    """Train "verdict" or "heatmap" alone, take all other parts from finished `weights`, and write the new ones to `out`.

    Raises:
        RecipeError: If the network of these weights differs from the recipe's in more than this part.
    """
    finished, header = load_detector(weights)
    ours = {name: getattr(recipe.network, name) for name in _PARTS[part]}
    if not isinstance(finished, HiDANet) or dataclasses.replace(finished.config, **ours) != recipe.network:
        raise RecipeError(f"{weights}: the network differs from the recipe's in more than the {part}")
    network = _without_backbone(recipe)
    if part == "verdict":
        for name in ("residuals", "token_filters", "localiser", "heatmap"):
            setattr(network, name, getattr(finished, name))
        odds = header.calibration.region_odds
        calibration = dataclasses.replace(_train_verdict(network, recipe, workspace), region_odds=odds)
    else:
        for name in ("residuals", "probe", "fusion", "quality", "vote", "heatmap"):
            setattr(network, name, getattr(finished, name))
        odds = _train_tfl(network, recipe, workspace)
        calibration = dataclasses.replace(header.calibration, region_odds=odds)
    records = {name: header.training.get(name, header.training) for name in _PARTS}  # one record if trained as a whole
    write_weights(recipe, network, _FROZEN, out, records | {part: _training_record(recipe)}, calibration)


def _without_backbone(recipe: Recipe) -> HiDANet:
    """Build the network of a recipe without its backbone, which is not trained and has its own file."""
    network = HiDANet(recipe.network)
    del network.backbone
    return network


def _train_verdict(network: HiDANet, recipe: Recipe, workspace: Workspace) -> Calibration:
    """Fit both voters and QFE, and return their calibration, fitted and measured on verdicts out of fold."""
    samples = verdict_samples(recipe, workspace)
    _set_voters(network, fit_voters(samples, recipe))
    qualities = quality_samples(recipe, samples, workspace.cache)
    network.quality = train_quality(qualities, recipe.network.quality_dim, recipe.quality)
    out_of_fold = predict_out_of_fold(samples, recipe)
    heatmaps.fit_patch_threshold(network.heatmap, out_of_fold)
    measured, logits = out_of_fold.samples, out_of_fold.predictions.logits.double().numpy()
    labels = measured.labels.numpy()
    reliability = measure_reliability(labels, logits, measured.folds.numpy(), measured.as_published.numpy())
    return dataclasses.replace(fit_calibration(labels, logits), reliability=reliability)


def _train_tfl(network: HiDANet, recipe: Recipe, workspace: Workspace) -> float:
    """Train TFL for the residual filters of a network, set its thresholds out of fold, and return `region_odds`."""
    store = window_store(recipe, network.residuals, workspace)
    trained = train_localiser(recipe, store, workspace.cache / "tfl.state")
    network.token_filters, network.localiser = trained.token_filters, trained.localiser
    located = locate_out_of_fold(recipe, store, workspace.cache)
    heatmaps.fit_heatmap_thresholds(network.heatmap, [window.logits for window in located if window.kind == UNTOUCHED])
    edits = [window.logits for window in located if window.kind == EDIT]
    real = [window.logits for window in located if window.kind in (UNTOUCHED, RETOUCHED)]
    return heatmaps.region_odds(network.heatmap, edits, real)


def _set_voters(network: HiDANet, voters: Voters) -> None:
    """Set kernel probe, FAM and its weight in a network."""
    network.probe = voters.probe
    if voters.fusion is not None:
        network.fusion = voters.fusion
    network.vote.fill_(voters.vote)


def _training_record(recipe: Recipe) -> dict[str, Any]:
    """Return the record of the training for the header of the weights."""
    return {"recipe": dataclasses.asdict(recipe), "tables_sha256": tables_sha256(recipe.data.tables)}


def train_for_comparison(recipe: Recipe, out: Path, workspace: Workspace) -> None:
    """Fit the verdict to all folds except `data.without_folds`, and write the weights, with untrained TFL and QFE."""
    samples = verdict_samples(recipe, workspace)
    held_out = torch.tensor(recipe.data.without_folds, dtype=torch.long)
    network = _without_backbone(recipe)
    _set_voters(network, fit_voters(samples.only(~torch.isin(samples.folds, held_out)), recipe))
    write_weights(recipe, network, _FROZEN, out, _training_record(recipe))


def _cross_validation(scanner: Scanner, spec: CardSpec) -> str:
    workspace = Workspace(spec.cache, scanner.device, scanner.dtype)
    return "\n\n".join(cross_validate(spec.recipe, workspace, ablations=False, perturbed=spec.images["perturbed"]))


def _heatmaps(scanner: Scanner, spec: CardSpec) -> str:
    workspace = Workspace(spec.cache, scanner.device, scanner.dtype)
    return "\n\n".join(report_heatmaps(spec.recipe, cast(HiDANet, scanner.detector), workspace))


SECTIONS: Sections = {"cross_validation": _cross_validation, "where": _heatmaps}  # of a model card
