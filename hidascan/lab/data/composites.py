"""Draw training samples, an image or its reconstruction, and forge regions of images (RPS, blending)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from hidascan.geometry import PATCH
from hidascan.image.decode import decode
from hidascan.image.perturb import Compression, compress
from hidascan.lab.data.autoencoders import Autoencoder
from hidascan.lab.data.degradations import Degradation, DegradationSpec, draw_degradation, random_window, resize
from hidascan.lab.data.tables import BalancedSampler


@dataclass(frozen=True)
class SamplingSpec(DegradationSpec):
    """Sampling settings. The first three are probabilities and sum to 1."""

    real: float = 0.5
    ai: float = 0.5
    pair: float = 0.0  # probability of a photo and its reconstruction, two samples
    history: float = 0.5  # probability that a lossless AI image gets a JPEG history like that of photos
    resize: float = 0.5  # probability of a random resize
    whole: float = 0.3  # probability of the whole image, instead of a window
    window_side: tuple[int, int] = (160, 900)  # pixels, drawn log-uniformly
    reconstruction_side: int = 448  # maximum side of an autoencoder's input, pixels
    replaced: float = 0.0  # probability that cells of a pair's reconstruction are replaced by those of its photo (RPR)
    replaced_grids: tuple[int, ...] = (2, 7, 14)  # cells along a side for that
    filter: float = 0.15
    saves: tuple[float, float, float, float] = (0.25, 0.50, 0.12, 0.13)

    def __post_init__(self) -> None:
        """Raise ValueError for probabilities that do not sum to 1."""
        super().__post_init__()
        kinds = self.real, self.ai, self.pair
        if abs(sum(kinds) - 1) > 1e-8 or min(kinds) < 0:
            raise ValueError("real, ai and pair must be probabilities that sum to 1")


@dataclass(frozen=True)
class Composite:
    """Pixels (H, W, 3) uint8 before degradation, and a mask (H, W) bool of the AI-made ones."""

    pixels: np.ndarray
    mask: np.ndarray


class CompositeMaker:
    """Draws composites: real, AI, reconstruction pairs."""

    def __init__(self, spec: SamplingSpec, real: BalancedSampler, ai: BalancedSampler, *autoencoders: Autoencoder):
        """Set up; autoencoders, chosen at random for each draw, are required for pairs."""
        self.spec, self.real, self.ai, self.autoencoders = spec, real, ai, autoencoders

    def draw(self, rng: np.random.Generator) -> tuple[list[Composite], Degradation, int]:
        """Draw one composite, or two for a pair: a photo and its reconstruction.

        Returns:
            Composites; their degradation; and the seed of the positions of crops. The composites of a pair share both,
            so that they differ only in the traces of the autoencoder.
        """
        composites = self._composites(rng)
        places = int(rng.integers(2**63))
        return composites, draw_degradation(rng, self.spec), places

    def _composites(self, rng: np.random.Generator) -> list[Composite]:
        spec = self.spec
        kind = rng.choice(["real", "ai", "pair"], p=[spec.real, spec.ai, spec.pair])
        if kind == "ai":
            return [self._frame(self.ai, rng)]
        photo = self._frame(self.real, rng)
        if kind == "real":
            return [photo]
        photo = _within(_without_history(photo, rng), spec.reconstruction_side, rng)
        copy = self._reconstruct(photo, rng)
        if spec.replaced and rng.random() < spec.replaced:
            copy = _replaced(copy, photo, int(rng.choice(spec.replaced_grids)), rng)
        return [photo, copy]

    def _frame(self, sampler: BalancedSampler, rng: np.random.Generator) -> Composite:
        """Draw an image; flip, resize and crop it at random, in the same way for both classes.

        Before that, a lossless AI image gets a JPEG history with probability `history`, as most photos have one.
        """
        image = decode(sampler.draw(rng).path)
        pixels = image.pixels
        if sampler.label and image.jpeg is None and rng.random() < self.spec.history:
            pixels = compress(pixels, Compression("JPEG", int(rng.integers(75, 99)), int(rng.choice([0, 2]))))
        if rng.random() < 0.5:
            pixels = pixels[:, ::-1]
        if rng.random() < self.spec.resize:
            lowest = max(0.12, min(1.0, 256 / min(pixels.shape[:2])))
            scale = float(np.exp(rng.uniform(np.log(lowest), np.log(1.25))))
            pixels = resize(np.ascontiguousarray(pixels), scale, rng)
        framed = Composite(pixels, np.full(pixels.shape[:2], bool(sampler.label)))
        if rng.random() < self.spec.whole:
            return framed
        low, high = self.spec.window_side
        return _within(framed, int(np.exp(rng.uniform(np.log(low), np.log(high)))), rng)

    def _reconstruct(self, composite: Composite, rng: np.random.Generator) -> Composite:
        # No noise in a third, unlike in half by `draw_noise`: the two differ since the first trainings; their results are
        # kept, so agree on one with the next retraining.
        noise = float(rng.choice([0.0, 0.05, 0.15]))
        autoencoder = self.autoencoders[rng.integers(len(self.autoencoders)) if len(self.autoencoders) > 1 else 0]
        pixels = autoencoder.reconstruct(np.ascontiguousarray(composite.pixels), noise, rng)
        return Composite(pixels, np.ones_like(composite.mask))


def _replaced(copy: Composite, photo: Composite, cells: int, rng: np.random.Generator) -> Composite:
    """Replace a random share, 0..1, of the cells of a reconstruction by those of its photo (RPR of PPL)."""
    height, width = copy.mask.shape
    chosen = rng.random((cells, cells)) < rng.random()
    rows, columns = (np.arange(length) * cells // length for length in (height, width))
    kept = ~chosen[rows][:, columns]
    return replace(copy, pixels=np.where(kept[..., None], copy.pixels, photo.pixels), mask=copy.mask & kept)


def _without_history(composite: Composite, rng: np.random.Generator) -> Composite:
    """Shrink by 2 or more if that leaves 224 pixels, so that the camera's JPEG does not mark photos."""
    lowest = PATCH / min(composite.mask.shape)
    if lowest > 0.5:
        return composite
    pixels = resize(np.ascontiguousarray(composite.pixels), float(rng.uniform(max(lowest, 0.3), 0.5)), rng)
    return Composite(pixels, np.zeros(pixels.shape[:2], bool))


