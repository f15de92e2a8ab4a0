"""Samples for QFE: residual statistics of pixels without JPEG history, saved as JPEG of known quality, then resized."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from hidascan.detectors.hidanet.residuals import mean_features
from hidascan.errors import HidascanError
from hidascan.geometry import PATCH
from hidascan.image.decode import decode
from hidascan.image.perturb import Compression, compress, shrink
from hidascan.lab.data.tables import LabelledImage, fold_of
from hidascan.lab.training.artifacts import claim_folder, fingerprint, load_artifact, save_artifact

_SHARD = 50  # images
_WINDOW = 4 * PATCH  # largest side of the compressed window, pixels
_RESIZED, _SMALLEST = 0.55, 0.4  # share of the samples that is resized after the save, and the smallest factor
_CLEAN = 100  # quality that stands for pixels never saved as JPEG


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
    made_by = fingerprint(what="quality", images=names, draws=draws, resized=[_RESIZED, _SMALLEST], window=_WINDOW)
    claim_folder(folder, made_by)
    shards = []
    for first in tqdm(range(0, len(images), _SHARD), desc="qualities", disable=None):
        path = folder / f"{first:06d}.safetensors"
        shard = load_artifact(path, made_by)
        if shard is None:
            made = [sample for image in images[first : first + _SHARD] for sample in _samples_of(image, draws)]
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
    return [(*_draw(pixels, rng), fold_of(image.source)) for _ in range(draws)]


def _draw(pixels: np.ndarray, rng: np.random.Generator) -> tuple[Tensor, float, float]:
    """Save a window of pixels (H, W, 3) uint8; return residual statistics, quality, and the factor of a resize."""
    top, left = (int(rng.integers(0, max(1, side - _WINDOW + 1))) for side in pixels.shape[:2])
    saved = np.ascontiguousarray(pixels[top : top + _WINDOW, left : left + _WINDOW])
    quality, factor = int(rng.integers(20, 104)), 1.0
    if quality <= _CLEAN:
        saved = compress(saved, Compression("JPEG", quality, int(rng.choice([0, 2], p=[0.3, 0.7]))))
    smallest = PATCH / min(saved.shape[:2])
    if smallest < 1 and rng.random() < _RESIZED:  # a resize does not undo the save before it
        factor = float(rng.uniform(max(_SMALLEST, smallest), 1))
        saved = shrink(saved, factor)
    corners = torch.tensor([[0, 0], [side // 8 * 8 for side in np.subtract(saved.shape[:2], PATCH)]])
    views = np.stack([saved[y : y + PATCH, x : x + PATCH] for y, x in corners.tolist()])
    features = mean_features(torch.from_numpy(views).permute(0, 3, 1, 2), corners).mean(0)
    return features.half(), min(float(quality), float(_CLEAN)), factor
