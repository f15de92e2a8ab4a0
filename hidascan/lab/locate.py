"""Trains TFL, the token head: L_tfl on pairs of photos and reconstructions, and on patches of cached samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from hidascan.lab.cache import FeatureCache
from hidascan.lab.descent import Descent, read_ahead
from hidascan.lab.losses import localisation_loss
from hidascan.lab.pairs import PairPool
from hidascan.lab.recipe import Recipe
from hidascan.model.localiser import TokenLocaliser


def train_localiser(recipe: Recipe, cache: Path, localiser: TokenLocaliser, state: Path, bf16: bool) -> TokenLocaliser:
    """The averaged weights after all epochs. Goes on from `state` after a kill."""
    spec = recipe.tokens
    material = _Material(recipe, cache, localiser.stem.grid)
    descent = Descent(localiser, spec, spec.steps)
    decides = repr((recipe.seed, recipe.network, recipe.data, recipe.rounds, spec))

    def epoch(number: int) -> dict[str, float]:
        batches = read_ahead(lambda step: material.batch(number * spec.steps + step), spec.steps)
        bar = tqdm(batches, total=spec.steps, desc=f"tokens, epoch {number + 1}", disable=None)
        return {"tfl": round(_train_epoch(descent, bar, bf16), 4)}

    descent.run(decides, state, epoch)
    return descent.averaged


def _train_epoch(descent: Descent, batches, bf16: bool) -> float:
    device, losses = next(descent.module.parameters()).device, []
    descent.module.train()
    for pixels, shares in batches:
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            logits = descent.module(pixels.to(device))
        loss = localisation_loss(logits.float(), shares.to(device))
        descent.step(loss)
        losses.append(float(loss.detach()))
    return float(np.mean(losses))


class _Material:
    """Batches of patches with the shares of AI pixels in their cells."""

    def __init__(self, recipe: Recipe, cache: Path, grid: int):
        self._spec, self._seed = recipe.tokens, recipe.seed
        self._pairs = PairPool(cache / "pairs", recipe.tokens.pairs, grid)
        self._samples = FeatureCache(*(cache / name for name in recipe.tokens.samples_of), pixels=True)

    def batch(self, number: int) -> tuple[Tensor, Tensor]:
        """Batch of a number: pixels (B, 3, 224, 224) uint8, shares (B, N) float32."""
        rng = np.random.default_rng([self._seed, 9, number])
        drawn = [self._pairs.draw([self._seed, 10, number, n]) for n in range(self._spec.batch)]
        pixels, shares = ([torch.from_numpy(part) for part in side] for side in zip(*drawn, strict=True))
        for item in rng.integers(0, len(self._samples), self._spec.samples if len(self._samples) else 0):
            sample = self._samples[int(item)]
            pixels.append(sample.pixels[1:])
            shares.append(sample.token_labels.float())
        return torch.cat(pixels).permute(0, 3, 1, 2), torch.cat(shares)
