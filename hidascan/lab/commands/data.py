"""Commands that make or list data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hidascan.lab.commands.options import Autoencoder


def forge(
    image: Annotated[Path, typer.Argument(help="A photo.", show_default=False)],
    out: Annotated[Path, typer.Argument(help="Where the forgery goes (JPEG).", show_default=False)],
    autoencoder: Autoencoder,
    share: Annotated[tuple[float, float], typer.Option(help="Least and largest share of the area.")] = (0.1, 0.3),
    jpeg: Annotated[int, typer.Option(help="Quality of the save.")] = 90,
    seed: Annotated[int, typer.Option(help="Of the region.")] = 0,
) -> None:
    """Send one region of a photo through an autoencoder and paste it back: something to try a heatmap on."""
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


def detectors() -> None:
    """List the detectors that a recipe can name."""
    from hidascan.detectors import detector_names

    print("\n".join(detector_names()))
