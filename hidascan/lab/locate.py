"""Trains TFL, the token head: filters in closed form, then L_tfl on forgeries put together from the traces of pairs."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from hidascan.lab.descent import Descent
from hidascan.lab.filters import fit_filters
from hidascan.lab.forge import cell_shares, random_region
from hidascan.lab.losses import localisation_loss
from hidascan.lab.pairs import Pairs
from hidascan.lab.recipe import PairLaw, Recipe
from hidascan.lab.traces import pair_traces
from hidascan.model.detail import CELL, DetailStem
from hidascan.model.localiser import TokenLocaliser


def train_localiser(recipe: Recipe, cache: Path, localiser: TokenLocaliser, state: Path) -> TokenLocaliser:
    """The averaged weights after all epochs. Goes on from `state` after a kill."""
    spec, device = recipe.tokens, next(localiser.parameters()).device
    material = _Material(recipe, _traces(recipe, cache, localiser.stem.cpu()))
    descent = Descent(localiser.to(device), spec, spec.steps)

    def epoch(number: int) -> dict[str, float]:
        steps = range(number * spec.steps, (number + 1) * spec.steps)
        torch.manual_seed(recipe.seed * 1000 + number)
        return {"tfl": _train_epoch(descent, material, tqdm(steps, desc=f"tokens, epoch {number + 1}", disable=None))}

    descent.run(_what_decides(recipe), state, epoch)
    return descent.averaged


def _train_epoch(descent: Descent, material: _Material, steps) -> float:
    device, losses = next(descent.module.parameters()).device, []
    descent.module.train()
    for step in steps:
        traces, shares = (part.to(device) for part in material.batch(step))
        loss = sum(localisation_loss(logits, shares) for logits in descent.module.both(traces))
        descent.step(loss)
        losses.append(float(loss.detach()))
    return round(float(np.mean(losses)), 4)


def _what_decides(recipe: Recipe) -> str:
    return repr((recipe.seed, recipe.network, recipe.data.tables, recipe.tokens, _zoo(recipe)))


def _pairs(law: PairLaw) -> dict:
    """The law without what only decides how forgeries are put together."""
    return {name: value for name, value in dataclasses.asdict(law).items() if name != "taef2_share"}


def _zoo(recipe: Recipe) -> list[dict]:
    """The members that make pairs."""
    return [dataclasses.asdict(member) for member in recipe.zoo if not member.held_out]


def _traces(recipe: Recipe, cache: Path, stem: DetailStem) -> dict[str, Tensor]:
    """Filters into `stem`, and what they make of all pairs; kept in `cache` for the same recipe."""
    path, spec = cache / "traces.safetensors", recipe.tokens
    made_by = {"made by": json.dumps([recipe.seed, _pairs(spec.pairs), spec.ridge, _zoo(recipe)])}
    if path.exists():
        with safe_open(path, framework="pt") as file:
            known = file.metadata() == made_by
        if known:
            kept = load_file(path)
            stem.load_state_dict({name: kept.pop(name) for name in stem.state_dict()})
            return kept
    pairs = Pairs(recipe, cache / "pairs")
    fit_filters(stem, pairs, spec.ridge)
    made = dict(zip(("photos", "copies"), pair_traces(stem, pairs), strict=True))
    save_file(made | stem.state_dict(), path.with_suffix(".partial"), made_by)
    path.with_suffix(".partial").replace(path)
    return made


class _Material:
    """Batches of forgeries: photos with a region of their copies, cells of the one among cells of the other, as both
    had the same delivery."""

    def __init__(self, recipe: Recipe, traces: dict[str, Tensor]):
        self._spec, self._seed, self._traces = recipe.tokens, recipe.seed, traces

    def batch(self, number: int) -> tuple[Tensor, Tensor]:
        """Batch of a number: traces (B, E, h, w) and whether cells are of a copy (B, h, w), float32."""
        rng = np.random.default_rng([self._seed, 9, number])
        photos, copies = self._traces["photos"], self._traces["copies"]
        chosen = torch.from_numpy(self._draw(len(photos), rng))
        mask = torch.from_numpy(np.stack([_cell_mask(photos.shape[1:3], self._spec.pairs, rng) for _ in chosen]))
        traces = torch.where(mask[..., None], copies[chosen], photos[chosen])
        return traces.float().permute(0, 3, 1, 2), mask.float()

    def _draw(self, deliveries: int, rng: np.random.Generator) -> np.ndarray:
        """(batch,) numbers of deliveries; each way of delivering goes through all pairs, those by taef2 first."""
        law, size = self._spec.pairs, self._spec.batch
        pairs = deliveries // law.deliveries
        first = pairs - law.zoo_count  # that is by the zoo
        by_taef2 = (rng.random(size) < law.taef2_share) | (law.zoo_count == 0)
        pair = np.where(by_taef2, rng.integers(0, first, size), rng.integers(min(first, pairs - 1), pairs, size))
        return pair + pairs * rng.integers(0, law.deliveries, size)


def _cell_mask(shape: tuple[int, int], law: PairLaw, rng: np.random.Generator) -> np.ndarray:
    """(h, w) bool: a region, or nothing. Never all: what is looked for is what differs from the rest of an image."""
    if rng.random() < law.untouched:
        return np.zeros(shape, bool)
    height, width = (cells * CELL for cells in shape)
    return cell_shares(random_region(height, width, law.region_share, rng), CELL) >= 0.5
