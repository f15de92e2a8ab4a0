"""What a recipe of HiDA-Net holds besides what every recipe does, and the frozen backbone that it names."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from hidascan.detectors.backbones.frozen import FrozenViT
from hidascan.detectors.backbones.packed import pack_linears
from hidascan.detectors.checkpoint import load_backbone, sha256_of
from hidascan.detectors.hidanet.network import HiDANetConfig
from hidascan.lab.data.autoencoders.trained import AutoencoderSpec
from hidascan.lab.hidanet.fusion import FusionSpec
from hidascan.lab.hidanet.quality import QualitySpec
from hidascan.lab.training.recipe import DataSpec, Recipe
from hidascan.lab.training.trainer import TrainerSpec


@dataclass(frozen=True)
class HiDANetData(DataSpec):
    """Where things are."""

    edits: tuple[str, ...] = ()  # TSVs with path, mask, group and source: images with a generated part


@dataclass(frozen=True)
class PairSpec:
    """Photos and their reconstructions, how they are degraded, and the regions of one in the other."""

    counts: tuple[int, int, int] = (640, 0, 0)  # by autoencoders that are there, by those trained here, generated
    shares: tuple[float, float, float] = (1.0, 0.0, 0.0)  # of the forgeries that come from pairs of each kind
    hard: tuple[str, ...] = ()  # makers that are drawn as often as all others of their kind together
    seed: int = 20
    held_out_fold: int = -1  # of the sources: its photos make no pairs, and set the threshold of the map
    side: int = 448  # pixels
    group_power: float = 0.35  # a source of n images is drawn with weight n ** group_power
    resize: float = 0.3  # probability that a large photo is shrunk first
    degradations: int = 2  # of each pair
    untouched: float = 0.15  # probability that no cell is swapped
    spliced: float = 0.0  # probability that cells are swapped for those of another photo, which are no AI either
    region_share: tuple[float, float] = (0.05, 0.5)  # area of the region otherwise
    filter: float = 0.05
    saves: tuple[float, float, float, float] = (0.1, 0.8, 0.1, 0.0)
    jpeg_quality: tuple[int, int] = (70, 100)


@dataclass(frozen=True)
class WindowSpec:
    """The windows that TFL learns from."""

    seed: int = 30
    edit_draws: int = 4  # of each real edit: once as it is, then delivered
    counts: tuple[int, ...] = (640, 200, 160, 400, 40)  # repainted, pasted, retouched, untouched, generated
    perturbed: float = 0.4  # probability that an autoencoder has noise on its weights
    group_power: float = 0.45  # a source of n images is drawn with weight n ** group_power
    resize: float = 0.4  # probability that a large image is shrunk first
    turned: float = 0.25  # probability of a random number of quarter turns
    region_share: tuple[float, float] = (0.03, 0.5)  # area of a region
    filter: float = 0.08
    saves: tuple[float, float, float, float] = (0.2, 0.55, 0.15, 0.1)
    jpeg_quality: tuple[int, int] = (65, 100)


@dataclass(frozen=True)
class LocaliserSpec(TrainerSpec):
    """L_tfl: TFL, on windows. `batch` counts these."""

    steps: int = 400  # an epoch
    ridge: float = 1e-3  # of the residual filters, on the covariance of standardised features
    hidden: float = 0.3  # probability of hiding a channel of the tokens from a window
    shares: tuple[float, float, float, float, float, float] = (0.3, 0.17, 0.18, 0.12, 0.23, 0.0)  # kinds of a batch
    by_maker: tuple[str, ...] = ("edit", "repainted", "retouched")  # kinds of which makers are drawn alike, not sources
    pairs: PairSpec = field(default_factory=PairSpec)
    windows: WindowSpec = field(default_factory=WindowSpec)


@dataclass(frozen=True)
class SampleSpec:
    """Which images the kernel probe is fitted to, and how they are looked at."""

    cap: int = 16  # images of a group of a source
    patches: tuple[int, ...] = (3, 2)  # of an image as it is, and under each drawn delivery
    quality_cap: int = 4  # images of a group of a source that QFE is trained on
    quality_draws: int = 6  # JPEGs that are made of each image for QFE


@dataclass(frozen=True)
class KernelSpec:
    """The kernel probe; its sizes are the network's."""

    seed: int = 0  # of the draw of landmarks
    delivered: float = 0.15  # weight of a delivered image in its fit; an image as it is weighs 1
    tap_weights: tuple[float, ...] = ()  # of the network's taps; empty: all alike
    emphasis: float = 0.25  # of large components of the tokens
    share: tuple[float, float] = (0.5, 0.5)  # of thumbnail and patches in a distance
    gamma: float = 1.5  # for distances that are 1 in the mean
    penalty: float = 0.3  # of the verdict
    kind_penalty: float = 0.3  # of domain and family


@dataclass(frozen=True)
class HiDANetRecipe(Recipe):
    """Everything that decides the weights of a HiDA-Net."""

    network: HiDANetConfig = field(default_factory=HiDANetConfig)
    data: HiDANetData = field(default_factory=HiDANetData)
    autoencoders: tuple[AutoencoderSpec, ...] = ()
    fusion: FusionSpec = field(default_factory=FusionSpec)
    quality: QualitySpec = field(default_factory=QualitySpec)
    localiser: LocaliserSpec = field(default_factory=LocaliserSpec)
    samples: SampleSpec = field(default_factory=SampleSpec)
    kernel: KernelSpec = field(default_factory=KernelSpec)


def recipe_backbone(recipe: HiDANetRecipe, taps: tuple[int, ...], device: str, dtype: torch.dtype) -> FrozenViT:
    """Load the frozen backbone with the blocks `taps` (counted from 1), packed where that is faster."""
    network = recipe.network
    backbone = load_backbone(network.backbone, taps, network.side, Path(recipe.data.backbone), dtype).to(device)
    if device == "cpu":
        pack_linears(backbone)
    return backbone


def what_decides_tokens(recipe: HiDANetRecipe) -> list[Any]:
    """Return what decides the frozen tokens of an image: a changed backbone must not reuse old ones."""
    network = recipe.network
    return [network.backbone, network.taps, network.side, sha256_of(Path(recipe.data.backbone))]
