"""What the tests of hidalab share: label tables, random autoencoders, a recipe that trains in seconds."""

from pathlib import Path

import torch

from hidascan.lab import cache as feature_cache
from hidascan.lab.pairs import build_pairs
from hidascan.lab.train import train

SHARED = Path(__file__).parent.parent.parent / "shared"


def table_of(folder: Path, rows: list[tuple[str, int, str, str]]) -> Path:
    lines = ["path\tlabel\tgroup\tsource", *("\t".join(map(str, row)) for row in rows)]
    (folder / "table.tsv").write_text("\n".join(lines) + "\n")
    return folder / "table.tsv"


RECIPE = """
[network]
backbone = "vit_tiny_patch16_224"
taps = [1, 2]
dim = 32
refiner_depth = 1
aggregator_depth = 1
heads = 2
[data]
tables = ["{folder}/table.tsv"]
backbone = "{backbone}"
autoencoder = "{folder}"
[[rounds]]
name = "wide"
draws = 40
without = ["rare"]
law = {{ real = 0.4, ai = 0.4, pair = 0.1, swap = 0.1, reconstruction_side = 128 }}
[[rounds]]
name = "rare"
seed = 1
draws = 20
only = ["rare"]
law = {{ real = 0.5, ai = 0.5, pair = 0, swap = 0 }}
[cache]
draws_per_shard = 20
[evidence]
scale = 5.0
[[evidence.regressions]]
taps = [2]
ridge = 1.0
[optimisation]
epochs = 4
lr = 3e-3
batch = 8
[tokens]
epochs = 2
steps = 6
batch = 1
pairs = {{ count = 2, side = 240, resize = 0 }}
"""


def train_into(recipe, cache: Path, out: Path) -> None:
    build_pairs(recipe, cache, "cpu", torch.float32)
    feature_cache.build_cache(recipe, cache, "cpu", torch.float32)
    train(recipe, cache, out, torch.device("cpu"), bf16=False)
