"""Make and cache pairs for TFL: a photo and its reconstruction by an autoencoder, or a photo and a generated image.

Pairs of the first kind differ only in the traces of a decoder, so content does not reveal the class. Those of the
second kind contain traces that our autoencoders do not leave.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from tqdm import tqdm

from hidascan.errors import ImageError, RecipeError
from hidascan.image.decode import decode
from hidascan.lab.data.autoencoders.base import Autoencoder, load_autoencoder
from hidascan.lab.data.autoencoders.trained import AutoencoderSpec, build_autoencoders, trained_path
from hidascan.lab.data.degradations import Degradation, degrade, draw_degradation, resize
from hidascan.lab.data.layouts import read_images
from hidascan.lab.data.sampling import BalancedSampler
from hidascan.lab.data.tables import fold_of, tables_sha256
from hidascan.lab.hidanet.recipe import HiDANetRecipe, PairSpec
from hidascan.lab.training.artifacts import claim_folder, fingerprint, save_artifact

_PER_SHARD = 40
KINDS = ("given", "trained", "generated")  # origin of the second image, and prefix of the shards
GENERATED = KINDS[2]

Maker = Callable[[np.ndarray, np.random.Generator], np.ndarray]  # photo -> second image of its pair


def makers_of(recipe: HiDANetRecipe) -> dict[str, tuple[str, ...]]:
    """Return the names of the makers of each kind of pair, which take turns, without those held out."""
    given = tuple(Path(where).name for where in recipe.data.autoencoders)
    return dict(zip(KINDS, (given, tuple(one.name for one in _usable(recipe)), (GENERATED,)), strict=True))


def _usable(recipe: HiDANetRecipe) -> list[AutoencoderSpec]:
    return [one for one in recipe.autoencoders if not one.held_out]


def build_pairs(recipe: HiDANetRecipe, cache: Path, device: str, dtype: torch.dtype) -> None:
    """Train the autoencoders and make the pairs, in folders of `cache`, unless they exist.

    Raises:
        RecipeError: If the folders belong to another recipe, or the recipe asks for pairs of missing autoencoders.
    """
    spec, folder = recipe.localiser.pairs, cache / "pairs"
    decides = [spec.seed, spec.held_out_fold, spec.side, spec.group_power, spec.resize, recipe.seed, makers_of(recipe)]
    claim_folder(folder, fingerprint(what="pairs", decides=decides, tables=tables_sha256(recipe.data.tables)))
    images = [image for table in recipe.data.tables for image in read_images(table)]
    included = [image for image in images if fold_of(image.source) != spec.held_out_fold]
    photos = BalancedSampler(included, 0, spec.group_power)
    build_autoencoders(recipe.autoencoders, photos, cache / "autoencoders", device, dtype == torch.bfloat16)
    paths = recipe.data.autoencoders, [str(trained_path(cache / "autoencoders", one)) for one in _usable(recipe)]
    loaded: list[list[Maker]] = [[_by(load_autoencoder(path, dtype, device)) for path in kind] for kind in paths]
    generated = BalancedSampler(included, 1, spec.group_power)
    kinds = zip(KINDS, spec.counts, [*loaded, [lambda _, rng: _window(generated, spec, rng)]], strict=True)
    for number, (kind, count, makers) in enumerate(kinds):
        if count and not makers:
            raise RecipeError(f"localiser.pairs.counts asks for {kind} pairs, but no autoencoder for them exists")
        for first in tqdm(range(0, count, _PER_SHARD), desc=f"{kind} pairs", disable=None):
            path = folder / f"{kind}-{first:06d}.safetensors"
            if not path.exists():
                numbers = range(first, min(first + _PER_SHARD, count))
                seed = [recipe.seed, spec.seed + number]
                _write_shard(path, [_make_pair(photos, makers, spec, [*seed, n]) for n in numbers])


def _by(autoencoder: Autoencoder) -> Maker:
    return lambda photo, rng: autoencoder.reconstruct(photo, float(rng.choice([0.0, 0.0, 0.05, 0.15])), rng)


def _write_shard(path: Path, made: list[tuple[np.ndarray, np.ndarray]]) -> None:
    photos, copies = (torch.from_numpy(np.stack(side)) for side in zip(*made, strict=True))
    save_artifact(path, {"photos": photos, "copies": copies})


def _make_pair(
    photos: BalancedSampler, makers: list[Maker], spec: PairSpec, seed: list[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Cut a window of a photo, (side, side, 3) uint8, and make the second image with the next maker."""
    rng = np.random.default_rng(seed)
    photo = _window(photos, spec, rng)
    return photo, makers[seed[-1] % len(makers)](photo, rng)


def _window(sampler: BalancedSampler, spec: PairSpec, rng: np.random.Generator) -> np.ndarray:
    """Cut a window aligned with the 8x8 blocks of the image, or with those of the shrunken image."""
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
    """A folder of pairs, ordered by kind, each with several degradations."""

    def __init__(self, recipe: HiDANetRecipe, folder: Path):
        """Index the shards of a folder."""
        self._seed, self._spec, makers = recipe.seed, recipe.localiser.pairs, makers_of(recipe)
        self.makers: list[str] = []
        self.kinds: list[int] = []
        self._places = []
        for number, kind in enumerate(KINDS):
            for path in sorted(folder.glob(f"{kind}-*.safetensors")):
                file, first = safe_open(path, framework="np"), int(path.stem.removeprefix(f"{kind}-"))
                for n in range(file.get_slice("photos").get_shape()[0]):
                    self._places.append((file, n))
                    self.makers.append(makers[kind][(first + n) % len(makers[kind])])
                    self.kinds.append(number)

    def __len__(self) -> int:
        """Return the number of degraded pairs: all with their first degradation come first, then all with the next."""
        return len(self._places) * self._spec.degradations

    def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray, Degradation]:
        """Return photo and second image, (H, W, 3) uint8 each, with the same degradation, and the degradation."""
        rng, spec = np.random.default_rng([self._seed, 10, number]), self._spec
        file, place = self._places[number % len(self._places)]
        degradation = draw_degradation(rng, spec.filter, spec.saves, spec.jpeg_quality)
        photo, copy = (degrade(file.get_slice(side)[place], degradation) for side in ("photos", "copies"))
        return photo, copy, degradation
