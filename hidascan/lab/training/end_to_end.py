"""Train any detector end to end by L_cls: draw images, degrade both classes in the same way, cut them by its plan.

For a frozen encoder, views are encoded once and cached; only the rest is trained. Images come from label tables, or from
packs of windows, which are faster.
"""

from __future__ import annotations

import dataclasses
import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from hidascan.detectors import detector_class
from hidascan.detectors.backbones.frozen import FrozenViT
from hidascan.detectors.base import Detector, Encoded
from hidascan.detectors.checkpoint import CheckpointHeader, Part, load_backbone, save_trained, sha256_of
from hidascan.errors import RecipeError, UsageError
from hidascan.lab.data.autoencoders.base import load_autoencoder
from hidascan.lab.data.layouts import read_images
from hidascan.lab.data.packs import DecodedWindows, read_packs
from hidascan.lab.data.sampling import SamplingSpec
from hidascan.lab.data.tables import LabelledImage, tables_sha256
from hidascan.lab.training import recipe as recipes
from hidascan.lab.training.artifacts import fingerprint, load_artifact, save_artifact
from hidascan.lab.training.losses import Losses, classification_loss, contrastive_loss
from hidascan.lab.training.packed_samples import PackedSamples
from hidascan.lab.training.pretrained import start_from_pretrained
from hidascan.lab.training.samples import (
    CachedSamples,
    Sample,
    SampleDrawer,
    is_cacheable,
    split_by_image,
    views_of,
    wants_crop,
)
from hidascan.lab.training.trainer import Loader, Trainer, TrainerSpec, read_ahead

_PER_SHARD = 100  # samples
_CONTRASTED = 512  # cells per batch in PCL

Samples = SampleDrawer | PackedSamples


@dataclass(frozen=True)
class EndToEndSpec(TrainerSpec):
    """Training settings of the detector; `batch` is in images."""

    epochs: int = 10
    steps: int = 40  # per epoch
    views: int = 0  # budget of views, which decides the number of epochs; 0: `epochs` does
    minutes: float = 0.0  # maximum duration; 0: none
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
class DataSpec(recipes.DataSpec):
    """Paths of the data, relative to the working folder."""

    packs: str = ""  # folder of packs to train on, in place of the images of `tables`


@dataclass(frozen=True)
class Recipe(recipes.Recipe):
    """A recipe for any detector."""

    data: DataSpec = field(default_factory=DataSpec)
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
    samples = _drawer(recipe, detector, cache, keep, device, dtype)
    encoded = _encoded(recipe, samples, detector, cache, device) if detector.frozen_encoder else None
    made_by, frozen = _made_by(recipe), detector.frozen_parts()
    spec = dataclasses.replace(recipe.training, epochs=_epochs(recipe.training, detector))
    loaders: list[Loader[list[Sample]]] = []  # shared by all epochs, so that none starts with an empty queue
    with _without(detector, frozen):
        trainer = Trainer(detector.to(memory_format=torch.channels_last), spec, spec.steps, spec.minutes)

        def epoch(number: int) -> dict[str, float]:
            torch.manual_seed(recipe.seed * 1000 + number)
            if not loaders:
                loaders.append(_loader(recipe, number * spec.steps, spec.epochs * spec.steps, samples, encoded))
            started, waited, views = time.perf_counter(), loaders[0].waited, trainer.views
            for batch in tqdm(loaders[0].take(spec.steps), total=spec.steps, desc=f"epoch {number + 1}", disable=None):
                losses = _losses(recipe, spec.epochs, detector, frozen, batch, device, dtype)
                trainer.step(losses, sum(sample.count for sample in batch))
                if trainer.out_of_time:
                    break
            seconds = time.perf_counter() - started
            speed = {"views_per_second": round((trainer.views - views) / seconds, 1)}
            return {"views": trainer.views, **speed, "waiting": round((loaders[0].waited - waited) / seconds, 3)}

        trainer.run(made_by, cache / f"{out.stem}.state", epoch)
    _write(recipe, trainer, list(frozen), out, f"{_machine(device)}, {dtype}".replace("torch.", ""))


def with_packs(recipe: Any, packs: Path | None, views: int | None, minutes: float | None) -> Any:
    """Return a recipe whose packs and budgets are replaced, unless None.

    Raises:
        UsageError: If the detector is not trained end to end.
    """
    if (packs, views, minutes) == (None, None, None):
        return recipe
    if not isinstance(recipe, Recipe):
        raise UsageError(f"--packs, --views and --minutes are not available for the detector {recipe.detector}")
    data, spec = recipe.data, recipe.training
    return dataclasses.replace(
        recipe,
        data=dataclasses.replace(data, packs=data.packs if packs is None else str(packs)),
        training=dataclasses.replace(
            spec,
            views=spec.views if views is None else views,
            minutes=spec.minutes if minutes is None else minutes,
        ),
    )


