"""Fixtures: a tiny network with random weights, generated pictures, and the command line run in this process."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from filelock import FileLock
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from safetensors.torch import save_file

from hidascan import cli
from hidascan.detectors.checkpoint import CheckpointHeader, Part, load_detector, save_backbone, save_trained, sha256_of
from hidascan.detectors.hidanet.kernel_probe import KernelProbe
from hidascan.detectors.hidanet.network import HiDANet, HiDANetConfig
from hidascan.lab.data.trained_autoencoders import AutoencoderSpec, build_networks
from hidascan.lab.training.recipe import read_recipe
from hidascan.report.shards import ShardWriter
from tests.goldens.record import EXAMPLES, GENERATED, scan
from tests.lab import RECIPE, table_of, train_into

if workers := os.environ.get("PYTEST_XDIST_WORKER_COUNT"):  # side by side, each has its share of the cores
    share = max(1, (os.cpu_count() or 1) // int(workers))
    os.environ["OMP_NUM_THREADS"] = str(share)  # for the commands that tests start
    torch.set_num_threads(share)

OURS = "vit_xsmall_patch16_clip_224.tinyclip_yfcc15m"  # the smallest backbone that is our own ViT
TINY = HiDANetConfig(
    backbone=OURS, taps=(1, 2), dim=32, heads=2,
    components=12, quality_dim=12, landmarks=8, cell_taps=(1,), cell_filters=3,
)  # fmt: skip

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


def randomise(probe: KernelProbe) -> None:
    """Randomise components, landmarks and coefficients, as a newly built probe is constant."""
    probe.tokens.set_basis(torch.linalg.qr(torch.randn(*probe.tokens.basis.shape)).Q)
    probe.set_landmarks(**{name: 0.3 * torch.randn(*part.shape) for name, part in probe.landmarks._asdict().items()})
    probe.coefficients.normal_()


def save_random_weights(folder: Path, config: HiDANetConfig) -> Path:
    """The trained part of a random network; its backbone lies beside it."""
    torch.manual_seed(0)
    network, backbone = HiDANet(config), folder / "backbone-tiny.safetensors"
    save_backbone(backbone, network.backbone.vit.state_dict(), config.backbone, "none: random")
    network.residuals.filters.normal_(std=0.1)
    torch.manual_seed(0)
    randomise(network.probe)
    network.token_filters.filters.normal_(std=0.05)
    network.vote.fill_(0.2)
    parts = (Part("backbone", backbone.name, sha256_of(backbone)),)
    save_trained(folder / "tiny.safetensors", network, CheckpointHeader("tiny", "hidanet", config, parts))
    return folder / "tiny.safetensors"


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def pytest_collection_modifyitems(items):
    """Begin with the slow tests, so that no worker is left with one at the end."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(scope="module")
def browser():
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory) -> Path:
    """Weights of a two-block network on our own ViT."""
    return save_random_weights(tmp_path_factory.mktemp("weights"), TINY)


@pytest.fixture
def tiny_as_shipped(tiny_weights, tmp_path, monkeypatch):
    """The tiny network, calibrated for early stopping, under the name of the shipped one."""
    folder = tmp_path / "shipped"
    folder.mkdir()
    shutil.copy(tiny_weights.parent / "backbone-tiny.safetensors", folder)
    detector, header = load_detector(tiny_weights)
    calibration = replace(header.calibration, settling=(0.0, 0.0))
    save_trained(folder / "hidascan-b.safetensors", detector, replace(header, calibration=calibration))
    monkeypatch.setattr("hidascan.detectors.shipped_folders", lambda: [folder])


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


@contextmanager
def ctrl_c_at_row(number: int) -> Iterator[None]:
    """Interrupt a scan to shards before its row of this number is written."""
    add, taken = ShardWriter.add, []

    def add_until_ctrl_c(writer, row):
        taken.append(row)
        if len(taken) == number:
            raise KeyboardInterrupt
        add(writer, row)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(ShardWriter, "add", add_until_ctrl_c)
        yield


def save_autoencoder(folder: Path) -> Path:
    """Write an untrained autoencoder of hidalab, which blurs, into a folder; return its path."""
    torch.manual_seed(0)
    spec = AutoencoderSpec("blur", factor=4, width=8, latent=4)
    state = torch.nn.ModuleList(build_networks(spec)).state_dict()
    save_file(state, folder / "blur.safetensors", {"spec": json.dumps(asdict(spec))})
    return folder / "blur.safetensors"


@pytest.fixture
def autoencoder(tmp_path) -> Path:
    return save_autoencoder(tmp_path)


def save_recipe(folder: Path, tiny_weights: Path):
    """Pictures of two kinds that a small network can separate: soft ones, and ones with a pattern of 2 pixels."""
    rows = []
    for number in range(16):
        pixels, label = picture(240, 260, number), number % 2
        if label:
            pixels[::2, ::2] //= 3
        cv2.imwrite(str(folder / f"{number}.png"), pixels)
        rows.append((f"{number}.png", label, "rare" if number >= 12 else f"g{number % 4}", f"source {number // 2 % 4}"))
    table_of(folder, rows)
    backbone = tiny_weights.parent / "backbone-tiny.safetensors"
    (folder / "recipe.toml").write_text(RECIPE.format(folder=folder, backbone=backbone))
    return read_recipe(folder / "recipe.toml")


@pytest.fixture
def recipe(autoencoder, tiny_weights):
    """A recipe of HiDA-Net that trains in seconds, and its pictures, for one test alone."""
    return save_recipe(autoencoder.parent, tiny_weights)


@dataclass(frozen=True)
class Lab:
    """A recipe, a cache with all that its training leaves there, and the trained weights: to read, not to change."""

    recipe: object
    cache: Path
    weights: Path


def made_once(tmp_path_factory, name: str, make: Callable[[Path], object]) -> Path:
    """Return a folder that `make` fills, once for all workers of pytest-xdist."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    with FileLock(f"{folder}.lock"):
        if not (folder / "complete").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            (folder / "complete").touch()
    return folder


@pytest.fixture(scope="session")
def lab(tmp_path_factory, tiny_weights) -> Lab:
    """One complete training that many tests share; each worker has its own copy of the cache."""

    def train_once(folder: Path) -> None:
        save_autoencoder(folder)
        shutil.copy(tiny_weights.parent / "backbone-tiny.safetensors", folder)
        train_into(save_recipe(folder, folder / "tiny.safetensors"), folder / "cache", folder / "trained.safetensors")

    folder = made_once(tmp_path_factory, "shared-lab", train_once)
    cache = shutil.copytree(folder / "cache", tmp_path_factory.mktemp("lab") / "cache")
    return Lab(read_recipe(folder / "recipe.toml"), cache, folder / "trained.safetensors")


@pytest.fixture(scope="session")
def shipped(tmp_path_factory) -> Path:
    """A folder with the scan of the examples and a generated image by the shipped weights, made once for many tests."""
    paths = [*EXAMPLES, GENERATED[0]]
    return made_once(tmp_path_factory, "shipped", lambda folder: scan(paths, folder, "hidascan-b", "fp32"))
