"""Forgeries made here: reconstructions by an autoencoder, and swaps of regions between images (RPS)."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from hidascan.errors import RecipeError


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


class Autoencoder:
    """The tiny autoencoder for FLUX.2 latents (taef2): what it gives back differs by a decoder's traces only.

    folder: holds taef2_encoder.safetensors and taef2_decoder.safetensors. Raises RecipeError if they do not fit.
    """

    def __init__(self, folder: Path, dtype: torch.dtype = torch.bfloat16, device: str = "cpu"):
        self.dtype, self.device = dtype, device
        self.encoder = self._load(_encoder(), Path(folder) / "taef2_encoder.safetensors")
        self.decoder = self._load(_decoder(), Path(folder) / "taef2_decoder.safetensors")

    def _load(self, network: nn.Module, path: Path) -> nn.Module:
        try:
            network.load_state_dict(load_file(path))
        except Exception as error:
            raise RecipeError(f"{path}: not the weights of taef2: {error}") from error
        return network.eval().to(self.device, self.dtype, memory_format=torch.channels_last)

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


def random_region(height: int, width: int, share: tuple[float, float], rng: np.random.Generator) -> np.ndarray:
    """(H, W) bool mask of one rectangle or ellipse that takes a share of the area within `share`, at a random place."""
    area = rng.uniform(*share) * height * width
    ellipse = rng.random() < 0.4
    box_area = area * 4 / np.pi if ellipse else area
    aspect = np.exp(rng.uniform(-0.5, 0.5))
    box_height = int(np.clip(np.sqrt(box_area * aspect), 8, height))
    box_width = int(np.clip(box_area / box_height, 8, width))
    top = int(rng.integers(0, height - box_height + 1))
    left = int(rng.integers(0, width - box_width + 1))
    mask = np.zeros((height, width), np.uint8)
    if ellipse:
        centre = (left + box_width // 2, top + box_height // 2)
        cv2.ellipse(mask, centre, (box_width // 2, box_height // 2), 0, 0, 360, 1, -1)
    else:
        mask[top : top + box_height, left : left + box_width] = 1
    return mask.astype(bool)


def repaint_region(
    pixels: np.ndarray, autoencoder: Autoencoder, share: tuple[float, float], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """One random region of `share` of the area through the autoencoder, pasted back: pixels (H, W, 3), mask (H, W)."""
    mask = random_region(*pixels.shape[:2], share, rng)
    repainted = autoencoder.reconstruct(np.ascontiguousarray(pixels))
    return swap_region(pixels, repainted, mask), mask


def swap_region(base: np.ndarray, donor: np.ndarray, mask: np.ndarray, softness: float = 0.0) -> np.ndarray:
    """RPS: `base` (H, W, 3) with the pixels of `donor` (same shape) where `mask` (H, W) is true.

    softness: sigma in pixels by which the border is feathered; 0 for a hard one.
    """
    if not softness:
        return np.where(mask[..., None], donor, base)
    share = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), softness)[..., None]
    return np.rint(donor * share + base * (1 - share)).astype(np.uint8)


def cell_shares(mask: np.ndarray, cell: int) -> np.ndarray:
    """(H, W) bool -> (ceil(H / cell), ceil(W / cell)) share of true pixels in each cell."""
    rows, cols = (np.arange(0, side, cell) for side in mask.shape)
    sums = np.add.reduceat(np.add.reduceat(mask.astype(np.float64), rows, axis=0), cols, axis=1)
    heights, widths = (np.diff([*starts, side]) for starts, side in zip((rows, cols), mask.shape, strict=True))
    return sums / np.outer(heights, widths)
