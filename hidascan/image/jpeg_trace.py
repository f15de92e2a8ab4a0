"""Find the trace of JPEG in pixels: DCT coefficients that lie at multiples of a quantisation table, on some grid.

Compression rounds each coefficient of an 8x8 block to a multiple of its step. Decoded pixels keep that but for
rounding to whole numbers, whatever file they are put into, until they are resized, filtered or compressed anew
("Identification of Bitmap Compression History", Fan and de Queiroz, IEEE TIP 2003).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hidascan.image.jpeg_header import ijg_table

_BLOCK = 8
_NOISE = 0.4  # sigma of a coefficient: brightness was rounded once, the colours it is made from another time
_OUTLIERS = 0.1  # share of coefficients that clipping has moved
_SMALLEST = 1.5  # a coefficient under this is a zero: it fits every table
_WINDOW = 2 * _BLOCK - 1  # pixels: holds one whole block of each of the 64 grids
_MANY, _FEW = 768, 96  # windows looked at, for one grid and for all 64
_COARSE = (30, 50, 65, 75, 80, 85, 90, 95)
_ENOUGH = 5000  # coefficients
_FOUND, _EVIDENCE = 0.25, 150  # log-likelihood ratio a coefficient, and coefficients, that make a finding


@dataclass(frozen=True)
class JpegTrace:
    """The last save that pixels tell of.

    Attributes:
        quality: IJG, 1..100, to within two where neighbouring tables agree in the frequencies that a picture has.
        top: Where its grid of 8x8 blocks starts, 0..7 pixels; not 0 in a crop.
        left: The same, across.
    """

    quality: int
    top: int
    left: int


def jpeg_trace(pixels: np.ndarray) -> JpegTrace | None:
    """Find the last JPEG save that pixels (H, W, 3) uint8 went through without being resized since.

    Returns:
        None where there is no sign of one, as in clean or smooth pixels, at quality 98 and more, and after resizing
        or filtering.
    """
    if min(pixels.shape[:2]) < _WINDOW:
        return None
    windows = _lively_windows(pixels)
    best = _best(_coefficients(windows, 0, 0), range(1, 101))
    if best:
        return JpegTrace(best[1], 0, 0)
    grids = [(top, left) for top in range(_BLOCK) for left in range(_BLOCK) if top or left]
    fits = [_best(_coefficients(windows[:_FEW], *grid), _COARSE, -np.inf) or (-np.inf, 0) for grid in grids]
    grid = max(zip(fits, grids, strict=True))[1]
    best = _best(_coefficients(windows, *grid), range(1, 101))
    return JpegTrace(best[1], *grid) if best else None


def _best(
    coefficients: np.ndarray, qualities: range | tuple[int, ...], least: float = _FOUND
) -> tuple[float, int] | None:
    """Return the mean log-likelihood ratio and the quality that fit (B, 64) coefficients best; None under `least`."""
    counted = np.abs(coefficients) > _SMALLEST
    counted[:, 0] = False  # DC follows content more than any grid
    if counted.sum() < _EVIDENCE:
        return None
    which = np.nonzero(counted)[1]
    values = coefficients[counted]
    if len(values) > _ENOUGH:
        chosen = np.linspace(0, len(values) - 1, _ENOUGH).astype(int)
        values, which = values[chosen], which[chosen]
    fit, quality = max((_fit(values, _TABLES[quality][which]), quality) for quality in qualities)
    return (fit, quality) if fit >= least else None


def _fit(values: np.ndarray, steps: np.ndarray) -> float:
    """Return the mean log-likelihood ratio of values near multiples of their steps against values anywhere."""
    off = values - steps * np.rint(values / steps)
    peak = steps * np.exp(-0.5 * (off / _NOISE) ** 2) / (_NOISE * np.sqrt(2 * np.pi))
    return float(np.log((1 - _OUTLIERS) * peak + _OUTLIERS).mean())


def _lively_windows(pixels: np.ndarray) -> np.ndarray:
    """Return the brightness of the liveliest of many windows, (B, 15, 15) float32, livelier ones first.

    They start at multiples of 8 pixels, and none is clipped.
    """
    rows, cols = ((side - _WINDOW) // _BLOCK + 1 for side in pixels.shape[:2])
    chosen = np.unique(np.linspace(0, rows * cols - 1, min(rows * cols, 4 * _MANY)).astype(int))
    inside = np.arange(_WINDOW)
    windows = pixels[
        (_BLOCK * (chosen // cols))[:, None, None] + inside[:, None],
        (_BLOCK * (chosen % cols))[:, None, None] + inside,
    ]
    clear = (windows.max((1, 2, 3)) < 255) & (windows.min((1, 2, 3)) > 0)
    bright = windows[clear].astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    return bright[np.argsort(-bright.std((1, 2)))[:_MANY]]


def _coefficients(windows: np.ndarray, top: int, left: int) -> np.ndarray:
    """Return the DCT of the block at (top, left) of each window, (B, 64) float32."""
    return (_DCT @ windows[:, top : top + _BLOCK, left : left + _BLOCK] @ _DCT.T).reshape(-1, 64)


def _dct_matrix() -> np.ndarray:
    """Return the orthonormal DCT-II of 8 samples."""
    rows, cols = np.mgrid[:_BLOCK, :_BLOCK]
    matrix = np.cos((2 * cols + 1) * rows * np.pi / (2 * _BLOCK)) / 2
    matrix[0] /= np.sqrt(2)
    return matrix.astype(np.float32)


_DCT = _dct_matrix()
_TABLES = [ijg_table(max(1, quality)).ravel().astype(np.float32) for quality in range(101)]  # by quality
