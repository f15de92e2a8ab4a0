"""How to scan: one frozen dataclass that the command line builds before anything heavy is loaded."""

from __future__ import annotations

from dataclasses import dataclass

from hidascan.errors import UsageError

MAX_PIXELS = 500_000_000  # of one image, if nobody says otherwise
PROFILES = ("low-fpr", "balanced", "high-recall")


@dataclass(frozen=True)
class ScanOptions:
    """The options of a scan.

    Attributes:
        weights: A name of shipped weights, a path, or a folder with weights.
        device: auto, cpu, cuda, cuda:N or mps.
        precision: auto, bf16 or fp32.
        batch_size: Views a batch; None for what suits the device.
        profile: Which of the calibrated thresholds to use, one of PROFILES.
        threshold: Own threshold for `ai`, 0..1; None for those of the profile.
        max_pixels: Larger images are refused.
        stress: Also scan re-saved, shrunk and cropped copies of each image, and call it inconclusive where they
            disagree.
        explain: Tell how much each patch decides.
        patches: Look at no more than so many patches, spread over the image; None for all that the detector wants,
            which alone gives a heatmap.
        fast: Look at no more patches than settle the verdict.
        c2pa_trust: A file of certificates, PEM, whose signatures of C2PA manifests are trusted.

    Raises:
        UsageError: For a value that can never be right.
    """

    weights: str = "hidascan-b"
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
        if self.batch_size is not None and self.batch_size < 1:
            raise UsageError(f"--batch-size must be at least 1, not {self.batch_size}")
        if self.patches is not None and self.patches < 1:
            raise UsageError(f"--patches must be at least 1, not {self.patches}")
        if self.fast and (self.explain or self.patches is not None):
            raise UsageError("--fast does not go with --explain or --patches")
        if self.max_pixels < 1:
            raise UsageError(f"--max-pixels must be at least 1, not {self.max_pixels}")
        if self.profile not in PROFILES:
            raise UsageError(f"--profile must be one of {', '.join(PROFILES)}, not {self.profile}")
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise UsageError(f"--threshold must be within 0 and 1, not {self.threshold}")
