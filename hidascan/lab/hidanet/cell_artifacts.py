"""Keep what TFL sees of pairs, and what its filters are fitted to: both take long."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from hidascan.detectors.backbones.frozen import FrozenViT
from hidascan.detectors.hidanet.residuals import ResidualFilters
from hidascan.detectors.hidanet.token_filters import TokenFilters
from hidascan.lab.data.tables import tables_sha256
from hidascan.lab.hidanet.cells import CellFilters, pair_cells
from hidascan.lab.hidanet.features import what_decides_tokens, whole_backbone
from hidascan.lab.hidanet.filters import Moments, PairStatistics, Statistics, fit_filters, measure_statistics
from hidascan.lab.hidanet.pairs import Pairs, makers_of
from hidascan.lab.hidanet.recipe import HiDANetRecipe
from hidascan.lab.training.artifacts import fingerprint, load_artifact, save_artifact


@dataclass(frozen=True)
class Cells:
    """What TFL sees of all pairs: (P, h, w, E) float16 of photos and of second sides, and the filters that made it."""

    filters: CellFilters
    photos: Tensor
    copies: Tensor


def name_without(what: str, without: str) -> str:
    """Name an artifact by the maker that was left out."""
    return f"{what}-without-{without}" if without else what


def _statistics_made_by(recipe: HiDANetRecipe) -> str:
    """Return the fingerprint without what only decides how forgeries are put together."""
    pairs = recipe.localiser.pairs
    drawn = [pairs.counts, pairs.seed, pairs.side, pairs.group_power, pairs.resize, pairs.held_out_fold]
    degraded = [pairs.degradations, pairs.filter, pairs.saves, pairs.jpeg_quality]
    makers = [one for one in recipe.autoencoders if not one.held_out]
    made = [recipe.seed, drawn, degraded, makers_of(recipe), makers, tables_sha256(recipe.data.tables)]
    seen = [what_decides_tokens(recipe), recipe.network.cell_taps] if recipe.network.cell_taps else []
    return fingerprint(what="statistics of pairs", made=made, seen=seen)


def cells_made_by(recipe: HiDANetRecipe, without: str) -> str:
    """Return the fingerprint of cells without a maker."""
    by = [_statistics_made_by(recipe), recipe.localiser.ridge, without]
    return fingerprint(what="cells", by=by)


def build_cells(
    recipe: HiDANetRecipe, cache: Path, withouts: Sequence[str], device: str, dtype: torch.dtype
) -> list[Cells]:
    """Fit filters without each of these makers ("" for with all), and filter all pairs; what is in `cache` stays."""
    paths = [cache / f"{name_without('cells', without)}.safetensors" for without in withouts]
    made_by = [cells_made_by(recipe, without) for without in withouts]
    found = [load_artifact(path, by) for path, by in zip(paths, made_by, strict=True)]
    missing = [place for place, tensors in enumerate(found) if tensors is None]
    if missing:
        pairs, taps = Pairs(recipe, cache / "pairs"), recipe.network.cell_taps
        backbone = whole_backbone(recipe, device, dtype) if taps else None
        statistics = _statistics(recipe, cache, pairs, backbone)
        fitted = [fit_filters(statistics, recipe.localiser.ridge, withouts[place]) for place in missing]
        for place, filters, sides in zip(missing, fitted, pair_cells(fitted, pairs, backbone, taps), strict=True):
            tensors = dict(zip(("photos", "copies"), sides, strict=True)) | _as_tensors(filters)
            save_artifact(paths[place], tensors, made_by[place])
            found[place] = tensors
    return [Cells(_from_tensors(one), one["photos"], one["copies"]) for one in found if one is not None]


def _as_tensors(filters: CellFilters) -> dict[str, Tensor]:
    parts = {"residuals": filters.residuals, "tokens": filters.tokens}
    return {f"{kind}/{name}": v for kind, part in parts.items() if part for name, v in part.state_dict().items()}


def _from_tensors(tensors: dict[str, Tensor]) -> CellFilters:
    states: dict[str, dict[str, Tensor]] = {"residuals": {}, "tokens": {}}
    for kind, state in states.items():
        state |= {name.partition("/")[2]: value for name, value in tensors.items() if name.startswith(f"{kind}/")}
    residuals, tokens = ResidualFilters(states["residuals"]["filters"].shape[1]), None
    residuals.load_state_dict(states["residuals"])
    if states["tokens"]:
        tokens = TokenFilters(*states["tokens"]["filters"].shape)
        tokens.load_state_dict(states["tokens"])
    return CellFilters(residuals, tokens)


def _statistics(recipe: HiDANetRecipe, cache: Path, pairs: Pairs, backbone: FrozenViT | None) -> PairStatistics:
    """Measure or read what filters are fitted to."""
    path, made_by, fields = cache / "statistics.safetensors", _statistics_made_by(recipe), dataclasses.fields(Moments)
    tensors = load_artifact(path, made_by)
    if tensors is None:
        measured, tensors = measure_statistics(pairs, backbone, recipe.network.cell_taps), {}
        for kind, part in (("residuals", measured.residuals), ("tokens", measured.tokens)):
            if part is not None:
                tensors |= {f"{kind}/mean": part.mean, f"{kind}/spread": part.spread}
                for (band, maker), of in part.moments.items():
                    key = f"{kind}/{band}/{maker}"
                    tensors |= {f"{key}/{field.name}": torch.as_tensor(getattr(of, field.name)) for field in fields}
        save_artifact(path, tensors, made_by)
        return measured
    found: dict[str, Statistics] = {}
    for kind in {name.partition("/")[0] for name in tensors}:
        found[kind] = Statistics(tensors[f"{kind}/mean"], tensors[f"{kind}/spread"], {})
    for key in sorted({name.rpartition("/")[0] for name in tensors if name.count("/") == 3}):
        kind, at, by = key.split("/")
        count, *sums = (tensors[f"{key}/{field.name}"] for field in fields)
        found[kind].moments[int(at), by] = Moments(int(count), *sums)
    return PairStatistics(found["residuals"], found.get("tokens"))
