"""A training recipe: everything that decides a detector's weights, in one TOML file that names the detector."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import sys
import typing
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from hidascan.detectors import detector_class
from hidascan.detectors.base import DetectorConfig, config_from
from hidascan.errors import CheckpointError, RecipeError
from hidascan.lab.data.tables import fold_of

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True)
class DataSpec:
    """Paths of the data, relative to the working folder."""

    tables: tuple[str, ...] = ()  # label tables (TSV), or folders in a known layout
    backbone: str = "weights/backbone-clip-vit-b16.safetensors"  # for detectors that stand on a frozen one
    autoencoders: tuple[str, ...] = ()  # FOLDER/taef2 and so on, that reconstruct photos
    pretrained: str = ""  # weights that a trained backbone starts from: "timm" for those of its name, or a file
    calibration: str = ""  # label table to fit temperature and thresholds on; none of its sources in `tables`
    calibration_fold: int = -1  # or a fold, 0..5, of the sources of `tables`, which training then leaves out
    without_folds: tuple[int, ...] = ()  # more folds that training leaves out, to be measured on

    def excludes(self, source: str) -> bool:
        """Return whether training leaves a source out."""
        return fold_of(source) in (self.calibration_fold, *self.without_folds)


@dataclass(frozen=True)
class Recipe:
    """Settings of every recipe; the training package of a detector adds more."""

    detector: str = ""
    seed: int = 0
    network: DetectorConfig = field(default_factory=DetectorConfig)
    data: DataSpec = field(default_factory=DataSpec)


def training_module(detector: str) -> ModuleType:
    """Return what trains a detector: the package of its name in the lab, else the training end to end.

    A room has a class `Recipe` and a function `train(recipe, cache, out, device, dtype)`.
    """
    name = f"hidascan.lab.{detector}"
    if detector.isidentifier() and importlib.util.find_spec(name):
        room = importlib.import_module(name)
        if hasattr(room, "train"):
            return room
    return importlib.import_module("hidascan.lab.training.end_to_end")


def read_recipe(path: Path) -> Any:
    """Read a TOML recipe into the `Recipe` of the room that trains its detector.

    Raises:
        RecipeError: For a missing file, broken TOML, an unknown detector, an unknown key or an absurd value.
    """
    try:
        raw = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"{path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: {error}") from None
    detector = raw.get("detector")
    if not isinstance(detector, str):
        raise RecipeError(f'{path}: missing detector, such as detector = "npr"')
    try:
        network = config_from(detector_class(detector).Config, raw.pop("network", {}))
        recipe = _filled(training_module(detector).Recipe, raw, str(path))
    except (CheckpointError, TypeError, ValueError) as error:
        raise RecipeError(f"{path}: {error}") from None
    return dataclasses.replace(recipe, network=network)


def _filled(kind: type, values: dict[str, Any], where: str) -> Any:
    """Build a frozen dataclass from a table of TOML, tables inside it likewise; lists become tuples."""
    hints = typing.get_type_hints(kind)
    unknown = values.keys() - hints.keys()
    if unknown:
        raise RecipeError(f"{where}: unknown key: {', '.join(sorted(unknown))}")
    filled = {}
    for name, value in values.items():
        inner = next(iter(typing.get_args(hints[name])), None)
        if isinstance(value, dict):
            value = _filled(hints[name], value, f"{where}: [{name}]")
        elif isinstance(value, list) and dataclasses.is_dataclass(inner):
            value = [_filled(typing.cast(type, inner), entry, f"{where}: [[{name}]]") for entry in value]
        filled[name] = tuple(value) if isinstance(value, list) else value
    return kind(**filled)
