"""The interface of detectors: divide an image into views, encode batches of views, decide on an image."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from hidascan.detectors.backbones.frozen import FrozenViT
from hidascan.detectors.backbones.packed import pack_linears
from hidascan.geometry import PatchGrid, ViewPlan

Encoded = dict[str, Tensor]  # name -> (V, ...), a row a view
_MAX_SIZE, _MAX_DEPTH = 4096, 64  # of a network that a file may ask for


class Positions(NamedTuple):
    """Positions of B views.

    Attributes:
        is_thumbnail: (B,) bool, true where a view shows the whole image resized.
        corners: (B, 2) int64, top and left in its image, pixels.
    """

    is_thumbnail: Tensor
    corners: Tensor


EncodeViews = Callable[[Tensor, Positions], Encoded]


class Decision(NamedTuple):
    """Decision of a detector on one image.

    Attributes:
        logit: () float32, above 0 where it leans to AI.
        quality: () JPEG quality 1..100 that the pixels look like, where a detector estimates it (QFE).
        uncertainty: () standard deviation of the score, 0..0.5, where a detector has it (Bayesian heads).
        domain: Kind of picture: photo, artwork, render, screenshot, document or unknown, where a detector has it.
        family: Most similar family of generators, or unknown, where a detector has it.
    """

    logit: Tensor
    quality: Tensor | None = None
    uncertainty: Tensor | None = None
    domain: str | None = None
    family: str | None = None


@dataclass(frozen=True)
class DetectorConfig:
    """Network configuration in a checkpoint; subclasses add fields of int, float, bool, str or tuples of int.

    Raises:
        ValueError: If a size is out of range, so that a hostile header cannot exhaust memory.
    """

    def __post_init__(self) -> None:
        """Check every field by its type."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            kind = field.type if isinstance(field.type, str) else getattr(field.type, "__name__", "")
            if not _is_sane(value, kind, _MAX_DEPTH if field.name.endswith("depth") else _MAX_SIZE):
                raise ValueError(f"invalid {field.name}: {value!r:.40}")


def _is_sane(value: object, kind: str, limit: int) -> bool:
    if kind.startswith("tuple"):
        return (
            isinstance(value, tuple) and len(value) <= _MAX_DEPTH and all(_is_sane(one, "int", limit) for one in value)
        )
    if kind == "int":
        return type(value) is int and 0 < value <= limit
    if kind == "float":
        return type(value) in (int, float) and math.isfinite(float(str(value)))
    return type(value).__name__ == kind


Config = TypeVar("Config", bound=DetectorConfig)


def config_from(kind: type[Config], raw: dict[str, Any]) -> Config:
    """Build a config from a table of JSON or TOML, in which tuples are lists.

    Raises:
        TypeError: For an unknown key.
        ValueError: For an absurd value.
    """
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in raw.items()})


