"""Detection measured under what happens to images on their way, and how often that turns a verdict round."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np

from hidascan.image.decode import decode
from hidascan.image.redeliver import Compression, centre, compress, letterbox, shrink
from hidascan.lab.data import LabelledImage
from hidascan.lab.descent import read_ahead
from hidascan.lab.metrics import auc, balanced_accuracy, tpr_at_fpr
from hidascan.scanner import Scanner

Deliver = Callable[[np.ndarray], np.ndarray]


def _saved(format: str, quality: int) -> Deliver:
    return lambda pixels: compress(pixels, Compression(format, quality))


def _blurred(pixels: np.ndarray, sigma: float) -> np.ndarray:
    return cv2.GaussianBlur(np.ascontiguousarray(pixels), (0, 0), sigma)


def _noisy(pixels: np.ndarray, sigma: float) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, sigma, pixels.shape).astype(np.float32)
    return np.rint(pixels + noise).clip(0, 255).astype(np.uint8)


def _chain(pixels: np.ndarray) -> np.ndarray:
    """A social network after another: JPEG 90, shrunk to three quarters, JPEG 75."""
    return _saved("JPEG", 75)(shrink(_saved("JPEG", 90)(pixels), 0.75))


DELIVERIES: dict[str, Deliver] = {
    "as it is": lambda pixels: pixels,
    **{f"JPEG {quality}": _saved("JPEG", quality) for quality in (95, 90, 85, 75, 60, 40)},
    "WebP 80": _saved("WEBP", 80),
    **{f"resize {scale}": partial(shrink, scale=scale) for scale in (0.75, 0.5, 0.25)},
    **{f"blur {sigma}": partial(_blurred, sigma=sigma) for sigma in (1, 2)},
    "noise 5": partial(_noisy, sigma=5),
    "JPEG, resize, JPEG": _chain,
    "centre 60 %": centre,
    "letterbox": letterbox,
}
# Over these a verdict should not turn from ai to real or back.
STABILITY = ("JPEG 90", "JPEG 75", "JPEG 40", "WebP 80", "resize 0.75", "resize 0.5", "centre 60 %", "letterbox")


@dataclass(frozen=True)
class DeliveryFigures:
    """Of one delivery of all images; balanced: at 0.5."""

    delivery: str
    auc: float
    balanced: float
    tpr_5: float
    ai_on_real: float
    inconclusive: float


@dataclass(frozen=True)
class Robustness:
    """deliveries: a row for each. flips: share of the images with both ai and real among the verdicts over STABILITY
    and the image as it is; flips_real, flips_ai: of the real and of the AI images."""

    images: int
    deliveries: list[DeliveryFigures]
    flips: float
    flips_real: float
    flips_ai: float


def measure_robustness(
    scanner: Scanner, images: list[LabelledImage], on_image: Callable[[], None] = lambda: None
) -> Robustness:
    """Scan every image under every one of DELIVERIES."""
    scores, verdicts = [], []
    for number, finding in enumerate(scanner.scan_arrays(_copies(images)), start=1):
        scores.append(finding.score)
        verdicts.append(finding.verdict)
        if number % len(DELIVERIES) == 0:
            on_image()
    labels = np.array([image.label for image in images])
    said = np.array(verdicts).reshape(len(images), -1)
    score = np.array(scores).reshape(len(images), -1)
    rows = [_figures(name, labels, score[:, i], said[:, i]) for i, name in enumerate(DELIVERIES)]
    stable = [i for i, name in enumerate(DELIVERIES) if name in ("as it is", *STABILITY)]
    flips = (said[:, stable] == "ai").any(1) & (said[:, stable] == "real").any(1)
    shares = (float(part.mean()) for part in (flips, flips[labels == 0], flips[labels == 1]))
    return Robustness(len(images), rows, *shares)


def _copies(images: list[LabelledImage]) -> Iterator[tuple[str, np.ndarray]]:
    def copies_of(number: int) -> list[tuple[str, np.ndarray]]:
        pixels = decode(images[number].path).pixels
        return [(name, deliver(pixels)) for name, deliver in DELIVERIES.items()]

    for copies in read_ahead(copies_of, len(images)):
        yield from copies


def _figures(name: str, labels: np.ndarray, scores: np.ndarray, verdicts: np.ndarray) -> DeliveryFigures:
    return DeliveryFigures(
        name,
        auc(labels, scores),
        balanced_accuracy(labels, scores, 0.5),
        tpr_at_fpr(labels, scores, 0.05),
        float((verdicts[labels == 0] == "ai").mean()),
        float((verdicts == "inconclusive").mean()),
    )


def as_markdown(robustness: Robustness) -> str:
    """The table, the delivery with the lowest AUC in bold, and a line on the flips."""
    worst = min(robustness.deliveries, key=lambda row: row.auc)
    lines = [
        "| delivery | AUC | balanced accuracy at 0.5 | TPR at 5 % FPR | `ai` on real | inconclusive |",
        "|---|---|---|---|---|---|",
    ]
    for row in robustness.deliveries:
        values = (row.auc, row.balanced, row.tpr_5, row.ai_on_real, row.inconclusive)
        cells = [row.delivery, *(f"{value:.3f}" for value in values)]
        lines.append("| " + " | ".join(f"**{cell}**" if row is worst else cell for cell in cells) + " |")
    real, ai = robustness.flips_real, robustness.flips_ai
    lines += [
        "",
        f"Verdicts that flip over {len(STABILITY)} deliveries: {robustness.flips:.1%} (real {real:.1%}, AI {ai:.1%}).",
    ]
    return "\n".join(lines)
