"""The interface of detectors: divide an image into views, encode batches of views, decide on an image."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from hidascan.detectors.backbones import FrozenViT
from hidascan.detectors.backbones.vit import pack_linears
from hidascan.geometry import PatchGrid, ViewPlan

Encoded = dict[str, Tensor]  # name -> (V, ...), one row per view
_MAX_SIZE, _MAX_DEPTH = 4096, 64  # of a network in a header


class Positions(NamedTuple):
    """Positions of B views.

    Attributes:
        is_thumbnail: (B,) bool, true for views of the whole resized image.
        corners: (B, 2) int64, top and left in the image, pixels.
    """

    is_thumbnail: Tensor
    corners: Tensor


EncodeViews = Callable[[Tensor, Positions], Encoded]


class Decision(NamedTuple):
    """Decision of a detector on one image.

    Attributes:
        logit: () float32, above 0 for AI.
        quality: () JPEG quality 1..100 estimated from the pixels (QFE); None if not estimated.
        uncertainty: () standard deviation of the score, 0..0.5 (Bayesian heads); None if not estimated.
        domain: Kind of picture: photo, artwork, render, screenshot, document or unknown; None if not estimated.
        family: Most similar family of generators, or unknown; None if not estimated.
    """

    logit: Tensor
    quality: Tensor | None = None
    uncertainty: Tensor | None = None
    domain: str | None = None
    family: str | None = None


@dataclass(frozen=True)
class DetectorConfig:
    """Network configuration in a checkpoint; subclasses add fields of int, float, bool, str or tuples of int.

    Integers, also those in tuples, must be in 1..4096, or in 1..64 in a field whose name ends with "depth" or "depths";
    tuples have at most 64 items; floats are finite.

    Raises:
        ValueError: If a size is out of range, so that a hostile header cannot exhaust memory.
    """

    def __post_init__(self) -> None:
        """Check the type and range of every field."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            kind = field.type if isinstance(field.type, str) else getattr(field.type, "__name__", "")
            if not _is_sane(value, kind, _MAX_DEPTH if field.name.endswith(("depth", "depths")) else _MAX_SIZE):
                raise ValueError(f"invalid {field.name}: {value!r:.40}")


def _is_sane(value: object, kind: str, limit: int) -> bool:
    if kind.startswith("tuple"):
        return (
            isinstance(value, tuple) and len(value) <= _MAX_DEPTH and all(_is_sane(one, "int", limit) for one in value)
        )
    if kind == "int":
        return type(value) is int and 0 < value <= limit
    if kind == "float":
        # As text: float() of a huge integer raises OverflowError.
        return type(value) in (int, float) and math.isfinite(float(str(value)))
    return type(value).__name__ == kind


Config = TypeVar("Config", bound=DetectorConfig)


def config_from(kind: type[Config], raw: dict[str, Any]) -> Config:
    """Build a config from a table of JSON or TOML, in which tuples are lists.

    Raises:
        TypeError: For an unknown key.
        ValueError: For a value out of range.
    """
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in raw.items()})


