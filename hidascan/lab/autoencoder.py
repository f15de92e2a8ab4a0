"""Autoencoders: what they give back differs from a photo in the traces of a decoder alone."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from hidascan.errors import RecipeError
from hidascan.lab.zoo import load_member

_DIFFUSERS = "diffusers:"


class Autoencoder:
    """An encoder and a decoder, for images in 0..1 with sides that are multiples of 8."""

    def __init__(
        self, encoder: nn.Module, decoder: nn.Module, dtype: torch.dtype = torch.bfloat16, device: str = "cpu"
    ):
        self.dtype, self.device = dtype, device
        self.encoder, self.decoder = (
            part.eval().to(device, dtype, memory_format=torch.channels_last) for part in (encoder, decoder)
        )

    @torch.inference_mode()
    def reconstruct(
        self, pixels: np.ndarray, latent_noise: float = 0.0, rng: np.random.Generator | None = None
    ) -> np.ndarray:
        """(H, W, 3) uint8 -> the same shape, through encoder and decoder; latent_noise is the sigma of noise from rng."""
        height, width = pixels.shape[:2]
        padded = np.pad(pixels, ((0, -height % 8), (0, -width % 8), (0, 0)), mode="edge")
        x = torch.from_numpy(padded).to(self.device).permute(2, 0, 1)[None].to(self.dtype) / 255
        latent = self.encoder(x.contiguous(memory_format=torch.channels_last))
        if latent_noise:
            noise = rng.normal(0, latent_noise, tuple(latent.shape))
            latent = latent + torch.from_numpy(noise).to(latent)
        out = self.decoder(latent)[0, :, :height, :width].float().clamp(0, 1)
        return (out * 255).round().byte().permute(1, 2, 0).cpu().numpy()


def load_autoencoder(where: str | os.PathLike, dtype: torch.dtype = torch.bfloat16, device: str = "cpu") -> Autoencoder:
    """A folder with taef2_encoder.safetensors and taef2_decoder.safetensors, a member of the zoo (.safetensors), or
    "diffusers:NAME" for an AutoencoderKL or AutoencoderTiny by its name or folder. Raises RecipeError."""
    if str(where).startswith(_DIFFUSERS):
        return Autoencoder(*_from_diffusers(str(where).removeprefix(_DIFFUSERS)), dtype, device)
    path = Path(where)
    if path.is_dir():
        parts = (
            _load(_encoder(), path / "taef2_encoder.safetensors"),
            _load(_decoder(), path / "taef2_decoder.safetensors"),
        )
        return Autoencoder(*parts, dtype, device)
    return Autoencoder(*load_member(path), dtype, device)


def _load(network: nn.Module, path: Path) -> nn.Module:
    try:
        network.load_state_dict(load_file(path))
    except Exception as error:
        raise RecipeError(f"{path}: not the weights of taef2: {error}") from error
    return network


class _Encode(nn.Module):
    """0..1 -> the mean of the latents of a diffusers autoencoder, which wants -1..1."""

    def __init__(self, whole: nn.Module):
        super().__init__()
        self.whole = whole

    def forward(self, x: Tensor) -> Tensor:
        found = self.whole.encode(2 * x - 1)
        return found.latents if hasattr(found, "latents") else found.latent_dist.mode()


class _Decode(nn.Module):
    def __init__(self, whole: nn.Module):
        super().__init__()
        self.whole = whole

    def forward(self, latent: Tensor) -> Tensor:
        return (self.whole.decode(latent).sample + 1) / 2


def _from_diffusers(name: str) -> tuple[nn.Module, nn.Module]:
    try:
        from diffusers import AutoencoderKL, AutoencoderTiny
    except ImportError:
        raise RecipeError(f"{_DIFFUSERS}{name}: needs diffusers: pip install diffusers") from None
    for kind in (AutoencoderKL, AutoencoderTiny):
        try:
            whole = kind.from_pretrained(name)
        except Exception as error:  # of many kinds, by what is missing: network, file, or the other class's weights
            reason = error
        else:
            return _Encode(whole), _Decode(whole)
    raise RecipeError(f"{_DIFFUSERS}{name}: cannot be loaded: {str(reason).splitlines()[0]}")


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


def _encoder(width: int = 64, latent: int = 32) -> nn.Sequential:
    layers = [nn.Conv2d(3, width, 3, padding=1), _Block(width)]
    for stage in range(3):
        layers.append(nn.Conv2d(width, width, 3, stride=2, padding=1, bias=False))
        layers += [_Block(width, pool=stage == 2) for _ in range(3)]
    return nn.Sequential(*layers, nn.Conv2d(width, latent, 3, padding=1))


def _decoder(width: int = 64, latent: int = 32) -> nn.Sequential:
    layers = [_Clamp(), nn.Conv2d(latent, width, 3, padding=1), nn.ReLU()]
    for stage, blocks in enumerate((3, 3, 3)):
        layers += [_Block(width, pool=stage == 0) for _ in range(blocks)]
        layers += [nn.Upsample(scale_factor=2), nn.Conv2d(width, width, 3, padding=1, bias=False)]
    return nn.Sequential(*layers, _Block(width), nn.Conv2d(width, 3, 3, padding=1))
