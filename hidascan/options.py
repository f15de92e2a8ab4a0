"""How to scan, as one frozen dataclass. Light: the command line builds it before anything heavy is loaded."""

from __future__ import annotations

from dataclasses import dataclass

from hidascan.errors import UsageError

MAX_PIXELS = 500_000_000  # of one image, if nobody says otherwise
BACKENDS = ("torch", "openvino")
PROFILES = ("low-fpr", "balanced", "high-recall")


@dataclass(frozen=True)
class ScanOptions:
    """Raises UsageError for a value that can never be right.

    weights: a name of shipped weights, or a path. device: auto, cpu, cuda, cuda:N or mps. precision: auto, bf16 or
    fp32. batch_size: views a pass, None = by device. profile: which of the calibrated thresholds, one of PROFILES.
    threshold: own threshold for `ai`, 0..1, None = those of the profile. max_pixels: of one image. stress: also scan
    re-saved, shrunk and cropped copies of each image, and call it inconclusive where they disagree. explain: how much
    each patch decides. backend: what runs the passes over views, one of BACKENDS. patches: look at no
    more than so many, spread over the image; None = all, which alone gives a map.
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
    backend: str = "torch"
    patches: int | None = None

    def __post_init__(self):
        if self.batch_size is not None and self.batch_size < 1:
            raise UsageError(f"--batch-size must be at least 1, not {self.batch_size}")
        if self.patches is not None and self.patches < 1:
            raise UsageError(f"--patches must be at least 1, not {self.patches}")
        if self.max_pixels < 1:
            raise UsageError(f"--max-pixels must be at least 1, not {self.max_pixels}")
        if self.profile not in PROFILES:
            raise UsageError(f"--profile must be one of {', '.join(PROFILES)}, not {self.profile}")
        if self.backend not in BACKENDS:
            raise UsageError(f"--backend must be one of {', '.join(BACKENDS)}, not {self.backend}")
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise UsageError(f"--threshold must be within 0 and 1, not {self.threshold}")