def _within(composite: Composite, side: int, rng: np.random.Generator) -> Composite:
    """Cut out a random window of at most `side` pixels per side."""
    return _cut(composite, random_window(composite.mask.shape, side, rng))


def _cut(composite: Composite, window: tuple[slice, slice]) -> Composite:
    return Composite(composite.pixels[window], composite.mask[window])


def random_region(height: int, width: int, share: tuple[float, float], rng: np.random.Generator) -> np.ndarray:
    """Draw an (H, W) bool mask: a rectangle or ellipse at a random position, with a share of the area in `share`."""
    area = rng.uniform(*share) * height * width
    ellipse = rng.random() < 0.4
    box_area = area * 4 / np.pi if ellipse else area
    aspect = np.exp(rng.uniform(-0.5, 0.5))
    box_height = int(np.clip(np.sqrt(box_area * aspect), 8, height))
    box_width = int(np.clip(box_area / box_height, 8, width))
    top = int(rng.integers(0, height - box_height + 1))
    left = int(rng.integers(0, width - box_width + 1))
    mask = np.zeros((height, width), np.uint8)
    if ellipse:
        centre = (left + box_width // 2, top + box_height // 2)
        cv2.ellipse(mask, centre, (box_width // 2, box_height // 2), 0, 0, 360, 1, -1)
    else:
        mask[top : top + box_height, left : left + box_width] = 1
    return mask.astype(bool)


def repaint_region(
    pixels: np.ndarray, autoencoder: Autoencoder, share: tuple[float, float], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Pass a random region of `share` of the area through an autoencoder and paste it back.

    Returns:
        Pixels (H, W, 3) uint8 and the mask (H, W) bool of the region.
    """
    mask = random_region(pixels.shape[0], pixels.shape[1], share, rng)
    return swap_region(pixels, autoencoder.reconstruct(np.ascontiguousarray(pixels)), mask), mask


def draw_softness(rng: np.random.Generator) -> float:
    """Draw the softness of the edge of a region, pixels: none in half of them."""
    return float(rng.choice([0.0, 0.0, 1.0, 3.0]))


def swap_region(base: np.ndarray, donor: np.ndarray, mask: np.ndarray, softness: float = 0.0) -> np.ndarray:
    """Copy the pixels of `donor` into `base`, (H, W, 3) uint8, within a mask (H, W): random patch swap (RPS) of HiDA-Net.

    `softness` is the sigma of the feathered border, pixels; 0 for a hard border.
    """
    if not softness:
        return np.where(mask[..., None], donor, base)
    share = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), softness)[..., None]
    return np.rint(donor * share + base * (1 - share)).astype(np.uint8)


def match_tone(donor: np.ndarray, base: np.ndarray) -> np.ndarray:
    """Match the mean and, within limits, the contrast of each channel of `donor` to `base`; both (H, W, 3) uint8."""
    means, spreads = zip(*((part.mean((0, 1)), part.std((0, 1)) + 1) for part in (donor, base)), strict=True)
    matched = (donor - means[0]) * np.clip(spreads[1] / spreads[0], 0.6, 1.6) + means[1]
    return np.rint(matched).clip(0, 255).astype(np.uint8)


def poisson_blend(base: np.ndarray, donor: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Copy the gradients of `donor` into `base` within a mask ("Poisson Image Editing", SIGGRAPH 2003).

    Regions keep two pixels of distance to the image border, as the equation requires boundary values.
    """
    inner = np.zeros(mask.shape, np.uint8)
    inner[2:-2, 2:-2] = 255 * mask[2:-2, 2:-2]
    left, top, width, height = cv2.boundingRect(inner)
    if not width:
        return base
    centre = (left + (width - 1) // 2, top + (height - 1) // 2)
    box = (slice(top, top + height), slice(left, left + width))
    source, chosen = (np.ascontiguousarray(part[box]) for part in (donor, inner))
    return cv2.seamlessClone(source, base, chosen, centre, cv2.NORMAL_CLONE)


def mask_shares(mask: np.ndarray, cell: int) -> np.ndarray:
    """Return the share of true pixels of a mask (H, W) in each cell, (ceil(H / cell), ceil(W / cell))."""
    rows, cols = (np.arange(0, side, cell) for side in mask.shape)
    sums = np.add.reduceat(np.add.reduceat(mask.astype(np.float64), rows, axis=0), cols, axis=1)
    heights, widths = (np.diff([*starts, side]) for starts, side in zip((rows, cols), mask.shape, strict=True))
    return sums / np.outer(heights, widths)
