"""Registry of detectors by name.

A name maps to "module:class", imported on demand. Other packages add detectors through the entry-point group
`hidascan.detectors`.
"""

from __future__ import annotations

import importlib.metadata
import pkgutil
from typing import TYPE_CHECKING

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
    return sorted({*DETECTORS, *_of_other_packages()})


def detector_class(name: str) -> type[Detector]:
    """Import a detector by its name.

    Raises:
        CheckpointError: If the name is unknown.
    """
    target = DETECTORS.get(name) or _of_other_packages().get(name)
    if target is None:
        raise CheckpointError(f"unknown detector: {name[:40]!r}; available: {', '.join(detector_names())}")
    detector: type[Detector] = pkgutil.resolve_name(target)
    return detector


def _of_other_packages() -> dict[str, str]:
    return {entry.name: entry.value for entry in importlib.metadata.entry_points(group=_GROUP)}
