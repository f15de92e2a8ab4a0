"""Run the ablations of the paper on our data: short trainings on cached tokens, one change each.

The kernel probe has no part in it: what is compared is what descent learns.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from hidascan.detectors.hidanet.network import FusionHead
from hidascan.lab.hidanet.features import CachedSample, FeatureCache
from hidascan.lab.hidanet.fusion import collate, forward, new_head
from hidascan.lab.hidanet.recipe import HiDANetRecipe
from hidascan.lab.measure import markdown
from hidascan.lab.measure.metrics import auc, balanced_accuracy, tpr_at_fpr
from hidascan.lab.training.losses import (
    Losses,
    classification_loss,
    contrastive_loss,
    localisation_loss,
    quality_loss,
)
from hidascan.lab.training.trainer import Trainer, read_ahead

_TOKENS_COMPARED = 768  # by L_con, a batch


@dataclass(frozen=True)
class Variant:
    """One row.

    Attributes:
        part: What is varied.
        name: How.
        patches: At most so many of a sample in training; None for all that are cached.
        shown: At most so many, at random, of an image in the test.
        alpha: Weight of L_tfl.
        beta: Weight of L_qfe.
        contrast: Weight of L_con.
        swaps: Whether there are samples of RPS.
        views: Whether f_global and f_detail are seen.
        network: What differs in the network's config.
    """

    part: str
    name: str
    patches: int | None = None
    shown: int | None = None
    alpha: float = 0.5
    beta: float = 4.0
    contrast: float = 0.0
    swaps: bool = True
    views: tuple[bool, bool] = (True, True)
    network: dict[str, Any] = field(default_factory=dict)


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
    """Of one variant, on images as they are; `balanced` is at the best threshold, so an upper bound."""

    variant: Variant
    auc: float
    tpr_5: float
    balanced: float


class _Joint(nn.Module):
    """The head with the TFL of the paper: one linear layer on refined tokens."""

    def __init__(self, head: FusionHead, dim: int):
        super().__init__()
        self.head, self.tokens = head, nn.Linear(dim, 1)


def ablate(
    recipe: HiDANetRecipe,
    cache: Path,
    test: FeatureCache,
    samples: int,
    variants: tuple[Variant, ...] = VARIANTS,
    on_row: Callable[[AblationFigures], None] = lambda row: None,
) -> list[AblationFigures]:
    """Train each variant for one pass over `samples` samples of the recipe's rounds, and test it.

    Those that follow each other and differ in the test alone share a training.
    """
    rows: list[AblationFigures] = []
    trained_as, model = None, None
    for variant in variants:
        training = dataclasses.replace(variant, part="", name="", shown=None)
        if training != trained_as:
            rounds = [part for part in recipe.rounds if variant.swaps or part.sampling.swap < 0.5]
            data = FeatureCache(*(cache / part.name for part in rounds))
            changed = dataclasses.replace(recipe, network=dataclasses.replace(recipe.network, **variant.network))
            torch.manual_seed(recipe.seed)
            model, trained_as = _train(changed, new_head(changed, cache), data, samples, variant), training
        rows.append(_test(cast(_Joint, model), test, variant))
        on_row(rows[-1])
    return rows


def _train(recipe: HiDANetRecipe, head: FusionHead, data: FeatureCache, samples: int, variant: Variant) -> _Joint:
    model, spec = _Joint(head, recipe.network.dim), recipe.fusion
    rng = np.random.default_rng([recipe.seed, 40])
    order = rng.permutation(len(data))[:samples]
    steps = math.ceil(len(order) / spec.batch)
    trainer = Trainer(model, dataclasses.replace(spec, epochs=1), steps)
    ai_share = float(np.mean([data.label(int(i)) for i in order]))

    def load(step: int) -> list[CachedSample]:
        return [_thin(data[int(i)], variant.patches) for i in order[step * spec.batch : (step + 1) * spec.batch]]

    model.train()
    for batch in read_ahead(load, steps):
        trainer.step(_losses(model, batch, variant, ai_share, spec.label_smoothing, spec.drop_channels))
    return trainer.averaged.eval()


def _thin(sample: CachedSample, patches: int | None) -> CachedSample:
    """Take the first `patches` patches: which these are was random when the sample was made."""
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


def _losses(
    model: _Joint, samples: list[CachedSample], variant: Variant, ai_share: float, smoothing: float, hidden: float
) -> Losses:
    """Compute L_cls, beta L_qfe, alpha L_tfl and L_con."""
    batch, shares = collate(samples), torch.cat([sample.token_labels for sample in samples]).float()
    refined, fused = forward(model.head, batch, _visible(variant), drop_channels=hidden)
    patch_tokens = refined[~batch.is_thumbnail, 1:]
    losses = {
        "cls": classification_loss(fused.logits, batch.labels, ai_share, smoothing),
        "qfe": variant.beta * quality_loss(fused.qualities, batch.qualities),
    }
    if variant.alpha:
        losses["tfl"] = variant.alpha * localisation_loss(model.tokens(patch_tokens).squeeze(-1), shares)
    if variant.contrast:
        chosen = torch.randperm(shares.numel())[:_TOKENS_COMPARED]
        tokens, truth = patch_tokens.flatten(0, 1)[chosen], shares.flatten()[chosen]
        losses["con"] = variant.contrast * contrastive_loss(tokens, truth)
    return losses


def _visible(variant: Variant) -> tuple[float, float]:
    return float(variant.views[0]), float(variant.views[1])


@torch.no_grad()
def _test(model: _Joint, test: FeatureCache, variant: Variant) -> AblationFigures:
    logits, labels, rng = [], [], np.random.default_rng(0)
    for sample in read_ahead(test.__getitem__, len(test)):
        sample = _some_shown(sample, variant.shown, rng)
        _, fused = forward(model.head, collate([sample]), _visible(variant))
        logits.append(float(fused.logits[0]))
        labels.append(int(sample.label))
    scores, truth = np.array(logits), np.array(labels)
    best = max(balanced_accuracy(truth, scores, threshold) for threshold in np.unique(scores))
    return AblationFigures(variant, auc(truth, scores), tpr_at_fpr(truth, scores, 0.05), best)


def as_markdown(rows: list[AblationFigures]) -> str:
    """Write the table, the best AUC in bold."""
    best = max(range(len(rows)), key=lambda number: rows[number].auc)
    head = ["what", "variant", "AUC", "TPR at 5 % FPR", "balanced accuracy, best threshold"]
    cells = [
        [row.variant.part, row.variant.name, *(f"{value:.3f}" for value in (row.auc, row.tpr_5, row.balanced))]
        for row in rows
    ]
    return markdown.table(head, cells, best)
