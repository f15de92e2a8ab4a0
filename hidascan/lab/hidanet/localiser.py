"""Train TFL: filters in closed form, then L_tfl on forgeries put together from the residuals of pairs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from hidascan.detectors.hidanet.localiser import CellLocaliser
from hidascan.detectors.hidanet.residuals import ResidualFilters
from hidascan.geometry import CELL
from hidascan.lab.data.forgeries import cell_shares, random_region
from hidascan.lab.data.tables import tables_sha256
from hidascan.lab.hidanet.filters import fit_filters
from hidascan.lab.hidanet.pairs import Pairs
from hidascan.lab.hidanet.recipe import HiDANetRecipe, PairSpec
from hidascan.lab.hidanet.residual_features import pair_residuals
from hidascan.lab.training.artifacts import fingerprint, load_artifact, save_artifact
from hidascan.lab.training.losses import localisation_loss
from hidascan.lab.training.trainer import Trainer


def train_localiser(
    recipe: HiDANetRecipe, cache: Path, filters: ResidualFilters, localiser: CellLocaliser, state: Path
) -> CellLocaliser:
    """Fit `filters`, train a localiser on, from `state` if there is one, and return its averaged weights."""
    spec = recipe.localiser
    forgeries = _Forgeries(recipe, _residuals(recipe, cache, filters.cpu()))
    trainer = Trainer(localiser, spec, spec.steps)

    def epoch(number: int) -> None:
        torch.manual_seed(recipe.seed * 1000 + number)
        steps = range(number * spec.steps, (number + 1) * spec.steps)
        _train_epoch(trainer, forgeries, tqdm(steps, desc=f"TFL, epoch {number + 1}", disable=None))

    made_by = fingerprint(what="TFL", network=recipe.network, spec=spec, residuals=_residuals_made_by(recipe))
    trainer.run(made_by, state, epoch)
    return trainer.averaged


def _train_epoch(trainer: Trainer[CellLocaliser], forgeries: _Forgeries, steps: tqdm[int]) -> None:
    device = next(trainer.module.parameters()).device
    for step in steps:
        residuals, shares = (part.to(device) for part in forgeries.batch(step))
        first, second = (localisation_loss(logits, shares) for logits in trainer.module.both(residuals))
        trainer.step({"first": first, "tfl": second})


def _residuals_made_by(recipe: HiDANetRecipe) -> str:
    """Return the fingerprint without what only decides how forgeries are put together."""
    pairs = recipe.localiser.pairs
    drawn = [pairs.count, pairs.trained_count, pairs.seed, pairs.side, pairs.group_power, pairs.resize]
    drawn.append(pairs.held_out_fold)
    degraded = [pairs.degradations, pairs.filter, pairs.saves, pairs.jpeg_quality]
    makers = [one for one in recipe.autoencoders if not one.held_out]
    tables = tables_sha256(recipe.data.tables)
    return fingerprint(what="residuals", made=[recipe.seed, drawn, degraded, recipe.localiser.ridge, makers, tables])


def _residuals(recipe: HiDANetRecipe, cache: Path, filters: ResidualFilters) -> dict[str, Tensor]:
    """Fit filters, and return what they make of all pairs; both are kept in `cache`."""
    path, made_by = cache / "residuals.safetensors", _residuals_made_by(recipe)
    tensors = load_artifact(path, made_by)
    if tensors is not None:
        filters.load_state_dict({name: tensors.pop(name) for name in filters.state_dict()})
        return tensors
    pairs = Pairs(recipe, cache / "pairs")
    fit_filters(filters, pairs, recipe.localiser.ridge)
    made = dict(zip(("photos", "copies"), pair_residuals(filters, pairs), strict=True))
    save_artifact(path, made | filters.state_dict(), made_by)
    return made


class _Forgeries:
    """Batches of photos with a region of their copies, cells of the one among cells of the other, degraded alike."""

    def __init__(self, recipe: HiDANetRecipe, residuals: dict[str, Tensor]):
        self._spec, self._seed, self._residuals = recipe.localiser, recipe.seed, residuals

    def batch(self, number: int) -> tuple[Tensor, Tensor]:
        """Return residuals (B, E, h, w), and whether cells are of a copy (B, h, w), float32."""
        rng = np.random.default_rng([self._seed, 9, number])
        photos, copies = self._residuals["photos"], self._residuals["copies"]
        chosen = torch.from_numpy(self._draw(len(photos), rng))
        height, width = photos.shape[1:3]
        mask = torch.from_numpy(np.stack([_cell_mask(height, width, self._spec.pairs, rng) for _ in chosen]))
        residuals = torch.where(mask[..., None], copies[chosen], photos[chosen])
        return residuals.float().permute(0, 3, 1, 2), mask.float()

    def _draw(self, degraded: int, rng: np.random.Generator) -> np.ndarray:
        """Draw (batch,) numbers of degraded pairs; each way goes through all pairs, those by taef2 first."""
        spec, size = self._spec.pairs, self._spec.batch
        pairs = degraded // spec.degradations
        first = pairs - spec.trained_count  # that is by another autoencoder
        by_taef2 = (rng.random(size) < spec.taef2_share) | (spec.trained_count == 0)
        pair = np.where(by_taef2, rng.integers(0, first, size), rng.integers(min(first, pairs - 1), pairs, size))
        return pair + pairs * rng.integers(0, spec.degradations, size)


def _cell_mask(height: int, width: int, spec: PairSpec, rng: np.random.Generator) -> np.ndarray:
    """Draw an (h, w) bool region, or nothing. Never all: what is looked for differs from the rest of an image."""
    if rng.random() < spec.untouched:
        return np.zeros((height, width), bool)
    return cell_shares(random_region(height * CELL, width * CELL, spec.region_share, rng), CELL) >= 0.5
