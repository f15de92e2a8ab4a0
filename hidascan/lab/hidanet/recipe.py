"""Recipe of HiDA-Net, and its frozen backbone."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hidascan.detectors.backbones import FrozenViT
from hidascan.detectors.backbones.vit import pack_linears
from hidascan.detectors.checkpoint import load_backbone, sha256_of
from hidascan.detectors.hidanet.network import HiDANetConfig
from hidascan.lab.artifacts import Workspace
from hidascan.lab.data.degradations import DegradationSpec
from hidascan.lab.data.trained_autoencoders import AutoencoderSpec
from hidascan.lab.training.recipe import DataSpec, Recipe
from hidascan.lab.training.trainer import TrainerSpec


@dataclass(frozen=True)
class HiDANetData(DataSpec):
    """Data of a recipe, with images for TFL."""

    edits: tuple[str, ...] = ()  # TSVs of partly generated images, with path, mask, group and source


@dataclass(frozen=True)
class PairSpec(DegradationSpec):
    """Pairs to which the residual filters are fitted: a photo and its reconstruction, or a generated image; degraded."""

    counts: tuple[int, int, int] = (640, 0, 0)  # pairs by given autoencoders, by autoencoders trained here, generated
    seed: int = 20
    held_out_fold: int = -1  # fold of sources without pairs; -1 for none
    side: int = 448  # pixels
    group_power: float = 0.35  # a source of n images is drawn with weight n ** group_power
    resize: float = 0.3  # probability that a large photo is shrunk first
    filter: float = 0.05
    saves: tuple[float, float, float, float] = (0.1, 0.8, 0.1, 0.0)
    jpeg_quality: tuple[int, int] = (70, 100)


@dataclass(frozen=True)
class WindowSpec(DegradationSpec):
    """Training windows of TFL."""

    seed: int = 30
    edit_draws: int = 4  # windows of each real edit: one as published, the others delivered
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
    """L_tfl: training of TFL on windows, which `batch` counts."""

    steps: int = 400  # steps per epoch
    ridge: float = 1e-3  # regularisation of the residual filters, added to the covariance of standardised features
    input_dropout: float = 0.3  # probability of hiding a channel of the tokens from a window
    shares: tuple[float, ...] = (0.3, 0.17, 0.18, 0.12, 0.23, 0.0)  # shares of the kinds in a batch
    # Kinds in which makers are drawn equally often, instead of sources.
    by_maker: tuple[str, ...] = ("edit", "repainted", "retouched")
    pairs: PairSpec = field(default_factory=PairSpec)
    windows: WindowSpec = field(default_factory=WindowSpec)


@dataclass(frozen=True)
class FusionSpec(TrainerSpec):
    """L_cls: training of FAM and classifier."""

    epochs: int = 12
    batch: int = 64  # samples
    lr: float = 1e-3
    weight_decay: float = 0.05
    dropout: float = 0.5  # probability of dropping a channel after fusion
    input_dropout: float = 0.5  # probability of dropping a feature of a token
    thinned: float = 0.5  # probability that a sample is trained on with only its first patch in reading order
    label_smoothing: float = 0.05
    seed: int = 0
    vote: float = 0.1  # weight of its logit; that of the kernel probe is 1


@dataclass(frozen=True)
class QualitySpec(TrainerSpec):
    """L_qfe: training of QFE."""

    epochs: int = 20
    batch: int = 64  # samples
    lr: float = 1e-3
    weight_decay: float = 0.05
    dropout: float = 0.3  # probability of dropping a hidden channel
    input_dropout: float = 0.1  # probability of dropping an input feature
    seed: int = 0


@dataclass(frozen=True)
class SampleSpec:
    """Samples of kernel probe, FAM and QFE."""

    cap: int = 16  # maximum number of images of a group of a source
    patches: tuple[int, ...] = (3, 2)  # number per image as published, and under each drawn delivery
    hard: tuple[int, ...] = ()  # number under each drawn hard delivery, on which FAM alone is trained
    quality_cap: int = 4  # maximum number of images of a group of a source for QFE
    quality_draws: int = 6  # JPEGs per image for QFE


@dataclass(frozen=True)
class KernelSpec:
    """Fit of the kernel probe, whose sizes are those of the network."""

    seed: int = 0  # random seed of the landmarks
    delivered: float = 0.15  # weight of a delivered image in the fit; an image as published weighs 1
    tap_weights: tuple[float, ...] = ()  # weights of the network's taps; empty for equal ones
    emphasis: float = 0.25  # exponent of the variance by which components are scaled
    share: tuple[float, float] = (0.5, 0.5)  # weights of thumbnail and patches in a distance
    gamma: float = 1.5  # factor of distances, whose mean is 1
    penalty: float = 0.3  # regularisation of the verdict
    kind_penalty: float = 0.3  # regularisation of domain and family


@dataclass(frozen=True)
class HiDANetRecipe(Recipe):
    """Complete settings of the training of a HiDA-Net."""

    network: HiDANetConfig = field(default_factory=HiDANetConfig)
    data: HiDANetData = field(default_factory=HiDANetData)
    autoencoders: tuple[AutoencoderSpec, ...] = ()
    fusion: FusionSpec = field(default_factory=FusionSpec)
    quality: QualitySpec = field(default_factory=QualitySpec)
    localiser: LocaliserSpec = field(default_factory=LocaliserSpec)
    samples: SampleSpec = field(default_factory=SampleSpec)
    kernel: KernelSpec = field(default_factory=KernelSpec)


def recipe_backbone(recipe: HiDANetRecipe, taps: tuple[int, ...], workspace: Workspace) -> FrozenViT:
    """Load the frozen backbone with the blocks `taps` (counted from 1), packed on a CPU."""
    network, path = recipe.network, Path(recipe.data.backbone)
    backbone = load_backbone(network.backbone, taps, network.side, path, workspace.dtype).to(workspace.device)
    if workspace.device.type == "cpu":
        pack_linears(backbone)
    return backbone


def token_settings(recipe: HiDANetRecipe) -> list[Any]:
    """Return the settings that determine the frozen tokens of an image, for fingerprints of caches."""
    network = recipe.network
    return [network.backbone, network.taps, network.side, sha256_of(Path(recipe.data.backbone))]
