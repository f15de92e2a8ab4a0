"""Compute what TFL sees of training windows once: frozen patch tokens in int8, and filtered pixel residuals.

The backbone costs far more than all that follows. Shards are written whole and in order of their number, so a killed
run goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor
from tqdm import tqdm

from hidascan.detectors.backbones.frozen import FrozenViT
from hidascan.detectors.hidanet.filters import LARGEST
from hidascan.detectors.hidanet.residuals import ResidualFilters
from hidascan.geometry import CELL, PATCH
from hidascan.lab.data.autoencoders.base import load_autoencoder
from hidascan.lab.data.forgeries import cell_shares
from hidascan.lab.data.layouts import read_images
from hidascan.lab.data.sampling import BalancedSampler
from hidascan.lab.data.tables import fold_of, tables_sha256
from hidascan.lab.hidanet.recipe import HiDANetRecipe, recipe_backbone, what_decides_tokens
from hidascan.lab.hidanet.windows import Window, WindowMaker
from hidascan.lab.measure.localisation import read_edits
from hidascan.lab.training.artifacts import claim_folder, fingerprint, load_artifact, save_artifact

QUANTUM = LARGEST / 127  # of a token in int8, standard deviations
_SHARD = 32  # windows
_FOR_SPREAD = 24  # windows, at even steps, by which tokens are standardised
_LEAST = 1e-3  # added to spreads


@dataclass(frozen=True)
class WindowCells:
    """What TFL sees of a window of h x w cells (28 x 28, or 14 x 14), and what is known of it.

    Attributes:
        tokens: (h, w, T * C) int8, QUANTUM standard deviations a step.
        residuals: (h, w, E) float16.
        shares: (h, w) float32, share of AI-made pixels in each cell.
        kind: One of `windows.KINDS`.
        source: Decides the fold.
        maker: Of the AI pixels, or of what was done to real ones.
    """

    tokens: Tensor
    residuals: Tensor
    shares: Tensor
    kind: str
    source: str
    maker: str


class WindowStore:
    """A folder with the cells of all windows of a `WindowMaker`."""

    def __init__(self, folder: Path):
        """Open all shards of a folder."""
        self._places: list[tuple[Any, int, list[str]]] = []
        for path in sorted(folder.glob("[0-9]*.safetensors")):
            file = safe_open(path, framework="pt")
            for place, about in enumerate(json.loads(file.metadata()["about"])):
                self._places.append((file, place, about))
        standard = safe_open(folder / "standard.safetensors", framework="pt")
        self.mean, self.spread = (standard.get_tensor(name) for name in ("mean", "spread"))  # (T * C,) of tokens

    def __len__(self) -> int:
        """Return the number of windows."""
        return len(self._places)

    def about(self, number: int) -> tuple[str, str, str]:
        """Return kind, source and maker of a window."""
        kind, source, maker = self._places[number][2]
        return kind, source, maker

    def of_kind(self, kind: str) -> list[int]:
        """Return the numbers of the windows of a kind."""
        return [number for number in range(len(self)) if self.about(number)[0] == kind]

    def fold(self, number: int, folds: int) -> int:
        """Return the fold of a window's source, 0 to folds - 1."""
        return fold_of(self.about(number)[1]) % folds

    def __getitem__(self, number: int) -> WindowCells:
        """Read one window."""
        file, place, about = self._places[number]
        parts = (file.get_tensor(f"{place}/{name}") for name in ("tokens", "residuals", "shares"))
        return WindowCells(*parts, *about)


def build_window_cells(
    maker: WindowMaker, backbone: FrozenViT, residuals: ResidualFilters, folder: Path, made_by: str
) -> WindowStore:
    """Compute what is missing in `folder`, and open it.

    Args:
        maker: Of the windows.
        backbone: With taps whose tokens TFL sees.
        residuals: Filters of pixel residuals.
        folder: Where shards are kept.
        made_by: Fingerprint of all that decides them.

    Raises:
        RecipeError: If the folder holds those of another recipe.
    """
    claim_folder(folder, made_by)
    mean, spread = _standard(maker, backbone, folder / "standard.safetensors", made_by)
    for first, windows in _missing(maker, folder, made_by):
        tensors: dict[str, Tensor] = {}
        for place, window in enumerate(windows):
            tokens = ((_tokens(backbone, window.pixels) - mean) / spread).clamp(-LARGEST, LARGEST)
            tensors[f"{place}/tokens"] = (tokens / QUANTUM).round().to(torch.int8)
            tensors[f"{place}/residuals"] = _joined(residuals(_patches(window.pixels))).half()
            tensors[f"{place}/shares"] = torch.from_numpy(cell_shares(window.mask, CELL)).float()
        about = json.dumps([(window.kind, window.source, window.maker) for window in windows])
        save_artifact(folder / f"{first:06d}.safetensors", tensors, made_by, about=about)
    return WindowStore(folder)


