"""The images of a table as they are, under full coverage: their frozen [CLS] tokens, computed once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from hidascan.image.decode import decode
from hidascan.image.tiles import mirror_to_patch, patch_grid, patches, thumbnail
from hidascan.lab.cache import ClsTokens
from hidascan.lab.data import LabelledImage, read_table, tables_sha256
from hidascan.lab.descent import read_ahead
from hidascan.lab.recipe import Recipe
from hidascan.model.checkpoint import load_backbone
from hidascan.model.refiner import TapNorm


def clean_tokens(recipe: Recipe, table: Path, cache: Path, device: str, dtype: torch.dtype) -> ClsTokens:
    """[CLS] tokens of every image of `table`, standardised by the statistics in `cache`; kept there in fp16."""
    images, digest = read_table(table), tables_sha256([table])
    path = cache / f"clean-{digest[:12]}.safetensors"
    if not path.exists():
        means, thumbnails = _compute(recipe, images, cache, device, dtype)
        save_file({"means": means.half(), "thumbnails": thumbnails.half()}, path)
    tensors = load_file(path)
    labels = torch.tensor([image.label for image in images])
    groups = [{image.group} for image in images]
    thumbnails, means = tensors["thumbnails"].float(), tensors["means"].float()
    return ClsTokens(thumbnails, means, labels, torch.arange(len(images)), groups)


def _compute(
    recipe: Recipe, images: list[LabelledImage], cache: Path, device: str, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """-> means over the patches and thumbnails, each (S, T, C)."""
    backbone = load_backbone(recipe.network, Path(recipe.data.backbone), dtype).to(device)
    norm = TapNorm(len(recipe.network.taps), backbone.dim).to(device)
    norm.load_state_dict(load_file(cache / "tap_norm.safetensors"))
    means, thumbnails = [], []
    ahead = read_ahead(lambda number: _views(images[number].path), len(images))
    for views in tqdm(ahead, total=len(images), desc="clean features", disable=None):
        parts = torch.from_numpy(views).permute(0, 3, 1, 2).split(recipe.cache.batch)
        with torch.inference_mode():
            cls = torch.cat([norm(backbone(part.to(device)).float())[:, :, 0].cpu() for part in parts])
        thumbnails.append(cls[0])
        means.append(cls[1:].mean(0))
    return torch.stack(means), torch.stack(thumbnails)


def _views(path: Path) -> np.ndarray:
    """(1 + K, 224, 224, 3) uint8, the thumbnail first."""
    pixels = decode(path).pixels
    whole = mirror_to_patch(pixels)
    return np.stack([thumbnail(pixels), *patches(whole, patch_grid(*whole.shape[:2]))])
