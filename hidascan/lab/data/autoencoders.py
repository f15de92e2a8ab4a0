"""Autoencoders of several origins: reconstructions differ from photos only in the traces of a decoder."""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from hidascan.errors import RecipeError
from hidascan.lab.data.trained_autoencoders import load_trained

ALIGNMENT = 16  # pixels, a multiple of every autoencoder's latent side
_DIFFUSERS = "diffusers:"  # prefix of their names
_TINY = {"taesd": 4, "taesdxl": 4, "taef1": 16, "taef2": 32}  # channels of the latents
_WIDTH = 64  # channels of its hidden layers
_POOLED = ("taef2",)  # names whose blocks have a pool branch


class Autoencoder:
    """A pair of encoder and decoder, for images in 0..1 with sides that are multiples of 16."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module, dtype: torch.dtype, device: torch.device | str):
        self.dtype, self.device = dtype, device
        self.encoder, self.decoder = (
            part.eval().to(device, dtype).to(memory_format=torch.channels_last) for part in (encoder, decoder)
        )

    @torch.inference_mode()
    def reconstruct(
        self, pixels: np.ndarray, latent_noise: float = 0.0, rng: np.random.Generator | None = None
    ) -> np.ndarray:
        """Reconstruct (H, W, 3) uint8; `latent_noise` is the sigma of noise added to the latents."""
        height, width = pixels.shape[:2]
        padded = np.pad(pixels, ((0, -height % ALIGNMENT), (0, -width % ALIGNMENT), (0, 0)), mode="edge")
        x = torch.from_numpy(padded).to(self.device).permute(2, 0, 1)[None].to(self.dtype) / 255
        latent = self.encoder(x.contiguous(memory_format=torch.channels_last))
        if latent_noise and rng is not None:
            noise = rng.normal(0, latent_noise, tuple(latent.shape))
            latent = latent + torch.from_numpy(noise).to(latent)
        out = self.decoder(latent)[0, :, :height, :width].float().clamp(0, 1)
        return (out * 255).round().byte().permute(1, 2, 0).cpu().numpy()

    @torch.no_grad()
    def perturbed(self, spread: float, rng: np.random.Generator) -> Autoencoder:
        """Return a copy with noise on the decoder's weights, `spread` times the RMS of each tensor: a new decoder."""
        decoder = copy.deepcopy(self.decoder)
        for weight in decoder.parameters():
            noise = torch.from_numpy(rng.standard_normal(tuple(weight.shape), np.float32)).to(weight)
            weight.add_(noise, alpha=spread * float(weight.float().square().mean().sqrt()))
        return Autoencoder(self.encoder, decoder, self.dtype, self.device)


def draw_noise(rng: np.random.Generator) -> float:
    """Draw the strength of the noise on a latent: none in half of the reconstructions."""
    return float(rng.choice([0.0, 0.0, 0.05, 0.15]))


def load_autoencoder(
    where: str | os.PathLike, dtype: torch.dtype = torch.bfloat16, device: torch.device | str = "cpu"
) -> Autoencoder:
    """Load an autoencoder.

    `where` is FOLDER/NAME, where NAME is taesd, taesdxl, taef1 or taef2 and FOLDER holds NAME_encoder.safetensors and
    NAME_decoder.safetensors; the file of an autoencoder trained by hidalab; or "diffusers:NAME" for an AutoencoderKL or
    AutoencoderTiny by name or folder.

    Raises:
        RecipeError: If it is none of these.
    """
    path = Path(where)
    if str(where).startswith(_DIFFUSERS):
        parts = _from_diffusers(str(where))
    elif path.name in _TINY:
        parts = (
            _loaded(tiny_encoder(path.name), f"{path}_encoder.safetensors"),
            _loaded(tiny_decoder(path.name), f"{path}_decoder.safetensors"),
        )
    else:
        parts = load_trained(path)
    return Autoencoder(*parts, dtype, device)


def _loaded(network: nn.Module, path: str) -> nn.Module:
    try:
        network.load_state_dict(load_file(path))
    except Exception as error:
        raise RecipeError(f"{path}: not the weights of this autoencoder: {error}") from error
    return network


