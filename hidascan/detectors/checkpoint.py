"""Read and write detectors: a trained part that names its detector, and frozen parts shared by many trained parts.

Both are safetensors files with a JSON text under the metadata key `hidascan`. The trained part refers to each frozen
part, such as a backbone in int8, by file name and SHA-256.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.overrides import TorchFunctionMode

from hidascan.atomic import written_whole
from hidascan.calibration import Calibration, Reliability
from hidascan.detectors import detector_class, shipped_folders
from hidascan.detectors.backbones import FrozenViT
from hidascan.detectors.base import Detector, DetectorConfig, config_from
from hidascan.errors import CheckpointError
from hidascan.options import PROFILES
from hidascan.printable import printable
from hidascan.records import from_json

FORMAT_VERSION = 2
_METADATA_KEY = "hidascan"
_HEADER_BYTES = 4 << 20


@dataclass(frozen=True)
class Part:
    """A frozen part that a trained part requires."""

    module: str  # name of the submodule
    file: str  # name, beside the trained part or among the shipped weights
    sha256: str  # SHA-256 of the file, hex
    kind: str = "backbone"  # the only kind so far


@dataclass(frozen=True)
class CheckpointHeader:
    """Header of a trained part."""

    name: str  # name of the weights
    architecture: str  # name of the detector in the registry
    config: DetectorConfig
    parts: tuple[Part, ...] = ()
    calibration: Calibration = field(default_factory=Calibration)
    training: dict[str, Any] = field(default_factory=dict)  # recipe and figures, JSON
    licence: str = "Apache-2.0"


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, hex."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def save_trained(path: Path, detector: Detector, header: CheckpointHeader) -> None:
    """Write the trained part: parameters in half precision, buffers (statistics, closed-form fits) unchanged."""
    frozen = tuple(f"{name}." for name in detector.frozen_parts())
    halved = {name for name, _ in detector.named_parameters()}
    tensors = {
        name: (tensor.half() if name in halved else tensor).detach().cpu().contiguous()
        for name, tensor in detector.state_dict().items()
        if not name.startswith(frozen)
    }
    _write(path, tensors, {"kind": "trained", **dataclasses.asdict(header), "format_version": FORMAT_VERSION})


def save_backbone(path: Path, tensors: dict[str, Tensor], name: str, licence: str) -> None:
    """Write a frozen backbone.

    Args:
        path: Path of the file.
        tensors: Tensors by timm's names; a matrix W may be stored as `W.q8` (int8) with `W.scale` (one per row).
        name: Name of the model in timm.
        licence: Licence of the weights.
    """
    _write(path, tensors, {"kind": "backbone", "format_version": 1, "name": name, "licence": licence})


def _write(path: Path, tensors: dict[str, Tensor], header: dict[str, Any]) -> None:
    with written_whole(path) as partial:
        save_file(tensors, partial, metadata={_METADATA_KEY: json.dumps(header, sort_keys=True)})
        partial.chmod(0o644)


def _parsed(path: Path, raw: dict[str, Any]) -> CheckpointHeader:
    """Parse and check a header, which may be hostile."""
    version = raw.get("format_version")
    if version != FORMAT_VERSION:
        raise CheckpointError(f"{path}: format {version!r:.40}; this version of hidascan reads format {FORMAT_VERSION}")
    architecture = str(raw.get("architecture", ""))
    try:
        kind = detector_class(architecture)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {printable(str(error))}") from None
    try:
        return CheckpointHeader(
            name=str(raw["name"]),
            architecture=architecture,
            config=config_from(kind.Config, raw["config"]),
            parts=tuple(_part(part) for part in raw["parts"]),
            calibration=_calibration(raw["calibration"]),
            training=dict(raw["training"]),
            licence=str(raw["licence"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"{path}: the header of these weights is incomplete or invalid ({printable(str(error))})"
        ) from None


def _part(raw: dict[str, Any]) -> Part:
    part = Part(**{name: str(value) for name, value in raw.items()})
    if part.kind != "backbone":
        raise ValueError(f"unknown kind of part: {part.kind!r:.40}")
    return part


def _calibration(raw: dict[str, Any]) -> Calibration:
    """Parse a calibration; raise ValueError for values that are not numbers."""
    thresholds = {name: tuple(float(value) for value in raw["thresholds"][name]) for name in PROFILES}
    numbers = [float(raw[name]) for name in ("scale", "shift", "localisation")]
    if not all(math.isfinite(value) for value in (*numbers, *itertools.chain(*thresholds.values()))):
        raise ValueError("a number of the calibration is not finite")
    if any(len(pair) != 2 for pair in thresholds.values()):
        raise ValueError("a profile needs two thresholds")
    pairs = {name: (pair[0], pair[1]) for name, pair in thresholds.items()}
    odds, settling = raw.get("region_odds"), raw.get("settling")
    if settling is not None:
        first, second = settling
        settling = (_at_least_0("settling", first), _at_least_0("settling", second))
    odds = None if odds is None else _at_least_0("region_odds", odds)
    measured = from_json(dict[str, Reliability], raw.get("reliability", {}))
    scale, shift, localisation = numbers
    return Calibration(
        scale=scale,
        shift=shift,
        thresholds=pairs,
        localisation=localisation,
        settling=settling,
        region_odds=odds,
        reliability=measured,
    )


def _at_least_0(name: str, raw: Any) -> float:
    value = float(raw)
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"{name} must be finite and at least 0")
    return value


def load_detector(path: Path, dtype: torch.dtype = torch.float32) -> tuple[Detector, CheckpointHeader]:
    """Load a detector from its trained part and the frozen parts named there.

    Costly layers compute in `dtype`, with the same weights for every dtype; the rest keeps full precision.

    Raises:
        CheckpointError: If a file is missing, broken or foreign, or a frozen part has another SHA-256.
    """
    raw, trained = _read(path, "trained")
    header = _parsed(path, raw)
    detector = _built(path, header)
    parts = {part.module: (part, _part_path(path, part)) for part in header.parts}
    missing = detector.frozen_parts().keys() ^ parts.keys()
    if missing:
        raise CheckpointError(
            f"{path}: the frozen parts do not match the network: {printable(', '.join(sorted(missing)))}"
        )
    kinds = {name: tensor.dtype for name, tensor in detector.state_dict().items()}
    tensors = {name: tensor.to(kinds.get(name, torch.float32)) for name, tensor in trained.items()}
    _assign(detector, tensors, path, tuple(parts))
    for module, backbone in detector.frozen_parts().items():
        _assign_backbone(backbone, parts[module][1], dtype)
    return detector.eval(), header


def _built(path: Path, header: CheckpointHeader) -> Detector:
    """Build the network without allocating weights, which are loaded later.

    A network that computes tables when it is built is allocated, as files do not store these.
    """
    kind = detector_class(header.architecture)
    try:
        with torch.device("meta"), _Unfilled():
            detector = kind(header.config)
        return kind(header.config) if _computes_tables(detector) else detector
    except Exception as error:  # timm raises almost any exception for unknown models
        raise CheckpointError(
            f"{path}: cannot build the network described in the header ({printable(str(error))})"
        ) from None


def _computes_tables(detector: Detector) -> bool:
    frozen = {module for part in detector.frozen_parts().values() for module in part.modules()}
    return any(module._non_persistent_buffers_set for module in detector.modules() if module not in frozen)


def _part_path(path: Path, part: Part) -> Path:
    """Find a frozen part beside the trained one or among the shipped weights."""
    name = Path(part.file).name
    for folder in (Path(path).parent, *shipped_folders()):
        if os.path.isfile(folder / name):  # Path.is_file raises for names that are invalid on any file system
            if sha256_of(folder / name) == part.sha256:
                return folder / name
            raise CheckpointError(f"{folder / name}: not the {part.kind} of {Path(path).name}: SHA-256 differs")
    where = printable(str(Path(path).parent / name))
    raise CheckpointError(f"{where}: missing {part.kind} of {Path(path).name}")


class _Unfilled(TorchFunctionMode):
    """Skips the initialisation of parameters, which on the meta device would load torch's compiler (1 s)."""

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(function, "__module__", "") == "torch.nn.init":
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return function(*args, **kwargs)


