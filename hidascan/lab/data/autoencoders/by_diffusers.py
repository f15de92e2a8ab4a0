"""Autoencoders of the diffusers library, by name or folder."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from hidascan.errors import RecipeError

DIFFUSERS = "diffusers:"


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
    name = where.removeprefix(DIFFUSERS)
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
