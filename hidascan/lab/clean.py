"""The images of a table as they are, under full coverage: their frozen tokens, computed once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from hidascan.image.decode import decode
from hidascan.image.tiles import mirror_to_patch, patch_grid, patches, thumbnail
from hidascan.lab.cache import FeatureCache, write_shard
from hidascan.lab.data import LabelledImage, read_table, tables_sha256
from hidascan.lab.descent import read_ahead
from hidascan.lab.recipe import Recipe
from hidascan.lab.samples import TrainingSample
from hidascan.model.backbone import FrozenViT
from hidascan.model.checkpoint import load_backbone
from hidascan.model.refiner import TapNorm


@dataclass(frozen=True)
class CleanImage:
    """label: 1 = AI. cls: standardised [CLS] tokens of its views (1 + K, T, C) float32, the thumbnail first."""

    label: int
    group: str
    cls: Tensor


def clean_images(recipe: Recipe, table: Path, cache: Path, device: str, dtype: torch.dtype) -> list[CleanImage]:
    """Every image of `table`; tokens are standardised by the statistics in `cache`, and kept there in fp16."""
    images, digest = read_table(table), tables_sha256([table])
    path = cache / f"clean-{digest[:12]}.safetensors"
    if not path.exists():
        found = _compute(recipe, images, cache, device, dtype)
        save_file({"cls": torch.cat(found).half(), "views": torch.tensor([len(cls) for cls in found])}, path)
    tensors = load_file(path)
    parts = tensors["cls"].float().split(tensors["views"].tolist())
    return [CleanImage(image.label, image.group, cls) for image, cls in zip(images, parts, strict=True)]


def clean_cache(recipe: Recipe, table: Path, cache: Path, device: str, dtype: torch.dtype) -> FeatureCache:
    """All tokens of every image of `table`, as samples of one delivery: the images as they are."""
    images, folder = read_table(table), cache / f"whole-{tables_sha256([table])[:12]}"
    folder.mkdir(exist_ok=True)
    step, backbone, norm = recipe.cache.draws_per_shard, *_frozen(recipe, cache, device, dtype)
    for first in tqdm(range(0, len(images), step), desc="clean tokens", disable=None):
        path = folder / f"{first:06d}.safetensors"
        if not path.exists():
            samples = [[_as_sample(image, backbone.grid)] for image in images[first : first + step]]
            write_shard(path, samples, backbone, norm, recipe.cache.batch)
    return FeatureCache(folder)


def _as_sample(image: LabelledImage, grid: int) -> TrainingSample:
    views = _views(image.path)
    token_labels = np.full((len(views) - 1, grid, grid), image.label, np.float32)
    return TrainingSample(views, token_labels, image.label, float("nan"), 0, (image.group,))


def _frozen(recipe: Recipe, cache: Path, device: str, dtype: torch.dtype) -> tuple[FrozenViT, TapNorm]:
    backbone = load_backbone(recipe.network, Path(recipe.data.backbone), dtype).to(device)
    norm = TapNorm(len(recipe.network.taps), backbone.dim).to(device)
    norm.load_state_dict(load_file(cache / "tap_norm.safetensors"))
    return backbone, norm


def _compute(recipe: Recipe, images: list[LabelledImage], cache: Path, device: str, dtype: torch.dtype) -> list[Tensor]:
    """-> of each image (1 + K, T, C)"""
    backbone, norm = _frozen(recipe, cache, device, dtype)
    ahead, found = read_ahead(lambda number: _views(images[number].path), len(images)), []
    for views in tqdm(ahead, total=len(images), desc="clean features", disable=None):
        parts = torch.from_numpy(views).permute(0, 3, 1, 2).split(recipe.cache.batch)
        with torch.inference_mode():
            found.append(torch.cat([norm(backbone(part.to(device)).float())[:, :, 0].cpu() for part in parts]))
    return found


def _views(path: Path) -> np.ndarray:
    """(1 + K, 224, 224, 3) uint8, the thumbnail first."""
    pixels = decode(path).pixels
    whole = mirror_to_patch(pixels)
    return np.stack([thumbnail(pixels), *patches(whole, patch_grid(*whole.shape[:2]))])