def load_backbone(
    name: str, taps: tuple[int, ...], side: int, path: Path, dtype: torch.dtype = torch.float32
) -> FrozenViT:
    """Load a frozen backbone alone, for training.

    Raises:
        CheckpointError: As in `load_detector`.
    """
    with torch.device("meta"), _Unfilled():
        backbone = FrozenViT(name, taps, side)
    _assign_backbone(backbone, path, dtype)
    return backbone


def _assign_backbone(backbone: FrozenViT, path: Path, dtype: torch.dtype) -> None:
    header, stored = _read(path, "backbone")
    if header.get("name") != backbone.name:
        raise CheckpointError(f"{path}: contains {printable(str(header.get('name')))}, not {backbone.name}")
    tensors = {}
    for name in backbone.vit.state_dict():  # blocks after the last tap are in the file, but not in the network
        if name + ".q8" in stored:  # one by one, so that only one matrix at a time has full precision
            tensors[name] = (stored.pop(name + ".q8").float() * stored[name + ".scale"][:, None]).bfloat16().to(dtype)
        elif name in stored:
            tensors[name] = stored.pop(name).float()
    _assign(backbone.vit, tensors, path)
    backbone.set_standardisation()
    backbone.compute_in(dtype)


def _assign(module: torch.nn.Module, tensors: dict[str, Tensor], path: Path, without: tuple[str, ...] = ()) -> None:
    """Replace the tensors of a module, except those of the submodules `without`."""
    try:
        keys = module.load_state_dict(tensors, assign=True, strict=False)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"{path}: the tensors do not match the network ({reason})") from None
    missing = [name for name in keys.missing_keys if not name.startswith(tuple(f"{part}." for part in without))]
    if missing or keys.unexpected_keys:
        names = printable(", ".join([*missing, *keys.unexpected_keys])[:200])
        raise CheckpointError(f"{path}: the tensors do not match the network (missing or unknown: {names})")


def _read(path: Path, kind: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read header and tensors of a hidascan file, and check its kind."""
    if not Path(path).is_file():
        raise CheckpointError(f"{path}: no such weights")
    try:
        with Path(path).open("rb") as file:
            if int.from_bytes(file.read(8), "little") > _HEADER_BYTES:
                raise CheckpointError(f"{path}: not a valid safetensors file (header too long)")
        with safe_open(path, framework="pt") as tensors:
            header = json.loads((tensors.metadata() or {}).get(_METADATA_KEY, "{}"))
            if not isinstance(header, dict) or header.get("kind") != kind:
                raise CheckpointError(f"{path}: not a {kind} file of hidascan")
            return header, {name: tensors.get_tensor(name) for name in tensors.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path}: not a valid safetensors file ({printable(str(error))})") from None
