"""Train TFL: filters in closed form, then L_tfl on forgeries put together from the cells of pairs."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from hidascan.detectors.backbones.frozen import FrozenViT
from hidascan.detectors.hidanet.localiser import CellLocaliser
from hidascan.detectors.hidanet.residuals import ResidualFilters
from hidascan.detectors.hidanet.token_filters import TokenFilters
from hidascan.errors import RecipeError
from hidascan.geometry import CELL
from hidascan.lab.data.forgeries import cell_shares, random_region
from hidascan.lab.data.tables import tables_sha256
from hidascan.lab.hidanet.cells import pair_cells
from hidascan.lab.hidanet.features import what_decides_tokens, whole_backbone
from hidascan.lab.hidanet.filters import (
    CellFilters,
    Moments,
    PairStatistics,
    Statistics,
    fit_filters,
    measure_statistics,
)
from hidascan.lab.hidanet.pairs import Pairs, makers_of
from hidascan.lab.hidanet.recipe import HiDANetRecipe, LocaliserSpec, PairSpec
from hidascan.lab.training.artifacts import fingerprint, load_artifact, save_artifact
from hidascan.lab.training.losses import localisation_loss
from hidascan.lab.training.trainer import Trainer


@dataclass(frozen=True)
class Cells:
    """What TFL sees of all pairs: (P, h, w, E) float16 of photos and of second sides, and the filters that made it."""

    filters: CellFilters
    photos: Tensor
    copies: Tensor


def train_localiser(
    recipe: HiDANetRecipe, cache: Path, device: str, dtype: torch.dtype, without: str = ""
) -> tuple[CellFilters, CellLocaliser]:
    """Train TFL on the pairs in `cache`, on from the last whole epoch if there is one.

    Args:
        recipe: What is trained.
        cache: With pairs.
        device: Where.
        dtype: What the backbone computes in.
        without: A maker of pairs that neither filters nor TFL see.

    Returns:
        The filters, and TFL with averaged weights.

    Raises:
        RecipeError: If the network of the recipe has room for another number of filters.
    """
    spec, (cells,) = recipe.localiser, build_cells(recipe, cache, [without], device, dtype)
    torch.manual_seed(recipe.seed)
    network, sizes = recipe.network, cells.filters.sizes
    if not without and sizes != {name: getattr(network, name) for name in sizes}:
        raise RecipeError(f"network: {', '.join(f'{k} must be {v}' for k, v in sizes.items())}, as many as are fitted")
    localiser = CellLocaliser(sum(sizes.values()), network.localiser_dim, network.dropout).to(device)
    trainer, forgeries = Trainer(localiser, spec, spec.steps), _Forgeries(recipe, cache, cells, without)

    def epoch(number: int) -> None:
        torch.manual_seed(recipe.seed * 1000 + number)
        steps = range(number * spec.steps, (number + 1) * spec.steps)
        _train_epoch(trainer, forgeries, tqdm(steps, desc=f"TFL, epoch {number + 1}", disable=None))

    made_by = fingerprint(what="TFL", network=network, spec=spec, cells=_cells_made_by(recipe, without))
    trainer.run(made_by, cache / f"{_name('tfl', without)}.state", epoch)
    return cells.filters, trainer.averaged


def _train_epoch(trainer: Trainer[CellLocaliser], forgeries: _Forgeries, steps: tqdm[int]) -> None:
    device = next(trainer.module.parameters()).device
    for step in steps:
        cells, shares = (part.to(device) for part in forgeries.batch(step))
        first, second = (localisation_loss(logits, shares) for logits in trainer.module.both(cells))
        trainer.step({"first": first, "tfl": second})


def _name(what: str, without: str) -> str:
    return f"{what}-without-{without}" if without else what


def _statistics_made_by(recipe: HiDANetRecipe) -> str:
    """Return the fingerprint without what only decides how forgeries are put together."""
    pairs = recipe.localiser.pairs
    drawn = [pairs.counts, pairs.seed, pairs.side, pairs.group_power, pairs.resize, pairs.held_out_fold]
    degraded = [pairs.degradations, pairs.filter, pairs.saves, pairs.jpeg_quality]
    makers = [one for one in recipe.autoencoders if not one.held_out]
    made = [recipe.seed, drawn, degraded, makers_of(recipe), makers, tables_sha256(recipe.data.tables)]
    seen = [what_decides_tokens(recipe), recipe.network.cell_taps] if recipe.network.cell_taps else []
    return fingerprint(what="statistics of pairs", made=made, seen=seen)


def _cells_made_by(recipe: HiDANetRecipe, without: str) -> str:
    by = [_statistics_made_by(recipe), recipe.localiser.ridge, without]
    return fingerprint(what="cells", by=by)


def build_cells(
    recipe: HiDANetRecipe, cache: Path, withouts: Sequence[str], device: str, dtype: torch.dtype
) -> list[Cells]:
    """Fit filters without each of these makers ("" for with all), and filter all pairs; what is in `cache` stays."""
    paths = [cache / f"{_name('cells', without)}.safetensors" for without in withouts]
    made_by = [_cells_made_by(recipe, without) for without in withouts]
    found = [load_artifact(path, by) for path, by in zip(paths, made_by, strict=True)]
    missing = [place for place, tensors in enumerate(found) if tensors is None]
    if missing:
        pairs, taps = Pairs(recipe, cache / "pairs"), recipe.network.cell_taps
        backbone = whole_backbone(recipe, device, dtype) if taps else None
        statistics = _statistics(recipe, cache, pairs, backbone)
        fitted = [fit_filters(statistics, recipe.localiser.ridge, withouts[place]) for place in missing]
        for place, filters, sides in zip(missing, fitted, pair_cells(fitted, pairs, backbone, taps), strict=True):
            tensors = dict(zip(("photos", "copies"), sides, strict=True)) | _as_tensors(filters)
            save_artifact(paths[place], tensors, made_by[place])
            found[place] = tensors
    return [Cells(_from_tensors(one), one["photos"], one["copies"]) for one in found if one is not None]


def _as_tensors(filters: CellFilters) -> dict[str, Tensor]:
    parts = {"residuals": filters.residuals, "tokens": filters.tokens}
    return {f"{kind}/{name}": v for kind, part in parts.items() if part for name, v in part.state_dict().items()}


def _from_tensors(tensors: dict[str, Tensor]) -> CellFilters:
    states: dict[str, dict[str, Tensor]] = {"residuals": {}, "tokens": {}}
    for kind, state in states.items():
        state |= {name.partition("/")[2]: value for name, value in tensors.items() if name.startswith(f"{kind}/")}
    residuals, tokens = ResidualFilters(states["residuals"]["filters"].shape[1]), None
    residuals.load_state_dict(states["residuals"])
    if states["tokens"]:
        tokens = TokenFilters(*states["tokens"]["filters"].shape)
        tokens.load_state_dict(states["tokens"])
    return CellFilters(residuals, tokens)


def _statistics(recipe: HiDANetRecipe, cache: Path, pairs: Pairs, backbone: FrozenViT | None) -> PairStatistics:
    """Measure or read what filters are fitted to."""
    path, made_by, fields = cache / "statistics.safetensors", _statistics_made_by(recipe), dataclasses.fields(Moments)
    tensors = load_artifact(path, made_by)
    if tensors is None:
        measured, tensors = measure_statistics(pairs, backbone, recipe.network.cell_taps), {}
        for kind, part in (("residuals", measured.residuals), ("tokens", measured.tokens)):
            if part is not None:
                tensors |= {f"{kind}/mean": part.mean, f"{kind}/spread": part.spread}
                for (band, maker), of in part.moments.items():
                    key = f"{kind}/{band}/{maker}"
                    tensors |= {f"{key}/{field.name}": torch.as_tensor(getattr(of, field.name)) for field in fields}
        save_artifact(path, tensors, made_by)
        return measured
    found: dict[str, Statistics] = {}
    for kind in {name.partition("/")[0] for name in tensors}:
        found[kind] = Statistics(tensors[f"{kind}/mean"], tensors[f"{kind}/spread"], {})
    for key in sorted({name.rpartition("/")[0] for name in tensors if name.count("/") == 3}):
        kind, at, by = key.split("/")
        count, *sums = (tensors[f"{key}/{field.name}"] for field in fields)
        found[kind].moments[int(at), by] = Moments(int(count), *sums)
    return PairStatistics(found["residuals"], found.get("tokens"))


class _Forgeries:
    """Batches of photos with a region of the other side of their pair, cells of the one among cells of the other."""

    def __init__(self, recipe: HiDANetRecipe, cache: Path, cells: Cells, without: str):
        self._spec: LocaliserSpec = recipe.localiser
        self._seed, self._cells = recipe.seed, cells
        pairs = Pairs(recipe, cache / "pairs")
        self._chances = _chances(pairs, self._spec.pairs, without)

    def batch(self, number: int) -> tuple[Tensor, Tensor]:
        """Return what TFL sees (B, E, h, w), and whether cells are AI-made (B, h, w), float32."""
        rng, spec = np.random.default_rng([self._seed, 9, number]), self._spec.pairs
        photos, copies = self._cells.photos, self._cells.copies
        height, width = photos.shape[1:3]
        chosen, others = self._draw(rng), self._draw(rng)
        mask = torch.from_numpy(np.stack([_cell_mask(height, width, spec, rng) for _ in chosen]))
        spliced = torch.from_numpy(rng.random(len(chosen)) < spec.spliced)[:, None, None]
        donors = torch.where(spliced[..., None], photos[others], copies[chosen])
        seen = torch.where(mask[..., None], donors, photos[chosen])
        return seen.float().permute(0, 3, 1, 2), (mask & ~spliced).float()

    def _draw(self, rng: np.random.Generator) -> Tensor:
        """Draw (batch,) numbers of degraded pairs."""
        count = len(self._chances)
        pair = rng.choice(count, self._spec.batch, p=self._chances)
        return torch.from_numpy(pair + count * rng.integers(0, self._spec.pairs.degradations, len(pair)))


def _chances(pairs: Pairs, spec: PairSpec, without: str) -> np.ndarray:
    """Return the probability (P,) of drawing each pair: by its kind, and within that by whether its maker is hard."""
    kinds, makers = np.array(pairs.kinds), np.array(pairs.makers)
    hard, kept, chances = np.isin(makers, spec.hard), makers != without, np.zeros(len(kinds))
    for kind, share in enumerate(spec.shares):
        parts = [part for part in (kept & (kinds == kind) & hard, kept & (kinds == kind) & ~hard) if part.any()]
        for part in parts:
            chances[part] = share / len(parts) / part.sum()
    return chances / chances.sum()


def _cell_mask(height: int, width: int, spec: PairSpec, rng: np.random.Generator) -> np.ndarray:
    """Draw an (h, w) bool region, or nothing. Never all: what is looked for differs from the rest of an image."""
    if rng.random() < spec.untouched:
        return np.zeros((height, width), bool)
    return cell_shares(random_region(height * CELL, width * CELL, spec.region_share, rng), CELL) >= 0.5
