"""Compute frozen features once: training samples -> tokens of the frozen ViT, in int8 shards on disk.

The backbone costs ten times what training the rest costs. Shards are written whole and in order of their number, so
a killed run goes on where it stopped; each draw has a random generator of its own, so the result is the same.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor
from tqdm import tqdm

from hidascan.detectors.backbones.frozen import FrozenViT
from hidascan.detectors.backbones.packed import pack_linears
from hidascan.detectors.checkpoint import load_backbone, sha256_of
from hidascan.detectors.hidanet.refiner import TapNorm
from hidascan.errors import HidascanError, RecipeError
from hidascan.lab.data.autoencoders.base import Autoencoder, load_autoencoder
from hidascan.lab.data.composites import CompositeMaker
from hidascan.lab.data.layouts import read_images
from hidascan.lab.data.sampling import BalancedSampler
from hidascan.lab.data.tables import LabelledImage, tables_sha256
from hidascan.lab.hidanet.recipe import HiDANetRecipe, Round
from hidascan.lab.hidanet.samples import SampleMaker, TrainingSample
from hidascan.lab.training.artifacts import claim_folder, fingerprint, load_artifact, save_artifact
from hidascan.lab.training.trainer import read_ahead

_STATISTICS_DRAWS, _STATISTICS_SEED = 48, 2


def images_of(recipe: HiDANetRecipe, part: Round) -> list[LabelledImage]:
    """Return the images that a round draws from: whole groups or sources, never single images.

    Raises:
        RecipeError: If the round names what is not in the tables.
    """
    images = [image for table in recipe.data.tables for image in read_images(table)]
    named = {*part.only, *part.without}
    unknown = named - {i.group for i in images} - {i.source for i in images}
    if unknown:
        raise RecipeError(f"round {part.name} names what is not in the tables: {', '.join(sorted(unknown))}")
    wanted = [i for i in images if not part.only or {i.group, i.source} & set(part.only)]
    return [i for i in wanted if not {i.group, i.source} & set(part.without)]


def build_features(recipe: HiDANetRecipe, folder: Path, device: str, dtype: torch.dtype) -> None:
    """Fill `folder` with the shards of all rounds that are not there yet.

    Raises:
        RecipeError: If it holds those of another recipe.
    """
    folder.mkdir(parents=True, exist_ok=True)
    backbone = recipe_backbone(recipe, device, dtype)
    autoencoder = load_autoencoder(recipe.data.autoencoders[0], dtype, device)
    makers = [_maker(recipe, part, autoencoder, backbone.grid) for part in recipe.rounds]
    norm = _statistics(recipe, folder, makers[0], backbone).to(device)
    for part, maker in zip(recipe.rounds, makers, strict=True):
        _fill_round(recipe, folder / part.name, maker, part, backbone, norm)


def recipe_backbone(recipe: HiDANetRecipe, device: str, dtype: torch.dtype) -> FrozenViT:
    """Load the frozen backbone of a recipe."""
    network = recipe.network
    return load_backbone(network.backbone, network.taps, network.side, Path(recipe.data.backbone), dtype).to(device)


def cell_backbone(recipe: HiDANetRecipe, device: str, dtype: torch.dtype) -> FrozenViT:
    """Load the frozen backbone as far as TFL needs it, packed where that is faster."""
    network = recipe.network
    backbone = load_backbone(network.backbone, network.cell_taps, network.side, Path(recipe.data.backbone), dtype)
    if device == "cpu":
        pack_linears(backbone)
    return backbone.to(device)


def what_decides_tokens(recipe: HiDANetRecipe) -> list[Any]:
    """Return what decides the frozen tokens of an image: a changed backbone must not reuse old ones."""
    network = recipe.network
    return [network.backbone, network.taps, network.side, sha256_of(Path(recipe.data.backbone))]


def _maker(recipe: HiDANetRecipe, part: Round, autoencoder: Autoencoder, grid: int) -> SampleMaker:
    images = images_of(recipe, part)
    real, ai = (BalancedSampler(images, label, part.group_power) for label in (0, 1))
    return SampleMaker(CompositeMaker(part.sampling, real, ai, autoencoder), grid)


def _what_decides_round(recipe: HiDANetRecipe, part: Round) -> list[Any]:
    """Return what decides the samples of a round; more draws and another fit of the probe may come later."""
    drawn = dataclasses.replace(part, draws=0)
    shard = recipe.cache.draws_per_shard
    return [drawn, what_decides_tokens(recipe), recipe.seed, shard, tables_sha256(recipe.data.tables)]


def statistics_fingerprint(recipe: HiDANetRecipe) -> str:
    """Tell statistics of tokens from those of another recipe: they are measured on the first round."""
    return fingerprint(what="statistics", round=_what_decides_round(recipe, recipe.rounds[0]))


def load_statistics(recipe: HiDANetRecipe, folder: Path) -> dict[str, Tensor]:
    """Read the statistics of the cached tokens.

    Raises:
        RecipeError: If they are not there, or are those of another recipe.
    """
    tensors = load_artifact(folder / "tap_norm.safetensors", statistics_fingerprint(recipe))
    if tensors is None:
        raise RecipeError(f"{folder}: no statistics of this recipe's tokens; run hidalab train first")
    return tensors


def _statistics(recipe: HiDANetRecipe, folder: Path, maker: SampleMaker, backbone: FrozenViT) -> TapNorm:
    norm, path = TapNorm(len(recipe.network.taps), backbone.dim), folder / "tap_norm.safetensors"
    made_by = statistics_fingerprint(recipe)
    tensors = load_artifact(path, made_by)
    if tensors is None:
        samples = [s for draw in range(_STATISTICS_DRAWS) for s in _draw(maker, [recipe.seed, _STATISTICS_SEED, draw])]
        norm.measure(torch.cat([_tokens(backbone, s.views, recipe.cache.batch).float() for s in samples]))
        save_artifact(path, norm.state_dict(), made_by)
    else:
        norm.load_state_dict(tensors)
    return norm


def _fill_round(
    recipe: HiDANetRecipe, folder: Path, maker: SampleMaker, part: Round, backbone: FrozenViT, norm: TapNorm
) -> None:
    claim_folder(folder, fingerprint(what="round", round=_what_decides_round(recipe, part)))
    step, draws = recipe.cache.draws_per_shard, part.draws
    missing = [first for first in range(0, draws, step) if not _shard_path(folder, first).exists()]
    seeds = [[recipe.seed, part.seed, d] for f in missing for d in range(f, min(f + step, draws))]
    made = read_ahead(lambda number: _draw(maker, seeds[number]), len(seeds), ahead=step)
    with tqdm(total=len(missing) * step, desc=f"features {folder.name}", disable=None) as bar:
        for first in missing:
            samples = []
            for _ in range(min(step, draws - first)):
                samples.append(next(made))
                bar.update()
            write_shard(_shard_path(folder, first), samples, backbone, norm, recipe.cache.batch)


def _draw(maker: SampleMaker, seed: list[int]) -> list[TrainingSample]:
    """Make the samples of one draw; a file that cannot be read is replaced by the next draw of the same generator."""
    rng = np.random.default_rng(seed)
    for _ in range(20):
        try:
            return maker.make(rng)
        except HidascanError as error:
            tqdm.write(f"skipped: {error}")
    raise RecipeError("20 unreadable images in a row: check the tables")


def _shard_path(folder: Path, first: int) -> Path:
    return folder / f"{first:06d}.safetensors"


@torch.no_grad()
def _tokens(backbone: FrozenViT, views: np.ndarray, batch: int) -> Tensor:
    """Encode (V, 224, 224, 3) uint8 into (V, T, 1 + N, C) on the CPU."""
    x = torch.from_numpy(views).permute(0, 3, 1, 2)
    return torch.cat([backbone(part.to(backbone.mean.device)).cpu() for part in x.split(batch)])


def write_shard(path: Path, draws: list[list[TrainingSample]], backbone: FrozenViT, norm: TapNorm, batch: int) -> None:
    """Write the samples of some draws as a shard."""
    samples = [sample for draw in draws for sample in draw]
    views = np.concatenate([s.views for s in samples])
    quantised = []
    for part in torch.from_numpy(views).split(batch * 4):
        standard = norm(_tokens(backbone, part.numpy(), batch).float().to(norm.mean.device))
        quantised.append((standard / norm.QUANTUM).round().to(torch.int8).cpu())
    tensors = {
        "tokens": torch.cat(quantised),
        "views": torch.tensor([len(s.views) for s in samples]),
        "composite": torch.tensor([2 * number + s.composite for number, draw in enumerate(draws) for s in draw]),
        "labels": torch.tensor([s.label for s in samples]),
        "quality": torch.tensor([s.quality for s in samples]),
        "token_labels": torch.from_numpy(np.concatenate([s.token_labels for s in samples])).half().flatten(1),
    }
    save_artifact(path, tensors, groups=json.dumps([s.groups for s in samples]))


@dataclass(frozen=True)
class CachedSample:
    """One sample.

    Attributes:
        tokens: (1 + K, T, 1 + N, C) int8, thumbnail first.
        token_labels: (K, N).
        label: 0 or 1.
        quality: 1..100, NaN where unknown.
    """

    tokens: Tensor
    token_labels: Tensor
    label: float
    quality: float


class FeatureCache:
    """Random access to the samples of some rounds. Tokens are read from disk when asked for."""

    def __init__(self, *folders: Path):
        """Index their shards.

        Raises:
            RecipeError: If there are none.
        """
        self._files: list[tuple[Any, dict[str, Tensor]]] = []
        self._index: list[tuple[int, int, int, int]] = []
        self._groups: list[set[str]] = []
        paths = [path for folder in folders for path in sorted(Path(folder).glob("*.safetensors"))]
        if not paths:
            raise RecipeError(f"no features in {', '.join(map(str, folders))}")
        for number, path in enumerate(paths):
            file = safe_open(path, framework="pt")
            small = {name: file.get_tensor(name) for name in file.keys() if name != "tokens"}  # noqa: SIM118
            self._groups += [set(groups) for groups in json.loads(file.metadata()["groups"])]
            self._files.append((file.get_slice("tokens"), small))
            ends = small["views"].cumsum(0).tolist()
            for sample, (end, count) in enumerate(zip(ends, small["views"].tolist(), strict=True)):
                self._index.append((number, sample, end - count, end))

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self._index)

    def label(self, item: int) -> int:
        """Return the label of a sample, without reading its tokens."""
        number, sample, _, _ = self._index[item]
        return int(self._files[number][1]["labels"][sample])

    def __getitem__(self, item: int) -> CachedSample:
        """Read a sample."""
        number, sample, start, end = self._index[item]
        tokens, small = self._files[number]
        token_labels = small["token_labels"][start - sample : end - sample - 1]  # thumbnails have none
        label, quality = float(small["labels"][sample]), float(small["quality"][sample])
        return CachedSample(tokens[start:end], token_labels, label, quality)
