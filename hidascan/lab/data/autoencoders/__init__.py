"""Autoencoders, including those of diffusers: reconstructions differ from photos only in the traces of a decoder."""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hidascan.errors import RecipeError
from hidascan.lab.data.autoencoders.tiny import is_tiny, load_tiny
from hidascan.lab.data.autoencoders.trained import load_trained

_LATENT = 16  # pixels, a multiple of every autoencoder's latent side
_DIFFUSERS = "diffusers:"  # prefix of their names


class Autoencoder:
    """A pair of encoder and decoder, for images in 0..1 with sides that are multiples of 16."""

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        dtype: torch.dtype = torch.bfloat16,
        device: torch.device | str = "cpu",
    ):
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
        padded = np.pad(pixels, ((0, -height % _LATENT), (0, -width % _LATENT), (0, 0)), mode="edge")
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


def load_autoencoder(
    where: str | os.PathLike, dtype: torch.dtype = torch.bfloat16, device: torch.device | str = "cpu"
) -> Autoencoder:
    """Load an autoencoder.

    Args:
        where: FOLDER/NAME, where NAME is taesd, taesdxl, taef1 or taef2 and FOLDER holds NAME_encoder.safetensors and
            NAME_decoder.safetensors; the file of an autoencoder trained by hidalab; or "diffusers:NAME" for an
            AutoencoderKL or AutoencoderTiny by name or folder.
        dtype: Precision of the autoencoder.
        device: Device of the autoencoder.

    Raises:
        RecipeError: If it is none of these.
    """
    if str(where).startswith(_DIFFUSERS):
        return Autoencoder(*load_from_diffusers(str(where)), dtype, device)
    path = Path(where)
    return Autoencoder(*(load_tiny(path) if is_tiny(path) else load_trained(path)), dtype, device)


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


def load_from_diffusers(where: str) -> tuple[nn.Module, nn.Module]:
    """Load encoder and decoder of "diffusers:NAME".

    Raises:
        RecipeError: If diffusers is not installed, or cannot load them.
    """
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
