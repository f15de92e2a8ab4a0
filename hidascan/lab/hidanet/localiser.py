"""Train TFL by gradient descent on cached windows: the filters of patch tokens, and the network over cells."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from hidascan.detectors.hidanet.filters import TokenFilters
from hidascan.detectors.hidanet.localiser import CellLocaliser
from hidascan.lab.hidanet.recipe import HiDANetRecipe, LocaliserSpec
from hidascan.lab.hidanet.window_cells import QUANTUM, WindowCells, WindowStore
from hidascan.lab.hidanet.windows import KINDS
from hidascan.lab.training.artifacts import fingerprint
from hidascan.lab.training.losses import localisation_loss
from hidascan.lab.training.trainer import Trainer


@dataclass(frozen=True)
class TrainedTFL:
    """Trained parts of TFL, in the form used by the network.

    Attributes:
        token_filters: Filters of patch tokens, including their standardisation.
        localiser: Network over cells.
    """

    token_filters: TokenFilters
    localiser: CellLocaliser

    @torch.no_grad()
    def logits(self, tokens: Tensor, residuals: Tensor) -> Tensor:
        """Return the logits (h, w) of a window from its cached cells: (h, w, T * C) int8 and (h, w, E)."""
        seen = (tokens.float() * QUANTUM) @ self.token_filters.filters - self.token_filters.offset
        return self.localiser(torch.cat([residuals.float(), seen], dim=2).permute(2, 0, 1)[None])[0]


class _Learner(nn.Module):
    """Trainable token filters, and TFL on their outputs."""

    def __init__(self, tokens: int, filters: int, residuals: int, spec: LocaliserSpec, dim: int, dropout: float):
        super().__init__()
        self.filter = nn.Linear(tokens, filters)
        self.localiser = CellLocaliser(residuals + filters, dim, dropout)
        self._hidden = spec.hidden

    def forward(self, tokens: Tensor, residuals: Tensor) -> tuple[Tensor, Tensor]:
        """Map (B, h, w, T * C) int8 and (B, h, w, E) to the logits of MLP and convolutions, (B, h, w) each."""
        kept = torch.rand(len(tokens), tokens.shape[-1], 1) >= self._hidden  # channels of a whole window at a time
        weights = self.filter.weight.T * (kept * (QUANTUM / (1 - self._hidden)))  # (B, T * C, F)
        seen = torch.baddbmm(self.filter.bias, tokens.flatten(1, 2).float(), weights)
        cells = torch.cat([residuals.float(), seen.unflatten(1, tokens.shape[1:3])], dim=3)
        return self.localiser.both(cells.permute(0, 3, 1, 2))

    def trained(self, store: WindowStore) -> TrainedTFL:
        """Return the parts for inference; the filters include the standardisation."""
        filters = TokenFilters(*self.filter.weight.T.shape)
        parts = {"mean": store.mean, "spread": store.spread}
        weights = {"filters": self.filter.weight.detach().T.contiguous(), "offset": -self.filter.bias.detach()}
        filters.load_state_dict(parts | weights)
        return TrainedTFL(filters.eval(), self.localiser.eval())


def train_localiser(
    recipe: HiDANetRecipe,
    store: WindowStore,
    state: Path,
    hidden: Collection[int] = (),
    name: str = "",
) -> TrainedTFL:
    """Train TFL on windows; resume after the last complete epoch in `state`, if any.

    `hidden` are the numbers of the windows not to train on, `name` is that of this selection, for the fingerprint.
    """
    spec, network = recipe.localiser, recipe.network
    torch.manual_seed(recipe.seed)
    sizes = (len(store.mean), network.cell_filters, network.residual_filters)
    learner = _Learner(*sizes, spec, network.localiser_dim, network.dropout)
    trainer, batches = Trainer(learner, spec, spec.steps), _Batches(store, spec, recipe.seed, hidden)

    def epoch(number: int) -> None:
        torch.manual_seed(recipe.seed * 1000 + number)
        steps = range(number * spec.steps, (number + 1) * spec.steps)
        for step in tqdm(steps, desc=f"TFL{name and f', {name}'}, epoch {number + 1}", disable=None):
            losses = [_losses(learner, *part) for part in batches.batch(step)]
            trainer.step({key: torch.stack([one[key] for one in losses]).sum() for key in losses[0]})

    made_by = fingerprint(what="TFL", network=network, spec=spec, seed=recipe.seed, windows=len(store), shown=name)
    trainer.run(trainer.resume(made_by, state), epoch)
    return trainer.averaged.trained(store)


def _losses(learner: _Learner, tokens: Tensor, residuals: Tensor, shares: Tensor, weight: float) -> dict[str, Tensor]:
    first, second = (localisation_loss(logits, shares) * weight for logits in learner(tokens, residuals))
    return {"first": first, "tfl": second}


class _Batches:
    """Batches of windows: kinds in proportion to their shares, and within a kind each maker or source equally often."""

    def __init__(self, store: WindowStore, spec: LocaliserSpec, seed: int, hidden: Collection[int]):
        self._store, self._spec, self._seed = store, spec, seed
        self._by_kind: list[dict[str, list[int]]] = [{} for _ in KINDS]
        for number, (kind, source, maker) in enumerate(store.about):
            if number not in hidden:
                group = maker if kind in spec.by_maker else source
                self._by_kind[KINDS.index(kind)].setdefault(group, []).append(number)
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
