"""Compute the frozen tokens of the images of a table as they are, under full coverage, once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from hidascan.detectors.backbones.frozen import FrozenViT
from hidascan.detectors.hidanet.refiner import TapNorm
from hidascan.geometry import ViewPlan
from hidascan.image.decode import decode
from hidascan.image.views import cut_views
from hidascan.lab.data.layouts import read_images
from hidascan.lab.data.tables import LabelledImage, tables_sha256
from hidascan.lab.hidanet.features import (
    FeatureCache,
    load_statistics,
    recipe_backbone,
    statistics_fingerprint,
    write_shard,
)
from hidascan.lab.hidanet.recipe import HiDANetRecipe
from hidascan.lab.hidanet.samples import TrainingSample
from hidascan.lab.training.artifacts import claim_folder, fingerprint


def table_cache(recipe: HiDANetRecipe, table: str | Path, cache: Path, device: str, dtype: torch.dtype) -> FeatureCache:
    """Encode all tokens of every image of `table`, as samples that nothing degraded."""
    images, folder = read_images(table), cache / f"whole-{tables_sha256([table])[:12]}"
    claim_folder(folder, _made_by(recipe, table))
    step, backbone, norm = recipe.cache.draws_per_shard, *_frozen(recipe, cache, device, dtype)
    for first in tqdm(range(0, len(images), step), desc="tokens of the table", disable=None):
        path = folder / f"{first:06d}.safetensors"
        if not path.exists():
            samples = [[_as_sample(image, backbone.grid)] for image in images[first : first + step]]
            write_shard(path, samples, backbone, norm, recipe.cache.batch)
    return FeatureCache(folder)


def _made_by(recipe: HiDANetRecipe, table: str | Path) -> str:
    return fingerprint(statistics=statistics_fingerprint(recipe), table=tables_sha256([table]))


def _as_sample(image: LabelledImage, grid: int) -> TrainingSample:
    views = _views(image.path)
    token_labels = np.full((len(views) - 1, grid, grid), image.label, np.float32)
    return TrainingSample(views, token_labels, image.label, float("nan"), 0, (image.group,))


def _frozen(recipe: HiDANetRecipe, cache: Path, device: str, dtype: torch.dtype) -> tuple[FrozenViT, TapNorm]:
    backbone = recipe_backbone(recipe, device, dtype)
    norm = TapNorm(len(recipe.network.taps), backbone.dim)
    norm.load_state_dict(load_statistics(recipe, cache))
    return backbone, norm.to(device)


def _views(path: Path) -> np.ndarray:
    """Cut an image into (1 + K, 224, 224, 3) uint8, the thumbnail first."""
    return np.stack(cut_views(decode(path).pixels, ViewPlan()).pixels)
