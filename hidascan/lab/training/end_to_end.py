"""Train any detector end to end by L_cls: draw images, degrade both classes in the same way, cut them by its plan.

Frozen first layers are computed once for each view, and cached; only the rest is trained. Images come from label tables,
or from packs of windows, which are faster.
"""

from __future__ import annotations

import dataclasses
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from hidascan.detectors import detector_class
from hidascan.detectors.base import Detector, Encoded
from hidascan.detectors.checkpoint import load_backbone, sha256_of
from hidascan.errors import RecipeError, UsageError
from hidascan.geometry import CELL
from hidascan.lab.artifacts import Workspace, fingerprint, missing_shards, read_shards, save_artifact
from hidascan.lab.data.packs import read_packs
from hidascan.lab.data.tables import tables_sha256
from hidascan.lab.read_ahead import read_ahead
from hidascan.lab.training.losses import Losses, classification_loss, contrastive_loss
from hidascan.lab.training.pretrained import start_from_pretrained
from hidascan.lab.training.recipe import EndToEndRecipe as Recipe
from hidascan.lab.training.recipe import EndToEndSpec, write_weights
from hidascan.lab.training.samples import Sample, SampleSource, open_samples, split_by_image, views_of, wants_crop
from hidascan.lab.training.trainer import Trainer

_PER_SHARD = 100  # samples
_CONTRASTED = 512  # patch tokens per batch in PCL


def train(recipe: Recipe, out: Path, workspace: Workspace, keep: bool = False) -> None:
    """Train on the tables or packs of the recipe, resuming from the last complete epoch, if any, and write the weights.

    With `keep`, drawn samples are kept in the cache, about 1 MB each.
    """
    torch.manual_seed(recipe.seed)
    detector = new_detector(recipe, workspace.dtype).to(workspace.device)
    if recipe.training.contrast > 0 and not detector.has_patch_tokens:
        raise RecipeError("training.contrast: this detector encodes no patch tokens")
    spec = dataclasses.replace(recipe.training, epochs=_epochs(recipe.training, detector))
    samples = open_samples(recipe, detector.plan.limited(spec.patches), workspace, keep)
    encoded = None
    if detector.frozen_encoder:
        encoded = encode_samples(recipe, min(spec.samples, _drawn(spec)), samples, detector, workspace)
    frozen = list(detector.frozen_parts())
    trainer = _trainer_of(detector, spec)
    made_by, state = _made_by(recipe), workspace.cache / f"{out.stem}.state"
    first = trainer.resume(made_by, state)
    batches = draw_batches(recipe, first * spec.steps, spec.epochs * spec.steps, samples, encoded)

    def epoch(number: int) -> dict[str, float]:
        torch.manual_seed(recipe.seed * 1000 + number)
        return _run_epoch(trainer, tqdm(range(spec.steps), f"epoch {number + 1}", disable=None), batches, losses)

    def losses(batch: list[Sample]) -> Losses:
        return _losses(spec, detector, batch, workspace)

    trainer.run(first, epoch, made_by, state)
    spent = {"views": trainer.views, "minutes": round(trainer.minutes, 1)}
    if encoded is not None:
        spent["encoded"] = len(encoded)
    _write(recipe, trainer.averaged, frozen, out, workspace, spent)


def _trainer_of(detector: Detector, spec: EndToEndSpec) -> Trainer:
    """Return a trainer of all but the frozen parts.

    These stay attributes of the detector, but not submodules, which would be trained, averaged and saved.
    """
    frozen = detector.frozen_parts()
    for name in frozen:
        delattr(detector, name)
    trainer = Trainer(detector.to(memory_format=torch.channels_last), spec, spec.steps, spec.minutes)
    for name, part in frozen.items():
        object.__setattr__(detector, name, part)
    return trainer


