"""One training sample: an image or a forgery, drawn, framed and delivered at random; and its exact labels."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from hidascan.image.decode import DecodedImage, decode
from hidascan.image.redeliver import Compression, compress
from hidascan.image.tiles import PATCH, mirror_to_patch, patch_grid, patches, thumbnail
from hidascan.lab.autoencoder import Autoencoder
from hidascan.lab.data import BalancedPicker
from hidascan.lab.degrade import (
    CLEAN_QUALITY,
    Delivery,
    deliver,
    draw_delivery,
    known_quality,
    resize,
)
from hidascan.lab.forge import cell_shares, random_region, swap_region
from hidascan.lab.recipe import SampleLaw


@dataclass(frozen=True)
class Canvas:
    """Pixels before delivery. mask (H, W) bool: true where pixels are AI. quality: JPEG history, None = unknown.
    groups: of the images that it was made of."""

    pixels: np.ndarray
    mask: np.ndarray
    quality: float | None
    groups: tuple[str, ...]


@dataclass(frozen=True)
class TrainingSample:
    """What the network is shown and what it should say.

    views: (1 + K, 224, 224, 3) uint8, the thumbnail first. token_labels: (K, 14, 14) float32 in 0..1, the share of
    AI pixels in each token's cell. label: 1 if there is any AI pixel. quality: 1..100, NaN where it is not known.
    canvas: number, within its draw, of the canvas that was delivered; deliveries of one canvas show the same places.
    groups: of the images in it, as their table names them.
    """

    views: np.ndarray
    token_labels: np.ndarray
    label: int
    quality: float
    canvas: int
    groups: tuple[str, ...]


class SampleMaker:
    """Draws samples by a law: real, AI, reconstruction pairs, region swaps (RPS)."""

    def __init__(self, law: SampleLaw, real: BalancedPicker, ai: BalancedPicker, autoencoder: Autoencoder, grid: int):
        self.law, self.real, self.ai, self.autoencoder, self.grid = law, real, ai, autoencoder, grid

    def make(self, rng: np.random.Generator) -> list[TrainingSample]:
        """Each canvas of one draw (two for a pair: a photo and its reconstruction) in `law.deliveries` deliveries.

        All canvases of the draw get the same deliveries, cut at the same places: only the generator's trace differs.
        """
        canvases, places = self._canvases(rng), int(rng.integers(2**63))
        samples = []
        for _ in range(self.law.deliveries):
            delivery = draw_delivery(rng, self.law.filter, self.law.saves, self.law.jpeg_quality)
            for number, canvas in enumerate(canvases):
                samples.append(self._finish(canvas, number, delivery, np.random.default_rng(places)))
        return samples

    def _canvases(self, rng: np.random.Generator) -> list[Canvas]:
        law = self.law
        kind = rng.choice(["real", "ai", "pair", "swap"], p=[law.real, law.ai, law.pair, law.swap])
        if kind == "ai":
            return [self._frame(self.ai, rng)]
        photo = self._frame(self.real, rng)
        if kind == "real":
            return [photo]
        if kind == "swap":
            return [self._swap(photo, rng)]
        photo = _within(_without_history(photo, rng), law.reconstruction_side, rng)
        return [photo, self._reconstruct(photo, rng)]

    def _frame(self, picker: BalancedPicker, rng: np.random.Generator) -> Canvas:
        """Draw an image; turn over, resize and crop it at random, by one law for both classes."""
        picked = picker.pick(rng)
        image = decode(picked.path)
        label = picker is self.ai
        pixels, quality = image.pixels, _native_quality(image)
        if label and quality is None and rng.random() < self.law.history:
            quality = float(rng.integers(75, 99))
            pixels = compress(pixels, Compression("JPEG", int(quality), int(rng.choice([0, 2]))))
        if rng.random() < 0.5:
            pixels = pixels[:, ::-1]
        if rng.random() < self.law.resize:
            lowest = max(0.12, min(1.0, 256 / min(pixels.shape[:2])))
            scale = float(np.exp(rng.uniform(np.log(lowest), np.log(1.25))))
            pixels = resize(np.ascontiguousarray(pixels), scale, rng)
            quality = CLEAN_QUALITY if scale <= 0.5 or quality == CLEAN_QUALITY else None
        canvas = Canvas(pixels, np.full(pixels.shape[:2], label), quality, (picked.group,))
        return canvas if rng.random() < self.law.whole else _within(canvas, self._window_side(rng), rng)

    def _window_side(self, rng: np.random.Generator) -> int:
        low, high = self.law.window_side
        return int(np.exp(rng.uniform(np.log(low), np.log(high))))

    def _reconstruct(self, canvas: Canvas, rng: np.random.Generator) -> Canvas:
        noise = float(rng.choice([0.0, 0.05, 0.15]))
        pixels = self.autoencoder.reconstruct(np.ascontiguousarray(canvas.pixels), noise, rng)
        return Canvas(pixels, np.ones_like(canvas.mask), CLEAN_QUALITY, canvas.groups)

    def _swap(self, canvas: Canvas, rng: np.random.Generator) -> Canvas:
        """RPS: a region of the photo from its own reconstruction, or from an AI image; or the other way round."""
        canvas = _within(canvas, self.law.reconstruction_side, rng)
        if rng.random() < 0.6:
            donor = self._reconstruct(canvas, rng)
        else:
            donor = self._frame(self.ai, rng)
            height, width = (min(a, b) for a, b in zip(canvas.mask.shape, donor.mask.shape, strict=True))
            canvas, donor = _corner(canvas, height, width), _corner(donor, height, width)
        region = random_region(*canvas.mask.shape, self.law.swap_share, rng)
        if rng.random() < 0.25:
            canvas, donor = donor, canvas
        both = canvas.quality if canvas.quality == donor.quality else None
        softness = float(rng.choice([0.0, 0.0, 1.0, 3.0]))
        pixels = swap_region(canvas.pixels, donor.pixels, region, softness)
        groups = tuple(dict.fromkeys((*canvas.groups, *donor.groups)))
        return Canvas(pixels, np.where(region, donor.mask, canvas.mask), both, groups)

    def _finish(self, canvas: Canvas, number: int, delivery: Delivery, rng: np.random.Generator) -> TrainingSample:
        """Deliver, cut into views (which, by rng), label."""
        delivered = deliver(canvas.pixels, delivery)
        cut = [a - b for a, b in zip(canvas.pixels.shape[:2], delivered.shape[:2], strict=True)]
        mask = canvas.mask[cut[0] :, cut[1] :]
        quality = known_quality(canvas.quality, delivery)
        pixels = mirror_to_patch(delivered)
        ai_share = mirror_to_patch(np.repeat(mask[..., None].astype(np.uint8), 3, axis=2))[..., 0]
        grid = patch_grid(*pixels.shape[:2])
        wanted = min(len(grid), int(rng.choice(self.law.patch_counts)))
        chosen = sorted(rng.choice(len(grid), wanted, replace=False))
        if not mask.all() and mask.any():  # a swap must not lose its region to the draw of the patches
            chosen = _with_most_ai(chosen, grid.corners(), ai_share)
        grid_patches, labels = patches(pixels, grid), patches(ai_share, grid)
        views = np.stack([thumbnail(pixels), *(grid_patches[i] for i in chosen)])
        token_labels = np.stack([cell_shares(labels[i], PATCH // self.grid) for i in chosen]).astype(np.float32)
        quality = float("nan") if quality is None else quality
        return TrainingSample(views, token_labels, int(mask.any()), quality, number, canvas.groups)


def _native_quality(image: DecodedImage) -> float | None:
    """Quality of the stored pixels: from the tables of a JPEG; unknown for lossless files, whose past is untold."""
    return None if image.jpeg is None else float(image.jpeg.quality)


def _without_history(canvas: Canvas, rng: np.random.Generator) -> Canvas:
    """Shrunk by 2 or more where that leaves 224 pixels: the camera's own JPEG must not tell a photo from its copy."""
    lowest = PATCH / min(canvas.mask.shape)
    if lowest > 0.5:
        return canvas
    pixels = resize(np.ascontiguousarray(canvas.pixels), float(rng.uniform(max(lowest, 0.3), 0.5)), rng)
    return Canvas(pixels, np.zeros(pixels.shape[:2], bool), CLEAN_QUALITY, canvas.groups)


def _within(canvas: Canvas, side: int, rng: np.random.Generator) -> Canvas:
    """A random window of at most `side` pixels a side."""
    height, width = (min(side, full) for full in canvas.mask.shape)
    top = int(rng.integers(0, canvas.mask.shape[0] - height + 1))
    left = int(rng.integers(0, canvas.mask.shape[1] - width + 1))
    window = (slice(top, top + height), slice(left, left + width))
    return replace(canvas, pixels=canvas.pixels[window], mask=canvas.mask[window])


def _corner(canvas: Canvas, height: int, width: int) -> Canvas:
    return replace(canvas, pixels=canvas.pixels[:height, :width], mask=canvas.mask[:height, :width])


def _with_most_ai(chosen: list[int], corners: list[tuple[int, int]], ai_share: np.ndarray) -> list[int]:
    amount = [ai_share[t : t + PATCH, left : left + PATCH].sum() for t, left in corners]
    best = int(np.argmax(amount))
    return chosen if best in chosen else sorted([*chosen[1:], best])