class Detector(nn.Module):
    """A detector of AI-generated images.

    A scan calls `encode` on full batches of views from many images, then `decide` (and `locate` and `attribute`) once
    an image on the rows of its own views, so that a result does not depend on which images share a batch.

    Submodules that are a `FrozenViT` live in files of their own, shared by many checkpoints; everything else is the
    trained part.

    Attributes:
        Config: The frozen dataclass that `__init__` takes.
        plan: Division of an image into views.
        has_heatmap: Whether `locate` returns a heatmap.
        frozen_encoder: Whether `encode` has nothing to train, so that training can encode each view once.
    """

    Config: ClassVar[type[DetectorConfig]]
    has_heatmap: ClassVar[bool] = False
    frozen_encoder: bool = False
    plan: ViewPlan

    def __init__(self, config: Any) -> None:
        """Build the network of `config`; subclasses build on."""
        super().__init__()
        self.config = config

    def encode(self, views: Tensor, where: Positions) -> Encoded:
        """Encode a batch of views of many images, each by itself.

        A view of one colour must give the same wherever it lies: the engine runs the first of its colour alone.

        Args:
            views: (B, 3, H, W) uint8 RGB.
            where: Positions of the views.

        Returns:
            Tensors with a row a view.
        """
        raise NotImplementedError

    def decide(self, encoded: Encoded) -> Decision:
        """Decide on one image by its views, the thumbnail first.

        An image may come without a patch, where `attribute` leaves its only one out, if there is a thumbnail.
        """
        raise NotImplementedError

    def locate(self, encoded: Encoded, grid: PatchGrid) -> Tensor | None:
        """Locate AI-made pixels: (ceil(height / 16), ceil(width / 16)) p(AI) of each cell of the image, or None."""
        return None

    def glance(self, views: Tensor, where: Positions) -> Tensor | None:
        """Look at views by their pixels alone, many times as fast as `encode`.

        Args:
            views: (B, 3, H, W) uint8 RGB, patches of one image.
            where: Positions of the views.

        Returns:
            (B, E), each number larger where more of AI is seen; None for a detector that has no such path.
        """
        return None

    def hottest(self, encoded: Encoded) -> Tensor | None:
        """Tell of each patch by itself the p(AI) of its hottest cell (K,), or None where there is no map."""
        return None

    @torch.no_grad()
    def attribute(self, encoded: Encoded) -> Tensor:
        """Tell how much each patch decides: the total direct effect ("All Patches Matter, More Patches Better").

        Returns:
            For each view but the thumbnail, the logit with all views minus the logit without it; of an image of one
            view, its logit.
        """
        count = len(next(iter(encoded.values())))
        logit = self.decide(encoded).logit
        if count == 1:
            return logit[None]
        numbers = torch.arange(count, device=logit.device)
        rest = (numbers != number for number in numbers[int(self.plan.thumbnail) :])
        without = ({name: rows[kept] for name, rows in encoded.items()} for kept in rest)
        return torch.stack([logit - self.decide(others).logit for others in without])

    def encode_cells(self, views: Tensor) -> Encoded | None:
        """Encode views (B, 3, S, S) as `encode` does, with "cells" (B, N, C) beside it, where training can use these."""
        return None

    def complexity(self) -> Tensor | None:
        """Return the KL divergence from their prior of weights that are distributions (), or None without such."""
        return None

    def measure(self, encoded: Encoded) -> None:
        """Measure statistics of encoded views, once before training; by default there are none to measure."""

    def frozen_parts(self) -> dict[str, FrozenViT]:
        """Return the submodules that live in files of their own, by name."""
        return {name: module for name, module in self.named_children() if isinstance(module, FrozenViT)}

    def compute_in(self, dtype: torch.dtype) -> None:
        """Let costly trained layers work in `dtype`; frozen parts know how by themselves."""

    def runtime(self, device: torch.device, dtype: torch.dtype) -> EncodeViews:
        """Make the detector ready for use and return what encodes views: no training, saving or moving after that.

        Args:
            device: Device of the network.
            dtype: Precision of the costly layers.
        """
        self.to(device)
        if device.type == "cpu":
            for part in self.frozen_parts().values():
                pack_linears(part)
        return self.encode


class SingleView(Detector):
    """Turn any network (B, 3, H, W) standardised -> logits (B,) into a detector that looks at one view.

    Subclasses set `plan`, and `network` last.
    """

    mean = (0.485, 0.456, 0.406)  # of RGB in 0..1, as torchvision and timm standardise for ImageNet
    std = (0.229, 0.224, 0.225)
    network: nn.Module

    def standard(self, views: Tensor) -> Tensor:
        """Standardise views (B, 3, H, W) uint8."""
        mean, std = (
            views.new_tensor(numbers, dtype=torch.float32).view(1, 3, 1, 1) for numbers in (self.mean, self.std)
        )
        return (views.float() / 255 - mean) / std

    def encode(self, views: Tensor, where: Positions) -> Encoded:
        """Return the logit of each view."""
        return {"logit": self.network(self.standard(views)).float()}

    def decide(self, encoded: Encoded) -> Decision:
        """Return the logit of the only view."""
        return Decision(encoded["logit"][0])

    def runtime(self, device: torch.device, dtype: torch.dtype) -> EncodeViews:
        """Run the network under autocast where `dtype` is not float32."""
        super().runtime(device, dtype)

        def encode(views: Tensor, where: Positions) -> Encoded:
            with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
                return self.encode(views, where)

        return encode
