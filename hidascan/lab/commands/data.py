"""Commands that create or list data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hidascan.lab.commands.options import Autoencoder


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


def detectors() -> None:
    """List the detectors that a recipe can name."""
    from hidascan.detectors import detector_names

    print("\n".join(detector_names()))
