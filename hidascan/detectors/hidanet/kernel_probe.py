"""Kernel ridge regression on frozen [CLS] tokens, a non-linear classifier."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from hidascan.detectors.hidanet.filters import standardise

DOMAINS = ("photo", "artwork", "render", "screenshot", "document")
FAMILIES = (
    "adobe", "early", "flux", "gan", "google", "leonardo", "midjourney", "openai", "other_open", "sd", "sdxl",
)  # fmt: skip
KERNEL_BATCH = 256  # images or patches per evaluation of the kernel


class ProbeInput(NamedTuple):
    """Input of the kernel for B images."""

    thumbnail: Tensor  # (B, P) projected tokens of the thumbnails
    patches: Tensor  # (B, P) projected tokens, averaged over the patches


class Predictions(NamedTuple):
    """Outputs of the kernel probe for B images.

    Attributes:
        logits: (B,) votes, about -1 for real and 1 for AI.
        domains: (B, len(DOMAINS)) about 1 for the kind of picture, about 0 for others.
        families: (B, len(FAMILIES)) about 1 for the family of the generator, about 0 for others.
    """

    logits: Tensor
    domains: Tensor
    families: Tensor

    def on_cpu(self) -> Predictions:
        """Copy all fields to the CPU, in one transfer."""
        flat = torch.cat([part.flatten() for part in self]).cpu()
        parts = zip(flat.split([part.numel() for part in self]), self, strict=True)
        return Predictions(*(part.view_as(like) for part, like in parts))


class Projection(nn.Module):
    """Standardises features, clamps outliers, and projects onto scaled principal components, stored in int8."""

    mean: Tensor
    scale: Tensor
    basis: Tensor
    quantum: Tensor

    def __init__(self, features: int, components: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("scale", torch.ones(features))  # one standard deviation
        self.register_buffer("basis", torch.zeros(features, components, dtype=torch.int8))
        self.register_buffer("quantum", torch.ones(components))  # quantisation step of each column

    def forward(self, features: Tensor) -> Tensor:
        """Project features (B, F) into (B, P) float32."""
        return self.project(self.standardise(features))

    def project(self, standard: Tensor) -> Tensor:
        """Project standardised features (B, F) into (B, P) float32."""
        return standard @ self.basis.float() * self.quantum

    def standardise(self, features: Tensor) -> Tensor:
        """Standardise features (B, F), float32."""
        return standardise(features, self.mean, self.scale)

    def set_basis(self, vectors: Tensor) -> None:
        """Set the basis to vectors (F, P)."""
        _quantise(vectors, self.basis, self.quantum)


class KernelProbe(nn.Module):
    """Kernel ridge regressions on landmarks z_m, which are training samples (Nystroem).

    Each output (verdict, domains, families) is the sum over m of c_m exp(-gamma |x - z_m|^2), where x is the thumbnail
    and the mean of the patches, side by side.
    """

    share: Tensor
    gamma: Tensor
    coefficients: Tensor
    offsets: Tensor

    def __init__(self, token_features: int, components: int, landmarks: int):
        super().__init__()
        self.tokens = Projection(token_features, components)
        for name in ProbeInput._fields:
            self.register_buffer(f"{name}_landmarks", torch.zeros(landmarks, components, dtype=torch.int8))
            self.register_buffer(f"{name}_quantum", torch.ones(components))
        self.register_buffer("share", torch.full((2,), 0.5))  # of thumbnail and patches in a distance
        self.register_buffer("gamma", torch.ones(()))
        outputs = 1 + len(DOMAINS) + len(FAMILIES)  # the first: the verdict
        self.register_buffer("coefficients", torch.zeros(outputs, landmarks))
        self.register_buffer("offsets", torch.zeros(outputs))
        self._cached: tuple[Tensor, Tensor] | None = None

    def forward(self, images: ProbeInput) -> Predictions:
        """Predict verdict, domain and family of images."""
        outputs = self.kernel_values(images) @ self.coefficients.T + self.offsets
        domains, families = outputs[:, 1:].split([len(DOMAINS), len(FAMILIES)], dim=1)
        return Predictions(outputs[:, 0], domains, families)

    def patch_votes(self, thumbnail: Tensor, patches: Tensor) -> Tensor:
        """Return the logit (K,) of each patch of patches (K, P) of an image, averaged with the mean of all patches.

        A single patch carries too little signal: in any photo, the most extreme of hundreds would look like AI.
        """
        mixed = (patches + patches.mean(0)) / 2
        parts = (ProbeInput(thumbnail.expand_as(part), part) for part in mixed.split(KERNEL_BATCH))
        return torch.cat([self.kernel_values(part) @ self.coefficients[0] + self.offsets[0] for part in parts])

    def kernel_values(self, images: ProbeInput) -> Tensor:
        """Return the kernel's values (B, M) between B images and M landmarks."""
        x = self._joined(images)
        centres, squares = self._centres()
        products = torch.addmm(squares, x, centres.T, alpha=-2.0)
        distances = (products + x.square().sum(1, keepdim=True)).clamp_min(0)  # squared
        return torch.exp(-self.gamma * distances)

    def cache_landmarks(self) -> None:
        """Cache the prepared landmarks on the current device; do not fit, load or move the probe afterwards."""
        self._cached = self._centres()

    def _centres(self) -> tuple[Tensor, Tensor]:
        """Return the joined landmarks (M, 2 P) and their squared lengths (M,)."""
        if self._cached is not None:
            return self._cached
        joined = self._joined(self.landmarks)
        return joined, joined.square().sum(1)

    def _joined(self, images: ProbeInput) -> Tensor:
        """Join thumbnail and patches (B, P), weighted so that one distance is the weighted sum of both: (B, 2 P)."""
        shares = self.share.sqrt()
        return torch.cat([images.thumbnail * shares[0], images.patches * shares[1]], dim=1)

    @property
    def landmarks(self) -> ProbeInput:
        """The M landmarks, stored in int8 with a quantisation step for each component."""
        parts = ((getattr(self, f"{name}_landmarks"), getattr(self, f"{name}_quantum")) for name in ProbeInput._fields)
        return ProbeInput(*(landmarks.float() * quantum for landmarks, quantum in parts))

    def set_landmarks(self, **parts: Tensor) -> None:
        """Set the landmarks by field of `ProbeInput`, (M, P) each."""
        self._cached = None
        for name, part in parts.items():
            _quantise(part, getattr(self, f"{name}_landmarks"), getattr(self, f"{name}_quantum"))


def _quantise(columns: Tensor, integers: Tensor, quantum: Tensor) -> None:
    """Store columns (N, P) as int8 `integers` (N, P), with the quantisation step `quantum` (P,) of each."""
    quantum.copy_((columns.abs().amax(0) / 127).clamp_min(1e-12))
    integers.copy_((columns / quantum).round())
