"""Helpers of hidalab tests: label tables, random autoencoders, a recipe that trains in seconds."""

from pathlib import Path

import torch

from hidascan.lab.artifacts import Workspace

SHARED = Path(__file__).parent.parent.parent / "shared"


def table_of(folder: Path, rows: list[tuple[str, int, str, str]]) -> Path:
    lines = ["path\tlabel\tgroup\tsource", *("\t".join(map(str, row)) for row in rows)]
    (folder / "table.tsv").write_text("\n".join(lines) + "\n")
    return folder / "table.tsv"


RECIPE = """
detector = "hidanet"
[network]
backbone = "vit_xsmall_patch16_clip_224.tinyclip_yfcc15m"
taps = [1, 2]
cell_taps = [1]
cell_filters = 4
dim = 32
heads = 2
components = 12
quality_dim = 12
landmarks = 8
[data]
tables = ["{folder}/table.tsv"]
backbone = "{backbone}"
autoencoders = ["{folder}/blur.safetensors"]
[samples]
patches = [2, 1]
quality_draws = 1
[fusion]
epochs = 4
lr = 3e-3
batch = 8
vote = 0.5
[quality]
epochs = 2
[localiser]
epochs = 2
steps = 6
batch = 1
pairs = {{ counts = [2, 0, 0], side = 240, resize = 0 }}
windows = {{ counts = [4, 2, 2, 4, 2], saves = [1, 0, 0, 0], filter = 0 }}
"""


def train_into(recipe, cache: Path, out: Path) -> None:
    from hidascan.lab.hidanet import train  # here, as it takes five seconds

    train(recipe, out, on_cpu(cache))


def on_cpu(cache: Path) -> Workspace:
    return Workspace(cache, torch.device("cpu"), torch.float32)
