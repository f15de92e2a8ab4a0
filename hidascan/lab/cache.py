"""Frozen features, computed once: training samples -> tokens of the frozen ViT, in int8 shards on disk.

The backbone costs ten times what training the rest costs. Shards are written whole and in order of their number, so
a killed run goes on where it stopped; each draw has a random generator of its own, so the result is the same.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from hidascan.errors import HidascanError, RecipeError
from hidascan.lab.autoencoder import Autoencoder, load_autoencoder
from hidascan.lab.data import BalancedPicker, LabelledImage, read_table, tables_sha256
from hidascan.lab.descent import read_ahead
from hidascan.lab.recipe import Recipe, Round
from hidascan.lab.samples import SampleMaker, TrainingSample
from hidascan.model.backbone import FrozenViT
from hidascan.model.checkpoint import load_backbone
from hidascan.model.refiner import TapNorm

_STATISTICS_DRAWS, _STATISTICS_SEED = 48, 2


def images_of(recipe: Recipe, part: Round) -> list[LabelledImage]:
    """The images that a round draws from: whole groups or sources, never single images."""
    images = [image for table in recipe.data.tables for image in read_table(Path(table))]
    named = {*part.only, *part.without}
    unknown = named - {i.group for i in images} - {i.source for i in images}
    if unknown:
        raise RecipeError(f"round {part.name} names what is not in the tables: {', '.join(sorted(unknown))}")
    wanted = [i for i in images if not part.only or {i.group, i.source} & set(part.only)]
    return [i for i in wanted if not {i.group, i.source} & set(part.without)]


def build_cache(recipe: Recipe, folder: Path, device: str, dtype: torch.dtype) -> None:
    """Fill `folder` with the shards of all rounds that are not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    backbone = load_backbone(recipe.network, Path(recipe.data.backbone), dtype).to(device)
    autoencoder = load_autoencoder(recipe.data.autoencoder, dtype, device)
    makers = [_maker(recipe, part, autoencoder, backbone.grid) for part in recipe.rounds]
    norm = _statistics(recipe, folder, makers[0], backbone).to(device)
    for part, maker in zip(recipe.rounds, makers, strict=True):
        _fill_round(recipe, folder / part.name, maker, part, backbone, norm)


def _maker(recipe: Recipe, part: Round, autoencoder: Autoencoder, grid: int) -> SampleMaker:
    images = images_of(recipe, part)
    real, ai = (BalancedPicker(images, label, part.group_power) for label in (0, 1))
    return SampleMaker(part.law, real, ai, autoencoder, grid)


def _check_same_round(recipe: Recipe, part: Round, folder: Path) -> None:
    """A folder holds the samples of one round; more draws and another optimisation may come later."""
    relevant = {
        "round": {k: v for k, v in dataclasses.asdict(part).items() if k not in ("draws", "evidence_weight")},
        "network": [recipe.network.backbone, recipe.network.taps, recipe.network.patch],
        "seed": recipe.seed,
        "draws_per_shard": recipe.cache.draws_per_shard,
        "tables_sha256": tables_sha256([Path(t) for t in recipe.data.tables]),
    }
    text, path = json.dumps(relevant, indent=1), folder / "round.json"
    if path.exists() and path.read_text() != text:
        raise RecipeError(f"{folder}: made by another recipe; name another folder with --cache")
    path.write_text(text)


def _statistics(recipe: Recipe, folder: Path, maker: SampleMaker, backbone: FrozenViT) -> TapNorm:
    norm, path = TapNorm(len(recipe.network.taps), backbone.dim), folder / "tap_norm.safetensors"
    if not path.exists():
        samples = [s for draw in range(_STATISTICS_DRAWS) for s in _draw(maker, [recipe.seed, _STATISTICS_SEED, draw])]
        norm.measure(torch.cat([_tokens(backbone, s.views, recipe.cache.batch).float() for s in samples]))
        save_file(norm.state_dict(), path)
    norm.load_state_dict(load_file(path))
    return norm


def _fill_round(
    recipe: Recipe, folder: Path, maker: SampleMaker, part: Round, backbone: FrozenViT, norm: TapNorm
) -> None:
    folder.mkdir(exist_ok=True)
    _check_same_round(recipe, part, folder)
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
    """The samples of one draw; a file that cannot be read is replaced by the next draw of the same generator."""
    rng = np.random.default_rng(seed)
    for _ in range(20):
        try:
            return maker.make(rng)
        except HidascanError as error:
            tqdm.write(f"skipped: {error}")
    raise RecipeError("20 unreadable images in a row: check the tables")


def _shard_path(folder: Path, first: int) -> Path:
    return folder / f"{first:06d}.safetensors"


def _groups_path(shard: Path) -> Path:
    """Of each sample of a shard, the groups of its images: a JSON list of lists."""
    return shard.with_suffix(".groups.json")


