"""Commands that create weights, packs and forgeries."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any, Literal, Optional

import typer

from hidascan.arguments import Device, Precision
from hidascan.errors import RecipeError, UsageError
from hidascan.lab.commands import Autoencoder, Cache, Minutes, Packs, Recipe, Views, check_new, open_workspace
from hidascan.options import ScanOptions

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
    from hidascan.lab.training.end_to_end import with_packs
    from hidascan.lab.training.recipe import put_backbone_beside, read_recipe, training_module

    if (only is None) != (rest_of is None):
        raise UsageError("--only and --rest-of must be given together")
    if out.is_dir():
        raise UsageError(f"--out {out}: is a folder; name a file")
    spec = with_packs(read_recipe(recipe), packs, views, minutes)
    workspace = open_workspace(cache, device, precision)
    for folder in (cache, out.parent):
        folder.mkdir(parents=True, exist_ok=True)
    put_backbone_beside(out, Path(spec.data.backbone))
    module = training_module(spec.detector)
    if only is not None:
        if not hasattr(module, "train_part"):
            raise UsageError(f"--only: the parts of detector {spec.detector} cannot be trained separately")
        module.train_part(only, spec, out, workspace, rest_of)
        return
    calibrated = _check_calibration(spec)  # before hours of training
    module.train(spec, out, workspace)
    if calibrated:
        table = Path(spec.data.calibration) if spec.data.calibration else None
        calibrate(out, table, None if table else recipe, device, precision)


def _check_calibration(spec: Any) -> bool:
    """Return whether weights of a recipe can be calibrated; if its images are missing, write a line to stderr.

    Raises:
        HidascanError: If the images for calibration are missing, or all of one class.
    """
    from hidascan.lab.data.layouts import read_images
    from hidascan.lab.training.recipe import images_of

    data = spec.data
    if not data.calibration and data.calibration_fold < 0:
        return False
    missing = [table for table in data.tables if not Path(table).exists()]
    if missing and not data.calibration and vars(data).get("packs"):
        print(f"not calibrated: {missing[0]} is missing; run hidalab calibrate later", file=sys.stderr)
        return False
    images = read_images(data.calibration) if data.calibration else images_of(spec, for_training=False)
    if images and not any(image.path.is_file() for image in images):
        if not data.calibration and vars(data).get("packs"):
            print(f"not calibrated: {images[0].path} is missing; run hidalab calibrate later", file=sys.stderr)
            return False
        raise RecipeError(f"no image for calibration exists, such as {images[0].path}")
    if len({image.label for image in images}) < 2:
        raise RecipeError("the images for calibration are all of one class: choose another calibration_fold or table")
    return True


def backbone(
    name: Annotated[str, typer.Argument(help="Name in timm of a ViT with a [CLS] token.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Path of the backbone file.", show_default=False)],
    pretrained: Annotated[str, typer.Option(metavar="timm|timm:NAME|PATH", help="Source of the weights.")] = "timm",
) -> None:
    """Write the frozen backbone used by recipes, from timm's weights or from a file."""
    from hidascan.lab.training.pretrained import write_backbone

    check_new(out)
    write_backbone(name, pretrained, out)
    print(f"wrote {out}")


def calibrate(
    weights: Annotated[Path, typer.Argument(help="Trained part; its header is updated.", show_default=False)],
    table: Annotated[Optional[Path], typer.Argument(help="Label table, or a folder in a known layout.", show_default=False)] = None,
    recipe: Annotated[Optional[Path], typer.Option(help="Recipe whose held-out fold replaces the table.", show_default=False)] = None,
    device: Device = "auto",
    precision: Precision = "auto",
) -> None:  # fmt: skip
    """Fit Platt scaling and thresholds on held-out images; figures are cross-fitted by source."""
    from hidascan.lab.data.layouts import read_images
    from hidascan.lab.data.tables import tables_sha256
    from hidascan.lab.measure import calibration
    from hidascan.lab.training.recipe import images_of, read_recipe

    if (table is None) == (recipe is None):
        raise UsageError("calibrate needs either a table or --recipe")
    if recipe is not None:
        spec = read_recipe(recipe)
        images, digest = images_of(spec, for_training=False), tables_sha256(spec.data.tables)
    elif table is not None:
        images, digest = read_images(table), tables_sha256([table])
    options = ScanOptions(device=device, precision=precision)
    figures = calibration.calibrate(weights, images, options, digest)
    if not figures:
        print("no figures: without one of the sources, a class is missing; calibrate on more sources", file=sys.stderr)
    print(json.dumps(figures))


def forge(
    image: Annotated[Path, typer.Argument(help="Photo to forge.", show_default=False)],
    out: Annotated[Path, typer.Argument(help="Path of the forgery (JPEG).", show_default=False)],
    autoencoder: Autoencoder,
    share: Annotated[tuple[float, float], typer.Option(help="Minimum and maximum share of the area.")] = (0.1, 0.3),
    jpeg: Annotated[int, typer.Option(help="JPEG quality of the forgery.")] = 90,
    seed: Annotated[int, typer.Option(help="Random seed of the region.")] = 0,
) -> None:
    """Pass one region of a photo through an autoencoder and paste it back, to test heatmaps."""
    import numpy as np
    from PIL import Image

    from hidascan.image.decode import decode
    from hidascan.lab.data.autoencoders import load_autoencoder
    from hidascan.lab.data.composites import repaint_region

    check_new(out)
    if out.suffix.lower() not in Image.registered_extensions():
        raise UsageError(f"{out}: the suffix must be that of an image, such as .png")
    rng = np.random.default_rng(seed)
    pixels, mask = repaint_region(decode(image).pixels, load_autoencoder(autoencoder), share, rng)
    Image.fromarray(pixels).save(out, quality=jpeg)
    rows, cols = np.nonzero(mask)
    box = f"left {cols.min()}, top {rows.min()}, right {cols.max() + 1}, bottom {rows.max() + 1}"
    print(f"{out}: {box}, {mask.mean():.0%}")


def packs(
    tables: Annotated[list[Path], typer.Argument(metavar="TABLE...", help="Label tables (TSV with path, label, group, source), or folders in known layouts.", show_default=False)],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the packs.", show_default=False)],
    cap: Annotated[int, typer.Option(min=1, help="Maximum number of images of each group of a source.")] = 24,
    side: Annotated[int, typer.Option(min=320, help="Maximum side of a window, pixels.")] = 832,
) -> None:  # fmt: skip
    """Cut a window out of each image, for training with --packs. Resumes an interrupted run."""
    from hidascan.lab.data.layouts import read_images
    from hidascan.lab.data.packs import make_packs
    from hidascan.lab.data.tables import capped

    chosen = capped(read_images(*tables), cap)
    made, skipped = make_packs(chosen, out, side)
    small, unreadable = f"{skipped['small']} too small (a side under 320 px)", f"{skipped['unreadable']} unreadable"
    print(f"{out}: {len(made.windows)} windows; skipped in this run: {small}, {unreadable}", file=sys.stderr)


def detectors() -> None:
    """List the detectors that a recipe can name."""
    from hidascan.detectors import detector_names

    print("\n".join(detector_names()))
