"""Read the settings of the last save from the headers of a JPEG.

Quality is on the scale of the Independent JPEG Group (IJG, libjpeg).
"""

from __future__ import annotations

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