def _run_epoch(
    trainer: Trainer,
    steps: Iterable[int],
    batches: Iterator[list[Sample]],
    losses: Callable[[list[Sample]], Losses],
) -> dict[str, float]:
    """Take the steps of an epoch, or those that time allows; return views so far, speed, and share of waiting."""
    started, waited, views = time.perf_counter(), 0.0, trainer.views
    for _ in steps:
        asked = time.perf_counter()
        batch = next(batches)
        waited += time.perf_counter() - asked
        trainer.step(losses(batch), sum(sample.count for sample in batch))
        if trainer.out_of_time:
            break
    seconds = time.perf_counter() - started
    speed = {"views_per_second": round((trainer.views - views) / seconds, 1)}
    return {"views": trainer.views, **speed, "waiting": round(waited / seconds, 3)}


def train_for_comparison(recipe: Recipe, out: Path, workspace: Workspace) -> None:
    """Train on cached samples, so that recipes with equal sampling train on the same ones."""
    train(recipe, out, workspace, keep=True)


def with_packs(recipe: Any, packs: Path | None, views: int | None, minutes: float | None) -> Any:
    """Return a recipe whose packs and budgets are replaced, unless None.

    Raises:
        UsageError: If the detector is not trained end to end, or its samples are not drawn from packs.
    """
    if (packs, views, minutes) == (None, None, None) and not isinstance(recipe, Recipe):
        return recipe
    if not isinstance(recipe, Recipe):
        raise UsageError(f"--packs, --views and --minutes are not available for the detector {recipe.detector}")
    data = recipe.data if packs is None else dataclasses.replace(recipe.data, packs=str(packs))
    if data.packs and recipe.sampling.pair:
        raise UsageError("sampling.pair needs data.tables, not data.packs")
    budget: dict[str, Any] = {"views": views, "minutes": minutes}
    budget = {name: value for name, value in budget.items() if value is not None}
    return dataclasses.replace(recipe, data=data, training=dataclasses.replace(recipe.training, **budget))


def _epochs(spec: EndToEndSpec, detector: Detector) -> int:
    """Return the number of epochs, enough for the budget of views."""
    plan = detector.plan.limited(spec.patches)
    per_image = 1 if wants_crop(plan) or plan.patches == "all" else int(plan.patches) + int(plan.thumbnail)
    return math.ceil(spec.views / (spec.steps * spec.batch * per_image)) if spec.views else spec.epochs


def _drawn(spec: EndToEndSpec) -> int:
    """Return the number of images that a training draws."""
    return spec.epochs * spec.steps * spec.batch