class _Block(nn.Module):
    """conv-ReLU-conv-ReLU-conv plus a skip connection; with `pool`, first adds a grouped 1x1 branch to the input."""

    def __init__(self, width: int, pool: bool = False):
        super().__init__()
        convs = [nn.Conv2d(width, width, 3, padding=1) for _ in range(3)]
        self.conv = nn.Sequential(convs[0], nn.ReLU(), convs[1], nn.ReLU(), convs[2])
        self.pool = None
        if pool:
            widened, narrowed = (nn.Conv2d(*sizes, 1, bias=False) for sizes in ((width, 4 * width), (4 * width, width)))
            self.pool = nn.Sequential(widened, nn.GroupNorm(4, 4 * width), nn.ReLU(), narrowed)

    def forward(self, x: Tensor) -> Tensor:
        if self.pool is not None:
            x = x + self.pool(x)
        return torch.relu(self.conv(x) + x)


class _Clamp(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 3 * torch.tanh(x / 3)


def tiny_encoder(name: str) -> nn.Sequential:
    """Build an encoder of madebyollin/taesd (MIT) by name: (B, 3, H, W) in 0..1 -> (B, latent, H / 8, W / 8)."""
    layers = [nn.Conv2d(3, _WIDTH, 3, padding=1), _Block(_WIDTH)]
    for stage in range(3):
        layers.append(nn.Conv2d(_WIDTH, _WIDTH, 3, stride=2, padding=1, bias=False))
        layers += [_Block(_WIDTH, pool=stage == 2 and name in _POOLED) for _ in range(3)]
    return nn.Sequential(*layers, nn.Conv2d(_WIDTH, _TINY[name], 3, padding=1))


def tiny_decoder(name: str) -> nn.Sequential:
    """Build a decoder by name: (B, latent, h, w) -> (B, 3, 8 h, 8 w), approximately in 0..1."""
    layers = [_Clamp(), nn.Conv2d(_TINY[name], _WIDTH, 3, padding=1), nn.ReLU()]
    for stage in range(3):
        layers += [_Block(_WIDTH, pool=stage == 0 and name in _POOLED) for _ in range(3)]
        layers += [nn.Upsample(scale_factor=2), nn.Conv2d(_WIDTH, _WIDTH, 3, padding=1, bias=False)]
    return nn.Sequential(*layers, _Block(_WIDTH), nn.Conv2d(_WIDTH, 3, 3, padding=1))


class _Encode(nn.Module):
    """Images in 0..1 -> mean latents of a diffusers autoencoder, whose inputs are in -1..1."""

    def __init__(self, autoencoder: Any):
        super().__init__()
        self.autoencoder: Any = autoencoder

    def forward(self, x: Tensor) -> Tensor:
        encoded = self.autoencoder.encode(2 * x - 1)
        return encoded.latents if hasattr(encoded, "latents") else encoded.latent_dist.mode()


class _Decode(nn.Module):
    def __init__(self, autoencoder: Any):
        super().__init__()
        self.autoencoder: Any = autoencoder

    def forward(self, latent: Tensor) -> Tensor:
        return (self.autoencoder.decode(latent).sample + 1) / 2


def _from_diffusers(where: str) -> tuple[nn.Module, nn.Module]:
    """Load encoder and decoder of "diffusers:NAME"; RecipeError if diffusers is not installed, or cannot load them."""
    name = where.removeprefix(_DIFFUSERS)
    try:
        from diffusers import AutoencoderKL, AutoencoderTiny
    except ImportError:
        raise RecipeError(f"{where}: needs diffusers: pip install diffusers") from None
    for kind in (AutoencoderKL, AutoencoderTiny):
        try:
            autoencoder = kind.from_pretrained(name)
        except Exception as error:  # many kinds: no network, no file, weights of the other class
            reason = error
        else:
            return _Encode(autoencoder), _Decode(autoencoder)
    raise RecipeError(f"{where}: cannot be loaded: {str(reason).splitlines()[0]}")
