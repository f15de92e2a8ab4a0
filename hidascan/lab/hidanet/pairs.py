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
from hidascan.lab.data.autoencoders import Autoencoder, load_autoencoder
from hidascan.lab.data.autoencoders.trained import AutoencoderSpec, build_autoencoders, trained_path
from hidascan.lab.data.degradations import Degradation, degrade, draw_degradation, random_window, resize
from hidascan.lab.data.layouts import read_images
from hidascan.lab.data.tables import BalancedSampler, fold_of, tables_sha256
from hidascan.lab.hidanet.recipe import HiDANetRecipe, PairSpec
from hidascan.lab.training.artifacts import Workspace, claim_folder, fingerprint, missing_shards, save_artifact

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


def build_pairs(recipe: HiDANetRecipe, workspace: Workspace) -> None:
    """Train the autoencoders and make the pairs, in folders of the cache, unless they exist.

    Raises:
        RecipeError: If the folders belong to another recipe, or the recipe asks for pairs of missing autoencoders.
    """
    spec, folder = recipe.localiser.pairs, workspace.cache / "pairs"
    decides = [spec.seed, spec.held_out_fold, spec.side, spec.group_power, spec.resize, recipe.seed, makers_of(recipe)]
    made_by = fingerprint(what="pairs", decides=decides, tables=tables_sha256(recipe.data.tables))
    claim_folder(folder, made_by)
    included = [image for image in read_images(*recipe.data.tables) if fold_of(image.source) != spec.held_out_fold]
    photos, generated = (BalancedSampler(included, label, spec.group_power) for label in (0, 1))
    autoencoders = _load_autoencoders(recipe, photos, workspace)
    makers: list[list[Maker]] = [*autoencoders, [lambda _, rng: _window(generated, spec, rng)]]
    for place, (kind, count) in enumerate(zip(KINDS, spec.counts, strict=True)):
        if count and not makers[place]:
            raise RecipeError(f"localiser.pairs.counts asks for {kind} pairs, but no autoencoder for them exists")
        for path, numbers in missing_shards(folder, count, _PER_SHARD, f"{kind} pairs", f"{kind}-"):
            seeds = [[recipe.seed, spec.seed + place, number] for number in numbers]
            made = zip(*(_make_pair(photos, makers[place], spec, seed) for seed in seeds), strict=True)
            sides = dict(zip(("photos", "copies"), made, strict=True))
            save_artifact(path, {side: torch.from_numpy(np.stack(pixels)) for side, pixels in sides.items()})


def _load_autoencoders(recipe: HiDANetRecipe, photos: BalancedSampler, workspace: Workspace) -> list[list[Maker]]:
    """Train those of the recipe, unless they exist; return the given autoencoders, and these."""
    folder = workspace.cache / "autoencoders"
    build_autoencoders(recipe.autoencoders, photos, folder, workspace)
    paths = recipe.data.autoencoders, [str(trained_path(folder, one)) for one in _usable(recipe)]
    return [[_by(load_autoencoder(path, workspace.dtype, workspace.device)) for path in kind] for kind in paths]


def _by(autoencoder: Autoencoder) -> Maker:
    return lambda photo, rng: autoencoder.reconstruct(photo, float(rng.choice([0.0, 0.0, 0.05, 0.15])), rng)


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
        path = sampler.draw(rng).path
        try:
            pixels = decode(path).pixels
        except ImageError as error:
            tqdm.write(f"skipped: {path}: {error}")
            continue
        shortest = min(pixels.shape[:2])
        if shortest < spec.side:
            continue
        if rng.random() < spec.resize and shortest >= 2 * spec.side:
            pixels = resize(np.ascontiguousarray(pixels), float(rng.uniform(spec.side / shortest, 1)), rng)
        return np.ascontiguousarray(pixels[random_window(pixels.shape, spec.side, rng, grid=8)])


class Pairs:
    """A folder of pairs, ordered by kind, each with a degradation.

    Attributes:
        makers: Maker of each pair.
    """

    def __init__(self, recipe: HiDANetRecipe, folder: Path):
        """Index the shards of a folder."""
        self._seed, self._spec = recipe.seed, recipe.localiser.pairs
        self.makers: list[str] = []
        self._places = []
        for kind, makers in makers_of(recipe).items():
            for path in sorted(folder.glob(f"{kind}-*.safetensors")):
                file, first = safe_open(path, framework="np"), int(path.stem.removeprefix(f"{kind}-"))
                for place in range(file.get_slice("photos").get_shape()[0]):
                    self._places.append((file, place))
                    self.makers.append(makers[(first + place) % len(makers)])

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self._places)

    def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray, Degradation]:
        """Return photo and second image, (H, W, 3) uint8 each, with the same degradation, and the degradation."""
        degradation = draw_degradation(np.random.default_rng([self._seed, 10, number]), self._spec)
        file, place = self._places[number]
        photo, copy = (degrade(file.get_slice(side)[place], degradation) for side in ("photos", "copies"))
        return photo, copy, degradation
