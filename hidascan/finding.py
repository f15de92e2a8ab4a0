"""What hidascan says of one image: the only thing that reports ever see."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from hidascan.image.jpeg import JpegSave
from hidascan.image.jpeg_trace import JpegTrace
from hidascan.image.provenance import Claim
from hidascan.regions import Region

COLUMNS = (
    "path",
    "status",
    "verdict",
    "score",
    "width",
    "height",
    "format",
    "patches",
    "jpeg_quality",
    "jpeg_quality_estimated",
    "ai_area",
    "provenance",
    "seconds",
    "error",
)


@dataclass(frozen=True)
class Effect:
    """Of one patch, its top left corner in pixels as stored: the raw logit with all patches minus that without it
    (total direct effect); over 0 it speaks for AI."""

    left: int
    top: int
    effect: float


@dataclass(frozen=True)
class Finding:
    """One row of results. For a file that could not be read, `status` is "error" and most fields are None.

    verdict: "ai", "real" or "inconclusive". score: calibrated probability of AI, 0..1. logit: the network's raw output.
    width, height: pixels as stored, before EXIF rotation. patches: K, the 224x224 patches that were looked at.
    jpeg_quality: IJG quality 1..100 from the file's tables. jpeg_quality_estimated: 1..100 from the pixels.
    jpeg_saved: what the file tells of its save. jpeg_trace: of the last save that the pixels themselves tell of.
    ai_area: share of the image whose tokens are over the localisation threshold, 0..1; None without a map, which takes
    all patches. seconds: of work on this image.
    token_map: (ceil(height / 16), ceil(width / 16)) float32, probability of AI in each cell, as stored; `orientation`
    is the EXIF orientation (1..8) under which it should be looked at. regions: of the map over the localisation
    threshold. effects: with `explain`, how much each patch decides. claims: what the file says of its origin, the
    strongest first; provenance is that one in short. notes: what else a reader should know. stress: of each copy that a
    stress test made of the image, its score.
    """

    path: str
    status: str
    verdict: str | None = None
    score: float | None = None
    width: int | None = None
    height: int | None = None
    format: str | None = None
    patches: int | None = None
    jpeg_quality: int | None = None
    jpeg_quality_estimated: float | None = None
    ai_area: float | None = None
    provenance: str | None = None
    seconds: float | None = None
    error: str | None = None
    logit: float | None = None
    jpeg_saved: JpegSave | None = None
    jpeg_trace: JpegTrace | None = None
    orientation: int = 1
    token_map: np.ndarray | None = None
    regions: tuple[Region, ...] = ()
    effects: tuple[Effect, ...] = ()
    claims: tuple[Claim, ...] = ()
    notes: tuple[str, ...] = ()
    stress: dict[str, float] = field(default_factory=dict)

    def row(self) -> dict[str, str | int | float | None]:
        """The columns of `COLUMNS`, in their order, rounded as they are written."""
        values = {name: getattr(self, name) for name in COLUMNS}
        digits = {"score": 6, "ai_area": 4, "jpeg_quality_estimated": 1, "seconds": 3}
        return {name: round(v, digits[name]) if name in digits and v is not None else v for name, v in values.items()}
