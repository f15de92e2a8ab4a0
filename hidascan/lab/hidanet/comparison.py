"""Train what a comparison needs of a HiDA-Net: its verdict, without some folds of sources."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch

from hidascan.calibration import Calibration
from hidascan.detectors.hidanet.network import HiDANet
from hidascan.errors import RecipeError
from hidascan.lab.hidanet.probe_samples import probe_samples
from hidascan.lab.hidanet.recipe import HiDANetRecipe
from hidascan.lab.hidanet.train import training_record, write_network


def train_for_comparison(
    recipe: HiDANetRecipe, cache: Path, out: Path, device: torch.device, dtype: torch.dtype
) -> None:
    """Fit the kernel probe to all folds but `data.without_folds`, and write the weights, with a TFL that knows nothing.

    Raises:
        RecipeError: If the recipe has no kernel probe.
    """
    if not recipe.network.kernel or recipe.network.fusion:
        raise RecipeError("hidanet is compared by its kernel probe alone: network.kernel = true, fusion = false")
    samples = probe_samples(recipe, cache, str(device), dtype)
    left_out = torch.tensor(recipe.data.without_folds, dtype=torch.long)
    compressed = samples.compressed
    if compressed is not None:
        compressed = compressed.only(~torch.isin(compressed.folds, left_out))
    network = HiDANet(recipe.network)
    del network.backbone  # it is not trained, and lies in a file of its own
    shown = ~torch.isin(samples.folds, left_out)
    network.probe = dataclasses.replace(samples, compressed=compressed).fit(recipe, shown)
    write_network(recipe, network, Calibration(), out, training_record(recipe))
