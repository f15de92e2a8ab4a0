"""Initialise a trained backbone with pre-trained weights, from timm or a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from hidascan.detectors.backbones import FrozenViT
from hidascan.detectors.base import Detector
from hidascan.detectors.checkpoint import save_backbone
from hidascan.errors import RecipeError

TIMM = "timm"  # or "timm:NAME", such as timm:resnet50.tv_in1k


def start_from_pretrained(detector: Detector, where: str) -> None:
    """Load pre-trained weights into every timm network that a detector trains, except its classifier.

    `where` is "timm" for the network's default weights, "timm:NAME", or a state file: safetensors, or a pickle of tensors
    only.

    Raises:
        RecipeError: If the detector trains no timm network, or the weights are unavailable or do not fit.
    """
    frozen = {part for whole in detector.modules() if isinstance(whole, FrozenViT) for part in whole.modules()}
    targets = [part for part in detector.modules() if hasattr(part, "pretrained_cfg") and part not in frozen]
    if not targets:
        raise RecipeError(
            f"data.pretrained: {type(detector).__name__} has no timm network, so it cannot start from pretrained weights"
        )
    for network in targets:
        _fill(network, _state_of(network, where), where)


def _state_of(network: Any, where: str) -> dict[str, Tensor]:
    if where == TIMM or where.startswith(f"{TIMM}:"):
        return _from_hub(where.partition(":")[2] or network.pretrained_cfg["architecture"])
    path = Path(where)
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise RecipeError(f"data.pretrained: {path}: no such file") from None
    except Exception as error:  # torch.load raises almost any exception for a broken file
        reason = "not a safetensors file" if isinstance(error, SafetensorError) else type(error).__name__
        raise RecipeError(f"data.pretrained: {path}: cannot be read ({reason})") from None


def _from_hub(name: str) -> dict[str, Tensor]:
    import timm

    try:
        options = {"img_size": 224} if name.startswith("vit_") else {}  # that of our views
        return timm.create_model(name, pretrained=True, **options).state_dict()
    except Exception as error:  # the hub client raises errors of several libraries
        reason = next(iter(str(error).splitlines()), "")[:120] or type(error).__name__
        raise RecipeError(
            f"data.pretrained: timm's {name} cannot be downloaded ({reason}); use a file instead"
        ) from None


def _fill(network: nn.Module, state: dict[str, Tensor], where: str) -> None:
    """Load tensors that match by name and shape; RecipeError if they are less than 90 % of the network."""
    own = network.state_dict()
    fitting = {name: tensor for name, tensor in state.items() if name in own and own[name].shape == tensor.shape}
    filled = sum(own[name].numel() for name in fitting)
    whole = sum(tensor.numel() for tensor in own.values())
    if filled < 0.9 * whole:
        raise RecipeError(f"data.pretrained: {where} matches only {filled / whole:.0%} of the network")
    network.load_state_dict(fitting, strict=False)


def write_backbone(name: str, where: str, out: Path) -> None:
    """Write a frozen ViT for `data.backbone` of recipes, in half precision; `where` as in `start_from_pretrained`.

    Raises:
        RecipeError: If the weights are unavailable, or lack a tensor of the network.
    """
    vit = FrozenViT(name, (FrozenViT(name, (1,)).depth,)).vit
    if where == TIMM:
        where = f"{TIMM}:{name}"
    state = _state_of(vit, where)
    missing = [key for key, tensor in vit.state_dict().items() if key not in state or state[key].shape != tensor.shape]
    if missing:
        raise RecipeError(f"{where}: {len(missing)} tensors of {name} are missing, such as {missing[0]}")
    save_backbone(out, {key: state[key].half() for key in vit.state_dict()}, name, f"that of {where}")
