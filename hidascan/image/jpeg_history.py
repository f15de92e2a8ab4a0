"""The JPEG saves of a picture: settings of the last one from the header, and the trace of an earlier one in the pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import JpegPresets

# ITU-T T.81, annex K, tables K.1 and K.2, row by row.
_LUMA = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ]
).ravel()
_CHROMA = np.pad(
    np.array([[17, 18, 24, 47], [18, 21, 26, 66], [24, 26, 56, 99], [47, 66, 99, 99]]), (0, 4), constant_values=99
).ravel()
_MAX_DISTANCE = 0.1  # mean |log ratio| to an IJG table, due to rounding or a vendor's tweak
_SUBSAMPLING = {(1, 1): "4:4:4", (2, 1): "4:2:2", (2, 2): "4:2:0", (1, 2): "4:4:0", (4, 1): "4:1:1", (4, 2): "4:1:0"}
_BLOCK = 8
_NOISE = 0.4  # sigma of a coefficient, from rounding luma and RGB
_OUTLIERS = 0.1  # share of coefficients changed by clipping
_MIN_VALUE = 1.5  # smaller coefficients count as zero, which fits every table
_WINDOW = 2 * _BLOCK - 1  # pixels: contains a complete block of each of the 64 grids
_WINDOWS_ONE_GRID, _WINDOWS_ALL_GRIDS = 768, 96  # number of windows, by number of grids
_COARSE = (30, 50, 65, 75, 80, 85, 90, 95)
_MAX_COEFFICIENTS = 5000  # approximate
_PRESELECTING, _FINALISTS = 700, 12  # coefficients of a first ranking; tables or grids that are then fitted in full
_MIN_RATIO, _MIN_COEFFICIENTS = 0.25, 150  # log-likelihood ratio per coefficient, and number of coefficients


@dataclass(frozen=True)
class JpegSave:
    """Settings of a JPEG save, from the header.

    Attributes:
        quality: Nearest quality on the IJG scale, 1..100.
        tables: Origin of the quantisation tables: "IJG" (exact), "near IJG", "Photoshop" with the name of its setting,
            or "own", as in many cameras.
        subsampling: Chroma subsampling, such as "4:2:0"; "" for grey and for unnamed schemes.
    """

    quality: int
    tables: str
    subsampling: str = ""


def read_save(tables: dict[int, list[int]], layers: list[tuple[int, int, int, int]]) -> JpegSave | None:
    """Recognise a save by its quantisation tables.

    The quality is exact for files written by libjpeg; else it is that of the IJG tables with the smallest mean
    |log ratio|, which weights fine and coarse tables equally.

    Args:
        tables: Pillow's `JpegImageFile.quantization`: {index: 64 numbers, row by row}; table 0 is luma, table 1, if
            any, chroma.
        layers: Pillow's `JpegImageFile.layer`: (id, horizontal factor, vertical factor, table) of each component.

    Returns:
        Settings of the save; None without tables.
    """
    if not tables:
        return None
    own = [np.maximum(np.asarray(tables[index]), 1) for index in sorted(tables)[:2]]
    distances = [np.abs(np.log(known / one)).mean(axis=1) for known, one in zip(_all_tables(), own, strict=False)]
    distance = np.mean(distances, axis=0)
    return JpegSave(int(distance.argmin()) + 1, _maker(own, float(distance.min())), _subsampling(layers))


def _maker(tables: list[np.ndarray], distance: float) -> str:
    if not distance:
        return "IJG"
    for name, preset in JpegPresets.presets.items():
        known: Any = preset["quantization"]
        if all(np.array_equal(table, known[index]) for index, table in enumerate(tables)):
            return f"Photoshop {name.replace('_', ' ')}"
    return "near IJG" if distance < _MAX_DISTANCE else "own"


def _subsampling(layers: list[tuple[int, int, int, int]]) -> str:
    factors = [(across, down) for _, across, down, _ in layers]
    return _SUBSAMPLING.get(factors[0], "") if len(factors) == 3 and factors[1:] == [(1, 1)] * 2 else ""


def ijg_table(quality: int, base: np.ndarray = _LUMA) -> np.ndarray:
    """Return the (64,) int table that libjpeg makes for `quality` in 1..100 (baseline: entries in 1..255)."""
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    return np.clip((base * scale + 50) // 100, 1, 255)


@lru_cache(maxsize=1)
def _all_tables() -> tuple[np.ndarray, np.ndarray]:
    """Return the luma and chroma tables of qualities 1..100, (100, 64) each."""
    luma, chroma = (np.stack([ijg_table(q, base) for q in range(1, 101)]) for base in (_LUMA, _CHROMA))
    return luma, chroma


@dataclass(frozen=True)
class JpegTrace:
    """Trace of the last JPEG save in the pixels.

    Attributes:
        quality: IJG quality, 1..100; within 2 if neighbouring tables agree in the frequencies of the picture.
        top: Vertical offset of the grid of 8x8 blocks, 0..7 pixels; not 0 if cropped, turned, flipped or placed in another picture.
        left: Horizontal offset of the grid, 0..7 pixels.
    """

    quality: int
    top: int
    left: int


def jpeg_trace(pixels: np.ndarray) -> JpegTrace | None:
    """Find the last JPEG save of pixels (H, W, 3) uint8 that were not resized afterwards.

    Returns:
        The trace; None without any, as in never-compressed or smooth pixels, at quality 98 and more, and after
        resizing or filtering.
    """
    if min(pixels.shape[:2]) < _WINDOW:
        return None
    windows = _textured_windows(pixels)
    best = _best(_coefficients(windows, 0, 0))
    if best:
        return JpegTrace(best, 0, 0)
    grids = [(top, left) for top in range(_BLOCK) for left in range(_BLOCK) if top or left]
    samples = [_informative(_coefficients(windows[:_WINDOWS_ALL_GRIDS], *grid)) for grid in grids]
    guesses = [float(sample.first(_PRESELECTING).fits(_COARSE).max()) if sample else -np.inf for sample in samples]
    likely = np.argsort(guesses)[-_FINALISTS:]
    best_of = [(float(sample.fits(_COARSE).max()) if (sample := samples[n]) else -np.inf, grids[n]) for n in likely]
    grid = max(best_of)[1]
    best = _best(_coefficients(windows, *grid))
    return JpegTrace(best, *grid) if best else None


@dataclass(frozen=True)
class _Sample:
    """Non-zero coefficients, each with the index of its frequency, 0..63."""

    values: np.ndarray  # (N,) float32, coefficients
    which: np.ndarray  # (N,) int, index of the frequency of each

    def first(self, count: int) -> _Sample:
        """Return about `count` coefficients, evenly spread."""
        step = max(1, len(self.values) // count)
        return _Sample(self.values[::step], self.which[::step])

    def fits(self, qualities: Sequence[int]) -> np.ndarray:
        """Return the fit of the table of each quality, (Q,).

        This is the mean log-likelihood ratio of values near multiples of their steps to uniform values.
        """
        steps = _TABLES[list(qualities)][:, self.which]  # (Q, N)
        off = self.values / steps
        off = (off - np.rint(off)) * steps
        peak = steps * np.exp(off * off * (-0.5 / _NOISE**2)) * (1 / (_NOISE * np.sqrt(2 * np.pi)))
        return np.log((1 - _OUTLIERS) * peak + _OUTLIERS).mean(1)


def _best(coefficients: np.ndarray) -> int | None:
    """Return the best-fitting quality for (B, 64) coefficients; None if none fits."""
    sample = _informative(coefficients)
    if sample is None:
        return None
    guesses = sample.first(_PRESELECTING).fits(_QUALITIES)
    likely = sorted(_QUALITIES[place] for place in np.argsort(guesses)[-_FINALISTS:])
    fits = sample.fits(likely)
    return likely[int(fits.argmax())] if fits.max() >= _MIN_RATIO else None


def _informative(coefficients: np.ndarray) -> _Sample | None:
    """Return the informative ones of (B, 64) coefficients; None if there are too few."""
    counted = np.abs(coefficients) > _MIN_VALUE
    counted[:, 0] = False  # DC depends on content more than on the grid
    values, which = coefficients[counted], np.nonzero(counted)[1]
    return _Sample(values, which).first(_MAX_COEFFICIENTS) if len(values) >= _MIN_COEFFICIENTS else None


def _textured_windows(pixels: np.ndarray) -> np.ndarray:
    """Return the luma of the most textured windows, (B, 15, 15) float32, most textured first.

    Windows start at multiples of 8 pixels; those with clipped pixels are excluded.
    """
    rows, cols = ((side - _WINDOW) // _BLOCK + 1 for side in pixels.shape[:2])
    chosen = np.unique(np.linspace(0, rows * cols - 1, min(rows * cols, 4 * _WINDOWS_ONE_GRID)).astype(int))
    everywhere = np.lib.stride_tricks.sliding_window_view(pixels, (_WINDOW, _WINDOW), axis=(0, 1))
    windows = everywhere[_BLOCK * (chosen // cols), _BLOCK * (chosen % cols)]  # (B, 3, 15, 15)
    clear = (windows.max((1, 2, 3)) < 255) & (windows.min((1, 2, 3)) > 0)
    bright = np.einsum("c,bcij->bij", np.array([0.299, 0.587, 0.114], np.float32), windows[clear].astype(np.float32))
    return bright[np.argsort(-bright.std((1, 2)))[:_WINDOWS_ONE_GRID]]


def _coefficients(windows: np.ndarray, top: int, left: int) -> np.ndarray:
    """Return the DCT of the block at (top, left) of each window, (B, 64) float32."""
    return (_DCT @ windows[:, top : top + _BLOCK, left : left + _BLOCK] @ _DCT.T).reshape(-1, 64)


def _dct_matrix() -> np.ndarray:
    """Return the matrix of the orthonormal DCT-II of 8 samples, (8, 8)."""
    rows, cols = np.mgrid[:_BLOCK, :_BLOCK]
    matrix = np.cos((2 * cols + 1) * rows * np.pi / (2 * _BLOCK)) / 2
    matrix[0] /= np.sqrt(2)
    return matrix.astype(np.float32)


_DCT = _dct_matrix()
_QUALITIES = range(1, 101)
_TABLES = np.array([ijg_table(max(1, quality)) for quality in range(101)], np.float32)  # by quality
