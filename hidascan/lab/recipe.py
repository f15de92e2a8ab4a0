"""A training recipe: everything that decides the shipped weights, in one TOML file."""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass, field
from pathlib import Path

from hidascan.errors import RecipeError
from hidascan.model.hidanet import NetworkConfig

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True)
class DataSpec:
    """Where things are. Paths are relative to the folder in which the command runs."""

    tables: tuple[str, ...] = ()  # label tables (TSV)
    backbone: str = "weights/backbone-clip-vit-b16.safetensors"
    autoencoder: str = ""  # folder with the taef2 weights
    calibration: str = ""  # label table to fit temperature and thresholds on; none of its sources in `tables`


@dataclass(frozen=True)
class SampleLaw:
    """How training samples are drawn. The first four are probabilities and sum to 1."""

    real: float = 0.36
    ai: float = 0.36
    pair: float = 0.13  # a photo and its reconstruction: two samples
    swap: float = 0.15  # RPS
    deliveries: int = 2  # of each draw: the same pixels, delivered in so many ways
    history: float = 0.5  # probability that a lossless AI image gets the JPEG past that photos have
    resize: float = 0.5  # probability of a random resize
    whole: float = 0.3  # probability that the whole image is used, and not a window of it
    window_side: tuple[int, int] = (160, 900)  # pixels, drawn log-uniformly
    reconstruction_side: int = 448  # largest side sent through the autoencoder, pixels
    swap_share: tuple[float, float] = (0.05, 0.5)  # area of a swapped region
    patch_counts: tuple[int, ...] = (1, 2, 2, 3, 4, 4, 4, 6, 8, 16)  # K is one of these, or all there are
    filter: float = 0.15  # probability of blur, sharpening or noise
    saves: tuple[float, float, float, float] = (0.25, 0.50, 0.12, 0.13)  # none, JPEG, two JPEGs, WebP
    jpeg_quality: tuple[int, int] = (30, 100)


@dataclass(frozen=True)
class CacheSpec:
    """Frozen features are computed once and kept on disk."""

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
    evidence_weight: float = 1.0  # of its samples in the fit of the linear evidence
    law: SampleLaw = field(default_factory=SampleLaw)


@dataclass(frozen=True)
class DescentSpec:
    """How a loss is brought down."""

    epochs: int = 6
    batch: int = 32  # samples
    lr: float = 6e-4
    weight_decay: float = 0.3
    warmup: float = 0.05  # share of the steps
    ema: float = 0.99  # of the averaged weights, a step


@dataclass(frozen=True)
class Optimisation(DescentSpec):
    """L_cls + beta * L_qfe: refiner, FAM and the heads of the whole image."""

    beta: float = 4.0  # on squared errors of quality / 100
    label_smoothing: float = 0.05
    drop_channels: float = 0.5  # probability of hiding a frozen channel of a tap from a whole view
    drop_global: float = 0.3  # probability of hiding f_global, so that the local path carries weight of its own
    drop_detail: float = 0.2


@dataclass(frozen=True)
class ZooMember:
    """One autoencoder of the zoo: how it is built and trained."""

    name: str = "nearest8"
    up: str = "nearest"  # nearest, bilinear, transposed or shuffle
    factor: int = 8  # pixels a latent, 4 or 8
    width: int = 32
    latent: int = 32  # channels
    quantised: bool = False  # latents rounded to a few levels (scalar quantisation)
    adversarial: float = 0.0  # weight of a discriminator in the second half of the training
    steps: int = 900
    batch: int = 8
    lr: float = 2e-3
    seed: int = 0
    held_out: bool = False  # for measuring only, never for training


@dataclass(frozen=True)
class PairLaw:
    """Photos and their reconstructions, how they are delivered, and the regions of one in the other."""

    count: int = 640  # pairs by taef2, a multiple of 40
    zoo_count: int = 0  # pairs by the members of the zoo that are not held out, in turn; a multiple of 40
    taef2_share: float = 0.6  # of the forgeries that come from pairs by taef2, if there are others
    seed: int = 20
    side: int = 448  # pixels
    group_power: float = 0.35  # as in a round
    resize: float = 0.3  # probability that a large photo is shrunk first
    deliveries: int = 2  # of each pair
    untouched: float = 0.15  # probability that no cell is swapped
    region_share: tuple[float, float] = (0.05, 0.5)  # area of the region otherwise
    filter: float = 0.05
    saves: tuple[float, float, float, float] = (0.1, 0.8, 0.1, 0.0)
    jpeg_quality: tuple[int, int] = (70, 100)


@dataclass(frozen=True)
class TokenSpec(DescentSpec):
    """L_tfl: the token head, on forgeries put together from pairs. `batch` counts forgeries."""

    steps: int = 400  # an epoch
    ridge: float = 1e-3  # of the filters, on the covariance of standardised features
    pairs: PairLaw = field(default_factory=PairLaw)


@dataclass(frozen=True)
class Regression:
    """One ridge regression on the frozen [CLS] tokens."""

    taps: tuple[int, ...] = ()  # of the network's taps; empty: all
    ridge: float = 100.0  # on the diagonal of the features' covariance, summed over samples and divided by C


@dataclass(frozen=True)
class EvidenceSpec:
    """The linear evidence: the mean of several regressions, which is one again."""

    regressions: tuple[Regression, ...] = (Regression(),)
    stability: float = 0.0  # weight of the penalty on directions in which deliveries move the features
    local_share: float = 0.5  # of the patches in the sum; the rest is the thumbnail's
    sharpness: float = 0.0  # of the pooling over patches, by unit of the regression's target; 0: their mean
    scale: float = 0.0  # logits for one unit of the regression's target (-1 real, 1 AI); 0: no evidence


@dataclass(frozen=True)
class Recipe:
    seed: int = 0
    network: NetworkConfig = field(default_factory=NetworkConfig)
    data: DataSpec = field(default_factory=DataSpec)
    rounds: tuple[Round, ...] = (Round(),)
    cache: CacheSpec = field(default_factory=CacheSpec)
    zoo: tuple[ZooMember, ...] = ()
    optimisation: Optimisation = field(default_factory=Optimisation)
    tokens: TokenSpec = field(default_factory=TokenSpec)
    evidence: EvidenceSpec = field(default_factory=EvidenceSpec)


def read_recipe(path: Path) -> Recipe:
    """Read a TOML recipe. Raises RecipeError for a missing file, broken TOML or an unknown key."""
    try:
        raw = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"{path}: {error.strerror}") from None
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{path}: {error}") from None
    return _fill(Recipe, raw, str(path))


def _fill(kind: type, values: dict, where: str):
    """A frozen dataclass from a table of TOML, tables inside it likewise; lists become tuples."""
    for name, entry in {"rounds": Round, "zoo": ZooMember, "regressions": Regression}.items():
        if name in values:
            values = values | {name: [_fill(entry, each, f"{where}: [[{name}]]") for each in values[name]]}
    fields = {f.name: f for f in dataclasses.fields(kind)}
    unknown = values.keys() - fields.keys()
    if unknown:
        raise RecipeError(f"{where}: unknown key: {', '.join(sorted(unknown))}")
    filled = {}
    for name, value in values.items():
        if isinstance(value, dict):
            value = _fill(fields[name].default_factory, value, f"{where}: [{name}]")
        filled[name] = tuple(value) if isinstance(value, list) else value
    return kind(**filled)
