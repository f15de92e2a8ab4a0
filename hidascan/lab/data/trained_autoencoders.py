"""Small autoencoders trained on photos, so that no single decoder becomes the fingerprint of AI.

Their latents are wide, so that copies differ from photos by up-sampling and convolutions, not by blur.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn
from tqdm import tqdm

from hidascan.errors import ImageError, RecipeError
from hidascan.image.decode import decode
from hidascan.lab.artifacts import Workspace, fingerprint, save_artifact
from hidascan.lab.data.degradations import random_window, resize
from hidascan.lab.data.tables import TRIES, BalancedSampler, no_image
from hidascan.lab.read_ahead import read_ahead


@dataclass(frozen=True)
class AutoencoderSpec:
    """Architecture and training of an autoencoder."""

    name: str = "nearest8"
    up: str = "nearest"  # nearest, bilinear, transposed or shuffle
    factor: int = 8  # pixels per latent, 4, 8 or 16
    width: int = 32
    latent: int = 32  # channels
    quantised: bool = False  # whether latents are rounded to a few levels (scalar quantisation)
    adversarial: float = 0.0  # weight of a discriminator in the second half of the training
    steps: int = 900
    batch: int = 8
    lr: float = 2e-3
    seed: int = 0
    held_out: bool = False  # whether it is only for measuring, never for training


_WINDOW = 128  # pixels, of training
_LEVELS = 8.0  # quantisation levels between 0 and 1


class _Residual(nn.Module):
    """Residual block, initially the identity, so that signals pass all blocks at the start of training."""

    def __init__(self, width: int):
        super().__init__()
        convs = [nn.Conv2d(width, width, 3, 1, 1) for _ in range(2)]
        self.conv = nn.Sequential(nn.SiLU(), convs[0], nn.SiLU(), convs[1])
        nn.init.zeros_(next(self.conv[-1].parameters()))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x)


class _Rounded(nn.Module):
    """Rounds latents to a grid of levels, with a straight-through gradient."""

    def forward(self, latent: Tensor) -> Tensor:
        return latent + ((latent * _LEVELS).round() / _LEVELS - latent).detach()


def _upsampling(kind: str, width: int) -> list[nn.Module]:
    """Return layers of a kind that double the side and leave its trace."""
    if kind in ("nearest", "bilinear"):
        return [nn.Upsample(scale_factor=2, mode=kind), nn.Conv2d(width, width, 3, 1, 1)]
    if kind == "transposed":
        return [nn.ConvTranspose2d(width, width, 4, 2, 1)]
    if kind == "shuffle":
        return [nn.Conv2d(width, 4 * width, 3, 1, 1), nn.PixelShuffle(2)]
    raise RecipeError(f"autoencoders: up must be nearest, bilinear, transposed or shuffle, not {kind}")


def build_networks(spec: AutoencoderSpec) -> tuple[nn.Sequential, nn.Sequential]:
    """Build encoder and decoder: (B, 3, H, W) in 0..1 -> (B, latent, H / factor, W / factor) -> (B, 3, H, W)."""
    width, stages = spec.width, int(math.log2(spec.factor))
    encoder: list[nn.Module] = [nn.Conv2d(3, width, 3, 1, 1), _Residual(width)]
    decoder: list[nn.Module] = [_Rounded()] if spec.quantised else []
    decoder += [nn.Conv2d(spec.latent, width, 3, 1, 1), _Residual(width)]
    for _ in range(stages):
        encoder += [nn.Conv2d(width, width, 3, 2, 1), _Residual(width)]
        decoder += [*_upsampling(spec.up, width), _Residual(width)]
    encoder.append(nn.Conv2d(width, spec.latent, 3, 1, 1))
    decoder.append(nn.Conv2d(width, 3, 3, 1, 1))
    for layer in (*encoder, *decoder):
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            _let_colours_pass(layer)
    return nn.Sequential(*encoder), nn.Sequential(*decoder)


@torch.no_grad()
def _let_colours_pass(layer: nn.Conv2d | nn.ConvTranspose2d) -> None:
    """Initialise a layer so that its first three channels are its inputs, shrunk or enlarged.

    Training starts from this blurred copy of the picture and adds detail.
    """
    transposed = isinstance(layer, nn.ConvTranspose2d)
    weight = layer.weight.transpose(0, 1) if transposed else layer.weight  # (out, in, height, width)
    repeats = weight.shape[0] // weight.shape[1] if weight.shape[0] == 4 * weight.shape[1] else 1  # of pixel shuffle
    weight[: 3 * repeats] = 0
    for channel in range(3):
        for copy in range(repeats):
            kernel = weight[channel * repeats + copy, channel]
            if transposed:  # bilinear
                line = torch.tensor([0.25, 0.75, 0.75, 0.25])
                kernel.copy_(torch.outer(line, line))
            elif layer.stride[0] == 2:
                kernel.fill_(1 / 9)
            else:
                kernel[1, 1] = 1


def load_trained(path: Path) -> tuple[nn.Sequential, nn.Sequential]:
    """Load encoder and decoder of an autoencoder trained by hidalab.

    Raises:
        RecipeError: For any other file.
    """
    try:
        with safe_open(path, framework="pt") as file:
            spec = AutoencoderSpec(**json.loads(file.metadata()["spec"]))
        encoder, decoder = build_networks(spec)
        nn.ModuleList([encoder, decoder]).load_state_dict(load_file(path))
    except Exception as error:
        raise RecipeError(f"{path}: not an autoencoder trained by hidalab: {error}") from error
    return encoder, decoder


def trained_path(folder: Path, spec: AutoencoderSpec) -> Path:
    """Return the path of an autoencoder's file."""
    return folder / f"{spec.name}.safetensors"


