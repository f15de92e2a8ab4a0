"""Train a module: AdamW, warm-up and cosine schedule, averaged weights, resumable state."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

import torch
from torch import nn
from tqdm import tqdm

from hidascan.atomic import atomic_write
from hidascan.lab.training.losses import Losses

Trained = TypeVar("Trained", bound=nn.Module)


@dataclass(frozen=True)
class TrainerSpec:
    """Optimiser settings."""

    epochs: int = 6
    batch: int = 32  # samples
    lr: float = 6e-4
    weight_decay: float = 0.3
    warmup: float = 0.05  # share of the steps
    ema: float = 0.99  # decay of averaged weights per step; less in the first hundreds


class Trainer(Generic[Trained]):
    """Minimises the losses of `module` with AdamW; `averaged` holds the EMA weights."""

    def __init__(self, module: Trained, spec: TrainerSpec, steps_per_epoch: int, minutes: float = 0.0):
        """Set up; `minutes` is the maximum duration, which shortens the schedule, too; 0 for none."""
        self.module, self.spec = module, spec
        self.views = 0  # so far, with those before an interruption
        self._minutes, self._earlier, self._started = minutes, 0.0, 0.0
        average = _ema_with_warmup(spec.ema)
        self._averaged = torch.optim.swa_utils.AveragedModel(module, multi_avg_fn=average, use_buffers=True)
        trained = [p for p in module.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in trained if p.ndim > 1], "weight_decay": spec.weight_decay},
            {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
        ]
        self._optimiser = torch.optim.AdamW(groups, lr=spec.lr, betas=(0.9, 0.98), fused=True)
        total = steps_per_epoch * spec.epochs
        factor = _warmup_then_cosine(spec.warmup, total)
        self._schedule = torch.optim.lr_scheduler.LambdaLR(
            self._optimiser, lambda step: factor(max(step, self._share_of_time * total))
        )
        self._sums: dict[str, float] = {}
        self._steps = 0

    @property
    def averaged(self) -> Trained:
        """Module with the averaged weights."""
        return cast(Trained, self._averaged.module)

    @property
    def minutes(self) -> float:
        """Duration of the training so far, with that before an interruption."""
        return (self._earlier + (time.time() - self._started if self._started else 0.0)) / 60

    @property
    def out_of_time(self) -> bool:
        """Whether the maximum duration is reached."""
        return self._share_of_time >= 1

    @property
    def _share_of_time(self) -> float:
        return min(1.0, self.minutes / self._minutes) if self._minutes else 0.0

    def step(self, losses: Losses, views: int = 0) -> None:
        """Take one optimiser step on the sum of `losses`, computed from a number of views."""
        self._optimiser.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        torch.nn.utils.clip_grad_norm_(self.module.parameters(), 1.0)
        self._optimiser.step()
        self._schedule.step()
        self._averaged.update_parameters(self.module)
        self._steps += 1
        self.views += views
        for name, loss in losses.items():
            self._sums[name] = self._sums.get(name, 0.0) + float(loss.detach())

    def resume(self, made_by: str, state: Path) -> int:
        """Load the last complete epoch in `state`, if it is of a training with this fingerprint; return its number or 0."""
        saved = torch.load(state, map_location="cpu", weights_only=True) if state.exists() else {}
        if saved.get("made_by") != made_by:
            if saved:
                tqdm.write(f"{state}: written with other settings or data; training starts over and will overwrite it")
            return 0
        for part, values in zip(self._parts(), saved["parts"], strict=True):
            part.load_state_dict(values)
        self.views, self._earlier = saved.get("views", 0), saved.get("seconds", 0.0)
        return int(saved["epoch"])

    def run(self, first: int, epoch: Callable[[int], dict[str, float] | None], made_by: str, state: Path) -> None:
        """Run `epoch(number)` for each epoch from `first`; it may return further figures for the log.

        After each, its state is written to `state`, with the fingerprint of the training, and a row to the log beside it.
        """
        state.parent.mkdir(parents=True, exist_ok=True)
        self._started = time.time()
        for number in range(first, self.spec.epochs):
            if self.out_of_time:
                break
            self._sums, self._steps = {}, 0
            self.module.train()
            figures = epoch(number) or {}
            means = {name: round(total / max(self._steps, 1), 4) for name, total in self._sums.items()}
            row = {"epoch": number + 1, **means, "minutes": round(self.minutes, 1), **figures}
            _log(state.with_suffix(".log.jsonl"), row)
            self._save(number + 1, made_by, state)

    def _parts(self) -> tuple[Any, ...]:
        return self.module, self._averaged, self._optimiser, self._schedule

    def _save(self, epoch: int, made_by: str, state: Path) -> None:
        so_far = {"epoch": epoch, "views": self.views, "seconds": 60 * self.minutes}
        saved = {"made_by": made_by, **so_far, "parts": [part.state_dict() for part in self._parts()]}
        with atomic_write(state) as partial, partial.open("wb") as file:
            torch.save(saved, file)


def fit(module: Trained, spec: TrainerSpec, count: int, losses: Callable[[torch.Tensor], Losses]) -> Trained:
    """Train a module on `count` samples that fit into memory, and return it with the averaged weights.

    `losses` returns the losses of a batch, by the numbers of its samples.
    """
    trainer = Trainer(module, spec, math.ceil(count / spec.batch))
    module.train()
    for _ in range(spec.epochs):
        for chosen in torch.randperm(count).split(spec.batch):
            trainer.step(losses(chosen))
    return trainer.averaged.eval()


def _ema_with_warmup(ema: float) -> Callable[[Any, Any, Any], None]:
    """Return an exponential average with decay min(ema, (1 + n) / (10 + n)) after n steps.

    With a constant decay, a short training would keep most of its initial weights.
    """

    def update(averaged: Any, current: Any, count: Any) -> None:
        steps = int(count)
        torch.optim.swa_utils.get_ema_multi_avg_fn(min(ema, (1 + steps) / (10 + steps)))(averaged, current, count)

    return update


def _warmup_then_cosine(share: float, total: int) -> Callable[[float], float]:
    warmup = max(1, int(share * total))

    def factor(step: float) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))

    return factor


def _log(path: Path, row: dict[str, float]) -> None:
    tqdm.write(json.dumps(row))
    with path.open("a") as file:
        file.write(json.dumps(row) + "\n")
