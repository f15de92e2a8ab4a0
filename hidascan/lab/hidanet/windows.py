"""Draw the training windows of TFL: edited, repainted, pasted, retouched without AI, untouched and generated ones.

Real edits matter most: TFL hardly generalises to generators that it was not trained on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import cv2
import numpy as np

from hidascan.errors import ImageError, RecipeError
from hidascan.geometry import PATCH
from hidascan.image.decode import decode
from hidascan.image.perturb import blur, compress, sharpen
from hidascan.lab.data.autoencoders import ALIGNMENT, Autoencoder, draw_noise
from hidascan.lab.data.composites import draw_softness, match_tone, poisson_blend, random_region, swap_region
from hidascan.lab.data.degradations import degrade, draw_degradation, draw_jpeg, random_window, resize
from hidascan.lab.data.tables import TRIES, BalancedSampler, EditedImage, no_image, read_mask
from hidascan.lab.hidanet.recipe import WindowSpec

SIDE = 2 * PATCH  # side of a large window, pixels; a small one is a single patch
_LARGE_WINDOW_TRIES = 20  # draws in search of a large window
_PERTURBED = (0.01, 0.05)  # noise on the weights of a perturbed decoder, as a share of their RMS
_MARGIN = 32  # pixels
EDIT, REPAINTED, PASTED, RETOUCHED, UNTOUCHED, GENERATED = KINDS = (
    "edit", "repainted", "pasted", "retouched", "untouched", "generated",
)  # fmt: skip


@dataclass(frozen=True)
class TrainingWindow:
    """One training window."""

    pixels: np.ndarray  # (448, 448, 3) or (224, 224, 3) uint8 RGB
    mask: np.ndarray  # (H, W) bool, true where pixels are AI-made
    kind: str  # one of KINDS
    source: str  # source of the image, which determines the fold
    maker: str  # generator or editing method of the AI pixels, or kind of retouch
    donor: str = ""  # source of a pasted region; "" if there is none


class WindowMaker:
    """Draws windows of every kind; each number always gives the same window."""

    def __init__(
        self,
        spec: WindowSpec,
        seed: int,
        edits: Sequence[EditedImage],
        real: BalancedSampler,
        ai: BalancedSampler,
        autoencoders: dict[str, Autoencoder],
    ):
        self._spec, self._seed, self._edits = spec, seed, edits
        self._real, self._ai, self._autoencoders = real, ai, autoencoders
        counts = [len(edits) * spec.edit_draws, *spec.counts]
        self._kinds = [kind for kind, count in zip(KINDS, counts, strict=True) for _ in range(count)]
        self._firsts = dict(zip(KINDS, np.cumsum([0, *counts[:-1]]).tolist(), strict=True))

    def __len__(self) -> int:
        """Return the number of windows."""
        return len(self._kinds)

    def __getitem__(self, number: int) -> TrainingWindow:
        """Draw window `number`; draw another image if one cannot be read."""
        kind = self._kinds[number]
        place = number - self._firsts[kind]
        rng = np.random.default_rng([self._seed, 11, KINDS.index(kind), place])
        if kind == EDIT:
            return self._edit(place, rng)
        draws: dict[str, Callable[[], TrainingWindow]] = {
            REPAINTED: lambda: self._repainted(place, rng),
            PASTED: lambda: self._pasted(rng),
            RETOUCHED: lambda: self._retouched(place, rng),
            UNTOUCHED: lambda: self._window(self._real, rng),
            GENERATED: lambda: self._window(self._ai, rng),
        }
        for _ in range(TRIES):
            try:
                window = draws[kind]()
            except ImageError:
                continue
            return self._delivered(window, rng)
        raise no_image(PATCH)

    def _edit(self, place: int, rng: np.random.Generator) -> TrainingWindow:
        """Cut a window at the border of a real edit; the first draw of each edit is not degraded."""
        edit = self._edits[place % len(self._edits)]
        assert edit.mask is not None  # tables of edits name one for each image
        pixels, mask = decode(edit.path).pixels, read_mask(edit.mask)
        if mask.shape != pixels.shape[:2] or min(mask.shape) < PATCH:
            raise RecipeError(f"{edit.path}: smaller than {PATCH} px, or not as large as its mask")
        first = place < len(self._edits)
        if not first and min(mask.shape) > 1.3 * SIDE and rng.random() < 0.4:
            pixels, mask = _resized(pixels, mask, float(rng.uniform(SIDE / min(mask.shape), 1)), rng)
        cuts = [_crop(pixels, mask, rng) for _ in range(12)]
        cut = max(cuts, key=lambda both: min(both[1].mean(), 1 - both[1].mean()))  # of edited and other pixels
        window = TrainingWindow(*cut, EDIT, edit.source, edit.group)
        return window if first else self._delivered(window, rng)

    def _repainted(self, place: int, rng: np.random.Generator) -> TrainingWindow:
        """Pass a region of a photo through an autoencoder."""
        names = list(self._autoencoders)
        name = names[place % len(names)]
        autoencoder = self._autoencoders[name]
        if rng.random() < self._spec.perturbed:
            autoencoder = autoencoder.perturbed(float(rng.uniform(*_PERTURBED)), rng)
        base = self._photo(rng)
        mask = self._region(base, rng)
        repainted = _reconstructed(base.pixels, mask, autoencoder, rng)
        return TrainingWindow(
            swap_region(base.pixels, repainted, mask, draw_softness(rng)), mask, REPAINTED, base.source, name
        )

    def _pasted(self, rng: np.random.Generator) -> TrainingWindow:
        """Paste a region of a generated image into a photo: tone-matched, feathered or blended by Poisson's equation."""
        base, donor = self._photo(rng), self._window(self._ai, rng)
        mask = self._region(base, rng)
        pixels, mask = _joined(base.pixels, donor.pixels, mask, rng)
        return TrainingWindow(pixels, mask, PASTED, base.source, donor.maker, donor.source)

    def _retouched(self, place: int, rng: np.random.Generator) -> TrainingWindow:
        """Retouch a region of a photo without AI."""
        base = self._photo(rng)
        mask = self._region(base, rng)
        names = [*_RETOUCHES, "spliced"]
        name, source = names[place % len(names)], ""
        if name == "spliced":
            donor = self._photo(rng)
            pixels, _ = _joined(base.pixels, donor.pixels, mask, rng)
            source = donor.source
        else:
            pixels = _RETOUCHES[name](base.pixels, mask, rng)
        return TrainingWindow(pixels, np.zeros_like(mask), RETOUCHED, base.source, name, source)

    def _region(self, window: TrainingWindow, rng: np.random.Generator) -> np.ndarray:
        height, width = window.mask.shape
        return random_region(height, width, self._spec.region_share, rng)

    def _photo(self, rng: np.random.Generator) -> TrainingWindow:
        """Draw a window of a real image, if possible a large one."""
        for _ in range(_LARGE_WINDOW_TRIES):
            window = self._window(self._real, rng)
            if len(window.mask) == SIDE:
                break
        return window

    def _window(self, sampler: BalancedSampler, rng: np.random.Generator) -> TrainingWindow:
        """Cut a window of an image of a class; some images are shrunk first."""
        drawn = sampler.draw(rng)
        pixels = decode(drawn.path).pixels
        shortest = min(pixels.shape[:2])
        if shortest < PATCH:
            raise ImageError(f"{drawn.path}: smaller than a patch")
        mask = np.full(pixels.shape[:2], bool(sampler.label))
        if shortest > 1.3 * SIDE and rng.random() < self._spec.resize:
            pixels, mask = _resized(pixels, mask, float(rng.uniform(SIDE / shortest, 1)), rng)
        kind = GENERATED if sampler.label else UNTOUCHED
        return TrainingWindow(*_crop(pixels, mask, rng), kind, drawn.source, drawn.group)

    def _delivered(self, window: TrainingWindow, rng: np.random.Generator) -> TrainingWindow:
        """Turn, filter and save a window, in the same way for every kind; pixels cropped by two saves are padded."""
        turns = int(rng.integers(4)) if rng.random() < self._spec.turned else 0
        pixels, mask = (np.ascontiguousarray(np.rot90(part, turns)) for part in (window.pixels, window.mask))
        degradation = draw_degradation(rng, self._spec)
        saved = degrade(pixels, degradation)
        side = len(mask)
        lost = side - saved.shape[0], side - saved.shape[1]
        if any(lost):
            saved = np.pad(saved, ((0, lost[0]), (0, lost[1]), (0, 0)), mode="symmetric")
            mask = np.pad(mask[lost[0] :, lost[1] :], ((0, lost[0]), (0, lost[1])), mode="symmetric")
        return replace(window, pixels=saved, mask=mask)


