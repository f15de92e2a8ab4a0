"""A training recipe: all settings that determine a detector's weights, in a TOML file that names it and may inherit."""

from __future__ import annotations

import dataclasses
import importlib
import tomllib
import typing
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from tqdm import tqdm

from hidascan.calibration import Calibration
from hidascan.detectors import detector_class, shipped_folders
from hidascan.detectors.base import Detector, DetectorConfig, config_from
from hidascan.detectors.checkpoint import CheckpointHeader, Part, save_trained, sha256_of
from hidascan.errors import CheckpointError, RecipeError, reason_of
from hidascan.lab.data.composites import SamplingSpec
from hidascan.lab.data.layouts import read_images
from hidascan.lab.data.tables import LabelledImage, fold_of
from hidascan.lab.training.trainer import TrainerSpec

# Detector -> its training module; those that are not named are trained end to end.
TRAINERS = {"hidanet": "hidascan.lab.hidanet"}


@dataclass(frozen=True)
class DataSpec:
    """Paths of the data, relative to the working folder."""

    tables: tuple[str, ...] = ()  # label tables (TSV) or folders in a known layout
    backbone: str = "weights/backbone-clip-vit-b16.safetensors"  # for detectors with a frozen backbone
    autoencoders: tuple[str, ...] = ()  # autoencoders that reconstruct photos, such as FOLDER/taef2
    pretrained: str = ""  # initial weights of a trained backbone: "timm" for the defaults of its name, or a file
    calibration: str = ""  # label table to fit Platt scaling and thresholds on, without sources of `tables`
    calibration_fold: int = -1  # or a fold, 0..5, of the sources of `tables`, which is excluded from training
    without_folds: tuple[int, ...] = ()  # further folds excluded from training, for measuring

    @property
    def excluded(self) -> tuple[int, ...]:
        """Folds that are excluded from training."""
        return self.calibration_fold, *self.without_folds


@dataclass(frozen=True)
class Recipe:
    """Common settings of recipes; the training package of a detector may add more."""

    detector: str = ""
    seed: int = 0
    network: DetectorConfig = field(default_factory=DetectorConfig)
    data: DataSpec = field(default_factory=DataSpec)


@dataclass(frozen=True)
class EndToEndData(DataSpec):
    """Data of a recipe for any detector."""

    packs: str = ""  # folder of packs to train on, in place of the images of `tables`


@dataclass(frozen=True)
class EndToEndSpec(TrainerSpec):
    """Training settings of any detector; `batch` is in images."""

    epochs: int = 10
    steps: int = 40  # steps per epoch
    views: int = 0  # budget of views, which decides the number of epochs; 0: `epochs` does
    minutes: float = 0.0  # maximum duration; 0: none
    lr: float = 3e-4
    weight_decay: float = 0.05
    label_smoothing: float = 0.05
    side: int = 224  # side of random crops, pixels, for detectors of images at their own size
    patches: int = 4  # maximum per image, for detectors of patches
    samples: int = 1000  # number of encoded samples, for a frozen encoder
    group_power: float = 0.35  # a source of n images is drawn with weight n ** group_power
    contrast: float = 0.0  # weight of PCL, for detectors that encode cells
    margin: float = 1.0  # minimum distance of classes in PCL

    def __post_init__(self) -> None:
        """Raise ValueError for numbers out of range."""
        if min(self.epochs, self.steps, self.batch, self.side, self.patches, self.samples) < 1:
            raise ValueError("epochs, steps, batch, side, patches and samples must be at least 1")
        if min(self.views, self.minutes, self.lr, self.weight_decay, self.contrast) < 0:
            raise ValueError("views, minutes, lr, weight_decay and contrast must be at least 0")


@dataclass(frozen=True)
class EndToEndRecipe(Recipe):
    """A recipe for any detector."""

    data: EndToEndData = field(default_factory=EndToEndData)
    sampling: SamplingSpec = field(default_factory=SamplingSpec)
    training: EndToEndSpec = field(default_factory=EndToEndSpec)


def images_of(recipe: Recipe, for_training: bool = True) -> list[LabelledImage]:
    """Return the images for training, or those of the calibration fold."""
    data = recipe.data
    images = [(image, fold_of(image.source)) for image in read_images(*data.tables)]
    if for_training:
        return [image for image, fold in images if fold not in data.excluded]
    return [image for image, fold in images if fold == data.calibration_fold]


def training_module(detector: str) -> ModuleType:
    """Return the training module of a detector.

    It has a class `Recipe` and a function `train(recipe, out, workspace)`; more, such as `report_heatmaps`, if the
    detector supports it.
    """
    return importlib.import_module(TRAINERS.get(detector, "hidascan.lab.training.end_to_end"))


