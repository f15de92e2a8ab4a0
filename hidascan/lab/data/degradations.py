"""Cut, resize, filter and compress training images, and simulate delivery, with equal distributions for both classes.

Otherwise, training would yield a detector of compression. A degradation filters and saves; a delivery is what sites,
networks, messengers, screens and editors do.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np

from hidascan.image import perturb
from hidascan.image.perturb import Compression, Perturbation

KERNELS = (cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4)
_MAX_SIDE = 1600  # of an enlargement, pixels
_Draw = Callable[[np.random.Generator], Perturbation]


@dataclass(frozen=True)
class Degradation:
    """One drawn degradation, which can be applied to an image and to its reconstruction."""

    filter: str  # "none", "blur", "sharpen" or "noise"
    strength: float
    saves: tuple[Compression, ...]  # in order
    shift: tuple[int, int]  # pixels cropped at the top and left between saves, so that the block grids do not align
    noise_seed: int


@dataclass(frozen=True)
class DegradationSpec:
    """Settings of degradations."""

    filter: float = 0.0  # probability of blur, sharpening or noise
    saves: tuple[float, float, float, float] = (1.0, 0.0, 0.0, 0.0)  # none, JPEG, two JPEGs, WebP
    jpeg_quality: tuple[int, int] = (30, 100)

    def __post_init__(self) -> None:
        """Raise ValueError for probabilities that do not sum to 1, and numbers out of range."""
        if abs(sum(self.saves) - 1) > 1e-8 or min(self.saves) < 0:
            raise ValueError("saves must be probabilities that sum to 1")
        if len(self.jpeg_quality) != 2 or not 1 <= self.jpeg_quality[0] <= self.jpeg_quality[1] <= 100:
            raise ValueError("jpeg_quality must be a minimum and a maximum within 1 and 100")


def draw_degradation(rng: np.random.Generator, spec: DegradationSpec) -> Degradation:
    """Draw a degradation."""
    name, strength = "none", 0.0
    if rng.random() < spec.filter:
        name = str(rng.choice(["blur", "sharpen", "noise"]))
        low, high = {"blur": (0.4, 1.5), "sharpen": (0.3, 1.2), "noise": (1.0, 6.0)}[name]
        strength = float(rng.uniform(low, high))
    kind = int(rng.choice(4, p=spec.saves))
    drawn: tuple[Compression, ...] = ()
    if kind == 3:
        drawn = (Compression("WEBP", int(rng.integers(50, 96))),)
    elif kind:
        drawn = tuple(draw_jpeg(rng, spec.jpeg_quality) for _ in range(kind))
    shift = (int(rng.integers(0, 8)), int(rng.integers(0, 8)))
    return Degradation(name, strength, drawn, shift, int(rng.integers(2**31)))


def draw_jpeg(rng: np.random.Generator, quality: tuple[int, int]) -> Compression:
    """Draw a JPEG save with a quality between minimum and maximum."""
    return jpeg_of(int(rng.integers(quality[0], quality[1] + 1)), rng)


def jpeg_of(quality: int, rng: np.random.Generator) -> Compression:
    """Draw the chroma subsampling of a JPEG save."""
    return Compression("JPEG", quality, int(rng.choice([0, 2], p=[0.3, 0.7])))


def degrade(pixels: np.ndarray, degradation: Degradation) -> np.ndarray:
    """Degrade (H, W, 3) uint8; with two saves, the result is smaller by `shift`."""
    pixels = _filtered(pixels, degradation)
    for number, save in enumerate(degradation.saves):
        if number:
            pixels = pixels[degradation.shift[0] :, degradation.shift[1] :]
        pixels = perturb.compress(pixels, save)
    return pixels


def random_window(shape: tuple[int, ...], side: int, rng: np.random.Generator, grid: int = 1) -> tuple[slice, slice]:
    """Draw the rows and columns of a window of pixels (H, W, ...), of at most `side` per side, aligned with a grid."""
    height, width = shape[:2]
    top, left = (grid * int(rng.integers(0, (full - min(side, full)) // grid + 1)) for full in (height, width))
    return slice(top, min(top + side, height)), slice(left, min(left + side, width))


def resize(pixels: np.ndarray, scale: float, rng: np.random.Generator) -> np.ndarray:
    """Resize by `scale` with a random kernel, with a low-pass filter before shrinking unless by area averaging."""
    height, width = (max(1, round(side * scale)) for side in pixels.shape[:2])
    kernel = int(rng.choice(KERNELS))
    if scale < 1 and kernel != cv2.INTER_AREA and rng.random() < 0.7:
        pixels = perturb.blur(pixels, 0.4 / scale)
    return cv2.resize(pixels, (width, height), interpolation=kernel)


def _filtered(pixels: np.ndarray, degradation: Degradation) -> np.ndarray:
    if degradation.filter == "blur":
        return perturb.blur(pixels, degradation.strength)
    if degradation.filter == "sharpen":
        return perturb.sharpen(pixels, degradation.strength)
    if degradation.filter == "noise":
        return perturb.noise(pixels, degradation.strength, degradation.noise_seed)
    return pixels


def draw_delivery(rng: np.random.Generator) -> Perturbation:
    """Draw a delivery: a deterministic function of pixels (H, W, 3) uint8."""
    kind = _KINDS[int(rng.choice(len(_KINDS), p=[share for share, _ in _KINDS]))][1]
    steps = [*_sometimes(rng, 0.15, _turn), *_sometimes(rng, 0.2, _any_resize), *kind(rng)]
    return partial(_in_turn, steps=steps)


def draw_hard_delivery(rng: np.random.Generator) -> Perturbation:
    """Draw a delivery that costs a detector most: a preview, a small or blurred copy, noise, a second save, bars."""
    small = partial(perturb.shrink_to, longest=int(rng.integers(200, 481)))
    shrunk = partial(_resized, scale=float(rng.uniform(0.2, 0.6)), kernel=int(rng.choice(KERNELS)))
    steps: list[list[Perturbation]] = [
        [small, _save(rng, 60, 92)],
        [shrunk, *_sometimes(rng, 0.5, lambda rng: _save(rng, 65, 95))],
        [
            partial(perturb.blur, sigma=float(rng.uniform(0.8, 2.5))),
            *_sometimes(rng, 0.5, lambda rng: _save(rng, 70, 95)),
        ],
        [partial(perturb.noise, sigma=float(rng.uniform(3.0, 8.0)), seed=int(rng.integers(2**31))), _save(rng, 75, 97)],
        [_save(rng, 60, 90, webp=0.0), shrunk, _save(rng, 60, 90, webp=0.0)],
        [partial(perturb.letterbox, aspect=float(rng.choice([9 / 16, 3 / 4, 1, 16 / 9]))), _save(rng, 65, 92)],
    ]
    return partial(_in_turn, steps=steps[int(rng.choice(len(steps), p=_HARD_SHARES))])


def _resized(
    pixels: np.ndarray, scale: float, kernel: int, shortest: int = 128, filtered_below: float = math.inf
) -> np.ndarray:
    """Resize to `scale`, to sides of at least `shortest` pixels; below a factor, after a low-pass filter.

    Area averaging needs no filter.
    """
    factor = max(scale, min(1.0, shortest / min(pixels.shape[:2])))
    height, width = (max(1, round(side * factor)) for side in pixels.shape[:2])
    if factor < filtered_below and kernel != cv2.INTER_AREA:
        pixels = perturb.blur(pixels, 0.35 / factor)
    return cv2.resize(pixels, (width, height), interpolation=kernel)


def _in_turn(pixels: np.ndarray, steps: list[Perturbation]) -> np.ndarray:
    for step in steps:
        pixels = step(np.ascontiguousarray(pixels))
    return pixels


def _sometimes(rng: np.random.Generator, probability: float, draw: _Draw) -> list[Perturbation]:
    return [draw(rng)] if rng.random() < probability else []


def _turn(rng: np.random.Generator) -> Perturbation:
    return partial(perturb.turn, quarters=int(rng.integers(1, 4)))


def _save(rng: np.random.Generator, low: int, high: int, webp: float = 0.25) -> Perturbation:
    """Draw a save with a quality between `low` and `high`, as JPEG, WebP or, rarely, AVIF."""
    quality = int(rng.integers(low, high + 1))
    if rng.random() < webp:
        return partial(perturb.compress, save=Compression("WEBP", quality))
    if rng.random() < webp / 4:
        return partial(perturb.compress, save=Compression("AVIF", max(30, quality - 20)))
    return partial(perturb.compress, save=jpeg_of(quality, rng))


def _any_resize(rng: np.random.Generator) -> Perturbation:
    """Draw a resize to 0.35..1.2 of the size, to sides of at least 224 pixels."""
    scale, kernel = float(np.exp(rng.uniform(np.log(0.35), np.log(1.2)))), int(rng.choice(KERNELS))
    return partial(_resized, scale=scale, kernel=kernel, shortest=224, filtered_below=0.7)


def _site(rng: np.random.Generator) -> list[Perturbation]:
    """Draw a site builder: resizing to a width, and strong compression."""
    return [
        partial(perturb.shrink_to, longest=int(rng.choice([640, 800, 1024, 1280, 1600]))),
        _save(rng, 50, 85, webp=0.5),
    ]


def _network(rng: np.random.Generator) -> list[Perturbation]:
    """Draw a social network: resizing, sometimes sharpening, JPEG."""
    fitted = partial(perturb.shrink_to, longest=int(rng.choice([720, 1080, 1200, 2048])))
    sharpened = _sometimes(rng, 0.5, lambda rng: partial(perturb.sharpen, strength=float(rng.uniform(0.1, 0.6))))
    return [fitted, *sharpened, _save(rng, 68, 88, webp=0.1)]


def _messenger(rng: np.random.Generator) -> list[Perturbation]:
    """Draw a messenger, sometimes with forwarding."""
    fitted = partial(perturb.shrink_to, longest=int(rng.choice([1024, 1280, 1600])))
    again = [_cut_off(rng), *_sometimes(rng, 0.3, _any_resize), _save(rng, 55, 80, webp=0.0)]
    return [fitted, _save(rng, 60, 82, webp=0.0), *(again if rng.random() < 0.5 else [])]


def _cut_off(rng: np.random.Generator) -> Perturbation:
    """Draw a crop of a few pixels at the top and left, so that the block grids of two saves do not align."""
    top, left = (int(n) for n in rng.integers(0, 8, 2))
    return lambda pixels: pixels[top:, left:] if min(pixels.shape[:2]) > 16 else pixels


def _screen(rng: np.random.Generator) -> list[Perturbation]:
    shown = partial(perturb.screenshot, scale=float(rng.uniform(0.4, 1.3)))
    aspects = [9 / 16, 3 / 4, 16 / 9]
    bars = _sometimes(rng, 0.3, lambda rng: partial(perturb.letterbox, aspect=float(rng.choice(aspects))))
    return [
        partial(perturb.shrink_to, longest=1920),
        shown,
        *bars,
        *_sometimes(rng, 0.4, lambda rng: _save(rng, 70, 95)),
    ]


def _enlarged(rng: np.random.Generator) -> list[Perturbation]:
    """Draw an enlargement by 1.5..4 of a sufficiently small part."""
    scale, kernel = float(rng.uniform(1.5, 4.0)), int(rng.choice(KERNELS[1:]))

    def enlarge(pixels: np.ndarray) -> np.ndarray:
        part = pixels[: int(_MAX_SIDE / scale), : int(_MAX_SIDE / scale)]
        size = (round(part.shape[1] * scale), round(part.shape[0] * scale))
        return cv2.resize(np.ascontiguousarray(part), size, interpolation=kernel)

    return [enlarge, *_sometimes(rng, 0.7, lambda rng: _save(rng, 65, 95))]


def _edited(rng: np.random.Generator) -> list[Perturbation]:
    """Draw an editor's filter: sharpening, smooth skin, contrast, noise, blur, grain or a preset of tones."""
    edit: list[Perturbation] = [
        partial(perturb.sharpen, strength=float(rng.uniform(0.3, 1.5))),
        partial(perturb.smooth_skin, strength=float(rng.uniform(8, 30))),
        partial(perturb.local_contrast, limit=float(rng.uniform(1.0, 3.0))),
        partial(perturb.noise, sigma=float(rng.uniform(1.0, 6.0)), seed=int(rng.integers(2**31))),
        partial(perturb.blur, sigma=float(rng.uniform(0.4, 1.5))),
        partial(perturb.grain, sigma=float(rng.uniform(2.0, 9.0)), seed=int(rng.integers(2**31))),
        partial(perturb.tone, gammas=_gammas(rng), contrast=float(rng.uniform(0.8, 1.25))),
    ]
    return [edit[int(rng.integers(len(edit)))], *_sometimes(rng, 0.7, lambda rng: _save(rng, 75, 97))]


def _gammas(rng: np.random.Generator) -> tuple[float, float, float]:
    common, tint = rng.uniform(-0.25, 0.25), rng.uniform(-0.08, 0.08, 3)
    red, green, blue = np.exp(common + tint).tolist()
    return red, green, blue


_HARD_SHARES = (0.25, 0.25, 0.15, 0.1, 0.15, 0.1)
_KINDS: tuple[tuple[float, Callable[[np.random.Generator], list[Perturbation]]], ...] = (  # and their shares
    (0.25, lambda rng: [_save(rng, 75, 98)]),
    (0.20, _site),
    (0.15, _network),
    (0.10, _messenger),
    (0.08, _screen),
    (0.10, _enlarged),
    (0.12, _edited),
)
