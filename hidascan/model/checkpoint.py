"""Two safetensors files <-> one network: the frozen backbone (int8, big, never changes) and the trained part.

Each carries one JSON text under the metadata key `hidascan`. The trained part names its backbone by sha256.
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

from hidascan.errors import CheckpointError
from hidascan.model.backbone import FrozenViT
from hidascan.model.hidanet import HiDANet, NetworkConfig
from hidascan.options import PROFILES
from hidascan.printable import printable
from hidascan.verdict import Calibration

FORMAT_VERSION = 1
_METADATA_KEY = "hidascan"
_HEADER_BYTES = 4 << 20
_WIDEST, _DEEPEST = 4096, 64  # of a network that a file may ask for


@dataclass(frozen=True)
class CheckpointHeader:
    """The recipe that a trained part carries with it."""

    name: str
    network: NetworkConfig
    backbone_file: str
    backbone_sha256: str
    calibration: Calibration = field(default_factory=Calibration)
    training: dict[str, Any] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION


def sha256_of(path: Path) -> str:
    """Hex digest of a file."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


def save_trained(path: Path, head: torch.nn.Module, header: CheckpointHeader) -> None:
    """Write the trained part: parameters in half precision, buffers (statistics, linear evidence) in full."""
    halved = {name for name, _ in head.named_parameters()}
    tensors = {
        name: tensor.detach().cpu().to(torch.float16 if name in halved else torch.float32).contiguous()
        for name, tensor in head.state_dict().items()
    }
    _write(path, tensors, {"kind": "trained", **dataclasses.asdict(header)})


def save_backbone(path: Path, tensors: dict[str, Tensor], name: str, licence: str) -> None:
    """Write a frozen backbone. tensors: timm's names; a matrix W may be `W.q8` (int8) with `W.scale` (one a row)."""
    header = {"kind": "backbone", "format_version": FORMAT_VERSION, "name": name, "licence": licence}
    _write(path, tensors, header)


def _write(path: Path, tensors: dict[str, Tensor], header: dict) -> None:
    """Beside its place first, then moved there whole."""
    partial = Path(path).with_suffix(".partial")
    save_file(tensors, partial, metadata={_METADATA_KEY: json.dumps(header, sort_keys=True)})
    partial.chmod(0o644)
    partial.replace(path)


