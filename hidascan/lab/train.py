"""Trains all that is trained, on cached features, and writes the trained part."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor
from tqdm import tqdm

from hidascan.lab.cache import CachedSample, FeatureCache
from hidascan.lab.data import tables_sha256
from hidascan.lab.descent import Descent, hide_channels, read_ahead
from hidascan.lab.evidence import evidence_samples, fit_evidence
from hidascan.lab.locate import train_localiser
from hidascan.lab.losses import classification_loss, quality_loss
from hidascan.lab.recipe import Optimisation, Recipe
from hidascan.model.checkpoint import CheckpointHeader, save_trained, sha256_of
from hidascan.model.hidanet import TrainedHead
from hidascan.model.refiner import TapNorm


@dataclass(frozen=True)
class Batch:
    """Samples of several K, side by side. V views in all, the K_i patches of sample i after its thumbnail."""

    tokens: Tensor  # (V, T, 1 + N, C) int8
    counts: list[int]  # views a sample, thumbnail included
    labels: Tensor  # (B,) float32
    qualities: Tensor  # (B,) float32, NaN = unknown

    def to(self, device: torch.device) -> Batch:
        return Batch(self.tokens.to(device), self.counts, self.labels.to(device), self.qualities.to(device))


def train(recipe: Recipe, cache: Path, out: Path, device: torch.device, bf16: bool) -> None:
    """Train on `cache`, going on from the last whole epoch if there is one, and write the weights to `out`."""
    torch.manual_seed(recipe.seed)
    head = new_head(recipe, cache).to(device)
    localiser, head.localiser = head.localiser, None  # it learns apart
    head = _train_fusion(recipe, cache, head, cache / f"{out.stem}.state", bf16)
    head.localiser = train_localiser(recipe, cache, localiser, cache / f"{out.stem}.tokens.state")
    if recipe.evidence.scale:
        fit_evidence(recipe, evidence_samples(recipe, cache), head.evidence)
    _write(recipe, head, out)


def new_head(recipe: Recipe, cache: Path) -> TrainedHead:
    """The trained part before training, with the statistics of the cached tokens."""
    statistics = load_file(cache / "tap_norm.safetensors")
    head = TrainedHead(recipe.network, statistics["mean"].shape[-1])
    head.tap_norm.load_state_dict(statistics)
    return head


def _train_fusion(recipe: Recipe, cache: Path, head: TrainedHead, state: Path, bf16: bool) -> TrainedHead:
    """Refiner, FAM, classifier and QFE; the averaged weights."""
    spec = recipe.optimisation
    data = FeatureCache(*(cache / part.name for part in recipe.rounds))
    descent = Descent(head, spec, math.ceil(len(data) / spec.batch))
    ai_share = float(np.mean([data.label(i) for i in range(len(data))]))

    def epoch(number: int) -> dict[str, float]:
        torch.manual_seed(recipe.seed * 1000 + number)
        return _train_epoch(descent, spec, data, np.random.default_rng([recipe.seed, 7, number]), ai_share, bf16)

    descent.run(_what_decides_descent(recipe), state, epoch)
    return descent.averaged


def _train_epoch(
    descent: Descent, spec: Optimisation, data: FeatureCache, rng: np.random.Generator, ai_share: float, bf16: bool
) -> dict[str, float]:
    head, device = descent.module, next(descent.module.parameters()).device
    head.train()
    order, parts = rng.permutation(len(data)), []
    total = math.ceil(len(order) / spec.batch)
    for batch in tqdm(_batches(data, order, spec.batch, rng), total=total, desc="fusion", disable=None):
        batch = batch.to(device)
        hidden = _hidden_paths(len(batch.counts), spec, rng, device)
        logits, qualities = _forward(head, batch, bf16, hidden, spec.drop_channels)
        l_cls = classification_loss(logits, batch.labels, ai_share, spec.label_smoothing)
        l_qfe = quality_loss(qualities, batch.qualities)
        descent.step(l_cls + spec.beta * l_qfe)
        parts.append([float(l_cls.detach()), float(l_qfe.detach())])
    return {name: round(value, 4) for name, value in zip(("cls", "qfe"), np.mean(parts, axis=0), strict=True)}


def _batches(data: FeatureCache, order: np.ndarray, size: int, rng: np.random.Generator) -> Iterator[Batch]:
    """Batches in order, read by a thread ahead of the training; patches are dropped at random."""
    seeds = rng.integers(2**63, size=len(order))

    def load(number: int) -> Batch:
        chosen = slice(number * size, (number + 1) * size)
        return collate([_thin(data[int(i)], seed) for i, seed in zip(order[chosen], seeds[chosen], strict=True)])

    return read_ahead(load, math.ceil(len(order) / size))


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


def collate(samples: list[CachedSample]) -> Batch:
    """Samples side by side."""
    return Batch(
        torch.cat([s.tokens for s in samples]),
        [len(s.tokens) for s in samples],
        torch.tensor([s.label for s in samples]),
        torch.tensor([s.quality for s in samples]),
    )


def _hidden_paths(
    size: int, spec: Optimisation, rng: np.random.Generator, device: torch.device
) -> tuple[Tensor, Tensor]:
    """(B, 1) factors for f_global and f_detail: 0 hides the path of a sample, never both."""
    draw = rng.random(size)
    hide_global, hide_detail = draw < spec.drop_global, draw > 1 - spec.drop_detail
    return tuple(
        torch.tensor(1.0 - hide, device=device, dtype=torch.float32)[:, None] for hide in (hide_global, hide_detail)
    )


def _forward(
    head: TrainedHead, batch: Batch, bf16: bool, hidden: tuple[Tensor, Tensor], drop_channels: float
) -> tuple[Tensor, Tensor]:
    """The trained part over one batch, in bf16 where wanted; FAM with padding to the largest K. -> logits (B,),
    qualities (B,) in 1..100."""
    device = batch.tokens.device
    starts = torch.tensor([0, *batch.counts[:-1]]).cumsum(0)
    is_global = torch.zeros(len(batch.tokens), dtype=torch.bool, device=device)
    is_global[starts] = True
    with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        standard = batch.tokens.to(torch.bfloat16 if bf16 else torch.float32) * TapNorm.QUANTUM
        refined = head.refiner(hide_channels(standard, drop_channels), is_global)  # (V, 1 + N, D)
    f_global, cls = refined[is_global, 0].float(), refined[~is_global, 0].float()
    patches, padding = pad(cls, [count - 1 for count in batch.counts])
    f_detail = head.aggregator(patches, padding)
    qualities = head.quality(f_detail)
    return head.classifier(f_global * hidden[0], f_detail * hidden[1]), qualities


def pad(cls: Tensor, counts: list[int]) -> tuple[Tensor, Tensor]:
    """(sum K, D) -> (B, max K, D) and a mask (B, max K), True where there is no patch."""
    padded = torch.nn.utils.rnn.pad_sequence(list(cls.split(counts)), batch_first=True)
    lengths = torch.tensor(counts, device=cls.device)
    return padded, torch.arange(padded.shape[1], device=cls.device)[None] >= lengths[:, None]


def _what_decides_descent(recipe: Recipe) -> str:
    """The recipe without what is fitted apart: tokens and the width of their head, evidence and calibration."""
    network = dataclasses.replace(recipe.network, traces=0, detail_dim=0)
    rounds = [dataclasses.replace(part, evidence_weight=1.0) for part in recipe.rounds]
    return repr((recipe.seed, network, recipe.data.tables, rounds, recipe.cache, recipe.optimisation))


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
