"""Registry of detectors by name, and the weights by name, path or folder.

A name maps to "module:class", imported on demand. Other packages add detectors through the entry-point group
`hidascan.detectors`.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import pkgutil
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError, safe_open

from hidascan.errors import CheckpointError

if TYPE_CHECKING:
    from hidascan.detectors.base import Detector

DETECTORS = {
    "cvt": "hidascan.detectors.cvt:CvT",
    "glass": "hidascan.detectors.glass:Glass",
    "hidanet": "hidascan.detectors.hidanet.network:HiDANet",
    "npr": "hidascan.detectors.npr:NPR",
    "ppl": "hidascan.detectors.ppl:PPL",
    "resnet": "hidascan.detectors.resnet:ResNet",
    "spai": "hidascan.detectors.spai:SPAI",
    "swin": "hidascan.detectors.swin:Swin",
    "vit": "hidascan.detectors.vit:ViT",
    "vit_cnn": "hidascan.detectors.vit:ViTCNN",
}
_GROUP = "hidascan.detectors"


def detector_names() -> list[str]:
    """Return the names of all detectors, including those of other packages."""
    return sorted({*DETECTORS, *_external_detectors()})


def detector_class(name: str) -> type[Detector]:
    """Import a detector by its name.

    Raises:
        CheckpointError: If the name is unknown.
    """
    target = DETECTORS.get(name) or _external_detectors().get(name)
    if target is None:
        raise CheckpointError(f"unknown detector: {name[:40]!r}; available: {', '.join(detector_names())}")
    detector: type[Detector] = pkgutil.resolve_name(target)
    return detector


def _external_detectors() -> dict[str, str]:
    return {entry.name: entry.value for entry in importlib.metadata.entry_points(group=_GROUP)}


def shipped_folders() -> list[Path]:
    """Return the folders with shipped weights, of an installed package and of a checkout."""
    package = Path(__file__).parent.parent
    return [package / "weights", package.parent / "weights"]


def find_weights(name: str) -> Path:
    """Find a trained part, by the name of shipped weights, the path of a file, or that of a folder with one such part.

    Raises:
        CheckpointError: If no shipped weights have the name, or a folder does not hold exactly one trained part. A path
            is not checked.
    """
    for folder in shipped_folders() if os.sep not in name else ():  # first: evidence may hold a folder of that name
        if (folder / f"{name}.safetensors").is_file():
            return folder / f"{name}.safetensors"
    if os.path.isdir(name):
        return _only_one(Path(name))
    if name.endswith(".safetensors") or os.sep in name:
        return Path(name)
    shipped = sorted({path.stem for folder in shipped_folders() for path in trained_parts(folder)})
    raise CheckpointError(f"--weights {name}: no such weights; shipped: {', '.join(shipped) or 'none'}")


def _only_one(folder: Path) -> Path:
    parts = trained_parts(folder)
    if len(parts) != 1:
        names = ", ".join(path.name for path in parts) or "none"
        raise CheckpointError(
            f"--weights {folder}: the folder must contain exactly one trained part, but contains {names}"
        )
    return parts[0]


def trained_parts(folder: Path) -> list[Path]:
    """Return the trained parts in a folder, by name."""
    return sorted(path for path in folder.glob("*.safetensors") if _is_trained_part(path))


def _is_trained_part(path: Path) -> bool:
    """Return whether a file is a trained part, not a frozen one or a training cache."""
    try:
        with safe_open(path, framework="numpy") as file:
            header = json.loads((file.metadata() or {}).get("hidascan", "{}"))
    except (SafetensorError, OSError, ValueError):
        return False
    return isinstance(header, dict) and header.get("kind") == "trained"
