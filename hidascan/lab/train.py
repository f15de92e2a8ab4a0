"""Trains the refiner, FAM and the heads on cached features, and writes the trained part."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor
from tqdm import tqdm

from hidascan.lab.cache import CachedSample, FeatureCache
from hidascan.lab.data import tables_sha256
from hidascan.lab.evidence import fit_evidence
from hidascan.lab.losses import Losses, classification_loss, localisation_loss, quality_loss
from hidascan.lab.recipe import EvidenceSpec, Recipe
from hidascan.model.checkpoint import CheckpointHeader, save_trained, sha256_of
from hidascan.model.hidanet import TrainedHead
from hidascan.model.refiner import TapNorm


@dataclass(frozen=True)
class Batch:
    """Samples of several K, side by side. V views in all, the K_i patches of sample i after its thumbnail."""

    tokens: Tensor  # (V, T, 1 + N, C) int8
    counts: list[int]  # views a sample, thumbnail included
    token_labels: Tensor  # (V - B, N) float32
    labels: Tensor  # (B,) float32
    qualities: Tensor  # (B,) float32, NaN = unknown

    def to(self, device: torch.device) -> Batch:
        moved = (getattr(self, name).to(device) for name in ("tokens", "token_labels", "labels", "qualities"))
        tokens, token_labels, labels, qualities = moved
        return Batch(tokens, self.counts, token_labels, labels, qualities)


@dataclass(frozen=True)
class Outputs:
    """logits (B,), qualities (B,) in 1..100, token_logits (V - B, N)."""

    logits: Tensor
    qualities: Tensor
    token_logits: Tensor


def train(recipe: Recipe, cache: Path, out: Path, device: torch.device, bf16: bool) -> None:
    """Train on `cache`, going on from the last whole epoch if there is one, and write the weights to `out`."""
    torch.manual_seed(recipe.seed)
    data = FeatureCache(*(cache / part.name for part in recipe.rounds))
    head = _new_head(recipe, cache).to(device)
    averaged = torch.optim.swa_utils.AveragedModel(
        head, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(recipe.optimisation.ema), use_buffers=True
    )
    steps = math.ceil(len(data) / recipe.optimisation.batch)
    optimiser, schedule = _optimiser(recipe, head, steps)
    state_file, log_file = cache / f"{out.stem}.state", cache / f"{out.stem}.log.jsonl"
    first = _resume(recipe, state_file, head, averaged, optimiser, schedule)
    ai_share = float(np.mean([data.label(i) for i in range(len(data))]))
    started = time.time()
    for epoch in range(first, recipe.optimisation.epochs):
        rng = np.random.default_rng([recipe.seed, 7, epoch])
        torch.manual_seed(recipe.seed * 1000 + epoch)
        means = _train_epoch(recipe, head, averaged, optimiser, schedule, data, rng, ai_share, bf16, epoch)
        _log(log_file, {"epoch": epoch + 1, **means, "minutes": round((time.time() - started) / 60, 1)})
        _save_state(recipe, state_file, epoch + 1, head, averaged, optimiser, schedule)
    if recipe.evidence.scale:
        fit_evidence(recipe, cache, averaged.module.evidence)
    _write(recipe, averaged.module, out)


def _new_head(recipe: Recipe, cache: Path) -> TrainedHead:
    statistics = load_file(cache / "tap_norm.safetensors")
    head = TrainedHead(recipe.network, statistics["mean"].shape[-1])
    head.tap_norm.load_state_dict(statistics)
    return head


def _optimiser(recipe: Recipe, head: TrainedHead, steps: int):
    """AdamW; linear warm-up, then a cosine down to zero."""
    spec = recipe.optimisation
    total = steps * spec.epochs
    warmup = max(1, int(spec.warmup * total))

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))

    decayed = [p for p in head.parameters() if p.ndim > 1]
    other = [p for p in head.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": spec.weight_decay}, {"params": other, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=spec.lr, betas=(0.9, 0.98), fused=True)
    return optimiser, torch.optim.lr_scheduler.LambdaLR(optimiser, factor)


def _train_epoch(recipe, head, averaged, optimiser, schedule, data, rng, ai_share, bf16, epoch) -> dict[str, float]:
    spec, device = recipe.optimisation, next(head.parameters()).device
    head.train()
    sums, count = np.zeros(3), 0
    order = rng.permutation(len(data))
    total = math.ceil(len(order) / spec.batch)
    bar = tqdm(_batches(data, order, spec.batch, rng), total=total, desc=f"epoch {epoch + 1}", disable=None)
    for batch in bar:
        batch = batch.to(device)
        hidden = _hidden_paths(len(batch.counts), spec, rng, device)
        losses = _losses(_forward(head, batch, bf16, hidden, spec.drop_channels), batch, ai_share, spec.label_smoothing)
        optimiser.zero_grad()
        losses.total(spec.alpha, spec.beta).backward()
        torch.nn.utils.clip_grad_norm_(head.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        averaged.update_parameters(head)
        sums += [float(part.detach()) for part in (losses.cls, losses.tfl, losses.qfe)]
        count += 1
        bar.set_postfix(cls=f"{sums[0] / count:.3f}", refresh=False)
    return {name: round(value / count, 4) for name, value in zip(("cls", "tfl", "qfe"), sums, strict=True)}


def _batches(data: FeatureCache, order: np.ndarray, size: int, rng: np.random.Generator) -> Iterator[Batch]:
    """Batches in order, read by a thread ahead of the training; patches are dropped at random."""
    seeds = rng.integers(2**63, size=len(order))

    def load(start: int) -> Batch:
        chosen = slice(start, start + size)
        return _collate([_thin(data[int(i)], seed) for i, seed in zip(order[chosen], seeds[chosen], strict=True)])

    with ThreadPoolExecutor(1) as reader:
        starts = range(0, len(order), size)
        queue = [reader.submit(load, start) for start in starts[:2]]
        for start in [*starts[2:], None, None]:
            if not queue:
                return
            batch = queue.pop(0).result()
            if start is not None:
                queue.append(reader.submit(load, start))
            yield batch


def _thin(sample: CachedSample, seed: int) -> CachedSample:
    """Half the time, keep a random number of the patches; never of an image that is AI only in part."""
    rng = np.random.default_rng(seed)
    patches = len(sample.token_labels)
    partly = 0 < float(sample.token_labels.float().mean()) < 1
    if partly or patches == 1 or rng.random() < 0.5:
        return sample
    kept = torch.from_numpy(np.sort(rng.choice(patches, rng.integers(1, patches + 1), replace=False)))
    tokens = torch.cat([sample.tokens[:1], sample.tokens[1 + kept]])
    return dataclasses.replace(sample, tokens=tokens, token_labels=sample.token_labels[kept])


def _collate(samples: list[CachedSample]) -> Batch:
    return Batch(
        torch.cat([s.tokens for s in samples]),
        [len(s.tokens) for s in samples],
        torch.cat([s.token_labels for s in samples]).float(),
        torch.tensor([s.label for s in samples]),
        torch.tensor([s.quality for s in samples]),
    )


def _hidden_paths(size: int, spec, rng: np.random.Generator, device: torch.device) -> tuple[Tensor, Tensor]:
    """(B, 1) factors for f_global and f_detail: 0 hides the path of a sample, never both."""
    draw = rng.random(size)
    hide_global, hide_detail = draw < spec.drop_global, draw > 1 - spec.drop_detail
    return tuple(
        torch.tensor(1.0 - hide, device=device, dtype=torch.float32)[:, None] for hide in (hide_global, hide_detail)
    )


def _forward(
    head: TrainedHead,
    batch: Batch,
    bf16: bool,
    hidden: tuple[Tensor, Tensor] | None = None,
    drop_channels: float = 0.0,
) -> Outputs:
    """The trained part over one batch, in bf16 where wanted; FAM with padding to the largest K."""
    device = batch.tokens.device
    starts = torch.tensor([0, *batch.counts[:-1]]).cumsum(0)
    is_global = torch.zeros(len(batch.tokens), dtype=torch.bool, device=device)
    is_global[starts] = True
    with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        standard = batch.tokens.to(torch.bfloat16 if bf16 else torch.float32) * TapNorm.QUANTUM
        if drop_channels:
            views, taps, _, channels = standard.shape
            kept = torch.rand(views, taps, 1, channels, device=device) >= drop_channels
            standard *= kept.to(standard.dtype) / (1 - drop_channels)
        refined = head.refiner(standard, is_global)  # (V, 1 + N, D)
        token_logits = head.localiser(refined[~is_global][:, 1:])
    f_global, cls = refined[is_global, 0].float(), refined[~is_global, 0].float()
    patches, padding = _pad(cls, [count - 1 for count in batch.counts])
    f_detail = head.aggregator(patches, padding)
    qualities = head.quality(f_detail)
    if hidden is not None:
        f_global, f_detail = f_global * hidden[0], f_detail * hidden[1]
    return Outputs(head.classifier(f_global, f_detail), qualities, token_logits.float())


def _pad(cls: Tensor, counts: list[int]) -> tuple[Tensor, Tensor]:
    """(sum K, D) -> (B, max K, D) and a mask (B, max K), True where there is no patch."""
    padded = torch.nn.utils.rnn.pad_sequence(list(cls.split(counts)), batch_first=True)
    lengths = torch.tensor(counts, device=cls.device)
    return padded, torch.arange(padded.shape[1], device=cls.device)[None] >= lengths[:, None]


def _losses(outputs: Outputs, batch: Batch, ai_share: float, smoothing: float) -> Losses:
    return Losses(
        classification_loss(outputs.logits, batch.labels, ai_share, smoothing),
        localisation_loss(outputs.token_logits, batch.token_labels),
        quality_loss(outputs.qualities, batch.qualities),
    )


def _log(path: Path, row: dict) -> None:
    tqdm.write(json.dumps(row))
    with path.open("a") as file:
        file.write(json.dumps(row) + "\n")


def _save_state(recipe: Recipe, path: Path, epoch: int, *parts) -> None:
    partial = path.with_suffix(".partial")
    torch.save(
        {"recipe": _what_decides_descent(recipe), "epoch": epoch, "parts": [part.state_dict() for part in parts]},
        partial,
    )
    partial.replace(path)


def _what_decides_descent(recipe: Recipe) -> str:
    """The recipe without what is only fitted afterwards: evidence and calibration."""
    rounds = tuple(dataclasses.replace(part, evidence_weight=1.0) for part in recipe.rounds)
    data = dataclasses.replace(recipe.data, calibration="")
    return repr(dataclasses.replace(recipe, rounds=rounds, data=data, evidence=EvidenceSpec()))


def _resume(recipe: Recipe, path: Path, *parts) -> int:
    """Load the state of the last whole epoch of the same recipe; its number, 0 if there is none."""
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True)
    if state["recipe"] != _what_decides_descent(recipe):
        return 0
    for part, saved in zip(parts, state["parts"], strict=True):
        part.load_state_dict(saved)
    return state["epoch"]


def _write(recipe: Recipe, head: TrainedHead, out: Path) -> None:
    """The checkpoint, as yet without a calibration."""
    backbone = Path(recipe.data.backbone)
    training = {
        "recipe": dataclasses.asdict(recipe),
        "tables_sha256": tables_sha256([Path(t) for t in recipe.data.tables]),
    }
    save_trained(
        out, head, CheckpointHeader(out.stem, recipe.network, backbone.name, sha256_of(backbone), training=training)
    )
    tqdm.write(f"wrote {out}")
