"""Configuration of a scan, for reports, resuming and caches."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from hidascan.calibration import Reliability
from hidascan.options import ScanOptions

_MAY_DIFFER = ("weights", "device", "batch_size")  # name of the weights file and details of the machine


@dataclass(frozen=True)
class RunInfo:
    """One configuration of a scanner.

    Attributes:
        version: Version of hidascan.
        weights: Name of the weights.
        digest: SHA-256 of the weights file, hex; its header holds the digests of the frozen parts.
        detector: Name of the detector.
        dtype: Precision of the costly layers.
        real_below: Threshold below which scores are `real`.
        ai_from: Threshold from which scores are `ai`.
        has_heatmap: Whether findings can have a heatmap.
        options: Scan options.
        reliability: Measured errors of the verdicts at these thresholds; None if never measured.
    """

    version: str
    weights: str
    digest: str
    detector: str
    dtype: str
    real_below: float
    ai_from: float
    has_heatmap: bool
    options: ScanOptions
    reliability: Reliability | None = None

    def record(self) -> dict[str, object]:
        """Return the configuration as JSON, as written into rows."""
        return {**self.fingerprint(), "weights_name": self.weights}

    def fingerprint(self) -> dict[str, object]:
        """Return the settings, as JSON, that must be equal to resume a scan; the device may differ."""
        options = {name: value for name, value in asdict(self.options).items() if name not in _MAY_DIFFER}
        options["precision"] = self.dtype
        return {"version": self.version, "weights": self.digest, "detector": self.detector, **options}
