"""Gradient descent on one module: AdamW, warm-up and cosine, averaged weights, a state that survives a kill."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn
from tqdm import tqdm

from hidascan.lab.recipe import DescentSpec

Loaded = TypeVar("Loaded")


class Descent:
    """Brings the loss of `module` down; `averaged` is what to keep: an exponential mean of the weights."""

    def __init__(self, module: nn.Module, spec: DescentSpec, steps_per_epoch: int):
        self.module, self.spec = module, spec
        multi_avg_fn = torch.optim.swa_utils.get_ema_multi_avg_fn(spec.ema)
        self._averaged = torch.optim.swa_utils.AveragedModel(module, multi_avg_fn=multi_avg_fn, use_buffers=True)
        trained = [p for p in module.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in trained if p.ndim > 1], "weight_decay": spec.weight_decay},
            {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
        ]
        self._optimiser = torch.optim.AdamW(groups, lr=spec.lr, betas=(0.9, 0.98), fused=True)
        total = steps_per_epoch * spec.epochs
        self._schedule = torch.optim.lr_scheduler.LambdaLR(self._optimiser, _warmup_then_cosine(spec.warmup, total))

    @property
    def averaged(self) -> nn.Module:
        return self._averaged.module

    def step(self, loss: Tensor) -> None:
        """One step down the gradient of `loss` ()."""
        self._optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.module.parameters(), 1.0)
        self._optimiser.step()
        self._schedule.step()
        self._averaged.update_parameters(self.module)

    def run(self, recipe: str, state: Path, epoch: Callable[[int], dict[str, float]]) -> None:
        """All epochs, `epoch(number)` each, from the last whole one on that `state` holds for this recipe's text."""
        started, first = time.time(), self._resume(recipe, state)
        for number in range(first, self.spec.epochs):
            means = epoch(number)
            minutes = round((time.time() - started) / 60, 1)
            _log(state.with_suffix(".log.jsonl"), {"epoch": number + 1, **means, "minutes": minutes})
            self._save(recipe, state, number + 1)

    def _parts(self) -> tuple:
        return self.module, self._averaged, self._optimiser, self._schedule

    def _save(self, recipe: str, path: Path, epoch: int) -> None:
        partial = path.with_suffix(".partial")
        torch.save({"recipe": recipe, "epoch": epoch, "parts": [part.state_dict() for part in self._parts()]}, partial)
        partial.replace(path)

    def _resume(self, recipe: str, path: Path) -> int:
        """Load the state of the last whole epoch of the same recipe; its number, 0 if there is none."""
        if not path.exists():
            return 0
        state = torch.load(path, weights_only=True)
        if state["recipe"] != recipe:
            return 0
        for part, saved in zip(self._parts(), state["parts"], strict=True):
            part.load_state_dict(saved)
        return state["epoch"]


def read_ahead(load: Callable[[int], Loaded], count: int, ahead: int = 2) -> Iterator[Loaded]:
    """load(0), load(1), ... load(count - 1), made in order by a thread, a few ahead of who asks."""
    with ThreadPoolExecutor(1) as reader:
        queue = [reader.submit(load, number) for number in range(min(ahead, count))]
        for number in range(count):
            ready = queue.pop(0).result()
            if number + ahead < count:
                queue.append(reader.submit(load, number + ahead))
            yield ready


def hide_channels(standard: Tensor, share: float) -> Tensor:
    """Hide a share of the frozen channels of each tap from a whole view; the rest are scaled up in return.

    standard (B, T, N, C) -> the same shape.
    """
    views, taps, _, channels = standard.shape
    kept = torch.rand(views, taps, 1, channels, device=standard.device) >= share
    return standard * (kept.to(standard.dtype) / (1 - share))


def _warmup_then_cosine(share: float, total: int) -> Callable[[int], float]:
    warmup = max(1, int(share * total))

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))

    return factor


def _log(path: Path, row: dict) -> None:
    tqdm.write(json.dumps(row))
    with path.open("a") as file:
        file.write(json.dumps(row) + "\n")
