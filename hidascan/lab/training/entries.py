"""Entries of `hidalab compare`: recipes, optionally with changed values, and their weights."""

from __future__ import annotations

import dataclasses
import json
import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from hidascan.detectors.checkpoint import load_detector
from hidascan.errors import CheckpointError, RecipeError
from hidascan.lab.data.tables import FOLDS
from hidascan.lab.training.artifacts import fingerprint
from hidascan.lab.training.recipe import read_recipe, training_module


@dataclass(frozen=True)
class Entry:
    """A recipe in a comparison, with its name."""

    name: str
    recipe: Any


def read_entry(text: str) -> Entry:
    """Read `PATH`, or `PATH@network.crops=4@seed=1`, a recipe with changed values.

    Raises:
        RecipeError: For an unreadable recipe or an invalid change.
    """
    path, *changes = text.split("@")
    recipe = read_recipe(Path(path))
    for change in changes:
        name, equals, value = change.partition("=")
        if not equals:
            raise RecipeError(f"{text}: expected NAME=VALUE, not {change!r}")
        try:
            recipe = _changed(recipe, name.split("."), tomllib.loads(f"value = {value}")["value"])
        except (tomllib.TOMLDecodeError, AttributeError, TypeError, ValueError) as error:
            raise RecipeError(f"{text}: {change}: {error}") from None
    return Entry("@".join([Path(path).stem, *changes]), recipe)


def _changed(part: Any, names: list[str], value: Any) -> Any:
    if len(names) > 1:
        value = _changed(getattr(part, names[0]), names[1:], value)
    known = {field.name for field in dataclasses.fields(part)}
    if names[0] not in known:
        raise AttributeError(f"unknown {names[0]!r}; choose from {', '.join(sorted(known))}")
    return dataclasses.replace(part, **{names[0]: tuple(value) if isinstance(value, list) else value})


def folds_of(number: int, count: int) -> tuple[int, ...]:
    """Return the folds of sources that form fold `number` of `count`."""
    return tuple(fold for fold in range(FOLDS) if fold % count == number)


def weights_of(
    entry: Entry,
    without_folds: tuple[int, ...],
    cache: Path,
    device: torch.device,
    dtype: torch.dtype,
    on_training: Callable[[str], object] = lambda name: None,
) -> Path:
    """Train an entry on all sources except those of some folds, or reuse its earlier weights.

    The weights are uncalibrated: scores are sigmoids of raw logits.
    """
    data = dataclasses.replace(entry.recipe.data, without_folds=without_folds, calibration_fold=-1, calibration="")
    recipe = dataclasses.replace(entry.recipe, data=data)
    name = re.sub(r"\W+", "-", entry.name) + "".join(f"-{fold}" for fold in without_folds)
    out = cache / "compared" / f"{name}-{fingerprint(recipe=recipe)[:8]}.safetensors"
    if not _holds(out, recipe):
        on_training(out.stem)
        out.parent.mkdir(parents=True, exist_ok=True)
        module = training_module(recipe.detector)
        getattr(module, "train_for_comparison", module.train)(recipe, cache, out, device, dtype)
    return out


def _holds(path: Path, recipe: Any) -> bool:
    """Return whether a file has weights of exactly this recipe."""
    if not path.exists():
        return False
    try:
        header = load_detector(path)[1]
    except CheckpointError:
        return False
    plain = lambda value: json.loads(json.dumps(value))  # noqa: E731
    return bool(header.training.get("recipe") == plain(dataclasses.asdict(recipe)))
