"""A tiny network with random weights, pictures made on the spot, and the command line run in this process."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from safetensors.torch import save_file

from hidascan import cli
from hidascan.lab.autoencoder import _decoder, _encoder
from hidascan.lab.recipe import read_recipe
from hidascan.model.backbone import FrozenViT
from hidascan.model.checkpoint import CheckpointHeader, save_backbone, save_trained, sha256_of
from hidascan.model.hidanet import HiDANet, NetworkConfig
from tests.lab import RECIPE, table_of

TINY = NetworkConfig(backbone="vit_tiny_patch16_224", taps=(1, 2), dim=32, refiner_depth=1, aggregator_depth=1, heads=2)

HOSTILE = "<img src=x onerror=alert(1)>.png"


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """(H, W, 3) uint8: soft shapes with a little grain, different for each seed."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(0, 255, (max(2, height // 24), max(2, width // 24), 3)).astype(np.float32)
    soft = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(soft + rng.normal(0, 6, (height, width, 3)), 0, 255).astype(np.uint8)


def save_picture(path: Path, height: int = 240, width: int = 300, seed: int = 0, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture(height, width, seed)).save(path, **options)
    return path


def save_hostile(folder: Path) -> None:
    """A picture whose name and metadata are HTML."""
    info = PngInfo()
    info.add_text("parameters", "</script><script>alert(2)</script><b>bold</b> Steps: 20, Sampler: Euler")
    folder.mkdir()
    Image.fromarray(picture(240, 480)).save(folder / HOSTILE, pnginfo=info)


def save_random_weights(folder: Path, config: NetworkConfig) -> Path:
    """The trained part of a random network; its backbone lies beside it."""
    torch.manual_seed(0)
    backbone = FrozenViT(config.backbone, config.taps)
    save_backbone(folder / "backbone-tiny.safetensors", backbone.vit.state_dict(), config.backbone, "none: random")
    head = HiDANet(config).head
    head.localiser.stem.filters.normal_(std=0.1)
    header = CheckpointHeader(
        "tiny", config, "backbone-tiny.safetensors", sha256_of(folder / "backbone-tiny.safetensors")
    )
    save_trained(folder / "tiny.safetensors", head, header)
    return folder / "tiny.safetensors"


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory) -> Path:
    """Weights of a two-block network by timm."""
    return save_random_weights(tmp_path_factory.mktemp("weights"), TINY)


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str


@pytest.fixture
def hidascan(tiny_weights, capfd):
    """Run `hidascan` with the tiny network: hidascan("a.png", "--csv", "-") -> Ran."""

    def run(*arguments: object) -> Ran:
        given = [str(a) for a in arguments]
        capfd.readouterr()
        code = cli.run([*given, *([] if "--weights" in given else ["--weights", str(tiny_weights)])])
        captured = capfd.readouterr()
        return Ran(code, captured.out, captured.err)

    return run


@pytest.fixture
def autoencoder_folder(tmp_path):
    torch.manual_seed(0)
    for name, network in (("encoder", _encoder()), ("decoder", _decoder())):
        save_file(network.half().state_dict(), tmp_path / f"taef2_{name}.safetensors")
    return tmp_path


@pytest.fixture
def recipe(autoencoder_folder, tiny_weights):
    """Pictures of two kinds that a small network can tell apart: soft ones, and ones with a pattern of 2 pixels."""
    rows = []
    for number in range(16):
        pixels, label = picture(240, 260, number), number % 2
        if label:
            pixels[::2, ::2] //= 3
        cv2.imwrite(str(autoencoder_folder / f"{number}.png"), pixels)
        rows.append((f"{number}.png", label, "rare" if number >= 12 else f"g{number % 4}", "here"))
    table_of(autoencoder_folder, rows)
    backbone = tiny_weights.parent / "backbone-tiny.safetensors"
    path = autoencoder_folder / "recipe.toml"
    path.write_text(RECIPE.format(folder=autoencoder_folder, backbone=backbone))
    return read_recipe(path)
