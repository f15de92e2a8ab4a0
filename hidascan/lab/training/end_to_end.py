"""Train any detector end to end by L_cls: draw images, degrade both classes alike, cut them by its plan.

For a frozen encoder, views are encoded once and cached; only the rest is trained.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from hidascan.detectors import detector_class
from hidascan.detectors.backbones.frozen import FrozenViT
from hidascan.detectors.base import Detector, Encoded
from hidascan.detectors.checkpoint import CheckpointHeader, Part, load_backbone, save_trained, sha256_of
from hidascan.errors import RecipeError
from hidascan.lab.data.autoencoders.base import load_autoencoder
from hidascan.lab.data.layouts import read_images
from hidascan.lab.data.sampling import SamplingSpec
from hidascan.lab.data.tables import LabelledImage, tables_sha256
from hidascan.lab.training import recipe as recipes
from hidascan.lab.training.artifacts import fingerprint, load_artifact, save_artifact
from hidascan.lab.training.losses import Losses, classification_loss, contrastive_loss
from hidascan.lab.training.pretrained import start_from_pretrained
from hidascan.lab.training.samples import CachedSamples, Sample, SampleDrawer, is_cacheable, split_by_image, views_of
from hidascan.lab.training.trainer import Trainer, TrainerSpec, read_ahead

_PER_SHARD = 100  # samples
_CONTRASTED = 512  # cells per batch in PCL


@dataclass(frozen=True)
class EndToEndSpec(TrainerSpec):
    """Training settings of the detector; `batch` is in images."""

    epochs: int = 10
    steps: int = 40  # per epoch
    lr: float = 3e-4
    weight_decay: float = 0.05
    label_smoothing: float = 0.05
    side: int = 224  # of random crops, pixels, for detectors of images at their own size
    patches: int = 4  # maximum per image, for detectors of patches
    samples: int = 1000  # number of encoded samples, for a frozen encoder
    group_power: float = 0.35  # a source of n images is drawn with weight n ** group_power
    contrast: float = 0.0  # weight of PCL, for detectors that encode cells
    margin: float = 1.0  # of PCL


@dataclass(frozen=True)
class Recipe(recipes.Recipe):
    """A recipe for any detector."""

    sampling: SamplingSpec = field(
        default_factory=lambda: SamplingSpec(real=0.5, ai=0.5, pair=0.0, swap=0.0, degradations=1)
    )
    training: EndToEndSpec = field(default_factory=EndToEndSpec)


def train(recipe: Recipe, cache: Path, out: Path, device: torch.device, dtype: torch.dtype, keep: bool = False) -> None:
    """Train on the tables of the recipe, resuming from the last complete epoch, if any, and write the weights.

    Args:
        recipe: Recipe of the weights.
        cache: Cache folder of training.
        out: Path of the weights.
        device: Device of the network.
        dtype: Precision of the costly layers.
        keep: Whether to keep drawn samples in `cache`, about 1 MB each.
    """
    torch.manual_seed(recipe.seed)
    detector = _new_detector(recipe, dtype).to(device)
    samples = _drawer(recipe, detector, cache if keep else None, device, dtype)
    encoded = _encoded(recipe, samples, detector, cache, device) if detector.frozen_encoder else None
    spec, made_by, frozen = recipe.training, _made_by(recipe), detector.frozen_parts()
    with _without(detector, frozen):
        trainer = Trainer(detector, spec, spec.steps)

        def epoch(number: int) -> None:
            torch.manual_seed(recipe.seed * 1000 + number)
            first = number * spec.steps
            load = lambda step: _batch(recipe, first + step, samples, encoded)  # noqa: E731
            batches = read_ahead(load, spec.steps)
            for batch in tqdm(batches, total=spec.steps, desc=f"epoch {number + 1}", disable=None):
                trainer.step(_losses(recipe, detector, frozen, batch, device, dtype))

        trainer.run(made_by, cache / f"{out.stem}.state", epoch)
    _write(recipe, trainer.averaged, list(frozen), out)


def images_of(recipe: recipes.Recipe, for_training: bool = True) -> list[LabelledImage]:
    """Return the images for training, or those of the calibration fold."""
    images = [image for table in recipe.data.tables for image in read_images(table)]
    return [image for image in images if recipe.data.excludes(image.source) != for_training]


def _new_detector(recipe: Recipe, dtype: torch.dtype) -> Detector:
    detector = detector_class(recipe.detector)(recipe.network)
    for name, part in detector.frozen_parts().items():
        side = detector.plan.side or 224
        setattr(detector, name, load_backbone(part.name, part.taps, side, Path(recipe.data.backbone), dtype))
    if recipe.data.pretrained:
        start_from_pretrained(detector, recipe.data.pretrained)
    return detector


def train_for_comparison(recipe: Recipe, cache: Path, out: Path, device: torch.device, dtype: torch.dtype) -> None:
    """Train on cached samples, so that recipes with equal sampling train on the same ones."""
    train(recipe, cache, out, device, dtype, keep=True)


def _drawer(
    recipe: Recipe, detector: Detector, cache: Path | None, device: torch.device, dtype: torch.dtype
) -> SampleDrawer:
    """Open the samples of a recipe; `cache` is their folder, None to keep none."""
    spec, paths = recipe.training, recipe.data.autoencoders
    autoencoders = tuple(load_autoencoder(path, dtype, str(device)) for path in paths)
    plan = detector.plan.limited(spec.patches)
    arguments = images_of(recipe), recipe.sampling, plan, spec.side, spec.group_power, recipe.seed, autoencoders
    if cache is None or not is_cacheable(plan, spec.side):
        return SampleDrawer(*arguments)
    decides = [spec.side, spec.group_power, recipe.seed, recipe.sampling, paths, *_excluded_folds(recipe)]
    made_by = fingerprint(what="samples", decides=decides, tables=tables_sha256(recipe.data.tables))
    return CachedSamples(cache, made_by, *arguments)


def _batch(recipe: Recipe, number: int, drawer: SampleDrawer, encoded: list[Sample] | None) -> list[Sample]:
    """Return the samples of a step: newly drawn, or from the encoded ones."""
    size = recipe.training.batch
    if encoded is None:
        return [drawer[number * size + place] for place in range(size)]
    rng = np.random.default_rng([recipe.seed, 5, number])
    return [encoded[place] for place in rng.integers(0, len(encoded), size)]


def _losses(
    recipe: Recipe,
    detector: Detector,
    frozen: dict[str, FrozenViT],
    samples: list[Sample],
    device: torch.device,
    dtype: torch.dtype,
) -> Losses:
    """Compute L_cls of a batch, with balanced classes on average, and the other losses of the recipe."""
    spec, losses = recipe.training, Losses()
    with torch.autocast(device.type, dtype, enabled=dtype != torch.float32 and not detector.frozen_encoder):
        if samples[0].encoded is None:
            with _with(detector, frozen):
                rows = _encode(detector, samples, device, spec.contrast > 0)
            if "cells" in rows:
                losses["contrast"] = spec.contrast * _contrast(rows.pop("cells"), samples, spec.margin)
            images = split_by_image(rows, [len(sample.views or ()) for sample in samples])
        else:
            images = [{k: v.to(device) for k, v in (sample.encoded or {}).items()} for sample in samples]
    logits = torch.stack([detector.decide(image).logit for image in images]).float()
    labels = torch.tensor([float(sample.label) for sample in samples], device=device)
    losses["cls"] = classification_loss(logits, labels, 0.5, spec.label_smoothing)
    divergence = detector.complexity()
    if divergence is not None:  # the ELBO, over all samples of the training
        losses["kl"] = divergence / (spec.epochs * spec.steps * spec.batch)
    return losses


def _encode(detector: Detector, samples: list[Sample], device: torch.device, with_cells: bool) -> Encoded:
    views, where = views_of(samples, device)
    if not with_cells:
        return detector.encode(views, where)
    rows = detector.encode_cells(views)
    if rows is None:
        raise RecipeError("training.contrast: this detector encodes no cells")
    return rows


def _contrast(cells: Tensor, samples: list[Sample], margin: float) -> Tensor:
    """Compute PCL over a random sample of the cells (B, N, C) of a batch."""
    flat = cells.flatten(0, 1)
    shares = torch.from_numpy(np.concatenate([sample.shares for sample in samples if sample.shares is not None]))
    chosen = torch.randperm(len(flat), device=flat.device)[:_CONTRASTED]
    return contrastive_loss(flat[chosen], shares.flatten().to(flat.device)[chosen], margin)


def _encoded(
    recipe: Recipe, samples: SampleDrawer, detector: Detector, cache: Path, device: torch.device
) -> list[Sample]:
    """Encode samples once, in shards that survive a kill, and measure their statistics."""
    made_by = fingerprint(what="encoded", recipe=_sample_settings(recipe))
    encoded: list[Sample] = []
    for first in tqdm(range(0, recipe.training.samples, _PER_SHARD), desc="encoding", disable=None):
        path = cache / f"encoded-{made_by[:12]}-{first:06d}.safetensors"
        tensors = load_artifact(path, made_by)
        if tensors is None:
            tensors = _encode_shard(
                samples, range(first, min(first + _PER_SHARD, recipe.training.samples)), detector, device
            )
            save_artifact(path, tensors, made_by)
        labels, counts = tensors.pop("labels").tolist(), tensors.pop("counts").tolist()
        parts = split_by_image({name: rows.float() for name, rows in tensors.items()}, counts)
        encoded += [Sample(label, encoded=part) for label, part in zip(labels, parts, strict=True)]
    known = [sample.encoded for sample in encoded if sample.encoded]
    detector.measure({name: torch.cat([part[name] for part in known]).to(device) for name in known[0]})
    return encoded


def _encode_shard(samples: SampleDrawer, numbers: range, detector: Detector, device: torch.device) -> dict[str, Tensor]:
    drawn = list(read_ahead(lambda place: samples[numbers[place]], len(numbers), ahead=8))
    rows: list[Encoded] = []
    for place in tqdm(range(0, len(drawn), 4), desc="shard", disable=None, leave=False):
        with torch.inference_mode():
            rows.append(detector.encode(*views_of(drawn[place : place + 4], device)))
    tensors = {name: torch.cat([row[name].half().cpu() for row in rows]).clone() for name in rows[0]}
    tensors["labels"] = torch.tensor([sample.label for sample in drawn])
    tensors["counts"] = torch.tensor([len(sample.views or ()) for sample in drawn])
    return tensors


def _sample_settings(recipe: Recipe) -> list[object]:
    spec, backbone = recipe.training, Path(recipe.data.backbone)
    encoder = {
        name: value
        for name, value in dataclasses.asdict(recipe.network).items()
        if name in ("backbone", "taps", "side")
    }
    frozen = sha256_of(backbone) if backbone.is_file() else ""
    tables = tables_sha256(recipe.data.tables)
    drawn = [spec.patches, spec.side, spec.group_power, *_excluded_folds(recipe), recipe.data.autoencoders]
    return [recipe.detector, recipe.seed, encoder, frozen, tables, recipe.sampling, drawn]


def _excluded_folds(recipe: Recipe) -> list[int]:
    return [recipe.data.calibration_fold, *recipe.data.without_folds]


def _made_by(recipe: Recipe) -> str:
    return fingerprint(
        what="trained",
        network=recipe.network,
        pretrained=recipe.data.pretrained,
        samples=_sample_settings(recipe),
        training=recipe.training,
    )


@contextmanager
def _without(detector: Detector, frozen: dict[str, FrozenViT]) -> Iterator[None]:
    """Remove frozen parts while trained ones are copied, averaged and saved."""
    for name in frozen:
        delattr(detector, name)
    try:
        yield
    finally:
        for name, part in frozen.items():
            setattr(detector, name, part)


@contextmanager
def _with(detector: Detector, frozen: dict[str, FrozenViT]) -> Iterator[None]:
    """Restore frozen parts while views are encoded."""
    for name, part in frozen.items():
        setattr(detector, name, part)
    try:
        yield
    finally:
        for name in frozen:
            delattr(detector, name)


def _write(recipe: Recipe, detector: Detector, frozen: list[str], out: Path) -> None:
    """Write the checkpoint, without a calibration."""
    backbone = Path(recipe.data.backbone)
    parts = tuple(Part(name, backbone.name, sha256_of(backbone)) for name in frozen)
    training = {"recipe": dataclasses.asdict(recipe), "tables_sha256": tables_sha256(recipe.data.tables)}
    header = CheckpointHeader(out.stem, recipe.detector, recipe.network, parts, training=training)
    save_trained(out, detector, header)
    tqdm.write(f"wrote {out}")
