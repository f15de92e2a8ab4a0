"""Samples of the verdict: labelled images of all tables, as published and as delivered, with cached features.

The backbone costs far more than all later steps. Shards of features are written in order, so an interrupted run resumes
after its last shard; each image has its own random generator, so that the result is the same.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from hidascan.detectors.backbones import FrozenViT
from hidascan.detectors.hidanet.filters import mean_features
from hidascan.detectors.hidanet.kernel_probe import DOMAINS, FAMILIES
from hidascan.errors import HidascanError
from hidascan.geometry import ViewPlan
from hidascan.image.decode import DecodedImage, decode
from hidascan.image.perturb import Perturbation
from hidascan.image.views import cut_views
from hidascan.lab import artifacts
from hidascan.lab.artifacts import Workspace, fingerprint
from hidascan.lab.data.degradations import draw_delivery, draw_hard_delivery
from hidascan.lab.data.layouts import read_images
from hidascan.lab.data.tables import LabelledImage, capped, fold_of, tables_sha256
from hidascan.lab.hidanet.recipe import HiDANetRecipe, recipe_backbone, token_settings
from hidascan.lab.read_ahead import read_ahead

_SHARD = 40  # images
_BATCH = 16  # views per pass through the backbone
_HARD = "hard"  # first word of the names of hard deliveries


@dataclass(frozen=True)
class Delivery:
    """A simulated delivery, applied to every image."""

    name: str  # unique
    patches: int  # number of patches per image, in addition to the thumbnail
    # Function that draws a perturbation with the random generator of an image; None for the image as published.
    draw: Callable[[np.random.Generator], Perturbation] | None = None


@dataclass(frozen=True)
class VerdictFeatures:
    """S samples, each an image under a delivery."""

    images: Sequence[LabelledImage]
    views: Sequence[Tensor]  # frozen [CLS] tokens (1 + K, T * C) of the views of each sample, the thumbnail first
    thumbnail: Tensor  # (S, T * C) tokens of the thumbnails
    patches: Tensor  # (S, T * C) tokens averaged over the patches
    residuals: Tensor  # (S, FEATURES) residual features averaged over the patches
    labels: Tensor  # (S,) 0 for real, 1 for AI
    folds: Tensor  # (S,) folds of the sources
    as_published: Tensor  # (S,) bool, true for images as published, false for delivered copies
    hard: Tensor  # (S,) bool, true for copies under a hard delivery, which FAM alone is trained on
    qualities: Tensor  # (S,) JPEG qualities 1..100 in the headers of unchanged JPEGs, else NaN
    domains: Tensor  # (S,) indices into DOMAINS, -1 for others
    families: Tensor  # (S,) indices into FAMILIES, -1 for others

    def only(self, mask: Tensor) -> VerdictFeatures:
        """Return the samples for which mask (S,) bool is true."""
        chosen = torch.nonzero(mask)[:, 0].tolist()
        parts = {field.name: getattr(self, field.name) for field in fields(self)}
        lists = {name: [parts[name][number] for number in chosen] for name in ("images", "views")}
        return VerdictFeatures(**{name: part[mask] for name, part in parts.items() if name not in lists} | lists)


def verdict_samples(recipe: HiDANetRecipe, workspace: Workspace) -> VerdictFeatures:
    """Compute or read the samples of a recipe."""
    images, (first, *drawn) = sample_images(recipe, recipe.samples.cap), recipe.samples.patches
    deliveries = [Delivery("as is", first)]
    deliveries += [Delivery("drawn" + " again" * time, count, draw_delivery) for time, count in enumerate(drawn)]
    deliveries += [
        Delivery(f"{_HARD} {time}", count, draw_hard_delivery) for time, count in enumerate(recipe.samples.hard)
    ]
    return delivered_samples(recipe, images, deliveries, "probe", workspace)


def sample_images(recipe: HiDANetRecipe, cap: int) -> list[LabelledImage]:
    """Return at most `cap` images of each group of a source, from all tables.

    They are ordered by rounds of two per group of a source, so that an incomplete cache covers all sources.
    """
    images, rounds = capped(read_images(*recipe.data.tables), cap), []
    seen: Counter[tuple[str, str, int]] = Counter()
    for image in images:
        key = (image.source, image.group, image.label)
        rounds.append(seen[key] // 2)
        seen[key] += 1
    return [images[place] for place in np.argsort(rounds, kind="stable")]


def delivered_samples(
    recipe: HiDANetRecipe, images: list[LabelledImage], deliveries: list[Delivery], name: str, workspace: Workspace
) -> VerdictFeatures:
    """Compute samples of images under all deliveries, or read them from folder `name` of the cache.

    Unreadable images have no sample.

    Raises:
        RecipeError: If the folder contains features of other images, deliveries or backbones.
    """
    folder = workspace.cache / name
    made_by = fingerprint(
        what="delivered",
        laws=[[delivery.name, delivery.patches] for delivery in deliveries],
        images=[f"{image.source} {image.path.name}" for image in images],
        backbone=token_settings(recipe),
        tables=tables_sha256(recipe.data.tables),
    )
    artifacts.claim_folder(folder, made_by)
    backbone = recipe_backbone(recipe, recipe.network.taps, workspace)
    for path, numbers in artifacts.missing_shards(folder, len(images), _SHARD, f"features {name}"):
        if features := _encode(_cut(images, deliveries, numbers), backbone):  # none while a disk is not mounted
            artifacts.save_artifact(path, features, made_by)
    return _samples(artifacts.read_shards(folder), images, deliveries)


@dataclass(frozen=True)
class _Cut:
    """Views of an image under a delivery: (1 + K, 224, 224, 3) uint8; corners of the patches: (K, 2)."""

    views: np.ndarray
    corners: np.ndarray
    image: int
    delivery: int
    quality: float


def _cut(images: list[LabelledImage], deliveries: list[Delivery], numbers: range) -> list[_Cut]:
    """Cut some of the images into views, under each delivery."""
    cut = read_ahead(lambda place: _cut_one(images, deliveries, numbers[place]), len(numbers), ahead=4)
    return [sample for samples in cut for sample in samples]


def _cut_one(images: list[LabelledImage], deliveries: list[Delivery], number: int) -> list[_Cut]:
    image = images[number]
    decoded = decode_or_skip(image)
    if decoded is None:
        return []
    rng = np.random.default_rng(zlib.crc32(f"{image.source} {image.path.name}".encode()))
    found = []
    for place, delivery in enumerate(deliveries):
        try:
            pixels = decoded.pixels if delivery.draw is None else delivery.draw(rng)(decoded.pixels)
        except (ValueError, OSError, MemoryError) as error:  # a copy may be too large for its format, such as WebP
            tqdm.write(f"skipped: {image.path}: {error}")
            return []  # each image has all deliveries, or none
        cut = cut_views(pixels, ViewPlan(patches=delivery.patches), decoded.orientation)
        corners = np.array([[box.top, box.left] for box in cut.boxes[1:]])
        quality = decoded.jpeg.quality if decoded.jpeg is not None and delivery.draw is None else float("nan")
        found.append(_Cut(np.stack(cut.pixels), corners, number, place, float(quality)))
    return found


def decode_or_skip(image: LabelledImage) -> DecodedImage | None:
    """Decode an image; write a line and return None if it is unreadable."""
    try:
        return decode(image.path)
    except HidascanError as error:
        tqdm.write(f"skipped: {image.path}: {error}")
        return None


@torch.inference_mode()
def _encode(cuts: list[_Cut], backbone: FrozenViT) -> dict[str, Tensor]:
    """Compute the features of S samples with V views and P patches in all.

    Returns:
        Tokens (V, T, C) and residuals (P, FEATURES), float16; views, image, delivery and quality (S,); nothing if S is 0.
    """
    if not cuts:
        return {}
    views = torch.from_numpy(np.concatenate([cut.views for cut in cuts])).permute(0, 3, 1, 2)
    is_patch = torch.tensor([place > 0 for cut in cuts for place in range(len(cut.views))])
    corners = torch.from_numpy(np.concatenate([cut.corners for cut in cuts]))
    tokens = [backbone.cls(part.to(backbone.mean.device)).half().cpu() for part in views.split(_BATCH)]
    pairs = zip(views[is_patch].split(_BATCH), corners.split(_BATCH), strict=True)
    return {
        "tokens": torch.cat(tokens),
        "residuals": torch.cat([mean_features(part, where).half() for part, where in pairs]),
        "views": torch.tensor([len(cut.views) for cut in cuts]),
        "image": torch.tensor([cut.image for cut in cuts]),
        "delivery": torch.tensor([cut.delivery for cut in cuts]),
        "quality": torch.tensor([cut.quality for cut in cuts]),
    }


def _samples(features: dict[str, Tensor], images: list[LabelledImage], deliveries: list[Delivery]) -> VerdictFeatures:
    """Average features over the patches of each sample."""
    views = features["tokens"].flatten(1).split(features["views"].tolist())
    residuals = features["residuals"].split((features["views"] - 1).tolist())
    sampled = [images[number] for number in features["image"].tolist()]
    return VerdictFeatures(
        images=sampled,
        views=views,
        thumbnail=torch.stack([part[0].float() for part in views]),
        patches=torch.stack([part[1:].float().mean(0) for part in views]),
        residuals=torch.stack([part.float().mean(0) for part in residuals]),
        labels=torch.tensor([image.label for image in sampled]),
        folds=torch.tensor([fold_of(image.source) for image in sampled]),
        as_published=features["delivery"] == 0,
        hard=torch.tensor([delivery.name.startswith(_HARD) for delivery in deliveries])[features["delivery"]],
        qualities=features["quality"].float(),
        domains=_numbers([image.domain for image in sampled], DOMAINS),
        families=_numbers([image.family for image in sampled], FAMILIES),
    )


def _numbers(words: list[str], names: tuple[str, ...]) -> Tensor:
    """Map words (S,) to their indices in `names`, -1 for others."""
    return torch.tensor([names.index(word) if word in names else -1 for word in words])
