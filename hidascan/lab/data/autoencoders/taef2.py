"""taef2, the tiny autoencoder for the latents of FLUX.2 (madebyollin/taesd, MIT)."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from hidascan.errors import RecipeError


def load_taef2(folder: Path) -> tuple[nn.Module, nn.Module]:
    """Load encoder and decoder from taef2_encoder.safetensors and taef2_decoder.safetensors.

    Raises:
        RecipeError: If they are not there or not taef2's.
    """
    return (
        _load(encoder(), folder / "taef2_encoder.safetensors"),
        _load(decoder(), folder / "taef2_decoder.safetensors"),
    )


def _load(network: nn.Module, path: Path) -> nn.Module:
    try:
        network.load_state_dict(load_file(path))
    except Exception as error:
        raise RecipeError(f"{path}: not the weights of taef2: {error}") from error
    return network


class _Block(nn.Module):
    """conv-ReLU-conv-ReLU-conv plus a skip; with `pool`, a grouped 1x1 branch is added to the input first."""

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


def encoder(width: int = 64, latent: int = 32) -> nn.Sequential:
    """Build the encoder: (B, 3, H, W) in 0..1 -> (B, latent, H / 8, W / 8)."""
    layers = [nn.Conv2d(3, width, 3, padding=1), _Block(width)]
    for stage in range(3):
        layers.append(nn.Conv2d(width, width, 3, stride=2, padding=1, bias=False))
        layers += [_Block(width, pool=stage == 2) for _ in range(3)]
    return nn.Sequential(*layers, nn.Conv2d(width, latent, 3, padding=1))


def decoder(width: int = 64, latent: int = 32) -> nn.Sequential:
    """Build the decoder: (B, latent, h, w) -> (B, 3, 8 h, 8 w) in 0..1, about."""
    layers = [_Clamp(), nn.Conv2d(latent, width, 3, padding=1), nn.ReLU()]
    for stage, blocks in enumerate((3, 3, 3)):
        layers += [_Block(width, pool=stage == 0) for _ in range(blocks)]
        layers += [nn.Upsample(scale_factor=2), nn.Conv2d(width, width, 3, padding=1, bias=False)]
    return nn.Sequential(*layers, _Block(width), nn.Conv2d(width, 3, 3, padding=1))
