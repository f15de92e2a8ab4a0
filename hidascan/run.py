"""What a scan was made with: one value for reports, for resuming, and for caches."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from hidascan.options import ScanOptions

_NEED_NOT_AGREE = ("weights", "device", "batch_size")  # where it ran, and what the weights' file was called


@dataclass(frozen=True)
class RunInfo:
    """One configuration of a scanner.

    Attributes:
        version: Of hidascan.
        weights: Name of the weights.
        digest: sha256 of their file, hex; it names the frozen parts by their own.
        detector: Name of the detector.
        dtype: What its costly layers compute in.
        real_below: Scores below are `real`.
        ai_from: Scores from here on are `ai`.
        has_heatmap: Whether its findings can have a map.
        options: How it was asked to scan.
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

    def told(self) -> dict[str, object]:
        """Return what rows say of how they were made."""
        return {**self.fingerprint(), "weights_name": self.weights}

    def fingerprint(self) -> dict[str, object]:
        """Return what must be the same for a scan to be resumed, JSON; where it runs need not be."""
        options = {name: value for name, value in asdict(self.options).items() if name not in _NEED_NOT_AGREE}
        options["precision"] = self.dtype
        return {"version": self.version, "weights": self.digest, "detector": self.detector, **options}