def _missing(maker: WindowMaker, folder: Path, made_by: str) -> Iterator[tuple[int, list[Window]]]:
    """Yield the first number and the windows of each shard that is not there."""
    firsts = [first for first in range(0, len(maker), _SHARD) if not (folder / f"{first:06d}.safetensors").exists()]
    sizes = {first: min(first + _SHARD, len(maker)) - first for first in firsts}
    with tqdm(total=sum(sizes.values()), desc="windows", disable=None) as bar:
        for first, count in sizes.items():
            windows = []
            for number in range(first, first + count):  # not ahead: autoencoders and backbone want the same cores
                windows.append(maker[number])
                bar.update()
            yield first, windows


def _standard(maker: WindowMaker, backbone: FrozenViT, path: Path, made_by: str) -> tuple[Tensor, Tensor]:
    """Measure or read mean and spread (T * C,) of the tokens of cells."""
    found = load_artifact(path, made_by)
    if found is None:
        numbers = np.linspace(0, len(maker) - 1, min(_FOR_SPREAD, len(maker))).astype(int).tolist()
        cells = torch.cat([_tokens(backbone, maker[number].pixels).flatten(0, 1) for number in numbers])
        found = {"mean": cells.mean(0), "spread": cells.std(0) + _LEAST}
        save_artifact(path, found, made_by)
    return found["mean"], found["spread"]


def _patches(pixels: np.ndarray) -> Tensor:
    """Cut a window (H, W, 3) uint8 into its patches (K, 3, 224, 224), row by row."""
    parts = torch.from_numpy(pixels).unflatten(0, (-1, PATCH)).unflatten(2, (-1, PATCH))
    return parts.permute(0, 2, 4, 1, 3).flatten(0, 1)


@torch.inference_mode()
def _tokens(backbone: FrozenViT, pixels: np.ndarray) -> Tensor:
    """Compute the patch tokens of a window: (h, w, T * C) float32."""
    views = _patches(pixels).to(backbone.mean.device)
    tapped = backbone.tapped(backbone.standard(views), backbone.taps)
    cells = torch.cat([tokens[:, 1:].float() for tokens in tapped], dim=2).cpu()
    return _joined(cells.unflatten(1, (backbone.grid, backbone.grid)))


def _joined(cells: Tensor) -> Tensor:
    """Join what K patches say of their cells (K, h, w, E) to the window: (H, W, E)."""
    side = round(len(cells) ** 0.5)
    return cells.unflatten(0, (side, side)).transpose(1, 2).flatten(2, 3).flatten(0, 1)


def window_store(
    recipe: HiDANetRecipe, cache: Path, residuals: ResidualFilters, device: str, dtype: torch.dtype
) -> WindowStore:
    """Compute or read the cells of the windows of a recipe."""
    images = [image for table in recipe.data.tables for image in read_images(table)]
    spec, edits = recipe.localiser.windows, [edit for table in recipe.data.edits for edit in read_edits(Path(table))]
    real, ai = (BalancedSampler(images, label, spec.group_power) for label in (0, 1))
    autoencoders = {Path(where).name: load_autoencoder(where, dtype, device) for where in recipe.data.autoencoders}
    maker = WindowMaker(spec, recipe.seed, edits, real, ai, autoencoders)
    backbone = recipe_backbone(recipe, recipe.network.cell_taps, device, dtype)
    filters = hashlib.sha256(residuals.filters.numpy().tobytes()).hexdigest()
    made_by = fingerprint(
        what="windows",
        spec=spec,
        seed=recipe.seed,
        makers=list(autoencoders),
        edits=[f"{edit.source} {edit.path.name}" for edit in edits],
        residuals=filters,
        backbone=[what_decides_tokens(recipe), recipe.network.cell_taps],
        tables=tables_sha256(recipe.data.tables),
    )
    return build_window_cells(maker, backbone, residuals, cache / "windows", made_by)
