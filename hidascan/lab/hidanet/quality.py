"""Train QFE on JPEGs of known quality, and measure it out of fold."""

from __future__ import annotations

import itertools
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hidascan.detectors.hidanet.filters import mean_features
from hidascan.detectors.hidanet.heads import QUALITIES, QualityEstimator
from hidascan.geometry import PATCH
from hidascan.image.perturb import compress, shrink
from hidascan.lab.artifacts import claim_folder, fingerprint, missing_shards, read_shards, save_artifact
from hidascan.lab.data.degradations import jpeg_of, random_window
from hidascan.lab.data.tables import LabelledImage, fold_of
from hidascan.lab.hidanet.recipe import HiDANetRecipe, QualitySpec
from hidascan.lab.hidanet.samples import VerdictFeatures, decode_or_skip, sample_images
from hidascan.lab.measure import markdown
from hidascan.lab.training.losses import Losses, quality_loss
from hidascan.lab.training.trainer import fit

_SHARD = 50  # images
_WINDOW = 4 * PATCH  # largest side of the compressed window, pixels
_RESIZED, _SMALLEST = 0.55, 0.4  # share of the samples that are resized after saving, and the smallest factor
_CLEAN_QUALITY = 100  # quality that stands for pixels never saved as JPEG
_BOUNDS = (20, 40, 60, 80, 100)  # JPEG qualities between the columns of the table
_FACTORS = ((0.4, 0.6), (0.6, 0.8), (0.8, 1.0))  # of a resize, in the rows of the table


@dataclass(frozen=True)
class QualitySamples:
    """Samples of known JPEG quality."""

    residuals: Tensor  # (n, FEATURES) float16, averaged over two patches
    qualities: Tensor  # (n,) float32, JPEG quality 1..100
    resized: Tensor  # (n,) float32, factor of the resize after the save; 1 for none
    folds: Tensor  # (n,) folds of the sources

    def only(self, mask: Tensor) -> QualitySamples:
        """Return the samples for which mask (n,) bool is true."""
        return QualitySamples(*(getattr(self, name)[mask] for name in self.__annotations__))


def quality_samples(recipe: HiDANetRecipe, samples: VerdictFeatures, cache: Path) -> QualitySamples:
    """Return the samples of QFE: JPEGs made for it, and the published JPEGs among `samples`."""
    images, draws = sample_images(recipe, recipe.samples.quality_cap), recipe.samples.quality_draws
    made = made_samples(images, draws, cache / "quality")
    known = ~samples.qualities.isnan()
    published = {
        "residuals": samples.residuals[known].half(),
        "qualities": samples.qualities[known],
        "resized": torch.ones(int(known.sum())),
        "folds": samples.folds[known],
    }
    return QualitySamples(**{name: torch.cat([made[name], part]) for name, part in published.items()})


def made_samples(images: list[LabelledImage], draws: int, folder: Path) -> dict[str, Tensor]:
    """Make `draws` samples of each image, or read them from `folder`; a killed run resumes after its last shard."""
    names = [f"{image.source} {image.path.name}" for image in images]
    made_by = fingerprint(what="quality", images=names, draws=draws, resized=[_RESIZED, _SMALLEST], window=_WINDOW)
    claim_folder(folder, made_by)
    for path, numbers in missing_shards(folder, len(images), _SHARD, "qualities"):
        made = [sample for number in numbers for sample in _samples_of(images[number], draws)]
        columns = zip(QualitySamples.__annotations__, zip(*made, strict=True), strict=bool(made))
        shard = {name: torch.stack([torch.as_tensor(value) for value in column]) for name, column in columns}
        if shard:
            save_artifact(path, shard, made_by)
    return read_shards(folder)


