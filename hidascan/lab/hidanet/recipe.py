"""What a recipe of HiDA-Net holds besides what every recipe does."""

from __future__ import annotations

from dataclasses import dataclass, field

from hidascan.detectors.hidanet.network import HiDANetConfig
from hidascan.lab.data.autoencoders.trained import AutoencoderSpec
from hidascan.lab.data.sampling import SamplingSpec
from hidascan.lab.training.recipe import DataSpec, Recipe
from hidascan.lab.training.trainer import TrainerSpec


@dataclass(frozen=True)
class HiDANetData(DataSpec):
    """Where things are."""

    autoencoder: str = ""  # folder with the taef2 weights


@dataclass(frozen=True)
class CacheSpec:
    """How frozen features are computed and kept."""

    draws_per_shard: int = 40
    batch: int = 16  # views a pass through the backbone


@dataclass(frozen=True)
class Round:
    """So many draws from some of the sources by one law; the training set is all rounds together."""

    name: str = "train"
    seed: int = 0
    draws: int = 4000  # a pair counts once
    only: tuple[str, ...] = ()  # groups or sources; empty: all
    without: tuple[str, ...] = ()
    group_power: float = 0.5  # a source of n images is drawn with weight n ** group_power
    probe_weight: float = 1.0  # of its samples in the fit of the linear probe
    sampling: SamplingSpec = field(default_factory=SamplingSpec)


@dataclass(frozen=True)
class FusionSpec(TrainerSpec):
    """L_cls + beta * L_qfe: refiner, FAM and the heads of the whole image."""

    beta: float = 4.0  # on squared errors of quality / 100
    label_smoothing: float = 0.05
    drop_channels: float = 0.5  # probability of hiding a frozen channel of a tap from a whole view
    drop_global: float = 0.3  # probability of hiding f_global, so that the local path carries weight of its own
    drop_detail: float = 0.2


@dataclass(frozen=True)
class PairSpec:
    """Photos and their reconstructions, how they are degraded, and the regions of one in the other."""

    count: int = 640  # pairs by taef2, a multiple of 40
    trained_count: int = 0  # pairs by autoencoders trained here that are not held out, in turn; a multiple of 40
    taef2_share: float = 0.6  # of the forgeries that come from pairs by taef2, if there are others
    seed: int = 20
    side: int = 448  # pixels
    group_power: float = 0.35  # as in a round
    resize: float = 0.3  # probability that a large photo is shrunk first
    degradations: int = 2  # of each pair
    untouched: float = 0.15  # probability that no cell is swapped
    region_share: tuple[float, float] = (0.05, 0.5)  # area of the region otherwise
    filter: float = 0.05
    saves: tuple[float, float, float, float] = (0.1, 0.8, 0.1, 0.0)
    jpeg_quality: tuple[int, int] = (70, 100)


@dataclass(frozen=True)
class LocaliserSpec(TrainerSpec):
    """L_tfl: TFL, on forgeries put together from pairs. `batch` counts forgeries."""

    steps: int = 400  # an epoch
    ridge: float = 1e-3  # of the filters, on the covariance of standardised features
    pairs: PairSpec = field(default_factory=PairSpec)


@dataclass(frozen=True)
class Regression:
    """One ridge regression on the frozen [CLS] tokens."""

    taps: tuple[int, ...] = ()  # of the network's taps; empty: all
    ridge: float = 100.0  # on the diagonal of the features' covariance, summed over samples and divided by C


@dataclass(frozen=True)
class ProbeSpec:
    """The linear probe: the mean of several regressions, which is one again."""

    regressions: tuple[Regression, ...] = (Regression(),)
    stability: float = 0.0  # weight of the penalty on directions in which degradations move the features
    local_share: float = 0.5  # of the patches in the sum; the rest is the thumbnail's
    sharpness: float = 0.0  # of the pooling over patches, by unit of the regression's target; 0: their mean
    scale: float = 0.0  # logits for one unit of the regression's target (-1 real, 1 AI); 0: no probe


@dataclass(frozen=True)
class HiDANetRecipe(Recipe):
    """Everything that decides the weights of a HiDA-Net."""

    network: HiDANetConfig = field(default_factory=HiDANetConfig)
    data: HiDANetData = field(default_factory=HiDANetData)
    rounds: tuple[Round, ...] = (Round(),)
    cache: CacheSpec = field(default_factory=CacheSpec)
    autoencoders: tuple[AutoencoderSpec, ...] = ()
    fusion: FusionSpec = field(default_factory=FusionSpec)
    localiser: LocaliserSpec = field(default_factory=LocaliserSpec)
    probe: ProbeSpec = field(default_factory=ProbeSpec)