def build_autoencoders(
    specs: tuple[AutoencoderSpec, ...], photos: BalancedSampler, folder: Path, workspace: Workspace
) -> None:
    """Train the autoencoders that are missing in `folder`.

    Raises:
        RecipeError: If an existing one was made by another recipe.
    """
    for spec in specs:
        path = trained_path(folder, spec)
        made_by = fingerprint(spec=dataclasses.replace(spec, held_out=False))
        if path.exists():
            with safe_open(path, framework="pt") as file:
                if file.metadata().get("made_by") == made_by:
                    continue
            raise RecipeError(f"{path}: written by a different recipe; choose another folder with --cache")
        both = _train(spec, photos, workspace)
        state = {name: value.cpu().contiguous() for name, value in both.state_dict().items()}
        save_artifact(path, state, made_by, spec=json.dumps(dataclasses.asdict(spec)))


def _train(spec: AutoencoderSpec, photos: BalancedSampler, workspace: Workspace) -> nn.ModuleList:
    """Train by L1 of pixels and of their differences; in the second half, also by an adversarial loss."""
    torch.manual_seed(spec.seed)
    device, bf16 = workspace.device, workspace.dtype == torch.bfloat16
    both = nn.ModuleList(build_networks(spec)).to(device).to(memory_format=torch.channels_last)
    critic = _discriminator().to(device).to(memory_format=torch.channels_last)
    parts = (both, spec.lr), (critic, spec.lr / 4)
    optimisers = [torch.optim.Adam(part.parameters(), lr, (0.9, 0.99)) for part, lr in parts]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimisers[0], spec.lr, total_steps=spec.steps, pct_start=0.1)
    error = 0.0
    bar = tqdm(draw_batches(spec, photos), total=spec.steps, desc=f"autoencoder {spec.name}", disable=None)
    for step, batch in enumerate(bar):
        batch = batch.to(device).contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            copies = both[1](both[0](batch)).float()
            loss = F.l1_loss(copies, batch) + F.l1_loss(_differences(copies), _differences(batch))
            if spec.adversarial and step > spec.steps // 2:
                _step(optimisers[1], F.relu(1 - critic(batch)).mean() + F.relu(1 + critic(copies.detach())).mean())
                loss = loss - spec.adversarial * critic(copies).mean()
        _step(optimisers[0], loss)
        schedule.step()
        error += (float((copies.detach().clamp(0, 1) - batch).square().mean()) - error) / min(step + 1, 50)
    tqdm.write(f"autoencoder {spec.name}: {-10 * math.log10(error):.1f} dB")
    return both


def _step(optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    for group in optimiser.param_groups:
        nn.utils.clip_grad_norm_(group["params"], 1.0)
    optimiser.step()


def _differences(x: Tensor) -> Tensor:
    """Return horizontal and vertical differences of (B, 3, H, W): (B, 6, H - 1, W - 1)."""
    inner = x[..., :-1, :-1]
    return torch.cat([x[..., :-1, 1:] - inner, x[..., 1:, :-1] - inner], dim=1)


def _discriminator() -> nn.Sequential:
    """Build a discriminator: (B, 3, H, W) -> a map, above 0 for photos."""
    sizes = (3, 32), (32, 64), (64, 64)
    layers = [layer for both in sizes for layer in (nn.Conv2d(*both, 4, 2, 1), nn.LeakyReLU(0.2))]
    return nn.Sequential(*layers, nn.Conv2d(64, 1, 3, 1, 1))


def draw_batches(spec: AutoencoderSpec, photos: BalancedSampler) -> Iterator[Tensor]:
    """Yield (batch, 3, 128, 128) float32 in 0..1, with four windows of each photo."""
    rng, per_photo = np.random.default_rng([spec.seed, 31]), 4

    def load(_: int) -> Tensor:
        windows: list[np.ndarray] = []
        for _ in range(TRIES):
            if len(windows) == spec.batch:
                break
            try:
                pixels = decode(photos.draw(rng).path).pixels
            except ImageError:
                continue
            if min(pixels.shape[:2]) >= _WINDOW:
                windows += _windows(pixels, min(per_photo, spec.batch - len(windows)), rng)
        if len(windows) < spec.batch:
            raise no_image(_WINDOW)
        return torch.from_numpy(np.stack(windows)).permute(0, 3, 1, 2).float() / 255

    return read_ahead(load, spec.steps)


def _windows(pixels: np.ndarray, count: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Cut random windows, (128, 128, 3) uint8, half of the time from the shrunk image."""
    lowest = _WINDOW / min(pixels.shape[:2])
    if rng.random() < 0.5 and lowest < 0.7:
        pixels = resize(np.ascontiguousarray(pixels), float(rng.uniform(max(lowest, 0.25) + 0.02, 1)), rng)
    return [pixels[random_window(pixels.shape, _WINDOW, rng)] for _ in range(count)]
