"""Train what a comparison needs of a HiDA-Net: its verdict, without some folds of sources."""

from __future__ import annotations

from pathlib import Path

import torch

from hidascan.calibration import Calibration
from hidascan.detectors.hidanet.network import HiDANet
from hidascan.lab.hidanet.out_of_fold import fit_voters
from hidascan.lab.hidanet.probe_samples import probe_samples
from hidascan.lab.hidanet.recipe import HiDANetRecipe
from hidascan.lab.hidanet.train import set_voters, training_record, write_network


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
