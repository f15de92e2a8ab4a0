"""Train a HiDA-Net: features, pairs, fusion, TFL, probe, and the file."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch
from tqdm import tqdm

from hidascan.detectors.checkpoint import CheckpointHeader, Part, save_trained, sha256_of
from hidascan.detectors.hidanet.network import HiDANet
from hidascan.lab.data.tables import tables_sha256
from hidascan.lab.hidanet.features import build_features
from hidascan.lab.hidanet.fusion import new_head, train_fusion
from hidascan.lab.hidanet.linear_probe import fit_probe, probe_samples
from hidascan.lab.hidanet.localiser import train_localiser
from hidascan.lab.hidanet.pairs import build_pairs
from hidascan.lab.hidanet.recipe import HiDANetRecipe


def train(recipe: HiDANetRecipe, cache: Path, out: Path, device: torch.device, dtype: torch.dtype) -> None:
    """Make what is missing in `cache`, train on, from the last whole epochs if there are any, and write the weights."""
    build_features(recipe, cache, str(device), dtype)
    build_pairs(recipe, cache, str(device), dtype)
    torch.manual_seed(recipe.seed)
    network = HiDANet(recipe.network)
    del network.backbone  # it is not trained, and lies in a file of its own
    network.head = new_head(recipe, cache)
    network.to(device)
    network.head = train_fusion(recipe, cache, network.head, cache / f"{out.stem}.state", dtype == torch.bfloat16)
    state = cache / f"{out.stem}.tfl.state"
    network.localiser = train_localiser(recipe, cache, network.residuals, network.localiser, state)
    if recipe.probe.scale:
        fit_probe(recipe, probe_samples(recipe, cache), network.head.probe)
    _write(recipe, network, out)


def _write(recipe: HiDANetRecipe, network: HiDANet, out: Path) -> None:
    """Write the checkpoint, as yet without a calibration."""
    backbone = Path(recipe.data.backbone)
    parts = (Part("backbone", backbone.name, sha256_of(backbone)),)
    training = {"recipe": dataclasses.asdict(recipe), "tables_sha256": tables_sha256(recipe.data.tables)}
    save_trained(out, network, CheckpointHeader(out.stem, recipe.detector, recipe.network, parts, training=training))
    tqdm.write(f"wrote {out}")