@torch.no_grad()
def _tokens(backbone: FrozenViT, views: np.ndarray, batch: int) -> Tensor:
    """(V, 224, 224, 3) uint8 -> (V, T, 1 + N, C) on the CPU."""
    x = torch.from_numpy(views).permute(0, 3, 1, 2)
    return torch.cat([backbone(part.to(backbone.mean.device)).cpu() for part in x.split(batch)])


def write_shard(path: Path, draws: list[list[TrainingSample]], backbone: FrozenViT, norm: TapNorm, batch: int) -> None:
    """Samples of some draws -> a shard, whole or not at all."""
    samples = [sample for draw in draws for sample in draw]
    views = np.concatenate([s.views for s in samples])
    quantised = []
    for part in torch.from_numpy(views).split(batch * 4):
        standard = norm(_tokens(backbone, part.numpy(), batch).float().to(norm.mean.device))
        quantised.append((standard / norm.QUANTUM).round().to(torch.int8).cpu())
    tensors = {
        "tokens": torch.cat(quantised),
        "views": torch.tensor([len(s.views) for s in samples]),
        "canvas": torch.tensor([2 * number + s.canvas for number, draw in enumerate(draws) for s in draw]),
        "labels": torch.tensor([s.label for s in samples]),
        "quality": torch.tensor([s.quality for s in samples]),
        "token_labels": torch.from_numpy(np.concatenate([s.token_labels for s in samples])).half().flatten(1),
    }
    _groups_path(path).write_text(json.dumps([s.groups for s in samples]))
    save_file(tensors, path.with_suffix(".partial"))
    path.with_suffix(".partial").replace(path)


@dataclass(frozen=True)
class CachedSample:
    """tokens (1 + K, T, 1 + N, C) int8, thumbnail first; token_labels (K, N); label; quality (NaN = unknown)."""

    tokens: Tensor
    token_labels: Tensor
    label: float
    quality: float


@dataclass(frozen=True)
class ClsTokens:
    """Of S samples: thumbnails (S, T, C), means over patches (S, T, C), labels (S,), canvases (S,): deliveries of
    the same pixels share a number; and the groups of the images in each."""

    thumbnails: Tensor
    means: Tensor
    labels: Tensor
    canvases: Tensor
    groups: list[set[str]]

    def only(self, kept: Tensor) -> ClsTokens:
        """The samples for which kept (S,) bool is true."""
        tensors = (part[kept] for part in (self.thumbnails, self.means, self.labels, self.canvases))
        return ClsTokens(*tensors, [found for found, keep in zip(self.groups, kept.tolist(), strict=True) if keep])

    def holding(self, groups: Collection[str]) -> Tensor:
        """(S,) bool: which samples hold an image of `groups`."""
        return torch.tensor([bool(found & set(groups)) for found in self.groups], dtype=torch.bool)


class FeatureCache:
    """Random access to the samples of some rounds. Tokens are read from disk when asked for."""

    def __init__(self, *folders: Path):
        self._files, self._index, self._groups = [], [], []
        paths = [path for folder in folders for path in sorted(Path(folder).glob("*.safetensors"))]
        for number, path in enumerate(paths):
            file = safe_open(path, framework="pt")
            small = {name: file.get_tensor(name) for name in ("views", "labels", "quality", "token_labels", "canvas")}
            self._groups += [set(groups) for groups in json.loads(_groups_path(path).read_text())]
            self._files.append((file.get_slice("tokens"), small))
            ends = small["views"].cumsum(0).tolist()
            for sample, (end, count) in enumerate(zip(ends, small["views"].tolist(), strict=True)):
                self._index.append((number, sample, end - count, end))

    def __len__(self) -> int:
        return len(self._index)

    def cls_tokens(self) -> ClsTokens:
        """The [CLS] tokens of all samples, standardised."""
        thumbnails, means, canvases, first = [], [], [], 0
        for tokens, small in self._files:
            cls = tokens[:, :, 0:1].squeeze(2).float() * TapNorm.QUANTUM
            for views in cls.split(small["views"].tolist()):
                thumbnails.append(views[0])
                means.append(views[1:].mean(0))
            canvases.append(small["canvas"] + first)
            first = int(canvases[-1].max()) + 1
        labels = torch.cat([small["labels"] for _, small in self._files])
        return ClsTokens(torch.stack(thumbnails), torch.stack(means), labels, torch.cat(canvases), self._groups)

    def label(self, item: int) -> int:
        """Label of a sample, without reading its tokens."""
        number, sample, _, _ = self._index[item]
        return int(self._files[number][1]["labels"][sample])

    def __getitem__(self, item: int) -> CachedSample:
        number, sample, start, end = self._index[item]
        tokens, small = self._files[number]
        token_labels = small["token_labels"][start - sample : end - sample - 1]  # thumbnails have none
        label, quality = float(small["labels"][sample]), float(small["quality"][sample])
        return CachedSample(tokens[start:end], token_labels, label, quality)
