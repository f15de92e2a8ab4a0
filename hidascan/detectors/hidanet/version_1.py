"""Checkpoints of the first release: what stood in their headers, and the names of their tensors."""

from __future__ import annotations

from typing import Any

_KEYS = {"patch": "side", "traces": "residual_filters", "detail_dim": "localiser_dim"}
_PREFIXES = {"evidence.": "head.probe.", "localiser.stem.": "residuals.", "localiser.": "localiser."}


def new_header(header: dict[str, Any]) -> dict[str, Any]:
    """Turn a header of version 1 into one of version 2.

    Raises:
        KeyError: Or TypeError or AttributeError, where something is missing or of another type.
    """
    backbone = {"file": header["backbone_file"], "sha256": header["backbone_sha256"]}
    return {
        "name": header["name"],
        "config": {_KEYS.get(name, name): value for name, value in header["network"].items()},
        "parts": [{"module": "backbone", "kind": "backbone", **backbone}],
        "calibration": header["calibration"],
        "training": header["training"],
        "licence": "Apache-2.0",
    }


def new_name(name: str) -> str:
    """Return today's name of a tensor."""
    for old, new in _PREFIXES.items():
        if name.startswith(old):
            return new + name.removeprefix(old)
    return f"head.{name}"
