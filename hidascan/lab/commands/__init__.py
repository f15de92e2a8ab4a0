"""Command line of `hidalab`: thin commands over the packages of the lab, and the options that they share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from hidascan.errors import UsageError
from hidascan.options import ScanOptions

if TYPE_CHECKING:
    from hidascan.lab.artifacts import Workspace
    from hidascan.scanner import Scanner

Weights = Annotated[
    str, typer.Option(metavar="NAME|PATH", help="Name of shipped weights, or path of a file or folder.")
]
Autoencoder = Annotated[str, typer.Option(metavar="PATH|diffusers:NAME", help="FOLDER/taesd, taesdxl, taef1 or taef2; the file of an autoencoder trained by hidalab; or one from diffusers.", show_default=False)]  # fmt: skip
Table = Annotated[Path, typer.Argument(help="Label table (TSV with path, label, group, source), or a folder in a known layout.", show_default=False)]  # fmt: skip
Recipe = Annotated[Path, typer.Argument(help="TOML recipe, such as recipes/hidascan-b.toml.", show_default=False)]
Cache = Annotated[Path, typer.Option(help="Cache folder of training: features, pairs, states.", show_default=False)]

Packs = Annotated[Optional[Path], typer.Option(metavar="DIR", help="Train on the packs of this folder, as written by hidalab packs, in place of the recipe's tables.", show_default=False)]  # fmt: skip
Views = Annotated[Optional[int], typer.Option(min=1, help="Budget of views, in place of the recipe's epochs.", show_default=False)]  # fmt: skip
Minutes = Annotated[Optional[float], typer.Option(min=0.01, help="Maximum duration of the gradient descent; the learning rate falls to zero by then.", show_default=False)]  # fmt: skip


def check_new(path: Path) -> None:
    """Raise UsageError if a file exists: no output replaces an input."""
    if path.exists():
        raise UsageError(f"{path}: file exists; choose another name")


def open_scanner(weights: str, device: str, precision: str, patches: int | None = None) -> Scanner:
    """Load a scanner; with `patches`, it examines no more of them per image."""
    from hidascan.scanner import Scanner

    return Scanner(ScanOptions(weights, device=device, precision=precision, patches=patches))


def open_workspace(cache: Path, device: str, precision: str) -> Workspace:
    """Choose device and precision, and name the cache folder."""
    from hidascan.device import choose_device, choose_dtype
    from hidascan.lab.artifacts import Workspace

    where = choose_device(device)
    return Workspace(cache, where, choose_dtype(precision, where))
