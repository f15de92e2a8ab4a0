"""Commands that create or list data."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from hidascan.lab.commands import Autoencoder


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
    from hidascan.lab.data.autoencoders.base import load_autoencoder
    from hidascan.lab.data.forgeries import repaint_region

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
    from tqdm import tqdm

    from hidascan.lab.data.layouts import read_images
    from hidascan.lab.data.packs import make_packs
    from hidascan.lab.data.tables import capped

    chosen = capped([image for table in tables for image in read_images(table)], cap)
    with tqdm(total=len(chosen), desc="packing", disable=None) as bar:
        made, skipped = make_packs(chosen, out, side, bar.update)
    small, unreadable = f"{skipped.small} too small (a side under 320 px)", f"{skipped.unreadable} unreadable"
    print(f"{out}: {len(made.windows)} windows; skipped in this run: {small}, {unreadable}", file=sys.stderr)


def detectors() -> None:
    """List the detectors that a recipe can name."""
    from hidascan.detectors import detector_names

    print("\n".join(detector_names()))
