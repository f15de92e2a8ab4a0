"""Samples of the verdict: labelled images of all tables, as published and as delivered."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hidascan.detectors.hidanet.kernel_probe import DOMAINS, FAMILIES, KernelProbe
from hidascan.lab.data.deliveries import draw_delivery
from hidascan.lab.data.layouts import read_images
from hidascan.lab.data.tables import LabelledImage, capped, fold_of, tables_sha256
from hidascan.lab.hidanet.features import Delivery, Features, QualitySamples, delivered_features, quality_samples
from hidascan.lab.hidanet.kernel_probe import PooledSamples, fit_kernel_probe
from hidascan.lab.hidanet.recipe import HiDANetRecipe, recipe_backbone, token_settings
from hidascan.lab.measure.metrics import source_weights
from hidascan.lab.training.artifacts import fingerprint


@dataclass(frozen=True)
class ProbeSamples:
    """S samples and their origin.

    Attributes:
        pooled: Input of the kernel probe, and labels.
        images: Image of each sample.
        folds: (S,) folds of the sources.
        as_published: (S,) bool, true for images as published, false for delivered copies.
        views: Frozen [CLS] tokens (1 + K, T * C) of the views of each sample; empty if not kept.
    """

    pooled: PooledSamples
    images: list[LabelledImage]
    folds: Tensor
    as_published: Tensor
    views: tuple[Tensor, ...] = ()

    def only(self, mask: Tensor) -> ProbeSamples:
        """Return the samples for which mask (S,) bool is true."""
        images = [image for image, kept in zip(self.images, mask.tolist(), strict=True) if kept]
        parts = [part[mask] for part in (self.folds, self.as_published)]
        views = tuple(part for part, kept in zip(self.views, mask.tolist(), strict=False) if kept)
        return ProbeSamples(self.pooled.only(mask), images, parts[0], parts[1], views)

    def source_weights(self) -> Tensor:
        """Return weights (S,) that give a source of n samples the weight sqrt(n)."""
        names = [f"{image.source} {image.group}" for image in self.images]
        return torch.from_numpy(source_weights(self.pooled.labels.numpy(), names)).float().sqrt()

    def fit(self, recipe: HiDANetRecipe, mask: Tensor) -> KernelProbe:
        """Fit a probe to the samples for which mask (S,) bool is true."""
        weights = torch.where(self.as_published, 1.0, recipe.kernel.delivered) * self.pooled.weights
        return fit_kernel_probe(replace(self.pooled, weights=weights).only(mask & (weights > 0)), recipe)


def probe_samples(recipe: HiDANetRecipe, cache: Path, device: str, dtype: torch.dtype) -> ProbeSamples:
    """Compute or read the samples of a recipe."""
    images, (first, *drawn) = sample_images(recipe, recipe.samples.cap), recipe.samples.patches
    deliveries = [Delivery("as is", first)]
    deliveries += [Delivery("drawn" + " again" * time, count, draw_delivery) for time, count in enumerate(drawn)]
    return pooled_samples(deliver(recipe, images, deliveries, cache / "probe", device, dtype), images)


def known_qualities(recipe: HiDANetRecipe, samples: ProbeSamples, cache: Path) -> QualitySamples:
    """Return the samples of QFE: JPEGs made for it, and the published JPEGs among `samples`."""
    made = quality_samples(
        sample_images(recipe, recipe.samples.quality_cap), recipe.samples.quality_draws, cache / "quality"
    )
    known = ~samples.pooled.qualities.isnan()
    found = QualitySamples(
        samples.pooled.residuals[known].half(),
        samples.pooled.qualities[known],
        torch.ones(int(known.sum())),
        samples.folds[known],
    )
    return QualitySamples(
        *(torch.cat([getattr(part, name) for part in (made, found)]) for name in made.__annotations__)
    )


def sample_images(recipe: HiDANetRecipe, cap: int) -> list[LabelledImage]:
    """Return at most `cap` images of each group of a source, from all tables, in the order of sampling."""
    known = [image for table in recipe.data.tables for image in read_images(table)]
    return _broadest_first(capped(known, cap))


def _broadest_first(images: list[LabelledImage]) -> list[LabelledImage]:
    """Order images by rounds of two per group of a source, so that an incomplete cache covers all sources."""
    seen: Counter[tuple[str, str, int]] = Counter()
    rounds = []
    for image in images:
        key = (image.source, image.group, image.label)
        rounds.append(seen[key] // 2)
        seen[key] += 1
    return [images[place] for place in np.argsort(rounds, kind="stable")]


def deliver(
    recipe: HiDANetRecipe,
    images: list[LabelledImage],
    deliveries: list[Delivery],
    folder: Path,
    device: str,
    dtype: torch.dtype,
) -> Features:
    """Compute or read features of images with the backbone of a recipe."""
    backbone = recipe_backbone(recipe, recipe.network.taps, device, dtype)
    settings = [[delivery.name, delivery.patches] for delivery in deliveries]
    names = [f"{image.source} {image.path.name}" for image in images]
    made_by = fingerprint(
        what="delivered",
        laws=settings,
        images=names,
        backbone=token_settings(recipe),
        tables=tables_sha256(recipe.data.tables),
    )
    return delivered_features(images, deliveries, backbone, folder, made_by)


def pooled_samples(features: Features, images: list[LabelledImage]) -> ProbeSamples:
    """Average features over the patches of each sample."""
    views = features.tokens.flatten(1).split(features.views.tolist())
    thumbnails, patches = [part[0].float() for part in views], [part[1:].float().mean(0) for part in views]
    residuals = [part.float().mean(0) for part in features.residuals.split((features.views - 1).tolist())]
    sampled = [images[number] for number in features.image.tolist()]
    labels = torch.tensor([image.label for image in sampled])
    weights = torch.ones(len(labels))
    seen = [torch.stack(part) for part in (thumbnails, patches, residuals)]
    kinds = (_numbers([image.domain for image in sampled], DOMAINS), _numbers([i.family for i in sampled], FAMILIES))
    pooled = PooledSamples(seen[0], seen[1], seen[2], labels, weights, features.quality.float(), kinds[0], kinds[1])
    folds = torch.from_numpy(np.array([fold_of(image.source) for image in sampled]))
    return ProbeSamples(pooled, sampled, folds, features.delivery == 0, views=views)


def _numbers(words: list[str], names: tuple[str, ...]) -> Tensor:
    """Map words (S,) to their indices in `names`, -1 for others."""
    return torch.tensor([names.index(word) if word in names else -1 for word in words])