def _resized(
    pixels: np.ndarray, mask: np.ndarray, scale: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    small = resize(np.ascontiguousarray(pixels), scale, rng)
    return small, cv2.resize(mask.astype(np.uint8), small.shape[1::-1], interpolation=cv2.INTER_AREA) > 0


def _crop(pixels: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Cut a window of 448 pixels per side, or 224 if the image is smaller, aligned with the grid of 8x8 blocks."""
    side = SIDE if min(mask.shape) >= SIDE else PATCH
    window = random_window(mask.shape, side, rng, grid=8)
    return np.ascontiguousarray(pixels[window]), mask[window]


def _reconstructed(
    pixels: np.ndarray, mask: np.ndarray, autoencoder: Autoencoder, rng: np.random.Generator
) -> np.ndarray:
    """Pass the box around a region through an autoencoder, with a margin wide enough for border effects."""
    rows, columns = (np.nonzero(mask.any(axis))[0] for axis in (1, 0))
    first = lambda line: max(0, int(line[0]) - _MARGIN) // ALIGNMENT * ALIGNMENT  # noqa: E731
    box = tuple(slice(first(line), int(line[-1]) + 1 + _MARGIN) for line in (rows, columns))
    copy, noise = pixels.copy(), draw_noise(rng)
    copy[box] = autoencoder.reconstruct(np.ascontiguousarray(pixels[box]), noise, rng)
    return copy


def _joined(
    base: np.ndarray, donor: np.ndarray, mask: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Paste a region of `donor` into `base`; a smaller donor is centred on the region, which is cropped to it."""
    donor = donor[: len(base), : base.shape[1]]
    if donor.shape != base.shape:
        height, width = donor.shape[:2]
        rows, columns = np.nonzero(mask)
        top = int(np.clip(rows.mean() - height / 2, 0, base.shape[0] - height))
        left = int(np.clip(columns.mean() - width / 2, 0, base.shape[1] - width))
        placed, room = base.copy(), np.zeros_like(mask)
        placed[top : top + height, left : left + width] = donor
        room[top : top + height, left : left + width] = True
        donor, mask = placed, mask & room
    how = rng.random()
    if how < 0.25:
        return poisson_blend(base, donor, mask), mask
    if how < 0.7:
        donor = match_tone(donor, base)
    return swap_region(base, donor, mask, draw_softness(rng)), mask


def _within(change: Callable[[np.ndarray], np.ndarray], pixels: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return swap_region(pixels, change(pixels), mask, 1.0)


def _cloned(pixels: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Copy another part of the photo over a region, like a clone stamp."""
    down, across = (int(rng.integers(side // 4, 3 * side // 4)) for side in mask.shape)
    return swap_region(pixels, np.roll(pixels, (down, across), (0, 1)), mask, 2.0)


def _lettered(pixels: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Write text over a region, like subtitles or logos."""
    out, (rows, columns) = pixels.copy(), np.nonzero(mask)
    colour = rng.integers(0, 256, 3).tolist()
    text = "".join(chr(int(n)) for n in rng.integers(65, 91, 12))
    scale = float(rng.uniform(0.6, 2.5))
    for row in range(int(rows.min()) + 20, int(rows.max()), int(30 * scale) + 5):
        cv2.putText(out, text, (int(columns.min()), row), int(rng.integers(0, 5)), scale, colour, 2, cv2.LINE_AA)
    return out


# Retouches without AI of a region of a photo; splices are handled separately.
_RETOUCHES: dict[str, Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray]] = {
    "blurred": lambda pixels, mask, rng: _within(partial(blur, sigma=float(rng.uniform(0.8, 5))), pixels, mask),
    "sharpened": lambda pixels, mask, rng: _within(partial(sharpen, strength=float(rng.uniform(0.5, 2))), pixels, mask),
    "saved again": lambda pixels, mask, rng: _within(partial(compress, save=draw_jpeg(rng, (40, 90))), pixels, mask),
    "cloned": _cloned,
    "inpainted": lambda pixels, mask, rng: cv2.inpaint(pixels, mask.astype(np.uint8), 3, cv2.INPAINT_TELEA),
    "lettered": _lettered,
}