def _samples_of(image: LabelledImage, draws: int) -> list[tuple[Tensor, float, float, int]]:
    """Save windows of an image in several qualities; none if its own JPEG history cannot be shrunk away."""
    decoded = decode_or_skip(image)
    if decoded is None:
        return []
    pixels = decoded.pixels if decoded.jpeg is None else shrink(decoded.pixels, 0.5)
    if min(pixels.shape[:2]) < PATCH:
        return []
    rng = np.random.default_rng(zlib.crc32(f"qfe {image.source} {image.path.name}".encode()))
    return [(*_draw_save(pixels, rng), fold_of(image.source)) for _ in range(draws)]


def _draw_save(pixels: np.ndarray, rng: np.random.Generator) -> tuple[Tensor, float, float]:
    """Save a window of pixels (H, W, 3) uint8; return residual statistics, quality, and the factor of a resize."""
    saved = np.ascontiguousarray(pixels[random_window(pixels.shape, _WINDOW, rng)])
    quality, factor = int(rng.integers(20, 104)), 1.0
    if quality <= _CLEAN_QUALITY:
        saved = compress(saved, jpeg_of(quality, rng))
    smallest = PATCH / min(saved.shape[:2])
    if smallest < 1 and rng.random() < _RESIZED:  # a resize does not undo the save before it
        factor = float(rng.uniform(max(_SMALLEST, smallest), 1))
        saved = shrink(saved, factor)
    corners = torch.tensor([[0, 0], [side // 8 * 8 for side in np.subtract(saved.shape[:2], PATCH)]])
    views = np.stack([saved[y : y + PATCH, x : x + PATCH] for y, x in corners.tolist()])
    features = mean_features(torch.from_numpy(views).permute(0, 3, 1, 2), corners).mean(0)
    return features.half(), min(float(quality), float(_CLEAN_QUALITY)), factor


def train_quality(samples: QualitySamples, dim: int, spec: QualitySpec) -> QualityEstimator:
    """Train QFE of width `dim` on samples that fit into memory."""
    torch.manual_seed(spec.seed)
    estimator = QualityEstimator(dim, spec.dropout, spec.input_dropout)
    features = samples.residuals.float()
    estimator.mean.copy_(features.mean(0))
    estimator.scale.copy_(features.std(0).clamp_min(1e-4))

    def losses(chosen: Tensor) -> Losses:
        return {"qfe": quality_loss(estimator(estimator.embed(features[chosen])), samples.qualities[chosen])}

    return fit(estimator, spec, len(features), losses)


def estimate_out_of_fold(samples: QualitySamples, dim: int, spec: QualitySpec) -> Tensor:
    """Estimate the quality (n,) of each sample by a QFE trained without its source."""
    estimates = torch.zeros(len(samples.qualities))
    for fold in samples.folds.unique().tolist():
        here = samples.folds == fold
        estimator = train_quality(samples.only(~here), dim, spec)
        with torch.no_grad():
            estimates[here] = estimator.estimate(estimator.embed(samples.residuals[here]))
    return estimates


def errors_as_markdown(samples: QualitySamples, estimates: Tensor) -> str:
    """Write the mean absolute error by quality, and by the factor of a resize after the save."""
    errors, saved = (estimates - samples.qualities).abs(), samples.qualities < QUALITIES
    bounds = list(itertools.pairwise(_BOUNDS))
    kinds = {"as saved": saved & (samples.resized == 1)}
    for low, high in _FACTORS:
        kinds[f"resized to {low} to {high}"] = saved & (samples.resized >= low) & (samples.resized < high)
    rows = []
    for name, kind in kinds.items():
        parts = [kind & (samples.qualities >= low) & (samples.qualities < high) for low, high in bounds]
        rows.append([name, int(kind.sum()), *(_mean(errors[part]) for part in (*parts, kind))])
    rows.append(
        ["never saved as JPEG, or at quality 100", int((~saved).sum()), *[""] * len(bounds), _mean(errors[~saved])]
    )
    names = [f"{low} to {high - 1}" for low, high in bounds]
    return markdown.table(["mean absolute error at quality", "n", *names, "all"], rows)


def _mean(values: Tensor) -> str:
    return f"{float(values.mean()):.1f}" if len(values) else ""
