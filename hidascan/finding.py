"""The result of scanning one image, and the configuration of the scan: the only inputs of reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from hidascan.calibration import Reliability
from hidascan.image.identity import FileIdentity
from hidascan.image.jpeg_history import JpegSave, JpegTrace
from hidascan.image.provenance.claim import Claim
from hidascan.image.provenance.manifest import Manifest
from hidascan.image.provenance.tags import Capture
from hidascan.options import ScanOptions
from hidascan.records import from_json, to_json
from hidascan.regions import Region

COLUMNS = (
    *("path", "status", "verdict", "score", "width", "height", "format", "patches", "jpeg_quality"),
    *("jpeg_quality_estimated", "ai_area", "provenance", "seconds", "error", "domain", "family"),
)
_FURTHER = (
    *("logit", "orientation", "scope", "notes", "stress", "jpeg_saved", "jpeg_trace", "claims", "regions"),
    *("attributions", "uncertainty", "file", "c2pa", "capture"),
)
KEYS = {name: "effects" if name == "attributions" else name for name in (*COLUMNS, *_FURTHER)}  # in JSON, by field
_DIGITS = {"score": 6, "ai_area": 4, "jpeg_quality_estimated": 1, "seconds": 3, "uncertainty": 4}
MAY_DIFFER = ("weights", "device", "batch_size")  # in a resumed scan: name of the weights file, details of the machine


@dataclass(frozen=True)
class Attribution:
    """Influence of one patch on the score: its total direct effect."""

    left: int  # left edge of the patch, pixels as stored
    top: int  # top edge
    width: int  # width of the patch; a padded one extends beyond the image
    height: int  # height of the patch
    effect: float  # log-odds of the score with all patches minus those without this one; above 0 if it indicates AI


@dataclass(frozen=True)
class Finding:
    """One row of results. For a file that could not be read, `status` is "error" and most fields are None.

    Attributes:
        path: Path of the file, as named by the user.
        status: "ok" or "error".
        verdict: "ai", "real" or "inconclusive".
        score: Calibrated probability of AI, 0..1, if half of the images are AI-made; small edits hardly raise it.
        width: Width in pixels as stored, before EXIF rotation (of TIFF and HEIC, after it).
        height: Height in pixels as stored.
        format: Name of the file format.
        patches: Number of patches examined at native resolution; 0 for a detector without patches.
        jpeg_quality: IJG quality 1..100 from the file's tables; None for other formats.
        jpeg_quality_estimated: IJG quality 1..100, estimated from the pixels; None if unknown.
        ai_area: Share of cells, 0..1, over the localisation threshold; None without a heatmap.
        provenance: Short form of the strongest claim; "" without claims.
        seconds: Processing time in seconds.
        error: Reason why the file could not be read.
        logit: The detector's raw output.
        uncertainty: Standard deviation of the score, 0..0.5; None if the detector has none.
        domain: Kind of picture: photo, artwork, render, screenshot, document or unknown; None if the detector has none.
        family: Most similar family of generators, or unknown; None unless the verdict is ai.
        jpeg_saved: JPEG settings of the last save, from the header.
        jpeg_trace: Trace of an earlier JPEG save in the pixels.
        orientation: EXIF orientation 1..8 for display.
        heatmap: (ceil(height / 16), ceil(width / 16)) float32, value of each cell, as stored; None if the detector has
            none or did not examine every patch.
        regions: Regions of the heatmap over the localisation threshold, largest first.
        scope: Extent of the evidence of AI: "whole", "part" or "none" of the image; None if unknown.
        attributions: Influence of each patch, with `explain`.
        claims: Claims of origin in the file, the strongest first.
        c2pa: C2PA manifest of the file, with its ingredients.
        capture: Camera, software, time taken and presence of a GPS position, by EXIF; None without any.
        notes: Notes for the reader.
        stress: Score of each copy of the stress test.
        file: Identity of the file; None for pixels in memory and unreadable files.
        key: Position of the file among the inputs; None if unknown.
        scan: Configuration of the scan that made the finding, as in a report; None for that of the current scan.
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
    uncertainty: float | None = None
    domain: str | None = None
    family: str | None = None
    jpeg_saved: JpegSave | None = None
    jpeg_trace: JpegTrace | None = None
    orientation: int = 1
    heatmap: np.ndarray | None = None
    regions: tuple[Region, ...] = ()
    scope: str | None = None
    attributions: tuple[Attribution, ...] = ()
    claims: tuple[Claim, ...] = ()
    c2pa: Manifest | None = None
    capture: Capture | None = None
    notes: tuple[str, ...] = ()
    stress: dict[str, float] = field(default_factory=dict)
    file: FileIdentity | None = None
    key: int | None = None
    scan: Mapping[str, Any] | None = None

    def record(self) -> dict[str, Any]:
        """Return everything but heatmap, key and scan as a JSON object: the columns of the CSV first, numbers rounded."""
        return {key: to_json(self._rounded(name)) for name, key in KEYS.items()}

    def row(self) -> dict[str, Any]:
        """Return only the columns in `COLUMNS`, in that order."""
        return {name: self._rounded(name) for name in COLUMNS}

    def _rounded(self, name: str) -> Any:
        value = getattr(self, name)
        return round(value, _DIGITS[name]) if name in _DIGITS and value is not None else value

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Finding:
        """Build a finding from an object made by `record`, or from a CSV row, whose values are all text.

        Raises:
            KeyError: If a column is missing.
            ValueError: Or TypeError, for a value of the wrong type.
        """
        values = {name: record[key] for name, key in KEYS.items() if key in record or name in COLUMNS}
        values |= {name: values[name] or None for name in ("verdict", "format", "error", "domain", "family")}
        values["provenance"] = values["provenance"] if values["verdict"] else values["provenance"] or None
        finding: Finding = from_json(cls, values | {name: record.get(name) for name in ("key", "scan")})
        return finding


@dataclass(frozen=True)
class RunInfo:
    """One configuration of a scanner, for reports, resuming and caches."""

    version: str  # version of hidascan
    weights: str  # name of the weights
    digest: str  # SHA-256 of the weights file, hex; its header holds the digests of the frozen parts
    detector: str  # name in the registry
    dtype: str  # precision of the costly layers
    real_below: float  # threshold below which scores are `real`
    ai_from: float  # threshold from which scores are `ai`
    has_heatmap: bool  # whether findings can have a heatmap
    options: ScanOptions
    reliability: Reliability | None = None  # errors of the verdicts at these thresholds; None if never measured

    def record(self) -> dict[str, object]:
        """Return the configuration as JSON, as written into rows."""
        return {**self.fingerprint(), "weights_name": self.weights}

    def fingerprint(self) -> dict[str, object]:
        """Return the settings, as JSON, that must be equal to resume a scan; the device may differ."""
        options = {name: value for name, value in asdict(self.options).items() if name not in MAY_DIFFER}
        options["precision"] = self.dtype
        return {"version": self.version, "weights": self.digest, "detector": self.detector, **options}