def _epochs(spec: EndToEndSpec, detector: Detector) -> int:
    """Return the number of epochs, enough for the budget of views."""
    plan = detector.plan.limited(spec.patches)
    per_image = 1 if wants_crop(plan) or plan.patches == "all" else int(plan.patches) + int(plan.thumbnail)
    return math.ceil(spec.views / (spec.steps * spec.batch * per_image)) if spec.views else spec.epochs


def _loader(
    recipe: Recipe, first: int, stop: int, samples: Samples, encoded: list[Sample] | None
) -> Loader[list[Sample]]:
    """Load the batches of the steps from `first` to `stop`; drawing from packs is safe in several threads."""
    workers = max(1, (os.cpu_count() or 1) - 1) if recipe.data.packs else 1
    return Loader(lambda number: _batch(recipe, first + number, samples, encoded), stop - first, workers)


def _machine(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"{os.cpu_count()} CPU cores"


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
    recipe: Recipe, detector: Detector, cache: Path, keep: bool, device: torch.device, dtype: torch.dtype
) -> Samples:
    """Open the samples of a recipe, from its packs or its tables; samples of tables are cached on request."""
    spec, paths = recipe.training, recipe.data.autoencoders
    if recipe.data.packs:
        packs, plan = read_packs(Path(recipe.data.packs)), detector.plan.limited(spec.patches)
        windows = [window for window in packs.windows if not recipe.data.excludes(window.source)]
        decoded = DecodedWindows(packs, cache)
        return PackedSamples(windows, decoded, recipe.sampling, plan, spec.side, spec.group_power, recipe.seed)
    autoencoders = tuple(load_autoencoder(path, dtype, str(device)) for path in paths)
    plan = detector.plan.limited(spec.patches)
    arguments = images_of(recipe), recipe.sampling, plan, spec.side, spec.group_power, recipe.seed, autoencoders
    if not keep or not is_cacheable(plan, spec.side):
        return SampleDrawer(*arguments)
    decides = [spec.side, spec.group_power, recipe.seed, recipe.sampling, paths, *_excluded_folds(recipe)]
    made_by = fingerprint(what="samples", decides=decides, tables=tables_sha256(recipe.data.tables))
    return CachedSamples(cache, made_by, *arguments)


def _batch(recipe: Recipe, number: int, drawer: Samples, encoded: list[Sample] | None) -> list[Sample]:
    """Return the samples of a step: newly drawn, or from the encoded ones."""
    size = recipe.training.batch
    if encoded is None:
        return [drawer[number * size + place] for place in range(size)]
    rng = np.random.default_rng([recipe.seed, 5, number])
    return [encoded[place] for place in rng.integers(0, len(encoded), size)]


def _losses(
    recipe: Recipe,
    epochs: int,
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
        losses["kl"] = divergence / (epochs * spec.steps * spec.batch)
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


def _encoded(recipe: Recipe, samples: Samples, detector: Detector, cache: Path, device: torch.device) -> list[Sample]:
    """Encode samples once, in shards that allow resuming, and measure their statistics."""
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


def _encode_shard(samples: Samples, numbers: range, detector: Detector, device: torch.device) -> dict[str, Tensor]:
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
    tables = _data_sha256(recipe)
    drawn = [spec.patches, spec.side, spec.group_power, *_excluded_folds(recipe), recipe.data.autoencoders]
    return [recipe.detector, recipe.seed, encoder, frozen, tables, recipe.sampling, drawn]


def _data_sha256(recipe: Recipe) -> str:
    """Return a SHA-256 of the packs, or of the tables, that a recipe trains on."""
    packs = recipe.data.packs
    return read_packs(Path(packs)).digest if packs else tables_sha256(recipe.data.tables)


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


def _write(recipe: Recipe, trainer: Trainer[Detector], frozen: list[str], out: Path, machine: str) -> None:
    """Write the checkpoint, without a calibration."""
    backbone = Path(recipe.data.backbone)
    parts = tuple(Part(name, backbone.name, sha256_of(backbone)) for name in frozen)
    digest = {"packs_sha256" if recipe.data.packs else "tables_sha256": _data_sha256(recipe)}
    spent = {"views": trainer.views, "minutes": round(trainer.minutes, 1), "machine": machine}
    training = {"recipe": dataclasses.asdict(recipe), **digest, **spent}
    header = CheckpointHeader(out.stem, recipe.detector, recipe.network, parts, training=training)
    save_trained(out, trainer.averaged, header)
    tqdm.write(f"wrote {out}")
