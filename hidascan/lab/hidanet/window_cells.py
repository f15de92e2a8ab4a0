"""Cache the input of TFL for training windows: frozen patch tokens in int8, and filtered pixel residuals.

The backbone costs far more than all later steps. Shards are written atomically and in order, so an interrupted run
resumes after its last shard.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from hidascan.detectors.backbones import FrozenViT
from hidascan.detectors.hidanet.filters import LARGEST, ResidualFilters
from hidascan.geometry import CELL, PATCH
from hidascan.lab.data.autoencoders import load_autoencoder
from hidascan.lab.data.forgeries import cell_shares
from hidascan.lab.data.layouts import read_images
from hidascan.lab.data.layouts.edited import read_edits
from hidascan.lab.data.tables import BalancedSampler, tables_sha256
from hidascan.lab.hidanet.recipe import HiDANetRecipe, recipe_backbone, token_settings
from hidascan.lab.hidanet.windows import WindowMaker
from hidascan.lab.training.artifacts import (
    Workspace,
    claim_folder,
    fingerprint,
    load_artifact,
    missing_shards,
    save_artifact,
)

QUANTUM = LARGEST / 127  # quantisation step of tokens in int8, standard deviations
_SHARD = 32  # windows
_FOR_SPREAD = 24  # windows, evenly spaced, for the standardisation of tokens
_LEAST = 1e-3  # added to spreads


class WindowCells(NamedTuple):
    """Input and labels of TFL for a window of h x w cells (28 x 28, or 14 x 14).

    Attributes:
        tokens: (h, w, T * C) int8 tokens, in steps of QUANTUM standard deviations.
        residuals: (h, w, E) float16 filtered residuals.
        shares: (h, w) float32 shares of AI-made pixels in the cells.
    """

    tokens: Tensor
    residuals: Tensor
    shares: Tensor


class WindowStore:
    """A folder with the cells of all windows of a `WindowMaker`.

    Attributes:
        about: Kind, source and maker of each window.
        mean: (T * C,) mean of the tokens.
        spread: (T * C,) standard deviation of the tokens.
    """

    def __init__(self, folder: Path):
        """Open all shards of a folder."""
        self._places: list[tuple[Any, int]] = []
        self.about: list[tuple[str, str, str]] = []
        for path in sorted(folder.glob("[0-9]*.safetensors")):
            file = safe_open(path, framework="pt")
            windows = json.loads(file.metadata()["about"])
            self._places += [(file, place) for place in range(len(windows))]
            self.about += [(kind, source, maker) for kind, source, maker in windows]
        standard = load_file(folder / "standard.safetensors")
        self.mean, self.spread = standard["mean"], standard["spread"]

    def __len__(self) -> int:
        """Return the number of windows."""
        return len(self._places)

    def __getitem__(self, number: int) -> WindowCells:
        """Read one window."""
        file, place = self._places[number]
        return WindowCells(*(file.get_tensor(f"{place}/{name}") for name in WindowCells._fields))


def build_window_cells(
    maker: WindowMaker, backbone: FrozenViT, residuals: ResidualFilters, folder: Path, made_by: str
) -> WindowStore:
    """Compute the shards that are missing in `folder`, and open it; `made_by` is the fingerprint of all that decides them.

    Raises:
        RecipeError: If the folder belongs to another recipe.
    """
    claim_folder(folder, made_by)
    mean, spread = _standard(maker, backbone, folder / "standard.safetensors", made_by)
    for path, numbers in missing_shards(folder, len(maker), _SHARD, "windows"):
        tensors: dict[str, Tensor] = {}
        abouts = []
        for place, number in enumerate(numbers):  # not ahead: autoencoders and backbone use the same cores
            window = maker[number]
            tokens = ((_tokens(backbone, window.pixels) - mean) / spread).clamp(-LARGEST, LARGEST)
            tensors[f"{place}/tokens"] = (tokens / QUANTUM).round().to(torch.int8)
            tensors[f"{place}/residuals"] = _joined(residuals(_patches(window.pixels))).half()
            tensors[f"{place}/shares"] = torch.from_numpy(cell_shares(window.mask, CELL)).float()
            abouts.append((window.kind, window.source, window.maker))
        save_artifact(path, tensors, made_by, about=json.dumps(abouts))
    return WindowStore(folder)


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
    """Join the cells of K patches (K, h, w, E) to those of the window: (H, W, E)."""
    side = round(len(cells) ** 0.5)
    return cells.unflatten(0, (side, side)).transpose(1, 2).flatten(2, 3).flatten(0, 1)


def window_store(recipe: HiDANetRecipe, residuals: ResidualFilters, workspace: Workspace) -> WindowStore:
    """Compute or read the cells of the windows of a recipe."""
    device, dtype = workspace.device, workspace.dtype
    images = read_images(*recipe.data.tables)
    spec, edits = recipe.localiser.windows, [edit for table in recipe.data.edits for edit in read_edits(Path(table))]
    real, ai = (BalancedSampler(images, label, spec.group_power) for label in (0, 1))
    autoencoders = {Path(where).name: load_autoencoder(where, dtype, device) for where in recipe.data.autoencoders}
    maker = WindowMaker(spec, recipe.seed, edits, real, ai, autoencoders)
    backbone = recipe_backbone(recipe, recipe.network.cell_taps, workspace)
    filters = hashlib.sha256(residuals.filters.numpy().tobytes()).hexdigest()
    made_by = fingerprint(
        what="windows",
        spec=spec,
        seed=recipe.seed,
        makers=list(autoencoders),
        edits=[f"{edit.source} {edit.path.name}" for edit in edits],
        residuals=filters,
        backbone=[token_settings(recipe), recipe.network.cell_taps],
        tables=tables_sha256(recipe.data.tables),
    )
    return build_window_cells(maker, backbone, residuals, workspace.cache / "windows", made_by)
