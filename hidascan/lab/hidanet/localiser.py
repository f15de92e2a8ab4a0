"""Train TFL: filters in closed form, then L_tfl on forgeries put together from the cells of pairs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from hidascan.detectors.hidanet.localiser import CellLocaliser
from hidascan.errors import RecipeError
from hidascan.geometry import CELL
from hidascan.lab.data.forgeries import cell_shares, random_region
from hidascan.lab.hidanet.cell_artifacts import Cells, build_cells, cells_made_by, name_without
from hidascan.lab.hidanet.cells import CellFilters
from hidascan.lab.hidanet.pairs import Pairs
from hidascan.lab.hidanet.recipe import HiDANetRecipe, LocaliserSpec, PairSpec
from hidascan.lab.training.artifacts import fingerprint
from hidascan.lab.training.losses import localisation_loss
from hidascan.lab.training.trainer import Trainer


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

    made_by = fingerprint(what="TFL", network=network, spec=spec, cells=cells_made_by(recipe, without))
    trainer.run(made_by, cache / f"{name_without('tfl', without)}.state", epoch)
    return cells.filters, trainer.averaged


def _train_epoch(trainer: Trainer[CellLocaliser], forgeries: _Forgeries, steps: tqdm[int]) -> None:
    device = next(trainer.module.parameters()).device
    for step in steps:
        cells, shares = (part.to(device) for part in forgeries.batch(step))
        first, second = (localisation_loss(logits, shares) for logits in trainer.module.both(cells))
        trainer.step({"first": first, "tfl": second})


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
