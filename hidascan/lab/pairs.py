"""Photos and their reconstructions, made once: the material of the token head (TFL).

They differ in a decoder's traces alone: content tells nothing about which is which.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from tqdm import tqdm

from hidascan.errors import ImageError, RecipeError
from hidascan.image.decode import decode
from hidascan.lab.autoencoder import Autoencoder, load_autoencoder
from hidascan.lab.data import BalancedPicker, read_table, tables_sha256
from hidascan.lab.degrade import Delivery, deliver, draw_delivery, resize
from hidascan.lab.recipe import PairLaw, Recipe
from hidascan.lab.zoo import build_zoo, member_path

_PER_SHARD = 40
_ZOO = "zoo-"


def build_pairs(recipe: Recipe, cache: Path, device: str, dtype: torch.dtype) -> None:
    """Train the zoo and make the pairs, in folders of `cache`; what is there already stays."""
    law, tables, folder = recipe.tokens.pairs, [Path(t) for t in recipe.data.tables], cache / "pairs"
    folder.mkdir(parents=True, exist_ok=True)
    _check_same_pairs(folder, {"law": _what_decides(law), "seed": recipe.seed, "tables_sha256": tables_sha256(tables)})
    photos = BalancedPicker([image for table in tables for image in read_table(table)], 0, law.group_power)
    build_zoo(recipe.zoo, photos, cache / "zoo", device, dtype == torch.bfloat16)
    taef2 = load_autoencoder(recipe.data.autoencoder, dtype, device)
    zoo = [load_autoencoder(member_path(cache / "zoo", m), dtype, device) for m in recipe.zoo if not m.held_out]
    if law.zoo_count and not zoo:
        raise RecipeError("tokens.pairs.zoo_count needs a [[zoo]] with a member that is not held out")
    for prefix, count, makers, seed in (("", law.count, [taef2], law.seed), (_ZOO, law.zoo_count, zoo, law.seed + 1)):
        for first in tqdm(range(0, count, _PER_SHARD), desc=f"{prefix}pairs", disable=None):
            path = folder / f"{prefix}{first:06d}.safetensors"
            if not path.exists():
                numbers = range(first, min(first + _PER_SHARD, count))
                _write_shard(path, [_make_pair(photos, makers, law, [recipe.seed, seed, n]) for n in numbers])


def _write_shard(path: Path, made: list[tuple[np.ndarray, np.ndarray]]) -> None:
    photos, copies = (torch.from_numpy(np.stack(side)) for side in zip(*made, strict=True))
    save_file({"photos": photos, "copies": copies}, path.with_suffix(".partial"))
    path.with_suffix(".partial").replace(path)


def _check_same_pairs(folder: Path, made_by: dict) -> None:
    path, text = folder / "pairs.json", json.dumps(made_by, indent=1)
    if path.exists() and path.read_text() != text:
        raise RecipeError(f"{folder}: made by another recipe; name another folder with --cache")
    path.write_text(text)


def _what_decides(law: PairLaw) -> dict:
    """More pairs, and other deliveries of them, may come later."""
    return {name: value for name, value in asdict(law).items() if name in ("seed", "side", "group_power", "resize")}


def _make_pair(
    picker: BalancedPicker, autoencoders: list[Autoencoder], law: PairLaw, seed: list[int]
) -> tuple[np.ndarray, np.ndarray]:
    """A window of a photo, (side, side, 3) uint8, and the same through one of the autoencoders, each in its turn."""
    rng = np.random.default_rng(seed)
    photo = _window(picker, law, rng)
    autoencoder = autoencoders[seed[-1] % len(autoencoders)]
    return photo, autoencoder.reconstruct(photo, float(rng.choice([0.0, 0.0, 0.05, 0.15])), rng)


def _window(picker: BalancedPicker, law: PairLaw, rng: np.random.Generator) -> np.ndarray:
    """At native size, where blocks of its JPEG start with the window, or shrunk."""
    while True:
        try:
            pixels = decode(picker.pick(rng).path).pixels
        except ImageError as error:
            tqdm.write(f"skipped: {error}")
            continue
        shortest = min(pixels.shape[:2])
        if shortest < law.side:
            continue
        if rng.random() < law.resize and shortest >= 2 * law.side:
            pixels = resize(np.ascontiguousarray(pixels), float(rng.uniform(law.side / shortest, 1)), rng)
        top, left = (8 * int(rng.integers(0, max(0, side - law.side) // 8 + 1)) for side in pixels.shape[:2])
        return np.ascontiguousarray(pixels[top : top + law.side, left : left + law.side])


class Pairs:
    """A folder of pairs, those by taef2 before those by the zoo, and each of them delivered in several ways."""

    def __init__(self, recipe: Recipe, folder: Path):
        self._seed, self._law = recipe.seed, recipe.tokens.pairs
        self._members = sum(not member.held_out for member in recipe.zoo)
        self._places = []
        for path in sorted(folder.glob("*.safetensors")):
            file = safe_open(path, framework="np")
            for n in range(file.get_slice("photos").get_shape()[0]):
                by_zoo = path.stem.startswith(_ZOO)
                maker = 1 + (int(path.stem.removeprefix(_ZOO)) + n) % self._members if by_zoo else 0
                self._places.append((file, n, maker))

    def __len__(self) -> int:
        return len(self._places) * self._law.deliveries

    def maker(self, number: int) -> int:
        """Which autoencoder made the copy: 0 for taef2, then the members of the zoo that are not held out."""
        return self._places[number % len(self._places)][2]

    def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray, Delivery]:
        """Photo and reconstruction, (H, W, 3) uint8 each, after the same delivery."""
        rng, law = np.random.default_rng([self._seed, 10, number]), self._law
        file, place, _ = self._places[number % len(self._places)]
        delivery = draw_delivery(rng, law.filter, law.saves, law.jpeg_quality)
        photo, copy = (deliver(file.get_slice(kind)[place], delivery) for kind in ("photos", "copies"))
        return photo, copy, delivery
