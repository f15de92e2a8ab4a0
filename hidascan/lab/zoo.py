"""A small zoo of autoencoders, trained here from photos, so that no one decoder is the fingerprint of AI.

Their latents are wide: what tells a copy from its photo shall be the up-sampling and the convolutions, not a blur.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from tqdm import tqdm

from hidascan.errors import ImageError, RecipeError
from hidascan.image.decode import decode
from hidascan.lab.data import BalancedPicker
from hidascan.lab.degrade import resize
from hidascan.lab.descent import read_ahead
from hidascan.lab.recipe import ZooMember

_WINDOW = 128  # pixels, of training
_LEVELS = 8.0  # of a quantised latent between 0 and 1


class _Residual(nn.Module):
    """Adds nothing at first, so that training starts from what passes through all blocks."""

    def __init__(self, width: int):
        super().__init__()
        self.conv = nn.Sequential(
            nn.SiLU(), nn.Conv2d(width, width, 3, 1, 1), nn.SiLU(), nn.Conv2d(width, width, 3, 1, 1)
        )
        nn.init.zeros_(self.conv[-1].weight)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x)


class _Rounded(nn.Module):
    """Latents on a grid of levels; the gradient passes as if they were not."""

    def forward(self, latent: Tensor) -> Tensor:
        return latent + ((latent * _LEVELS).round() / _LEVELS - latent).detach()


def _upsampling(kind: str, width: int) -> list[nn.Module]:
    """Twice the side, by the layer whose trace the member shall leave. Raises RecipeError for an unknown kind."""
    if kind in ("nearest", "bilinear"):
        return [nn.Upsample(scale_factor=2, mode=kind), nn.Conv2d(width, width, 3, 1, 1)]
    if kind == "transposed":
        return [nn.ConvTranspose2d(width, width, 4, 2, 1)]
    if kind == "shuffle":
        return [nn.Conv2d(width, 4 * width, 3, 1, 1), nn.PixelShuffle(2)]
    raise RecipeError(f"zoo: up must be nearest, bilinear, transposed or shuffle, not {kind}")


def build_member(member: ZooMember) -> tuple[nn.Sequential, nn.Sequential]:
    """Encoder and decoder, (B, 3, H, W) in 0..1 -> (B, latent, H / factor, W / factor) -> the same."""
    width, stages = member.width, int(math.log2(member.factor))
    encoder = [nn.Conv2d(3, width, 3, 1, 1), _Residual(width)]
    decoder = [_Rounded()] if member.quantised else []
    decoder += [nn.Conv2d(member.latent, width, 3, 1, 1), _Residual(width)]
    for _ in range(stages):
        encoder += [nn.Conv2d(width, width, 3, 2, 1), _Residual(width)]
        decoder += [*_upsampling(member.up, width), _Residual(width)]
    encoder.append(nn.Conv2d(width, member.latent, 3, 1, 1))
    decoder.append(nn.Conv2d(width, 3, 3, 1, 1))
    for layer in (*encoder, *decoder):
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            _let_colours_pass(layer)
    return nn.Sequential(*encoder), nn.Sequential(*decoder)


@torch.no_grad()
def _let_colours_pass(layer: nn.Conv2d | nn.ConvTranspose2d) -> None:
    """Start from a layer whose first three channels are those before it, shrunk or enlarged: a blurred copy of the
    picture, to which training adds detail."""
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


def load_member(path: Path) -> tuple[nn.Sequential, nn.Sequential]:
    """Encoder and decoder of a trained member. Raises RecipeError for any other file."""
    try:
        with safe_open(path, framework="pt") as file:
            member = ZooMember(**json.loads(file.metadata()["member"]))
        encoder, decoder = build_member(member)
        nn.ModuleList([encoder, decoder]).load_state_dict(load_file(path))
    except Exception as error:
        raise RecipeError(f"{path}: not an autoencoder of the zoo: {error}") from error
    return encoder, decoder


def member_path(folder: Path, member: ZooMember) -> Path:
    """Where a member of the zoo is kept."""
    return folder / f"{member.name}.safetensors"


def build_zoo(members: tuple[ZooMember, ...], photos: BalancedPicker, folder: Path, device: str, bf16: bool) -> None:
    """Train those members that are not in `folder` yet."""
    folder.mkdir(parents=True, exist_ok=True)
    for member in members:
        path = member_path(folder, member)
        if path.exists():
            with safe_open(path, framework="pt") as file:
                if file.metadata()["member"] == _told(member):
                    continue
            raise RecipeError(f"{path}: made by another recipe; name another folder with --cache")
        both = _train(member, photos, device, bf16)
        state = {name: value.cpu().contiguous() for name, value in both.state_dict().items()}
        save_file(state, path.with_suffix(".partial"), {"member": _told(member)})
        path.with_suffix(".partial").replace(path)


def _told(member: ZooMember) -> str:
    return json.dumps(dataclasses.asdict(member) | {"held_out": False})


def _train(member: ZooMember, photos: BalancedPicker, device: str, bf16: bool) -> nn.ModuleList:
    """L1 of pixels and of their differences; then also what makes a discriminator take the copies for photos."""
    torch.manual_seed(member.seed)
    both = nn.ModuleList(build_member(member)).to(device, memory_format=torch.channels_last)
    critic = _discriminator().to(device, memory_format=torch.channels_last)
    optimisers = [
        torch.optim.Adam(part.parameters(), member.lr / slower, (0.9, 0.99))
        for part, slower in ((both, 1), (critic, 4))
    ]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimisers[0], member.lr, total_steps=member.steps, pct_start=0.1)
    error = 0.0
    bar = tqdm(_batches(member, photos), total=member.steps, desc=f"zoo {member.name}", disable=None)
    for step, batch in enumerate(bar):
        batch = batch.to(device).contiguous(memory_format=torch.channels_last)
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=bf16):
            copies = both[1](both[0](batch)).float()
            loss = F.l1_loss(copies, batch) + F.l1_loss(_differences(copies), _differences(batch))
            if member.adversarial and step > member.steps // 2:
                _step(optimisers[1], F.relu(1 - critic(batch)).mean() + F.relu(1 + critic(copies.detach())).mean())
                loss = loss - member.adversarial * critic(copies).mean()
        _step(optimisers[0], loss)
        schedule.step()
        error += (float((copies.detach().clamp(0, 1) - batch).square().mean()) - error) / min(step + 1, 50)
    tqdm.write(f"zoo {member.name}: {-10 * math.log10(error):.1f} dB")
    return both


def _step(optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    for group in optimiser.param_groups:
        nn.utils.clip_grad_norm_(group["params"], 1.0)
    optimiser.step()


def _differences(x: Tensor) -> Tensor:
    """(B, 3, H, W) -> differences of neighbours across and down, (B, 6, H - 1, W - 1)."""
    inner = x[..., :-1, :-1]
    return torch.cat([x[..., :-1, 1:] - inner, x[..., 1:, :-1] - inner], dim=1)


def _discriminator() -> nn.Sequential:
    """(B, 3, H, W) -> a map that is over 0 where it sees a photo."""
    layers: list[nn.Module] = []
    for inner, outer in ((3, 32), (32, 64), (64, 64)):
        layers += [nn.Conv2d(inner, outer, 4, 2, 1), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Conv2d(64, 1, 3, 1, 1))


def _batches(member: ZooMember, photos: BalancedPicker) -> Iterator[Tensor]:
    """(batch, 3, 128, 128) float32 in 0..1; four windows of each photo that is read."""
    rng, kept = np.random.default_rng([member.seed, 31]), 4

    def load(_: int) -> Tensor:
        windows: list[np.ndarray] = []
        while len(windows) < member.batch:
            try:
                pixels = decode(photos.pick(rng).path).pixels
            except ImageError:
                continue
            if min(pixels.shape[:2]) >= _WINDOW:
                windows += _windows(pixels, min(kept, member.batch - len(windows)), rng)
        return torch.from_numpy(np.stack(windows)).permute(0, 3, 1, 2).float() / 255

    return read_ahead(load, member.steps)


def _windows(pixels: np.ndarray, count: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Random windows, (128, 128, 3) uint8; half the time of the image shrunk."""
    lowest = _WINDOW / min(pixels.shape[:2])
    if rng.random() < 0.5 and lowest < 0.7:
        pixels = resize(np.ascontiguousarray(pixels), float(rng.uniform(max(lowest, 0.25) + 0.02, 1)), rng)
    found = []
    for _ in range(count):
        top, left = (int(rng.integers(0, side - _WINDOW + 1)) for side in pixels.shape[:2])
        found.append(pixels[top : top + _WINDOW, left : left + _WINDOW])
    return found