def draw_batches(
    recipe: Recipe, first: int, stop: int, samples: SampleSource, encoded: list[Sample] | None
) -> Iterator[list[Sample]]:
    """Yield the batches of the steps from `first` to `stop`, the two of a pair side by side.

    Args:
        recipe: Recipe, whose seed determines the choice.
        first: Number of the first step.
        stop: Number of the step after the last one.
        samples: Samples to draw, used unless there are encoded ones.
        encoded: Encoded samples to choose from; None without a frozen encoder.
    """
    size = recipe.training.batch

    def batch(place: int) -> list[Sample]:
        if encoded is None:
            return [samples[number] for number in range((first + place) * size, (first + place + 1) * size)]
        rng = np.random.default_rng([recipe.seed, 5, first + place])
        if recipe.sampling.pair:  # the two of a pair have neighbouring numbers
            firsts = 2 * rng.integers(0, len(encoded) // 2, max(1, size // 2))
            return [encoded[number] for first in firsts for number in (first, first + 1)]
        return [encoded[number] for number in rng.integers(0, len(encoded), size)]

    # Drawing from packs is safe in several threads.
    workers = max(1, (os.cpu_count() or 1) - 1) if recipe.data.packs else 1
    return read_ahead(batch, stop - first, workers + 1, workers)


def new_detector(recipe: Recipe, dtype: torch.dtype) -> Detector:
    """Build the detector of a recipe, with its initial weights, and its frozen parts in `dtype`."""
    detector = detector_class(recipe.detector)(recipe.network)
    for name, part in detector.frozen_parts().items():
        side = detector.plan.side or 224
        setattr(detector, name, load_backbone(part.name, part.taps, side, Path(recipe.data.backbone), dtype))
    if recipe.data.pretrained:
        start_from_pretrained(detector, recipe.data.pretrained)
    return detector


def _losses(spec: EndToEndSpec, detector: Detector, samples: list[Sample], workspace: Workspace) -> Losses:
    """Compute L_cls of a batch, with balanced classes on average, and the other losses of the recipe."""
    device, dtype, losses = workspace.device, workspace.dtype, Losses()
    frozen = _frozen_rows(samples, device)  # before autocast, which joins no float16 on CPUs
    with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
        rows = detector.encode_trained(frozen) if frozen else detector.encode(*views_of(samples, device))
    if spec.contrast > 0:
        losses["contrast"] = spec.contrast * _contrast(rows["patch_tokens"], samples, spec.margin)
    rows.pop("patch_tokens", None)
    images = split_by_image(rows, [sample.count for sample in samples])
    logits = torch.stack([detector.decide(image).logit for image in images]).float()
    labels = torch.tensor([float(sample.label) for sample in samples], device=device)
    losses["cls"] = classification_loss(logits, labels, 0.5, spec.label_smoothing)
    divergence = detector.complexity()
    if divergence is not None:  # the ELBO, over all samples of the training
        losses["kl"] = divergence / _drawn(spec)
    return losses


def _frozen_rows(samples: list[Sample], device: torch.device) -> Encoded:
    """Join the encoded rows of samples, in float32; empty if they are views, not encoded yet."""
    rows = [sample.encoded for sample in samples if sample.encoded]
    joined = {name: torch.cat([one[name] for one in rows]).to(device) for name in (rows[0] if rows else ())}
    return {name: part.float() if part.is_floating_point() else part for name, part in joined.items()}


def _contrast(cells: Tensor, samples: list[Sample], margin: float) -> Tensor:
    """Compute PCL over a random sample of the cells (B, N, C) of a batch."""
    flat = cells.flatten(0, 1)
    shares = torch.from_numpy(np.concatenate([sample.shares for sample in samples if sample.shares is not None]))
    if shares.numel() != len(flat):
        raise RecipeError(f"training.contrast: the cells of this backbone are not {CELL}x{CELL} pixels")
    chosen = torch.randperm(len(flat), device=flat.device)[:_CONTRASTED]
    return contrastive_loss(flat[chosen], shares.flatten().to(flat.device)[chosen], margin)


def encode_samples(
    recipe: Recipe, count: int, samples: SampleSource, detector: Detector, workspace: Workspace
) -> list[Sample]:
    """Compute the frozen layers for `count` samples, in shards that allow resuming, and fit the standardisation.

    Args:
        recipe: Recipe, which determines the samples.
        count: Number of samples, from 0.
        samples: Samples to draw.
        detector: Detector with these layers, whose standardisation is fitted.
        workspace: Cache of the shards, and device.

    Returns:
        The encoded samples.
    """
    settings = [*sample_settings(recipe), str(workspace.dtype)]
    made_by = fingerprint(what="encoded", recipe=settings, count=count)
    prefix = f"encoded-{made_by[:12]}-"
    for path, numbers in missing_shards(workspace.cache, count, _PER_SHARD, "encoding", prefix):
        save_artifact(path, _encode_shard(samples, numbers, detector, workspace.device), made_by)
    tensors = read_shards(workspace.cache, prefix)
    labels, counts = tensors.pop("labels").tolist(), tensors.pop("counts").tolist()
    shares = tensors.pop("shares").float().numpy() if "shares" in tensors else None
    detector.fit_standardisation(tensors)
    parts = split_by_image(tensors, counts)
    ends = np.cumsum(counts)
    return [
        Sample(label, encoded=part, shares=None if shares is None else shares[end - count : end])
        for label, part, count, end in zip(labels, parts, counts, ends, strict=True)
    ]


def _encode_shard(samples: SampleSource, numbers: range, detector: Detector, device: torch.device) -> dict[str, Tensor]:
    drawn = list(read_ahead(lambda place: samples[numbers[place]], len(numbers), ahead=8))
    rows: list[Encoded] = []
    for place in tqdm(range(0, len(drawn), 4), desc="shard", disable=None, leave=False):
        with torch.inference_mode():
            rows.append(detector.encode_frozen(*views_of(drawn[place : place + 4], device)))
    joined = {name: torch.cat([row[name].cpu() for row in rows]) for name in rows[0]}
    plain = torch.contiguous_format  # views lie channels last, which safetensors refuses
    tensors = {
        name: (part.half() if part.is_floating_point() else part).clone(memory_format=plain)
        for name, part in joined.items()
    }
    tensors["labels"] = torch.tensor([sample.label for sample in drawn])
    tensors["counts"] = torch.tensor([sample.count for sample in drawn])
    if not detector.plan.thumbnail:
        tensors["shares"] = torch.cat(
            [torch.from_numpy(sample.shares) for sample in drawn if sample.shares is not None]
        )
    return tensors


def sample_settings(recipe: Recipe) -> list[object]:
    """Return the settings that determine the encoded samples of a recipe, for fingerprints of caches."""
    spec, backbone = recipe.training, Path(recipe.data.backbone)
    network = dataclasses.asdict(recipe.network)
    encoder = {
        name: network[name]
        for name in ("backbone", "tap", "taps", "adapted_depth", "side", "radius", "token_stride")
        if name in network
    }
    frozen = sha256_of(backbone) if backbone.is_file() else ""
    patches = min(spec.patches, network.get("crops", spec.patches))
    drawn = [patches, spec.side, spec.group_power, *recipe.data.excluded, recipe.data.autoencoders]
    return [recipe.detector, recipe.seed, encoder, frozen, _data_sha256(recipe), recipe.sampling, drawn]


def _data_sha256(recipe: Recipe) -> str:
    """Return a SHA-256 of the packs, or of the tables, that a recipe trains on."""
    return next(iter(data_digest(recipe).values()))


def data_digest(recipe: Any) -> dict[str, str]:
    """Return SHA-256 of the packs or tables that a recipe trains on, and of initial weights, by their names in a header."""
    packs, initial = getattr(recipe.data, "packs", ""), Path(recipe.data.pretrained)
    digests = {"packs_sha256": read_packs(Path(packs)).digest} if packs else {}
    digests = digests or {"tables_sha256": tables_sha256(recipe.data.tables)}
    return digests | ({"pretrained_sha256": sha256_of(initial)} if initial.is_file() else {})


def _made_by(recipe: Recipe) -> str:
    return fingerprint(
        what="trained",
        network=recipe.network,
        pretrained=[recipe.data.pretrained, data_digest(recipe).get("pretrained_sha256", "")],
        samples=sample_settings(recipe),
        training=recipe.training,
    )


def _write(
    recipe: Recipe, network: Detector, frozen: list[str], out: Path, workspace: Workspace, spent: dict[str, Any]
) -> None:
    """Write the checkpoint, without a calibration; `spent` are the figures of its budget."""
    machine = {"cpu": f"{os.cpu_count()} CPU cores", "mps": "Apple GPU"}.get(workspace.device.type, "")
    machine = machine or torch.cuda.get_device_name(workspace.device)
    machine = f"{machine}, {workspace.dtype}".replace("torch.", "")
    record = {"recipe": dataclasses.asdict(recipe), **data_digest(recipe), **spent, "machine": machine}
    write_weights(recipe, network, frozen, out, record)
