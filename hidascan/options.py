"""Scan options: checked when they are made, before heavy modules are loaded, and carried whole."""

from __future__ import annotations

import operator
import os
from dataclasses import KW_ONLY, dataclass

from hidascan.errors import UsageError

MAX_PIXELS = 500_000_000  # per image, by default
MAX_BATCH = 4096  # views
PROFILES = ("low-fpr", "balanced", "high-recall")


@dataclass(frozen=True)
class ScanOptions:
    """The options of a scan; all but the weights by keyword.

    Attributes:
        weights: Name of shipped weights, path of a file, or folder with weights; a Path is stored as text.
        device: Device of the network: auto, cpu, cuda, cuda:N or mps.
        precision: Precision of the network: auto, bf16 or fp32.
        batch_size: Views per batch; None for the default of the device.
        profile: Name of the calibrated thresholds, one of PROFILES.
        threshold: Threshold for `ai`, 0..1; None for those of the profile.
        max_pixels: Maximum size of an image in pixels; larger ones are rejected.
        stress: Whether to scan re-saved, resized and cropped copies too; `inconclusive` if the verdicts conflict.
        explain: Whether to compute the influence of each patch on the score.
        patches: Maximum number of patches, spread over the image; None for all, as a heatmap requires.
        fast: Whether to stop as soon as the verdict is settled.
        c2pa_trust: PEM file of certificates that are trusted as signers and time-stamp authorities of C2PA manifests.

    Raises:
        UsageError: For a value outside its range.
    """

    weights: str = "hidascan-b"
    _: KW_ONLY
    device: str = "auto"
    precision: str = "auto"
    batch_size: int | None = None
    profile: str = "balanced"
    threshold: float | None = None
    max_pixels: int = MAX_PIXELS
    stress: bool = False
    explain: bool = False
    patches: int | None = None
    c2pa_trust: str | None = None
    fast: bool = False

    def __post_init__(self) -> None:
        """Check every value."""
        self._check_types()
        if self.batch_size is not None and not 1 <= self.batch_size <= MAX_BATCH:
            raise UsageError(f"--batch-size must be within 1 and {MAX_BATCH}, not {self.batch_size}")
        if self.patches is not None and self.patches < 1:
            raise UsageError(f"--patches must be at least 1, not {self.patches}")
        if self.fast and (self.explain or self.patches is not None):
            raise UsageError("--fast cannot be combined with --explain or --patches")
        if self.max_pixels < 1:
            raise UsageError(f"--max-pixels must be at least 1, not {self.max_pixels}")
        if self.profile not in PROFILES:
            raise UsageError(f"--profile must be one of {', '.join(PROFILES)}, not {self.profile}")
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise UsageError(f"--threshold must be within 0 and 1, not {self.threshold}")

    def _check_types(self) -> None:
        """Store paths as text, and refuse fractions and truth values where numbers are counted."""
        for name in ("weights", "c2pa_trust"):
            if isinstance(path := getattr(self, name), os.PathLike):
                object.__setattr__(self, name, os.fspath(path))
        for name in ("batch_size", "patches"):
            if (value := getattr(self, name)) is None:
                continue
            if isinstance(value, bool) or not hasattr(value, "__index__"):
                raise UsageError(f"--{name.replace('_', '-')} must be an integer, not {value!r}")
            object.__setattr__(self, name, operator.index(value))
