"""Find weights by shipped name, path or folder."""

from __future__ import annotations

import json
import os
from pathlib import Path

from safetensors import SafetensorError, safe_open

from hidascan.errors import CheckpointError


def shipped_folders() -> list[Path]:
    """Return the folders with shipped weights, of an installed package and of a checkout."""
    package = Path(__file__).parent.parent
    return [package / "weights", package.parent / "weights"]


def find_weights(name: str) -> Path:
    """Find a trained part, by the name of shipped weights, the path of a file, or that of a folder with one such part.

    Raises:
        CheckpointError: If nothing is found.
    """
    if os.path.isdir(name):
        return _only_one(Path(name))
    if name.endswith(".safetensors") or os.sep in name:
        return Path(name)
    for folder in shipped_folders():
        if (folder / f"{name}.safetensors").is_file():
            return folder / f"{name}.safetensors"
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