class Detector(nn.Module):
    """A detector of AI-generated images.

    A scan calls `encode` on full batches of views from many images, then `decide` (and `locate` and `attribute`) once
    per image on the rows of its views, so that results do not depend on the other images in a batch.

    Submodules of class `FrozenViT` are stored in separate files, shared by many checkpoints; everything else is the
    trained part.

    Attributes:
        Config: Frozen dataclass with the arguments of `__init__`.
        plan: Division of an image into views.
        has_heatmap: Whether `locate` returns a heatmap.
        frozen_encoder: True if training caches the output of `encode_frozen` for each view and never recomputes it; False
            also if the layers are frozen but their output is too large to cache.
        has_patch_tokens: True if the result also has "patch_tokens" (B, N, C), from which training computes a contrastive
            loss (PCL). `encode_trained` returns them, or `encode` if no layer is frozen.
    """

    Config: ClassVar[type[DetectorConfig]]
    has_heatmap: ClassVar[bool] = False
    frozen_encoder: bool = False
    has_patch_tokens: ClassVar[bool] = False
    plan: ViewPlan

    def __init__(self, config: Any) -> None:
        """Build the network; subclasses extend this."""
        super().__init__()
        self.config = config

    def encode(self, views: Tensor, where: Positions) -> Encoded:
        """Encode a batch of views from many images, independently of each other.

        A view of uniform colour must give the same rows at any position, as the engine runs only one per colour.

        Args:
            views: (B, 3, H, W) uint8 RGB.
            where: Positions of the views.

        Returns:
            Tensors with one row per view.
        """
        raise NotImplementedError

    def encode_frozen(self, views: Tensor, where: Positions) -> Encoded:
        """Compute the frozen layers of `encode`, which training caches; by default, all of it is frozen."""
        return self.encode(views, where)

    def encode_trained(self, rows: Encoded) -> Encoded:
        """Apply the trained layers of `encode` to the result of `encode_frozen`; by default, there are none."""
        return rows

    def decide(self, encoded: Encoded) -> Decision:
        """Decide on one image from the rows of its views, the thumbnail first; by default, by the mean "logit".

        `attribute` also calls this without the only patch, so `encoded` may hold the thumbnail alone.
        """
        return Decision(encoded["logit"].mean())

    def locate(self, encoded: Encoded, grid: PatchGrid) -> Tensor | None:
        """Locate AI-made pixels: (ceil(height / 16), ceil(width / 16)) values of the cells of the image, or None.

        Values are in 0..1, at least 0.5 where a cell is marked; they are not calibrated probabilities.
        """
        return None

    def glance(self, views: Tensor, where: Positions) -> Tensor | None:
        """Screen views by their pixels, much faster than `encode`.

        Args:
            views: (B, 3, H, W) uint8 RGB, patches of one image.
            where: Positions of the views.

        Returns:
            (B, E), larger for more traces of AI; None if the detector has no such path.
        """
        return None

    def peak_values(self, encoded: Encoded) -> Tensor | None:
        """Return the largest heatmap value of each patch, taken alone, (K,); None without a heatmap."""
        return None

    @torch.no_grad()
    def attribute(self, encoded: Encoded) -> Tensor:
        """Return the influence of each patch: its total direct effect ("All Patches Matter, More Patches Better").

        Returns:
            (K,): for each view except the thumbnail, the logit with all views minus that without it; the logit, if the
            image has a single view.
        """
        count = len(next(iter(encoded.values())))
        logit = self.decide(encoded).logit
        if count == 1:
            return logit[None]
        numbers = torch.arange(count, device=logit.device)
        rest = (numbers != number for number in numbers[int(self.plan.thumbnail) :])
        without = ({name: rows[kept] for name, rows in encoded.items()} for kept in rest)
        return torch.stack([logit - self.decide(others).logit for others in without])

    def complexity(self) -> Tensor | None:
        """Return the KL divergence () of Bayesian weights from their prior; None without such weights."""
        return None

    def fit_standardisation(self, encoded: Encoded) -> None:
        """Fit the standardisation of encoded views, once before training; by default, do nothing."""

    def frozen_parts(self) -> dict[str, FrozenViT]:
        """Return the submodules that are stored in separate files, by name."""
        return {name: module for name, module in self.named_children() if isinstance(module, FrozenViT)}

    def prepare_inference(self, device: torch.device, dtype: torch.dtype) -> EncodeViews:
        """Move to a device, prepare for inference, and return an encoder of views.

        Frozen parts have their precision since loading; trained networks use `dtype` for autocast. Do not train, save
        or move the detector afterwards.
        """
        self.to(device)
        if device.type == "cpu":
            for part in self.frozen_parts().values():
                pack_linears(part)
        return self.encode


class SingleView(Detector):
    """Detector of one view, from any network of standardised views (B, 3, H, W) -> logits (B,).

    Subclasses set `plan` and `network` in `__init__`.
    """

    mean = (0.485, 0.456, 0.406)  # of RGB in 0..1, as torchvision and timm standardise for ImageNet
    std = (0.229, 0.224, 0.225)
    network: nn.Module

    def standardise(self, views: Tensor) -> Tensor:
        """Standardise views (B, 3, H, W) uint8."""
        mean, std = (
            views.new_tensor(numbers, dtype=torch.float32).view(1, 3, 1, 1) for numbers in (self.mean, self.std)
        )
        return (views.float() / 255 - mean) / std

    def encode(self, views: Tensor, where: Positions) -> Encoded:
        """Return the logit of each view."""
        return {"logit": self.network(self.standardise(views)).float()}

    def prepare_inference(self, device: torch.device, dtype: torch.dtype) -> EncodeViews:
        """Run the network under autocast unless `dtype` is float32."""
        return under_autocast(super().prepare_inference(device, dtype), device, dtype)


def under_autocast(encode: EncodeViews, device: torch.device, dtype: torch.dtype) -> EncodeViews:
    """Return an encoder that runs under autocast to `dtype`, unless that is float32."""

    def narrow(views: Tensor, where: Positions) -> Encoded:
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            return encode(views, where)

    return narrow
