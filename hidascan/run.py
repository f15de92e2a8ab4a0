"""Configuration of a scan: one value for reports, for resuming, and for caches."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from hidascan.options import ScanOptions

_MAY_DIFFER = ("weights", "device", "batch_size")  # where it ran, and what the weights' file was called


@dataclass(frozen=True)
class RunInfo:
    """One configuration of a scanner.

    Attributes:
        version: Version of hidascan.
        weights: Name of the weights.
        digest: SHA-256 of the weights file, hex; its header holds those of the frozen parts.
        detector: Name of the detector.
        dtype: Precision of the costly layers.
        real_below: Threshold below which scores are `real`.
        ai_from: Threshold from which scores are `ai`.
        has_heatmap: Whether findings can have a heatmap.
        options: Scan options.
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

    def record(self) -> dict[str, object]:
        """Return the configuration as it stands in rows."""
        return {**self.fingerprint(), "weights_name": self.weights}

    def fingerprint(self) -> dict[str, object]:
        """Return what must be equal for a scan to be resumed, as JSON; the device may differ."""
        options = {name: value for name, value in asdict(self.options).items() if name not in _MAY_DIFFER}
        options["precision"] = self.dtype
        return {"version": self.version, "weights": self.digest, "detector": self.detector, **options}