def read_recipe(path: Path, changes: Sequence[str] = ()) -> Any:
    """Read a TOML recipe, with what it inherits, into the `Recipe` of the detector's training module.

    `changes` are lines of TOML that replace values, such as `network.crops = 4`.

    Raises:
        RecipeError: For a missing file, invalid TOML, an unknown detector or key, or a value of a wrong type or out of range.
    """
    where = "@".join([str(path), *changes])
    try:
        raw = _merged(_with_base(Path(path)), tomllib.loads("\n".join(changes)))
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{where}: {error}") from None
    detector = raw.get("detector")
    if not isinstance(detector, str):
        raise RecipeError(f'{where}: missing detector, such as detector = "npr"')
    try:
        network = config_from(detector_class(detector).Config, raw.pop("network", {}))
        recipe = _filled(training_module(detector).Recipe, raw, where)
    except (AttributeError, CheckpointError, TypeError, ValueError) as error:
        raise RecipeError(f"{where}: {error}") from None
    return dataclasses.replace(recipe, network=network)


def _with_base(path: Path, inheriting: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Read a TOML file over the values of its `base`, a path relative to it; tables are merged, other values replaced."""
    if path.resolve() in inheriting:
        raise RecipeError(f"{path}: inherits from itself")
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"{path}: {reason_of(error)}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: {error}") from None
    base = raw.pop("base", None)
    if base is None:
        return raw
    return _merged(_with_base(path.parent / str(base), (*inheriting, path.resolve())), raw)


def _merged(base: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """Return `own` over `base`; tables are merged at every depth, other values replaced."""
    both = {key for key in base.keys() & own.keys() if isinstance(base[key], dict) and isinstance(own[key], dict)}
    return base | own | {key: _merged(base[key], own[key]) for key in both}


def _filled(kind: type, values: dict[str, Any], where: str) -> Any:
    """Build a frozen dataclass from a TOML table, recursively; lists become tuples."""
    hints = typing.get_type_hints(kind)
    unknown = values.keys() - hints.keys()
    if unknown:
        raise RecipeError(f"{where}: unknown key: {', '.join(sorted(unknown))}")
    filled = {}
    for name, value in values.items():
        hint = hints[name]
        inner = next(iter(typing.get_args(hints[name])), None)
        wanted = list if inner is not None else dict if dataclasses.is_dataclass(hint) else hint
        if type(value) is not wanted and (wanted, type(value)) != (float, int):
            raise RecipeError(f"{where}: {name} must be {wanted.__name__}, not {value!r:.40}")
        items = typing.get_args(hint)
        if isinstance(value, list) and ... not in items and len(value) != len(items):
            raise RecipeError(f"{where}: {name} must have {len(items)} values, not {len(value)}")
        if isinstance(value, dict):
            value = _filled(hint, value, f"{where}: [{name}]")
        elif isinstance(value, list) and dataclasses.is_dataclass(inner):
            value = [_filled(typing.cast(type, inner), entry, f"{where}: [[{name}]]") for entry in value]
        filled[name] = tuple(value) if isinstance(value, list) else value
    return kind(**filled)


def write_weights(
    recipe: Any,
    network: Detector,
    frozen: Iterable[str],
    out: Path,
    training: dict[str, Any],
    calibration: Calibration | None = None,
) -> None:
    """Write the trained part of a network, a reference to the file of its frozen parts, and a record of its training."""
    backbone = Path(recipe.data.backbone)
    parts = tuple(Part(name, backbone.name, sha256_of(backbone)) for name in frozen)
    rule = calibration or Calibration()
    save_trained(out, network, CheckpointHeader(out.stem, recipe.detector, recipe.network, parts, rule, training))
    tqdm.write(f"wrote {out}")
    if calibration and calibration.settling is None:
        tqdm.write("`hidascan --fast` refuses these weights until `hidalab settle` has fitted its stopping rule")


def put_backbone_beside(weights: Path, backbone: Path) -> None:
    """Link a backbone into the folder of weights, which are loaded with the one beside them, or with a shipped one.

    Raises:
        RecipeError: If the folder has another backbone of this name.
    """
    if not backbone.is_file() or backbone.resolve().parent in [folder.resolve() for folder in shipped_folders()]:
        return
    link = weights.with_name(backbone.name)
    if link.exists() and link.samefile(backbone):
        return
    if link.is_symlink() and not link.exists():
        link.unlink()
    if link.exists() and sha256_of(link) != sha256_of(backbone):
        raise RecipeError(f"{link}: another backbone of this name; rename {backbone}")
    if not link.exists():
        link.symlink_to(backbone.resolve())
