"""Train a HiDA-Net: features, pairs, fusion, TFL, probe, and the file."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch
from tqdm import tqdm

from hidascan.calibration import Calibration
from hidascan.detectors.checkpoint import CheckpointHeader, Part, save_trained, sha256_of
from hidascan.detectors.hidanet.network import HiDANet
from hidascan.lab.data.tables import spread, tables_sha256
from hidascan.lab.hidanet.features import build_features
from hidascan.lab.hidanet.fusion import new_head, train_fusion
from hidascan.lab.hidanet.localiser import train_localiser
from hidascan.lab.hidanet.out_of_fold import OutOfFold, judge
from hidascan.lab.hidanet.pairs import build_pairs
from hidascan.lab.hidanet.probe_samples import ProbeSamples, probe_samples
from hidascan.lab.hidanet.recipe import HiDANetRecipe
from hidascan.lab.measure.calibration import fit_calibration, real_cells_of

_PHOTOS = 60  # at most, whose cells set the threshold of the map


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
    state = cache / f"{out.stem}.tfl.state"
    network.localiser = train_localiser(recipe, cache, network.residuals, network.localiser, state)
    calibration = Calibration()
    if recipe.network.kernel:
        samples = probe_samples(recipe, cache, str(device), dtype)
        network.probe = samples.fit(recipe)
        calibration = _calibration(recipe, network, samples, judge(samples, recipe))
    _write(recipe, network, calibration, out)


def _calibration(recipe: HiDANetRecipe, network: HiDANet, samples: ProbeSamples, found: OutOfFold) -> Calibration:
    """Fit verdicts to what was found out of fold of images as they are, the map's threshold to photos without pairs."""
    kept = samples.folds == recipe.localiser.pairs.held_out_fold
    photos = {image.path: image for image in samples.only(kept & samples.as_is).images if image.domain == "photo"}
    cells = real_cells_of(network.eval(), spread(list(photos.values()), _PHOTOS))
    as_is = samples.as_is.numpy()
    labels, logits = samples.pooled.labels.numpy()[as_is], found.said.logits.double().numpy()[as_is]
    return fit_calibration(labels, logits, cells)


def _write(recipe: HiDANetRecipe, network: HiDANet, calibration: Calibration, out: Path) -> None:
    """Write the checkpoint; its calibration is that of no one where there is no kernel probe, and is fitted later."""
    backbone = Path(recipe.data.backbone)
    parts = (Part("backbone", backbone.name, sha256_of(backbone)),)
    training = {"recipe": dataclasses.asdict(recipe), "tables_sha256": tables_sha256(recipe.data.tables)}
    header = CheckpointHeader(out.stem, recipe.detector, recipe.network, parts, calibration, training)
    save_trained(out, network, header)
    tqdm.write(f"wrote {out}")
