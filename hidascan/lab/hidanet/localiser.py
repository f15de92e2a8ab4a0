"""Train TFL on cached cells of windows: the filters of patch tokens, and the network over cells.

The cells are frozen patch tokens in int8, and filtered pixel residuals, as the backbone costs far more than all later
steps. Their shards are written atomically and in order, so an interrupted run resumes after its last shard.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn
from tqdm import tqdm

from hidascan.detectors.backbones import FrozenViT
from hidascan.detectors.hidanet.filters import LARGEST, ResidualFilters, TokenFilters
from hidascan.detectors.hidanet.localiser import CellLocaliser
from hidascan.errors import RecipeError
from hidascan.geometry import CELL, PATCH
from hidascan.lab import artifacts
from hidascan.lab.artifacts import Workspace, fingerprint
from hidascan.lab.data.autoencoders import load_autoencoder
from hidascan.lab.data.composites import mask_shares
from hidascan.lab.data.layouts import read_images
from hidascan.lab.data.tables import BalancedSampler, read_edits, tables_sha256
from hidascan.lab.hidanet.recipe import HiDANetRecipe, LocaliserSpec, recipe_backbone, token_settings
from hidascan.lab.hidanet.windows import KINDS, WindowMaker
from hidascan.lab.training.losses import localisation_loss
from hidascan.lab.training.trainer import Trainer

QUANTUM = LARGEST / 127  # quantisation step of tokens in int8, standard deviations
_SHARD = 32  # windows
_FOR_SPREAD = 24  # windows, evenly spaced, for the standardisation of tokens
_MIN_SPREAD = 1e-3  # added to spreads


class WindowCells(NamedTuple):
    """Input and labels of TFL for a window of h x w cells (28 x 28, or 14 x 14)."""

    tokens: Tensor  # (h, w, T * C) int8 tokens, in steps of QUANTUM standard deviations
    residuals: Tensor  # (h, w, E) float16 filtered residuals
    shares: Tensor  # (h, w) float32 shares of AI-made pixels in the cells


class WindowInfo(NamedTuple):
    """Kind and origin of a window."""

    kind: str  # one of `windows.KINDS`
    source: str  # source of the image
    maker: str  # generator or editing method of the AI pixels, or kind of retouch
    donor: str = ""  # source of a pasted region; "" if there is none


class WindowStore:
    """A folder with the cells of all windows of a `WindowMaker`."""

    def __init__(self, folder: Path, made_by: str):
        """Open all shards of a folder with a fingerprint."""
        self.made_by = made_by
        self._places: list[tuple[Any, int]] = []
        self.about: list[WindowInfo] = []  # one for each window
        for path in sorted(folder.glob("[0-9]*.safetensors")):
            file = safe_open(path, framework="pt")
            windows = json.loads(file.metadata()["about"])
            self._places += [(file, place) for place in range(len(windows))]
            self.about += [WindowInfo(*window) for window in windows]
        standard = load_file(folder / "standard.safetensors")
        self.mean, self.spread = standard["mean"], standard["spread"]  # (T * C,) of the tokens

    def __len__(self) -> int:
        """Return the number of windows."""
        return len(self._places)

    def __getitem__(self, number: int) -> WindowCells:
        """Read one window."""
        file, place = self._places[number]
        return WindowCells(*(file.get_tensor(f"{place}/{name}") for name in WindowCells._fields))


def build_window_cells(
    maker: WindowMaker, backbone: FrozenViT, residuals: ResidualFilters, folder: Path, made_by: str
) -> WindowStore:
    """Compute the shards that are missing in `folder`, and open it; `made_by` is the fingerprint of all that decides them.

    Raises:
        RecipeError: If the folder belongs to another recipe.
    """
    artifacts.claim_folder(folder, made_by)
    mean, spread = _standard(maker, backbone, folder / "standard.safetensors", made_by)
    for path, numbers in artifacts.missing_shards(folder, len(maker), _SHARD, "windows"):
        tensors: dict[str, Tensor] = {}
        abouts = []
        for place, number in enumerate(numbers):  # not ahead: autoencoders and backbone use the same cores
            window = maker[number]
            tokens = ((_tokens(backbone, window.pixels) - mean) / spread).clamp(-LARGEST, LARGEST)
            tensors[f"{place}/tokens"] = (tokens / QUANTUM).round().to(torch.int8)
            tensors[f"{place}/residuals"] = _joined(residuals(_patches(window.pixels))).half()
            tensors[f"{place}/shares"] = torch.from_numpy(mask_shares(window.mask, CELL)).float()
            abouts.append(WindowInfo(window.kind, window.source, window.maker, window.donor))
        artifacts.save_artifact(path, tensors, made_by, about=json.dumps(abouts))
    return WindowStore(folder, made_by)


def _standard(maker: WindowMaker, backbone: FrozenViT, path: Path, made_by: str) -> tuple[Tensor, Tensor]:
    """Measure or read mean and spread (T * C,) of the tokens of cells."""
    found = artifacts.load_artifact(path, made_by)
    if found is None:
        numbers = np.linspace(0, len(maker) - 1, min(_FOR_SPREAD, len(maker))).astype(int).tolist()
        cells = torch.cat([_tokens(backbone, maker[number].pixels).flatten(0, 1) for number in numbers])
        found = {"mean": cells.mean(0), "spread": cells.std(0) + _MIN_SPREAD}
        artifacts.save_artifact(path, found, made_by)
    return found["mean"], found["spread"]


def _patches(pixels: np.ndarray) -> Tensor:
    """Cut a window (H, W, 3) uint8 into its patches (K, 3, 224, 224), row by row."""
    parts = torch.from_numpy(pixels).unflatten(0, (-1, PATCH)).unflatten(2, (-1, PATCH))
    return parts.permute(0, 2, 4, 1, 3).flatten(0, 1)


@torch.inference_mode()
def _tokens(backbone: FrozenViT, pixels: np.ndarray) -> Tensor:
    """Compute the patch tokens of a window: (h, w, T * C) float32."""
    views = _patches(pixels).to(backbone.mean.device)
    tapped = backbone.tapped(backbone.standardise(views), backbone.taps)
    cells = torch.cat([tokens[:, 1:].float() for tokens in tapped], dim=2).cpu()
    return _joined(cells.unflatten(1, (backbone.grid, backbone.grid)))


def _joined(cells: Tensor) -> Tensor:
    """Join the cells of K patches (K, h, w, E) to those of the window: (H, W, E)."""
    side = round(len(cells) ** 0.5)
    return cells.unflatten(0, (side, side)).transpose(1, 2).flatten(2, 3).flatten(0, 1)


def window_store(recipe: HiDANetRecipe, residuals: ResidualFilters, workspace: Workspace) -> WindowStore:
    """Compute or read the cells of the windows of a recipe.

    Raises:
        RecipeError: If it asks for repainted windows without autoencoders, or the folder belongs to another recipe.
    """
    device, dtype = workspace.device, workspace.dtype
    images = read_images(*recipe.data.tables)
    spec = recipe.localiser.windows
    edits = [edit for table in recipe.data.edits for edit in read_edits(Path(table))]
    real, ai = (BalancedSampler(images, label, spec.group_power) for label in (0, 1))
    autoencoders = {Path(where).name: load_autoencoder(where, dtype, device) for where in recipe.data.autoencoders}
    if spec.counts[0] and not autoencoders:
        raise RecipeError("localiser.windows.counts asks for repainted windows, but data.autoencoders is empty")
    maker = WindowMaker(spec, recipe.seed, edits, real, ai, autoencoders)
    backbone = recipe_backbone(recipe, recipe.network.cell_taps, workspace)
    filters = hashlib.sha256(residuals.filters.numpy().tobytes()).hexdigest()
    made_by = fingerprint(
        what="windows",
        spec=spec,
        seed=recipe.seed,
        makers=list(autoencoders),
        edits=tables_sha256(recipe.data.edits),
        residuals=filters,
        backbone=[token_settings(recipe), recipe.network.cell_taps],
        tables=tables_sha256(recipe.data.tables),
    )
    return build_window_cells(maker, backbone, residuals, workspace.cache / "windows", made_by)


@dataclass(frozen=True)
class TrainedTFL:
    """Trained parts of TFL, in the form used by the network."""

    token_filters: TokenFilters  # filters of patch tokens, including their standardisation
    localiser: CellLocaliser  # network over cells

    @torch.no_grad()
    def logits(self, tokens: Tensor, residuals: Tensor) -> Tensor:
        """Return the logits (h, w) of a window from its cached cells: (h, w, T * C) int8 and (h, w, E)."""
        filtered = (tokens.float() * QUANTUM) @ self.token_filters.filters - self.token_filters.offset
        return self.localiser(torch.cat([residuals.float(), filtered], dim=2).permute(2, 0, 1)[None])[0]


class _Learner(nn.Module):
    """Trainable token filters, and TFL on their outputs."""

    def __init__(self, tokens: int, filters: int, residuals: int, spec: LocaliserSpec, dim: int, dropout: float):
        super().__init__()
        self.filter = nn.Linear(tokens, filters)
        self.localiser = CellLocaliser(residuals + filters, dim, dropout)
        self._input_dropout = spec.input_dropout

    def forward(self, tokens: Tensor, residuals: Tensor) -> tuple[Tensor, Tensor]:
        """Map (B, h, w, T * C) int8 and (B, h, w, E) to the logits of MLP and convolutions, (B, h, w) each."""
        # Channels of a whole window at a time.
        shown = torch.rand(len(tokens), tokens.shape[-1], 1) >= self._input_dropout
        weights = self.filter.weight.T * (shown * (QUANTUM / (1 - self._input_dropout)))  # (B, T * C, F)
        filtered = torch.baddbmm(self.filter.bias, tokens.flatten(1, 2).float(), weights)
        cells = torch.cat([residuals.float(), filtered.unflatten(1, tokens.shape[1:3])], dim=3)
        return self.localiser.logits_of_both(cells.permute(0, 3, 1, 2))

    def trained(self, store: WindowStore) -> TrainedTFL:
        """Return the parts for inference; the filters include the standardisation."""
        filters = TokenFilters(*self.filter.weight.T.shape)
        parts = {"mean": store.mean, "spread": store.spread}
        weights = {"filters": self.filter.weight.detach().T.contiguous(), "offset": -self.filter.bias.detach()}
        filters.load_state_dict(parts | weights)
        return TrainedTFL(filters.eval(), self.localiser.eval())


def train_localiser(
    recipe: HiDANetRecipe, store: WindowStore, state: Path, held_out: Collection[int] = (), name: str = ""
) -> TrainedTFL:
    """Train TFL on windows; resume after the last complete epoch in `state`, if any.

    `held_out` are the numbers of the windows not to train on, `name` is that of this selection, for the fingerprint.
    """
    spec, network = recipe.localiser, recipe.network
    torch.manual_seed(recipe.seed)
    sizes = (len(store.mean), network.cell_filters, network.residual_filters)
    learner = _Learner(*sizes, spec, network.localiser_dim, network.dropout)
    trainer = Trainer(learner, spec, spec.steps)
    batches = _Batches(store, spec, recipe.seed, held_out)

    def epoch(number: int) -> None:
        torch.manual_seed(recipe.seed * 1000 + number)
        steps = range(number * spec.steps, (number + 1) * spec.steps)
        for step in tqdm(steps, desc=f"TFL{name and f', {name}'}, epoch {number + 1}", disable=None):
            losses = [_losses(learner, *part) for part in batches.batch(step)]
            trainer.step({key: torch.stack([one[key] for one in losses]).sum() for key in losses[0]})

    made_by = fingerprint(what="TFL", network=network, spec=spec, seed=recipe.seed, windows=store.made_by, shown=name)
    trainer.run(trainer.resume(made_by, state), epoch, made_by, state)
    return trainer.averaged.trained(store)


def _losses(learner: _Learner, tokens: Tensor, residuals: Tensor, shares: Tensor, weight: float) -> dict[str, Tensor]:
    first, second = (localisation_loss(logits, shares) * weight for logits in learner(tokens, residuals))
    return {"first": first, "tfl": second}


class _Batches:
    """Batches of windows: kinds in proportion to their shares, and within a kind each maker or source equally often."""

    def __init__(self, store: WindowStore, spec: LocaliserSpec, seed: int, held_out: Collection[int]):
        self._store, self._spec, self._seed = store, spec, seed
        self._by_kind: list[dict[str, list[int]]] = [{} for _ in KINDS]
        for number, window in enumerate(store.about):
            if number not in held_out:
                group = window.maker if window.kind in spec.by_maker else window.source
                self._by_kind[KINDS.index(window.kind)].setdefault(group, []).append(number)
        shares = np.array([share if group else 0.0 for share, group in zip(spec.shares, self._by_kind, strict=True)])
        self._shares = shares / shares.sum()

    def batch(self, step: int) -> list[tuple[Tensor, Tensor, Tensor, float]]:
        """Return tokens (B, h, w, T * C), residuals (B, h, w, E), shares (B, h, w) and weight of windows, by size."""
        rng = np.random.default_rng([self._seed, 9, step])
        by_side: dict[int, list[WindowCells]] = {}
        for _ in range(self._spec.batch):
            groups = list(self._by_kind[rng.choice(len(KINDS), p=self._shares)].values())
            group = groups[rng.integers(len(groups))]
            cells = self._store[group[rng.integers(len(group))]]
            by_side.setdefault(len(cells.shares), []).append(cells)
        parts = [[torch.stack(part) for part in zip(*windows, strict=True)] for windows in by_side.values()]
        return [(tokens, residuals, shares, len(shares) / self._spec.batch) for tokens, residuals, shares in parts]