def read_header(path: Path) -> CheckpointHeader:
    """Header of a trained part. Raises CheckpointError for a missing, broken or foreign file."""
    raw = _read(path, "trained")[0]
    try:
        return CheckpointHeader(
            name=str(raw["name"]),
            network=_network(raw["network"]),
            backbone_file=str(raw["backbone_file"]),
            backbone_sha256=str(raw["backbone_sha256"]),
            calibration=_calibration(raw["calibration"]),
            training=dict(raw["training"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{path}: the header of these weights is incomplete ({error})") from None


def _network(raw: dict) -> NetworkConfig:
    """Raises ValueError for a network that is not of this world: a file must not make us build for ever."""
    config = NetworkConfig(**dict(raw, taps=tuple(raw["taps"])))
    for name, value in dataclasses.asdict(config).items():
        most = _DEEPEST if name.endswith("depth") else _WIDEST
        numbers = value if name == "taps" else (value,) if name not in ("backbone", "dropout") else ()
        if not all(type(number) is int and 0 < number <= most for number in numbers):
            raise ValueError(f"{name} is {value!r:.40}")
    return config


def _calibration(raw: dict) -> Calibration:
    """Raises ValueError for what is no number."""
    thresholds = {name: tuple(float(value) for value in raw["thresholds"][name]) for name in PROFILES}
    numbers = [float(raw[name]) for name in ("scale", "shift", "localisation")]
    if not all(math.isfinite(value) for value in (*numbers, *itertools.chain(*thresholds.values()))):
        raise ValueError("a number of the calibration is not finite")
    if any(len(pair) != 2 for pair in thresholds.values()):
        raise ValueError("a profile has two thresholds")
    return Calibration(numbers[0], numbers[1], thresholds, numbers[2])


def load_network(path: Path, dtype: torch.dtype = torch.float32) -> tuple[HiDANet, CheckpointHeader]:
    """Build the network of a trained part and of the backbone that lies beside it.

    The layers that see every token, backbone and refiner, compute in `dtype`, with the same weights whatever it is.
    The rest costs nothing and keeps full precision: rounded evidence would move the score.

    Raises CheckpointError if either file is missing, broken or foreign, or the backbone is not the one it names.
    """
    header = read_header(path)
    backbone_path = Path(path).parent / Path(header.backbone_file).name
    if not os.path.isfile(backbone_path):  # Path.is_file raises for a name that no file system takes
        raise CheckpointError(
            f"{printable(str(backbone_path))}: the backbone that {Path(path).name} needs is not there"
        )
    if sha256_of(backbone_path) != header.backbone_sha256:
        raise CheckpointError(f"{backbone_path}: not the backbone that {Path(path).name} was trained on (sha256)")
    try:
        with torch.device("meta"), _Unfilled():
            network = HiDANet(header.network)
    except Exception as error:  # timm raises nearly anything for what it does not know
        raise CheckpointError(f"{path}: no network can be built as its header says ({error})") from None
    trained = _read(path, "trained")[1]
    _assign(network.head, {name: tensor.float() for name, tensor in trained.items()}, path)
    network.head.refiner.bfloat16().to(dtype)
    _assign_backbone(network.backbone, backbone_path, dtype)
    return network.eval(), header


class _Unfilled(TorchFunctionMode):
    """Leaves new parameters as they are. Filled on the meta device, they would take torch's compiler along: a second."""

    def __torch_function__(self, function: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if getattr(function, "__module__", "") == "torch.nn.init":
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return function(*args, **kwargs)


def load_backbone(config: NetworkConfig, path: Path, dtype: torch.dtype = torch.float32) -> FrozenViT:
    """The frozen backbone alone, as training needs it. Raises CheckpointError like `load_network`."""
    with torch.device("meta"), _Unfilled():
        backbone = FrozenViT(config.backbone, config.taps, config.patch)
    _assign_backbone(backbone, path, dtype)
    return backbone


def _assign_backbone(backbone: FrozenViT, path: Path, dtype: torch.dtype) -> None:
    header, stored = _read(path, "backbone")
    if header.get("name") != backbone.name:
        raise CheckpointError(f"{path}: holds {header.get('name')}, not {backbone.name}")
    tensors = {}
    for name in backbone.vit.state_dict():  # blocks after the last tap are in the file, but not in the network
        if name + ".q8" in stored:  # one by one, so that the whole is never there in full precision
            tensors[name] = (stored.pop(name + ".q8").float() * stored[name + ".scale"][:, None]).bfloat16().to(dtype)
        elif name in stored:
            tensors[name] = stored.pop(name).float()
    _assign(backbone.vit, tensors, path)
    pretrained = backbone.vit.pretrained_cfg
    backbone.mean = torch.tensor(pretrained["mean"]).view(1, 3, 1, 1)
    backbone.std = torch.tensor(pretrained["std"]).view(1, 3, 1, 1)
    backbone.compute_in(dtype)


def _assign(module: torch.nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    try:
        module.load_state_dict(tensors, assign=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"{path}: the tensors do not fit the network ({reason})") from None


def _read(path: Path, kind: str) -> tuple[dict, dict[str, Tensor]]:
    """(header, tensors) of one of our files."""
    if not Path(path).is_file():
        raise CheckpointError(f"{path}: no such weights")
    try:
        with Path(path).open("rb") as file:
            if int.from_bytes(file.read(8), "little") > _HEADER_BYTES:
                raise CheckpointError(f"{path}: not a sound safetensors file (its header is too long)")
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {}).get(_METADATA_KEY, "{}"))
            if header.get("kind") != kind:
                raise CheckpointError(f"{path}: not a {kind} file of hidascan")
            if header.get("format_version") != FORMAT_VERSION:
                raise CheckpointError(
                    f"{path}: format {header.get('format_version')}, this hidascan reads {FORMAT_VERSION}"
                )
            return header, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path}: not a sound safetensors file ({error})") from None
