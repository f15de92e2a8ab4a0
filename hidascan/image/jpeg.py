"""Quantisation tables -> JPEG quality factor, on the scale of the Independent JPEG Group (IJG, libjpeg)."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

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
_CHROMA = np.full((8, 8), 99)
_CHROMA[:4, :4] = [[17, 18, 24, 47], [18, 21, 26, 66], [24, 26, 56, 99], [47, 66, 99, 99]]
_CHROMA = _CHROMA.ravel()


def ijg_table(quality: int, base: np.ndarray = _LUMA) -> np.ndarray:
    """(64,) int quantisation table that libjpeg makes for `quality` in 1..100 (baseline: entries in 1..255)."""
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    return np.clip((base * scale + 50) // 100, 1, 255)


@lru_cache(maxsize=1)
def _all_tables() -> tuple[np.ndarray, np.ndarray]:
    """Luma and chroma tables of the qualities 1..100, (100, 64) each."""
    return tuple(np.stack([ijg_table(q, base) for q in range(1, 101)]) for base in (_LUMA, _CHROMA))


def quality_from_tables(tables: dict[int, list[int]]) -> int | None:
    """The IJG quality, 1..100, whose tables are nearest to those of a file; exact for files written by libjpeg.

    tables: as in Pillow's `JpegImageFile.quantization`: {index: 64 numbers, row by row}; table 0 is luma, table 1,
    where there is one, chroma. Nearest is the least mean |log ratio|, so that fine and coarse tables weigh alike.
    None if there is no table.
    """
    if not tables:
        return None
    luma, chroma = _all_tables()
    distance = _log_distance(luma, tables[min(tables)])
    if len(tables) > 1:
        distance = distance + _log_distance(chroma, tables[sorted(tables)[1]])
    return int(distance.argmin()) + 1


def _log_distance(candidates: np.ndarray, table: list[int]) -> np.ndarray:
    return np.abs(np.log(candidates / np.maximum(np.asarray(table), 1))).mean(axis=1)
