"""Compute what heads are fitted to, once: features of labelled images, as they are and delivered, and samples for QFE.

The backbone costs far more than all that follows. Shards are written whole and in order of their number, so a killed
run goes on where it stopped, and each image has a random generator of its own, so the result is the same.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from hidascan.detectors.backbones.frozen import FrozenViT
from hidascan.detectors.hidanet.residuals import mean_features
from hidascan.errors import HidascanError
from hidascan.geometry import PATCH, ViewPlan
from hidascan.image.decode import decode
from hidascan.image.perturb import Compression, Perturbation, compress, shrink
from hidascan.image.views import cut_views
from hidascan.lab.data.tables import LabelledImage, fold_of
from hidascan.lab.training.artifacts import claim_folder, fingerprint, load_artifact, save_artifact
from hidascan.lab.training.trainer import read_ahead

_SHARD = 40  # images of features
_BATCH = 16  # views a pass through the backbone
_QUALITY_SHARD = 50  # images of samples for QFE
_QUALITY_WINDOW = 4 * PATCH  # largest side of the compressed window, pixels
_RESIZED, _SMALLEST = 0.55, 0.4  # share of the samples that is resized after the save, and the smallest factor
_CLEAN_QUALITY = 100  # quality that stands for pixels never saved as JPEG


@dataclass(frozen=True)
class Delivery:
    """One way in which every image is looked at.

    Attributes:
        name: Tells it from others.
        patches: How many of its patches are looked at, besides the thumbnail.
        draw: Gives, for the random generator of an image, what happens to it; None for the image as it is.
    """

    name: str
    patches: int
    draw: Callable[[np.random.Generator], Perturbation] | None = None


@dataclass(frozen=True)
class Features:
    """Of S samples, each an image under a delivery, and their V views and P patches; samples in order of images.

    Attributes:
        tokens: (V, T, C) float16 frozen [CLS] tokens, each sample's thumbnail first.
        residuals: (P, FEATURES) float16, means of the residual features of each patch.
        views: (S,) views of each sample.
        image: (S,) which of the images.
        delivery: (S,) which of the deliveries.
        quality: (S,) by the tables of a JPEG that is looked at as it is, else NaN.
    """

    tokens: Tensor
    residuals: Tensor
    views: Tensor
    image: Tensor
    delivery: Tensor
    quality: Tensor


def delivered_features(
    images: list[LabelledImage], deliveries: list[Delivery], backbone: FrozenViT, folder: Path, made_by: str
) -> Features:
    """Compute or read the features of `images` under all `deliveries`; unreadable images have no sample.

    Raises:
        RecipeError: If `folder` holds those of something else.
    """
    claim_folder(folder, made_by)
    firsts = range(0, len(images), _SHARD)
    shards = {first: load_artifact(folder / f"{first:06d}.safetensors", made_by) for first in firsts}
    missing = [number for first in firsts if shards[first] is None for number in _numbers(first, images)]
    cut = read_ahead(lambda place: _cut(images[missing[place]], deliveries), len(missing), ahead=4)
    with tqdm(total=len(missing), desc=f"features {folder.name}", disable=None) as bar:
        for first in (first for first in firsts if shards[first] is None):
            samples: list[_Sample] = []
            for number in _numbers(first, images):
                samples += [sample.of(number) for sample in next(cut)]
                bar.update()
            made = _encode(samples, backbone)
            save_artifact(folder / f"{first:06d}.safetensors", made, made_by)
            shards[first] = made
    known = [shard for shard in shards.values() if shard is not None]
    return Features(**{name: torch.cat([shard[name] for shard in known]) for name in Features.__annotations__})


def _numbers(first: int, images: list[LabelledImage]) -> range:
    return range(first, min(first + _SHARD, len(images)))


@dataclass(frozen=True)
class _Sample:
    views: np.ndarray  # (1 + K, 224, 224, 3) uint8
    corners: np.ndarray  # (K, 2)
    delivery: int
    quality: float
    image: int = -1

    def of(self, image: int) -> _Sample:
        """Return it with the number of its image."""
        return _Sample(self.views, self.corners, self.delivery, self.quality, image)


def _cut(image: LabelledImage, deliveries: list[Delivery]) -> list[_Sample]:
    """Deliver an image and cut what arrives into views."""
    try:
        decoded = decode(image.path)
    except HidascanError as error:
        tqdm.write(f"skipped: {error}")
        return []
    rng = np.random.default_rng(zlib.crc32(f"{image.source} {image.path.name}".encode()))
    samples = []
    for number, delivery in enumerate(deliveries):
        pixels = decoded.pixels if delivery.draw is None else delivery.draw(rng)(decoded.pixels)
        cut = cut_views(pixels, ViewPlan(patches=delivery.patches), decoded.orientation)
        corners = np.array([[box.top, box.left] for box in cut.boxes[1:]])
        known = decoded.jpeg is not None and delivery.draw is None
        quality = float(decoded.jpeg.quality) if decoded.jpeg is not None and known else float("nan")
        samples.append(_Sample(np.stack(cut.pixels), corners, number, quality))
    return samples


@torch.inference_mode()
def _encode(samples: list[_Sample], backbone: FrozenViT) -> dict[str, Tensor]:
    views = torch.from_numpy(np.concatenate([sample.views for sample in samples])).permute(0, 3, 1, 2)
    is_patch = torch.tensor([place > 0 for sample in samples for place in range(len(sample.views))])
    corners = torch.from_numpy(np.concatenate([sample.corners for sample in samples]))
    tokens = [backbone.cls(part.to(backbone.mean.device)).half().cpu() for part in views.split(_BATCH)]
    pairs = zip(views[is_patch].split(_BATCH), corners.split(_BATCH), strict=True)
    return {
        "tokens": torch.cat(tokens),
        "residuals": torch.cat([mean_features(part, where).half() for part, where in pairs]),
        "views": torch.tensor([len(sample.views) for sample in samples]),
        "image": torch.tensor([sample.image for sample in samples]),
        "delivery": torch.tensor([sample.delivery for sample in samples]),
        "quality": torch.tensor([sample.quality for sample in samples]),
    }


@dataclass(frozen=True)
class QualitySamples:
    """Samples of known JPEG quality.

    Attributes:
        residuals: (n, FEATURES) float16, averaged over two patches.
        qualities: (n,) float32, JPEG quality 1..100.
        resized: (n,) float32, factor of the resize after the save; 1 for none.
        folds: (n,) folds of the sources.
    """

    residuals: Tensor
    qualities: Tensor
    resized: Tensor
    folds: Tensor

    def only(self, mask: Tensor) -> QualitySamples:
        """Return the samples for which mask (n,) bool is true."""
        return QualitySamples(*(getattr(self, name)[mask] for name in self.__annotations__))


def quality_samples(images: list[LabelledImage], draws: int, folder: Path) -> QualitySamples:
    """Make `draws` samples of each image, or read them from `folder`; a killed run resumes after its last shard."""
    names = [f"{image.source} {image.path.name}" for image in images]
    made_by = fingerprint(
        what="quality", images=names, draws=draws, resized=[_RESIZED, _SMALLEST], window=_QUALITY_WINDOW
    )
    claim_folder(folder, made_by)
    shards = []
    for first in tqdm(range(0, len(images), _QUALITY_SHARD), desc="qualities", disable=None):
        path = folder / f"{first:06d}.safetensors"
        shard = load_artifact(path, made_by)
        if shard is None:
            made = [sample for image in images[first : first + _QUALITY_SHARD] for sample in _samples_of(image, draws)]
            if not made:
                continue
            columns = zip(QualitySamples.__annotations__, zip(*made, strict=True), strict=True)
            shard = {name: torch.stack([torch.as_tensor(value) for value in column]) for name, column in columns}
            save_artifact(path, shard, made_by)
        shards.append(shard)
    return QualitySamples(
        **{name: torch.cat([shard[name] for shard in shards]) for name in QualitySamples.__annotations__}
    )


def _samples_of(image: LabelledImage, draws: int) -> list[tuple[Tensor, float, float, int]]:
    """Save windows of an image in several qualities; none if its own JPEG history cannot be shrunk away."""
    try:
        decoded = decode(image.path)
    except HidascanError as error:
        tqdm.write(f"skipped: {error}")
        return []
    pixels = decoded.pixels if decoded.jpeg is None else shrink(decoded.pixels, 0.5)
    if min(pixels.shape[:2]) < PATCH:
        return []
    rng = np.random.default_rng(zlib.crc32(f"qfe {image.source} {image.path.name}".encode()))
    return [(*_draw_save(pixels, rng), fold_of(image.source)) for _ in range(draws)]


def _draw_save(pixels: np.ndarray, rng: np.random.Generator) -> tuple[Tensor, float, float]:
    """Save a window of pixels (H, W, 3) uint8; return residual statistics, quality, and the factor of a resize."""
    top, left = (int(rng.integers(0, max(1, side - _QUALITY_WINDOW + 1))) for side in pixels.shape[:2])
    saved = np.ascontiguousarray(pixels[top : top + _QUALITY_WINDOW, left : left + _QUALITY_WINDOW])
    quality, factor = int(rng.integers(20, 104)), 1.0
    if quality <= _CLEAN_QUALITY:
        saved = compress(saved, Compression("JPEG", quality, int(rng.choice([0, 2], p=[0.3, 0.7]))))
    smallest = PATCH / min(saved.shape[:2])
    if smallest < 1 and rng.random() < _RESIZED:  # a resize does not undo the save before it
        factor = float(rng.uniform(max(_SMALLEST, smallest), 1))
        saved = shrink(saved, factor)
    corners = torch.tensor([[0, 0], [side // 8 * 8 for side in np.subtract(saved.shape[:2], PATCH)]])
    views = np.stack([saved[y : y + PATCH, x : x + PATCH] for y, x in corners.tolist()])
    features = mean_features(torch.from_numpy(views).permute(0, 3, 1, 2), corners).mean(0)
    return features.half(), min(float(quality), float(_CLEAN_QUALITY)), factor
