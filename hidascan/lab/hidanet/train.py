"""Train a HiDA-Net: pairs, fusion, TFL, probe, thresholds, and the file."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from hidascan.calibration import Calibration
from hidascan.detectors.checkpoint import CheckpointHeader, Part, save_trained, sha256_of
from hidascan.detectors.hidanet.network import HiDANet
from hidascan.lab.data.tables import spread, tables_sha256
from hidascan.lab.hidanet.features import build_features, whole_backbone
from hidascan.lab.hidanet.fusion import new_head, train_fusion
from hidascan.lab.hidanet.heatmap_law import fit_heatmap_law, largest_evidence, unseen_images
from hidascan.lab.hidanet.localiser import train_localiser
from hidascan.lab.hidanet.out_of_fold import judge
from hidascan.lab.hidanet.pairs import build_pairs
from hidascan.lab.hidanet.probe_samples import probe_samples
from hidascan.lab.hidanet.recipe import HiDANetRecipe
from hidascan.lab.measure.calibration import fit_calibration

_REAL = 60  # images at most that set the thresholds of the heatmap


def train(recipe: HiDANetRecipe, cache: Path, out: Path, device: torch.device, dtype: torch.dtype) -> None:
    """Make what is missing in `cache`, train on, from the last whole epochs if there are any, and write the weights."""
    build_pairs(recipe, cache, str(device), dtype)
    torch.manual_seed(recipe.seed)
    network = HiDANet(recipe.network)
    del network.backbone  # it is not trained, and lies in a file of its own
    if recipe.network.fusion:
        build_features(recipe, cache, str(device), dtype)
        head = new_head(recipe, cache).to(device)
        network.head = train_fusion(recipe, cache, head, cache / f"{out.stem}.state", dtype == torch.bfloat16)
    network.to(device)
    filters, network.localiser = train_localiser(recipe, cache, str(device), dtype)
    network.residuals, network.token_filters = filters.residuals, filters.tokens
    calibration = Calibration()
    if recipe.network.kernel:
        samples = probe_samples(recipe, cache, str(device), dtype)
        network.probe = samples.fit(recipe)
        found = judge(samples, recipe)
        real = spread(unseen_images(recipe, samples, 0), _REAL)
        network.backbone = whole_backbone(recipe, str(device), dtype)
        fit_heatmap_law(network.eval(), real, largest_evidence(samples, found))
        del network.backbone
        as_is = samples.as_is.numpy()
        labels, logits = samples.pooled.labels.numpy()[as_is], found.said.logits.double().numpy()[as_is]
        calibration = fit_calibration(labels, logits, np.zeros(1))
    write_network(recipe, network, calibration, out)


def write_network(recipe: HiDANetRecipe, network: HiDANet, calibration: Calibration, out: Path) -> None:
    """Write the checkpoint; its calibration is that of no one where there is no kernel probe, and is fitted later."""
    backbone = Path(recipe.data.backbone)
    parts = (Part("backbone", backbone.name, sha256_of(backbone)),)
    training = {"recipe": dataclasses.asdict(recipe), "tables_sha256": tables_sha256(recipe.data.tables)}
    header = CheckpointHeader(out.stem, recipe.detector, recipe.network, parts, calibration, training)
    save_trained(out, network, header)
    tqdm.write(f"wrote {out}")
