"""Make pairs of photos and their reconstructions, once: the material of TFL.

They differ in a decoder's traces alone: content tells nothing about which is which.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from tqdm import tqdm

from hidascan.errors import ImageError, RecipeError
from hidascan.image.decode import decode
from hidascan.lab.data.autoencoders.base import Autoencoder, load_autoencoder
from hidascan.lab.data.autoencoders.trained import build_autoencoders, trained_path
from hidascan.lab.data.degradations import Degradation, degrade, draw_degradation, resize
from hidascan.lab.data.layouts import read_images
from hidascan.lab.data.sampling import BalancedSampler
from hidascan.lab.data.tables import fold_of, tables_sha256
from hidascan.lab.hidanet.recipe import HiDANetRecipe, PairSpec
from hidascan.lab.training.artifacts import claim_folder, fingerprint, save_artifact

_PER_SHARD = 40
_TRAINED = "trained-"  # prefix of shards by autoencoders that were trained here


def build_pairs(recipe: HiDANetRecipe, cache: Path, device: str, dtype: torch.dtype) -> None:
    """Train the autoencoders and make the pairs, in folders of `cache`; what is there already stays.

    Raises:
        RecipeError: If the folders hold those of another recipe, or pairs are asked of autoencoders that are not there.
    """
    spec, folder = recipe.localiser.pairs, cache / "pairs"
    decides = [spec.seed, spec.held_out_fold, spec.side, spec.group_power, spec.resize, recipe.seed]
    claim_folder(folder, fingerprint(what="pairs", decides=decides, tables=tables_sha256(recipe.data.tables)))
    images = [image for table in recipe.data.tables for image in read_images(table)]
    photos = BalancedSampler([i for i in images if fold_of(i.source) != spec.held_out_fold], 0, spec.group_power)
    build_autoencoders(recipe.autoencoders, photos, cache / "autoencoders", device, dtype == torch.bfloat16)
    taef2 = load_autoencoder(recipe.data.autoencoder, dtype, device)
    usable = [one for one in recipe.autoencoders if not one.held_out]
    trained = [load_autoencoder(trained_path(cache / "autoencoders", one), dtype, device) for one in usable]
    if spec.trained_count and not trained:
        raise RecipeError("localiser.pairs.trained_count needs [[autoencoders]] with one that is not held out")
    parts = (("", spec.count, [taef2], spec.seed), (_TRAINED, spec.trained_count, trained, spec.seed + 1))
    for prefix, count, makers, seed in parts:
        for first in tqdm(range(0, count, _PER_SHARD), desc=f"{prefix}pairs", disable=None):
            path = folder / f"{prefix}{first:06d}.safetensors"
            if not path.exists():
                numbers = range(first, min(first + _PER_SHARD, count))
                _write_shard(path, [_make_pair(photos, makers, spec, [recipe.seed, seed, n]) for n in numbers])


def _write_shard(path: Path, made: list[tuple[np.ndarray, np.ndarray]]) -> None:
    photos, copies = (torch.from_numpy(np.stack(side)) for side in zip(*made, strict=True))
    save_artifact(path, {"photos": photos, "copies": copies})


def _make_pair(
    sampler: BalancedSampler, autoencoders: list[Autoencoder], spec: PairSpec, seed: list[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Cut a window of a photo, (side, side, 3) uint8, and send it through one of the autoencoders, each in its turn."""
    rng = np.random.default_rng(seed)
    photo = _window(sampler, spec, rng)
    autoencoder = autoencoders[seed[-1] % len(autoencoders)]
    return photo, autoencoder.reconstruct(photo, float(rng.choice([0.0, 0.0, 0.05, 0.15])), rng)


def _window(sampler: BalancedSampler, spec: PairSpec, rng: np.random.Generator) -> np.ndarray:
    """Cut a window at native size, where blocks of its JPEG start with the window, or of the photo shrunk."""
    while True:
        try:
            pixels = decode(sampler.draw(rng).path).pixels
        except ImageError as error:
            tqdm.write(f"skipped: {error}")
            continue
        shortest = min(pixels.shape[:2])
        if shortest < spec.side:
            continue
        if rng.random() < spec.resize and shortest >= 2 * spec.side:
            pixels = resize(np.ascontiguousarray(pixels), float(rng.uniform(spec.side / shortest, 1)), rng)
        top, left = (8 * int(rng.integers(0, max(0, side - spec.side) // 8 + 1)) for side in pixels.shape[:2])
        return np.ascontiguousarray(pixels[top : top + spec.side, left : left + spec.side])


class Pairs:
    """A folder of pairs, those by taef2 before those by others, and each of them degraded in several ways."""

    def __init__(self, recipe: HiDANetRecipe, folder: Path):
        """Index the shards of a folder."""
        self._seed, self._spec = recipe.seed, recipe.localiser.pairs
        self._others = sum(not one.held_out for one in recipe.autoencoders)
        self._places = []
        for path in sorted(folder.glob("*.safetensors")):
            file = safe_open(path, framework="np")
            for n in range(file.get_slice("photos").get_shape()[0]):
                by_other = path.stem.startswith(_TRAINED)
                maker = 1 + (int(path.stem.removeprefix(_TRAINED)) + n) % self._others if by_other else 0
                self._places.append((file, n, maker))

    def __len__(self) -> int:
        """Return the number of pairs, each way of degrading one counted."""
        return len(self._places) * self._spec.degradations

    def maker(self, number: int) -> int:
        """Tell which autoencoder made the copy: 0 for taef2, then those trained here that are not held out."""
        return self._places[number % len(self._places)][2]

    def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray, Degradation]:
        """Return photo and reconstruction, (H, W, 3) uint8 each, degraded alike, and how."""
        rng, spec = np.random.default_rng([self._seed, 10, number]), self._spec
        file, place, _ = self._places[number % len(self._places)]
        degradation = draw_degradation(rng, spec.filter, spec.saves, spec.jpeg_quality)
        photo, copy = (degrade(file.get_slice(kind)[place], degradation) for kind in ("photos", "copies"))
        return photo, copy, degradation
