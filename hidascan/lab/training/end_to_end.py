"""Train any detector by its verdict alone: draw images, degrade them alike, cut them by its plan, L_cls.

A detector whose encoder is frozen has its views encoded once and kept; the rest is then trained on these.
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
from hidascan.detectors.base import Detector, Encoded, Positions
from hidascan.detectors.checkpoint import CheckpointHeader, Part, load_backbone, save_trained, sha256_of
from hidascan.errors import HidascanError, RecipeError
from hidascan.geometry import ViewPlan
from hidascan.image.views import Views, cut_views
from hidascan.lab.data.composites import CompositeMaker
from hidascan.lab.data.degradations import degrade
from hidascan.lab.data.layouts import read_images
from hidascan.lab.data.sampling import BalancedSampler, SamplingSpec
from hidascan.lab.data.tables import LabelledImage, fold_of, tables_sha256
from hidascan.lab.training import recipe as recipes
from hidascan.lab.training.artifacts import fingerprint, load_artifact, save_artifact
from hidascan.lab.training.losses import classification_loss
from hidascan.lab.training.trainer import Trainer, TrainerSpec, read_ahead

_PER_SHARD = 100  # samples


@dataclass(frozen=True)
class EndToEndSpec(TrainerSpec):
    """How the detector is trained. `batch` counts images."""

    epochs: int = 10
    steps: int = 40  # an epoch
    lr: float = 3e-4
    weight_decay: float = 0.05
    label_smoothing: float = 0.05
    side: int = 224  # of random crops, for a detector that looks at the image at its own size
    patches: int = 4  # at most so many of an image, for one that looks at patches
    samples: int = 1000  # that are encoded, where the encoder is frozen
    group_power: float = 0.35  # a source of n images is drawn with weight n ** group_power


@dataclass(frozen=True)
class Recipe(recipes.Recipe):
    """A recipe for any detector."""

    sampling: SamplingSpec = field(
        default_factory=lambda: SamplingSpec(real=0.5, ai=0.5, pair=0.0, swap=0.0, degradations=1)
    )
    training: EndToEndSpec = field(default_factory=EndToEndSpec)


@dataclass(frozen=True)
class Sample:
    """One image: its views, or what they were encoded to, and its label."""

    label: int
    views: Views | None = None
    encoded: Encoded | None = None


def train(recipe: Recipe, cache: Path, out: Path, device: torch.device, dtype: torch.dtype) -> None:
    """Train on the tables of the recipe, on from the last whole epoch if there is one, and write the weights."""
    torch.manual_seed(recipe.seed)
    detector = _new_detector(recipe, dtype).to(device)
    samples = _Samples(recipe, detector.plan)
    encoded = _encoded(recipe, samples, detector, cache, device) if detector.frozen_encoder else None
    spec, made_by, frozen = recipe.training, _made_by(recipe), list(detector.frozen_parts())
    with _without_frozen_parts(detector):
        trainer = Trainer(detector, spec, spec.steps)

        def epoch(number: int) -> None:
            torch.manual_seed(recipe.seed * 1000 + number)
            first = number * spec.steps
            load = lambda step: samples.batch(first + step, encoded)  # noqa: E731
            batches = read_ahead(load, spec.steps)
            for batch in tqdm(batches, total=spec.steps, desc=f"epoch {number + 1}", disable=None):
                trainer.step({"cls": _loss(detector, batch, spec.label_smoothing, device, dtype)})

        trainer.run(made_by, cache / f"{out.stem}.state", epoch)
    _write(recipe, trainer.averaged, frozen, out)


def images_of(recipe: recipes.Recipe, for_training: bool = True) -> list[LabelledImage]:
    """Return the images of the tables that training draws from, or those of the fold that calibration keeps."""
    images = [image for table in recipe.data.tables for image in read_images(table)]
    return [image for image in images if (fold_of(image.source) != recipe.data.calibration_fold) == for_training]


def _new_detector(recipe: Recipe, dtype: torch.dtype) -> Detector:
    detector = detector_class(recipe.detector)(recipe.network)
    for name, part in detector.frozen_parts().items():
        side = detector.plan.side or 224
        setattr(detector, name, load_backbone(part.name, part.taps, side, Path(recipe.data.backbone), dtype))
    return detector


class _Samples:
    """Samples by their numbers: each has a random generator of its own, so they can be drawn again."""

    def __init__(self, recipe: Recipe, plan: ViewPlan):
        images = images_of(recipe)
        real, ai = (BalancedSampler(images, label, recipe.training.group_power) for label in (0, 1))
        self._maker, self._recipe = CompositeMaker(recipe.sampling, real, ai), recipe
        self._plan = plan.limited(recipe.training.patches)

    def batch(self, number: int, encoded: list[Sample] | None) -> list[Sample]:
        """Return the samples of a step: drawn anew, or from those that were encoded."""
        size = self._recipe.training.batch
        if encoded is None:
            return [self[number * size + place] for place in range(size)]
        rng = np.random.default_rng([self._recipe.seed, 5, number])
        return [encoded[place] for place in rng.integers(0, len(encoded), size)]

    def __getitem__(self, number: int) -> Sample:
        """Draw a sample; a file that cannot be read is replaced by the next draw of the same generator."""
        rng = np.random.default_rng([self._recipe.seed, 4, number])
        for _ in range(20):
            try:
                _, composite, degradation, places = next(self._maker.draw(rng))
            except HidascanError as error:
                tqdm.write(f"skipped: {error}")
            else:
                pixels = degrade(composite.pixels, degradation)
                return Sample(int(composite.mask.any()), self._cut(pixels, places))
        raise RecipeError("20 unreadable images in a row: check the tables")

    def _cut(self, pixels: np.ndarray, rng: np.random.Generator) -> Views:
        """Cut by the plan; an image at its own size becomes a random crop, so that crops fill a batch."""
        if self._plan.side is not None:
            return cut_views(pixels, self._plan)
        side = self._recipe.training.side
        plan = ViewPlan(side, thumbnail=False)
        height, width = (max(side, length) for length in pixels.shape[:2])
        top, left = (int(rng.integers(0, length - side + 1)) for length in (height, width))
        return cut_views(pixels[top : top + side, left : left + side], plan)


def _tensors(samples: list[Sample], device: torch.device) -> tuple[Tensor, Positions]:
    """Put the views of samples side by side: (B, 3, H, W) uint8, and where they lie."""
    views = [sample.views for sample in samples if sample.views]
    pixels = torch.from_numpy(np.stack([view for one in views for view in one.pixels])).permute(0, 3, 1, 2)
    thumbnails = [one.thumbnail and number == 0 for one in views for number in range(len(one))]
    corners = [[box.top, box.left] for one in views for box in one.boxes]
    return pixels.to(device), Positions(torch.tensor(thumbnails, device=device), torch.tensor(corners, device=device))


def _split(encoded: Encoded, counts: list[int]) -> list[Encoded]:
    """Part the rows of a batch by image."""
    parts = {name: rows.split(counts) for name, rows in encoded.items()}
    return [{name: part[number] for name, part in parts.items()} for number in range(len(counts))]


def _loss(
    detector: Detector, samples: list[Sample], smoothing: float, device: torch.device, dtype: torch.dtype
) -> Tensor:
    """Compute L_cls of a batch of images, with as many real ones as AI ones in the long run."""
    with torch.autocast(device.type, dtype, enabled=dtype != torch.float32 and not detector.frozen_encoder):
        if samples[0].encoded is None:
            counts = [len(sample.views or ()) for sample in samples]
            images = _split(detector.encode(*_tensors(samples, device)), counts)
        else:
            images = [{k: v.to(device) for k, v in (sample.encoded or {}).items()} for sample in samples]
    logits = torch.stack([detector.decide(image).logit for image in images]).float()
    labels = torch.tensor([float(sample.label) for sample in samples], device=device)
    return classification_loss(logits, labels, 0.5, smoothing)


def _encoded(recipe: Recipe, samples: _Samples, detector: Detector, cache: Path, device: torch.device) -> list[Sample]:
    """Encode samples once, in shards that survive a kill, and let the detector measure them."""
    made_by = fingerprint(what="encoded", recipe=_what_decides_samples(recipe))
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
        parts = _split({name: rows.float() for name, rows in tensors.items()}, counts)
        encoded += [Sample(label, encoded=part) for label, part in zip(labels, parts, strict=True)]
    known = [sample.encoded for sample in encoded if sample.encoded]
    detector.measure({name: torch.cat([part[name] for part in known]).to(device) for name in known[0]})
    return encoded


def _encode_shard(samples: _Samples, numbers: range, detector: Detector, device: torch.device) -> dict[str, Tensor]:
    drawn = list(read_ahead(lambda place: samples[numbers[place]], len(numbers), ahead=8))
    rows: list[Encoded] = []
    for place in tqdm(range(0, len(drawn), 4), desc="shard", disable=None, leave=False):
        with torch.inference_mode():
            rows.append(detector.encode(*_tensors(drawn[place : place + 4], device)))
    tensors = {name: torch.cat([row[name].half().cpu() for row in rows]).clone() for name in rows[0]}
    tensors["labels"] = torch.tensor([sample.label for sample in drawn])
    tensors["counts"] = torch.tensor([len(sample.views or ()) for sample in drawn])
    return tensors


def _what_decides_samples(recipe: Recipe) -> list[object]:
    spec, backbone = recipe.training, Path(recipe.data.backbone)
    encoder = {
        name: value
        for name, value in dataclasses.asdict(recipe.network).items()
        if name in ("backbone", "taps", "side")
    }
    frozen = sha256_of(backbone) if backbone.is_file() else ""
    tables = tables_sha256(recipe.data.tables)
    drawn = [spec.patches, spec.side, spec.group_power, recipe.data.calibration_fold]
    return [recipe.detector, recipe.seed, encoder, frozen, tables, recipe.sampling, drawn]


def _made_by(recipe: Recipe) -> str:
    return fingerprint(
        what="trained", network=recipe.network, samples=_what_decides_samples(recipe), training=recipe.training
    )


@contextmanager
def _without_frozen_parts(detector: Detector) -> Iterator[None]:
    """Take frozen parts out while what is trained is copied, averaged and saved."""
    frozen = detector.frozen_parts() if detector.frozen_encoder else {}
    for name in frozen:
        delattr(detector, name)
    try:
        yield
    finally:
        for name, part in frozen.items():
            setattr(detector, name, part)


def _write(recipe: Recipe, detector: Detector, frozen: list[str], out: Path) -> None:
    """Write the checkpoint, as yet without a calibration."""
    backbone = Path(recipe.data.backbone)
    parts = tuple(Part(name, backbone.name, sha256_of(backbone)) for name in frozen)
    training = {"recipe": dataclasses.asdict(recipe), "tables_sha256": tables_sha256(recipe.data.tables)}
    header = CheckpointHeader(out.stem, recipe.detector, recipe.network, parts, training=training)
    save_trained(out, detector, header)
    tqdm.write(f"wrote {out}")
