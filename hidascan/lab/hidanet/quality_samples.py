"""Samples for QFE: residual statistics of pixels without a past that we compressed, so that the quality is known."""

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
from hidascan.lab.data.degradations import CLEAN_QUALITY
from hidascan.lab.data.tables import LabelledImage, capped, fold_of
from hidascan.lab.hidanet.recipe import SampleSpec
from hidascan.lab.training.artifacts import fingerprint, load_artifact, save_artifact
from hidascan.lab.training.trainer import read_ahead

_WINDOW = 3 * PATCH  # largest side of what is compressed, pixels
_SHRUNK = 0.4  # share that is shrunk after the save


@dataclass(frozen=True)
class QualitySamples:
    """Of n samples: residuals (n, FEATURES) as of `PooledSamples`, qualities (n,) 1..100, folds (n,) of their sources."""

    residuals: Tensor
    qualities: Tensor
    folds: Tensor

    def only(self, mask: Tensor) -> QualitySamples:
        """Return the samples for which mask (n,) bool is true."""
        return QualitySamples(self.residuals[mask], self.qualities[mask], self.folds[mask])


def quality_samples(images: list[LabelledImage], spec: SampleSpec, path: Path) -> QualitySamples:
    """Make the samples, or read them from `path`."""
    chosen = capped(images, spec.quality_cap)
    names = [f"{image.source} {image.path.name}" for image in chosen]
    made_by = fingerprint(what="quality", images=names, draws=spec.quality_draws, shrunk=_SHRUNK)
    tensors = load_artifact(path, made_by)
    if tensors is None:
        ahead = read_ahead(lambda number: _samples_of(chosen[number], spec.quality_draws), len(chosen), ahead=4)
        made = [sample for part in tqdm(ahead, total=len(chosen), desc="qualities", disable=None) for sample in part]
        columns = zip(*made, strict=True)
        tensors = {
            name: torch.stack([torch.as_tensor(value) for value in column])
            for name, column in zip(QualitySamples.__annotations__, columns, strict=True)
        }
        save_artifact(path, tensors, made_by)
    return QualitySamples(**tensors)


def _samples_of(image: LabelledImage, draws: int) -> list[tuple[Tensor, float, int]]:
    """Compress a part of an image in several qualities; none if its own past as a JPEG cannot be shrunk away."""
    try:
        decoded = decode(image.path)
    except HidascanError as error:
        tqdm.write(f"skipped: {error}")
        return []
    pixels = decoded.pixels if decoded.jpeg is None else shrink(decoded.pixels, 0.5)
    if min(pixels.shape[:2]) < PATCH:
        return []
    rng = np.random.default_rng(zlib.crc32(f"quality {image.source} {image.path.name}".encode()))
    top, left = (int(rng.integers(0, max(1, side - _WINDOW + 1))) for side in pixels.shape[:2])
    window = np.ascontiguousarray(pixels[top : top + _WINDOW, left : left + _WINDOW])
    samples = []
    for _ in range(draws):
        quality = int(rng.integers(20, 102))
        saved = window
        if quality <= 100:
            saved = compress(window, Compression("JPEG", quality, int(rng.choice([0, 2], p=[0.3, 0.7]))))
        lowest = PATCH / min(saved.shape[:2])
        if lowest < 1 and rng.random() < _SHRUNK:  # a save is not undone by a resize after it
            saved = shrink(saved, float(rng.uniform(max(0.5, lowest), 1)))
        corners = torch.tensor([[0, 0], [side // 8 * 8 for side in np.subtract(saved.shape[:2], PATCH)]])
        views = np.stack([saved[y : y + PATCH, x : x + PATCH] for y, x in corners.tolist()])
        features = mean_features(torch.from_numpy(views).permute(0, 3, 1, 2), corners).mean(0)
        samples.append((features.half(), min(float(quality), CLEAN_QUALITY), fold_of(image.source)))
    return samples
