"""The tiny autoencoders of madebyollin/taesd (MIT), for the latents of SD 1 and 2, SDXL, FLUX.1 and FLUX.2."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from hidascan.errors import RecipeError

_LATENT = {"taesd": 4, "taesdxl": 4, "taef1": 16, "taef2": 32}  # channels
_POOLED = ("taef2",)  # names whose blocks have a pool branch


def is_tiny(path: Path) -> bool:
    """Return whether a path is FOLDER/NAME of a tiny autoencoder."""
    return path.name in _LATENT


def load_tiny(path: Path) -> tuple[nn.Module, nn.Module]:
    """Load encoder and decoder of FOLDER/NAME from FOLDER/NAME_encoder.safetensors and FOLDER/NAME_decoder.safetensors.

    Raises:
        RecipeError: If they are missing, or do not match the name.
    """
    return _load(encoder(path.name), f"{path}_encoder.safetensors"), _load(
        decoder(path.name), f"{path}_decoder.safetensors"
    )


def _load(network: nn.Module, path: str) -> nn.Module:
    try:
        network.load_state_dict(load_file(path))
    except Exception as error:
        raise RecipeError(f"{path}: not the weights of this autoencoder: {error}") from error
    return network


class _Block(nn.Module):
    """conv-ReLU-conv-ReLU-conv plus a skip connection; with `pool`, first adds a grouped 1x1 branch to the input."""

    def __init__(self, width: int, pool: bool = False):
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1),
        )
        self.pool = None
        if pool:
            self.pool = nn.Sequential(
                nn.Conv2d(width, 4 * width, 1, bias=False),
                nn.GroupNorm(4, 4 * width),
                nn.ReLU(),
                nn.Conv2d(4 * width, width, 1, bias=False),
            )

    def forward(self, x: Tensor) -> Tensor:
        if self.pool is not None:
            x = x + self.pool(x)
        return torch.relu(self.conv(x) + x)


class _Clamp(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 3 * torch.tanh(x / 3)


def encoder(name: str, width: int = 64) -> nn.Sequential:
    """Build an encoder by name: (B, 3, H, W) in 0..1 -> (B, latent, H / 8, W / 8)."""
    layers = [nn.Conv2d(3, width, 3, padding=1), _Block(width)]
    for stage in range(3):
        layers.append(nn.Conv2d(width, width, 3, stride=2, padding=1, bias=False))
        layers += [_Block(width, pool=stage == 2 and name in _POOLED) for _ in range(3)]
    return nn.Sequential(*layers, nn.Conv2d(width, _LATENT[name], 3, padding=1))


def decoder(name: str, width: int = 64) -> nn.Sequential:
    """Build a decoder by name: (B, latent, h, w) -> (B, 3, 8 h, 8 w), approximately in 0..1."""
    layers = [_Clamp(), nn.Conv2d(_LATENT[name], width, 3, padding=1), nn.ReLU()]
    for stage in range(3):
        layers += [_Block(width, pool=stage == 0 and name in _POOLED) for _ in range(3)]
        layers += [nn.Upsample(scale_factor=2), nn.Conv2d(width, width, 3, padding=1, bias=False)]
    return nn.Sequential(*layers, _Block(width), nn.Conv2d(width, 3, 3, padding=1))
