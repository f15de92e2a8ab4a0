"""Commands that create weights."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Literal, Optional

import typer

from hidascan.arguments import Device, Precision
from hidascan.lab.commands import Cache, Minutes, Packs, Recipe, Views

Part = Literal["verdict", "heatmap"]


def train(
    recipe: Recipe,
    cache: Cache,
    out: Annotated[Path, typer.Option(help="Path of the trained part.", show_default=False)],
    only: Annotated[Optional[Part], typer.Option(metavar="verdict|heatmap", help="Train this part alone; needs --rest-of.", show_default=False)] = None,
    rest_of: Annotated[Optional[Path], typer.Option(metavar="WEIGHTS", help="Weights that supply all other parts.", show_default=False)] = None,
    packs: Packs = None,
    views: Views = None,
    minutes: Minutes = None,
    device: Device = "auto",
    precision: Precision = "auto",
) -> None:  # fmt: skip
    """Train the detector that a recipe names, write its weights, and calibrate them. Resumes an interrupted run."""
    from hidascan.device import choose_device, choose_dtype
    from hidascan.errors import UsageError
    from hidascan.lab.training.end_to_end import with_packs
    from hidascan.lab.training.recipe import read_recipe, training_module

    if (only is None) != (rest_of is None):
        raise UsageError("--only and --rest-of belong together")
    spec, where = with_packs(read_recipe(recipe), packs, views, minutes), choose_device(device)
    cache.mkdir(parents=True, exist_ok=True)
    module, dtype = training_module(spec.detector), choose_dtype(precision, where)
    if only is not None:
        if not hasattr(module, "train_part"):
            raise UsageError(f"--only: no part of the detector {spec.detector} is trained alone")
        module.train_part(only, spec, cache, out, where, dtype, rest_of)
        return
    module.train(spec, cache, out, where, dtype)
    if spec.data.calibration:
        calibrate(out, Path(spec.data.calibration), device=device, precision=precision)
    elif spec.data.calibration_fold >= 0:
        missing = [table for table in spec.data.tables if not Path(table).exists()]
        if packs and missing:
            print(f"not calibrated: {missing[0]} is missing; run hidalab calibrate later", file=sys.stderr)
            return
        calibrate(out, None, recipe, device, precision)


def backbone(
    name: Annotated[str, typer.Argument(help="Name in timm of a ViT with a [CLS] token.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Path of the backbone file.", show_default=False)],
    pretrained: Annotated[str, typer.Option(metavar="timm|timm:NAME|PATH", help="Source of the weights.")] = "timm",
) -> None:
    """Write the frozen backbone used by recipes, from timm's weights or from a file."""
    from hidascan.lab.training.pretrained import write_backbone

    write_backbone(name, pretrained, out)
    print(f"wrote {out}")


def calibrate(
    weights: Annotated[Path, typer.Argument(help="Trained part; its header is updated.", show_default=False)],
    table: Annotated[Optional[Path], typer.Argument(help="Label table, or a folder in a known layout.", show_default=False)] = None,
    recipe: Annotated[Optional[Path], typer.Option(help="Recipe whose held-out fold replaces the table.", show_default=False)] = None,
    device: Device = "auto",
    precision: Precision = "auto",
) -> None:  # fmt: skip
    """Fit temperature and thresholds on held-out images; figures are cross-fitted by source."""
    from hidascan.errors import UsageError
    from hidascan.lab.data.layouts import read_images
    from hidascan.lab.data.tables import tables_sha256
    from hidascan.lab.measure import calibration
    from hidascan.lab.training.end_to_end import images_of
    from hidascan.lab.training.recipe import read_recipe
    from hidascan.options import ScanOptions
    from hidascan.progress import ScanProgress

    if (table is None) == (recipe is None):
        raise UsageError("calibrate needs either a table or --recipe")
    if recipe is not None:
        spec = read_recipe(recipe)
        images, digest = images_of(spec, for_training=False), tables_sha256(spec.data.tables)
    elif table is not None:
        images, digest = read_images(table), tables_sha256([table])
    progress, options = ScanProgress(hidden=False), ScanOptions(device=device, precision=precision)
    try:
        figures = calibration.calibrate(weights, images, options, progress.on_batch, digest)
    finally:
        progress.close()
    if not figures:
        print("no figures: without one of the sources, a class is missing; calibrate on more sources", file=sys.stderr)
    print(json.dumps(figures))
