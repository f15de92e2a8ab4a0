"""The ablations of the paper on our data: short trainings of refiner, FAM and heads on cached tokens, one change each.

The linear evidence has no part in it: what is compared is what descent learns.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from hidascan.lab.cache import CachedSample, FeatureCache
from hidascan.lab.descent import Descent, hide_channels, read_ahead
from hidascan.lab.losses import classification_loss, contrastive_loss, localisation_loss, quality_loss
from hidascan.lab.metrics import auc, balanced_accuracy, tpr_at_fpr
from hidascan.lab.recipe import Recipe
from hidascan.lab.train import collate, new_head, pad
from hidascan.model.hidanet import TrainedHead
from hidascan.model.refiner import TapNorm

_TOKENS_COMPARED = 768  # by L_con, a batch
_BATCH = 32  # views, in the test


@dataclass(frozen=True)
class Variant:
    """One row. patches: at most so many of a sample in training, None = all that are cached; shown: at most so many, at
    random, of an image in the test. alpha, beta, contrast: weights of L_tfl, L_qfe and L_con. swaps: with samples of
    RPS. views: whether f_global and f_detail are seen. network: what differs in NetworkConfig."""

    part: str
    name: str
    patches: int | None = None
    shown: int | None = None
    alpha: float = 0.5
    beta: float = 4.0
    contrast: float = 0.0
    swaps: bool = True
    views: tuple[bool, bool] = (True, True)
    network: dict[str, int] = field(default_factory=dict)


VARIANTS = (
    Variant("all", "FAM + TFL + QFE, RPS, 1 to 6 patches"),
    *(Variant("patches shown in the test", str(count), shown=count) for count in (1, 2, 4, 8, 16)),
    *(Variant("patches in training", str(count), patches=count) for count in (1, 2, 4)),
    Variant("losses", "FAM", alpha=0, beta=0),
    Variant("losses", "FAM + TFL", beta=0),
    Variant("losses", "FAM + QFE", alpha=0),
    Variant("views", "no global view", views=(False, True)),
    Variant("views", "no local view", views=(True, False)),
    Variant("tokens", "without RPS", swaps=False),
    Variant("tokens", "with PCL", contrast=0.5),
    Variant("FAM", "1 layer instead of 2", network={"aggregator_depth": 1}),
    Variant("FAM", "4 layers", network={"aggregator_depth": 4}),
    Variant("refiner and FAM", "96 wide instead of 192", network={"dim": 96}),
)


@dataclass(frozen=True)
class AblationFigures:
    """Of one variant, on images as they are; balanced: the accuracy at the best threshold, so an upper bound."""

    variant: Variant
    auc: float
    tpr_5: float
    balanced: float


class _Joint(nn.Module):
    """The trained part with the token head of the paper: one linear layer on refined tokens."""

    def __init__(self, head: TrainedHead, dim: int):
        super().__init__()
        self.head, self.tokens = head, nn.Linear(dim, 1)


def ablate(
    recipe: Recipe,
    cache: Path,
    test: FeatureCache,
    samples: int,
    variants: tuple[Variant, ...] = VARIANTS,
    on_row: Callable[[AblationFigures], None] = lambda row: None,
) -> list[AblationFigures]:
    """Train each variant for one pass over `samples` samples of the recipe's rounds, and test it; those that follow
    each other and differ in the test alone share a training."""
    rows, trained_as = [], None
    for variant in variants:
        training = dataclasses.replace(variant, part="", name="", shown=None)
        if training != trained_as:
            rounds = [part for part in recipe.rounds if variant.swaps or part.law.swap < 0.5]
            data = FeatureCache(*(cache / part.name for part in rounds))
            changed = dataclasses.replace(recipe, network=dataclasses.replace(recipe.network, **variant.network))
            torch.manual_seed(recipe.seed)
            model, trained_as = _train(changed, new_head(changed, cache), data, samples, variant), training
        rows.append(_test(model, test, variant))
        on_row(rows[-1])
    return rows


def _train(recipe: Recipe, head: TrainedHead, data: FeatureCache, samples: int, variant: Variant) -> _Joint:
    head.localiser = None
    model, spec = _Joint(head, recipe.network.dim), recipe.optimisation
    rng = np.random.default_rng([recipe.seed, 40])
    order = rng.permutation(len(data))[:samples]
    steps = math.ceil(len(order) / spec.batch)
    descent = Descent(model, dataclasses.replace(spec, epochs=1), steps)
    ai_share = float(np.mean([data.label(int(i)) for i in order]))

    def load(step: int) -> list[CachedSample]:
        return [_thin(data[int(i)], variant.patches) for i in order[step * spec.batch : (step + 1) * spec.batch]]

    model.train()
    for batch in read_ahead(load, steps):
        descent.step(_loss(model, batch, variant, ai_share, spec.label_smoothing, spec.drop_channels))
    return descent.averaged.eval()


def _thin(sample: CachedSample, patches: int | None) -> CachedSample:
    """The first `patches` patches: which these are was random when the sample was made."""
    if patches is None:
        return sample
    return dataclasses.replace(sample, tokens=sample.tokens[: 1 + patches], token_labels=sample.token_labels[:patches])


def _some_shown(sample: CachedSample, count: int | None, rng: np.random.Generator) -> CachedSample:
    """`count` of the patches at random: those of a whole image lie in order."""
    patches = len(sample.tokens) - 1
    if count is None or count >= patches:
        return sample
    chosen = torch.from_numpy(np.sort(rng.choice(patches, count, replace=False)))
    return dataclasses.replace(sample, tokens=torch.cat([sample.tokens[:1], sample.tokens[1 + chosen]]))


def _loss(
    model: _Joint, samples: list[CachedSample], variant: Variant, ai_share: float, smoothing: float, hidden: float
) -> Tensor:
    """L_cls + alpha L_tfl + beta L_qfe + contrast L_con"""
    batch, shares = collate(samples), torch.cat([sample.token_labels for sample in samples]).float()
    is_global = torch.zeros(len(batch.tokens), dtype=torch.bool)
    is_global[torch.tensor([0, *batch.counts[:-1]]).cumsum(0)] = True
    refined = _refine(model, batch.tokens, is_global, hidden)
    logits, qualities = _fuse(model, refined, is_global, batch.counts, variant.views)
    patch_tokens = refined[~is_global, 1:]
    loss = classification_loss(logits, batch.labels, ai_share, smoothing) + variant.beta * quality_loss(
        qualities, batch.qualities
    )
    if variant.alpha:
        loss = loss + variant.alpha * localisation_loss(model.tokens(patch_tokens).squeeze(-1), shares)
    if variant.contrast:
        chosen = torch.randperm(shares.numel())[:_TOKENS_COMPARED]
        loss = loss + variant.contrast * contrastive_loss(patch_tokens.flatten(0, 1)[chosen], shares.flatten()[chosen])
    return loss


def _refine(model: _Joint, tokens: Tensor, is_global: Tensor, hidden: float = 0.0) -> Tensor:
    """(V, T, 1 + N, C) int8 -> refined (V, 1 + N, D) float32"""
    with torch.autocast("cpu", torch.bfloat16):
        standard = tokens.to(torch.bfloat16) * TapNorm.QUANTUM
        return model.head.refiner(hide_channels(standard, hidden) if hidden else standard, is_global).float()


def _fuse(
    model: _Joint, refined: Tensor, is_global: Tensor, counts: list[int], views: tuple[bool, bool]
) -> tuple[Tensor, Tensor]:
    """-> logits (B,) and qualities (B,)"""
    patches, padding = pad(refined[~is_global, 0], [count - 1 for count in counts])
    f_detail = model.head.aggregator(patches, padding)
    logits = model.head.classifier(refined[is_global, 0] * views[0], f_detail * views[1])
    return logits, model.head.quality(f_detail)


@torch.no_grad()
def _test(model: _Joint, test: FeatureCache, variant: Variant) -> AblationFigures:
    logits, labels, rng = [], [], np.random.default_rng(0)
    for sample in read_ahead(test.__getitem__, len(test)):
        sample = _some_shown(sample, variant.shown, rng)
        is_global = torch.arange(len(sample.tokens)) == 0
        parts = zip(sample.tokens.split(_BATCH), is_global.split(_BATCH), strict=True)
        refined = torch.cat([_refine(model, *part) for part in parts])
        logits.append(float(_fuse(model, refined, is_global, [len(refined)], variant.views)[0]))
        labels.append(int(sample.label))
    scores, truth = np.array(logits), np.array(labels)
    best = max(balanced_accuracy(truth, scores, threshold) for threshold in np.unique(scores))
    return AblationFigures(variant, auc(truth, scores), tpr_at_fpr(truth, scores, 0.05), best)


def as_markdown(rows: list[AblationFigures]) -> str:
    """The table, the best AUC in bold."""
    best = max(rows, key=lambda row: row.auc)
    lines = ["| what | variant | AUC | TPR at 5 % FPR | balanced accuracy, best threshold |", "|---|---|---|---|---|"]
    for row in rows:
        cells = [row.variant.part, row.variant.name, *(f"{value:.3f}" for value in (row.auc, row.tpr_5, row.balanced))]
        lines.append("| " + " | ".join(f"**{cell}**" if row is best else cell for cell in cells) + " |")
    return "\n".join(lines)
