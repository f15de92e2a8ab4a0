"""Fit the residual filters: linear discriminants of photos and the second images of pairs, in closed form.

Gradient descent would find such faint directions only after very long training; the covariance matrix yields them
directly. A pair is a photo and its reconstruction by an autoencoder, which differ only in the traces of a decoder; or, for
traces that our autoencoders do not leave, a photo and a generated image. Pairs are cached.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor
from tqdm import tqdm

from hidascan.detectors.hidanet.filters import FEATURES, PHASE_FEATURES, ResidualFilters, residual_features
from hidascan.errors import RecipeError
from hidascan.examination import tensors_of
from hidascan.geometry import ViewPlan
from hidascan.image.views import cut_views
from hidascan.lab import artifacts
from hidascan.lab.artifacts import Workspace, fingerprint
from hidascan.lab.data.autoencoders import draw_noise, load_autoencoder
from hidascan.lab.data.degradations import Degradation, degrade, draw_degradation, random_window, resize
from hidascan.lab.data.layouts import read_images
from hidascan.lab.data.tables import TRIES, BalancedSampler, fold_of, no_image, tables_sha256
from hidascan.lab.data.trained_autoencoders import AutoencoderSpec, build_autoencoders, trained_path
from hidascan.lab.hidanet.recipe import HiDANetRecipe, PairSpec
from hidascan.lab.hidanet.samples import decode_or_skip

_PER_SHARD = 40
_KINDS = ("given", "trained", "generated")  # origin of the second image, and prefix of the shards
GENERATED = _KINDS[2]
_BANDS = 4  # of compression
_WINDOW = 7  # cells: half a patch
_FOR_STATISTICS = 60  # pairs for the standardisation of features
_MIN_SPREAD = 1e-3  # added to spreads: some features hardly vary

STRENGTHS = slice(PHASE_FEATURES - 9, PHASE_FEATURES)  # features that are passed through unchanged

Maker = Callable[[np.ndarray, np.random.Generator], np.ndarray]  # photo -> second image of its pair


def makers_of(recipe: HiDANetRecipe) -> dict[str, tuple[str, ...]]:
    """Return the names of the makers of each kind of pair, which take turns, without those held out."""
    given = tuple(Path(where).name for where in recipe.data.autoencoders)
    return dict(zip(_KINDS, (given, tuple(one.name for one in _usable(recipe)), (GENERATED,)), strict=True))


def _usable(recipe: HiDANetRecipe) -> list[AutoencoderSpec]:
    return [one for one in recipe.autoencoders if not one.held_out]


def build_pairs(recipe: HiDANetRecipe, workspace: Workspace) -> None:
    """Train the autoencoders and make the pairs, in folders of the cache, unless they exist.

    Raises:
        RecipeError: If the folders belong to another recipe, or the recipe asks for pairs of missing autoencoders.
    """
    spec, folder = recipe.localiser.pairs, workspace.cache / "pairs"
    decides = [spec.seed, spec.held_out_fold, spec.side, spec.group_power, spec.resize, recipe.seed, makers_of(recipe)]
    made_by = fingerprint(what="pairs", decides=decides, tables=tables_sha256(recipe.data.tables))
    artifacts.claim_folder(folder, made_by)
    included = [image for image in read_images(*recipe.data.tables) if fold_of(image.source) != spec.held_out_fold]
    photos, generated = (BalancedSampler(included, label, spec.group_power) for label in (0, 1))
    autoencoders = _load_autoencoders(recipe, photos, workspace)
    makers: list[list[Maker]] = [*autoencoders, [lambda _, rng: cut_window(generated, spec, rng)]]
    for place, (kind, count) in enumerate(zip(_KINDS, spec.counts, strict=True)):
        if count and not makers[place]:
            raise RecipeError(f"localiser.pairs.counts asks for {kind} pairs, but no autoencoder for them exists")
        for path in folder.glob(f"{kind}-*.safetensors"):
            if _held(path) < min(_PER_SHARD, count - _first(path)):
                path.unlink()  # the last of fewer pairs
        for path, numbers in artifacts.missing_shards(folder, count, _PER_SHARD, f"{kind} pairs", f"{kind}-"):
            seeds = [[recipe.seed, spec.seed + place, number] for number in numbers]
            made = zip(*(_make_pair(photos, makers[place], spec, seed) for seed in seeds), strict=True)
            sides = dict(zip(("photos", "copies"), made, strict=True))
            artifacts.save_artifact(path, {side: torch.from_numpy(np.stack(pixels)) for side, pixels in sides.items()})


def _load_autoencoders(recipe: HiDANetRecipe, photos: BalancedSampler, workspace: Workspace) -> list[list[Maker]]:
    """Train those of the recipe, unless they exist; return the given autoencoders, and these."""
    folder = workspace.cache / "autoencoders"
    build_autoencoders(recipe.autoencoders, photos, folder, workspace)

    def maker(path: str) -> Maker:
        autoencoder = load_autoencoder(path, workspace.dtype, workspace.device)
        return lambda photo, rng: autoencoder.reconstruct(photo, draw_noise(rng), rng)

    paths = recipe.data.autoencoders, [str(trained_path(folder, one)) for one in _usable(recipe)]
    return [[maker(path) for path in kind] for kind in paths]


def _make_pair(
    photos: BalancedSampler, makers: list[Maker], spec: PairSpec, seed: list[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Cut a window of a photo, (side, side, 3) uint8, and make the second image with the next maker."""
    rng = np.random.default_rng(seed)
    photo = cut_window(photos, spec, rng)
    return photo, makers[seed[-1] % len(makers)](photo, rng)


def cut_window(sampler: BalancedSampler, spec: PairSpec, rng: np.random.Generator) -> np.ndarray:
    """Draw an image, and cut a window (side, side, 3) aligned with its 8x8 blocks, or with those of the shrunken image.

    Raises:
        RecipeError: If no image drawn is readable and large enough.
    """
    for _ in range(TRIES):
        decoded = decode_or_skip(sampler.draw(rng))
        if decoded is None or min(decoded.pixels.shape[:2]) < spec.side:
            continue
        pixels, shortest = decoded.pixels, min(decoded.pixels.shape[:2])
        if rng.random() < spec.resize and shortest >= 2 * spec.side:
            pixels = resize(np.ascontiguousarray(pixels), float(rng.uniform(spec.side / shortest, 1)), rng)
        return np.ascontiguousarray(pixels[random_window(pixels.shape, spec.side, rng, grid=8)])
    raise no_image(spec.side)


def _first(path: Path) -> int:
    """Return the number of the first pair of a shard."""
    return int(path.stem.partition("-")[2])


def _held(path: Path) -> int:
    """Return the number of pairs in a shard."""
    with safe_open(path, framework="np") as file:
        return int(file.get_slice("photos").get_shape()[0])


class Pairs:
    """A folder of pairs, ordered by kind, each with a degradation; `makers` are their makers."""

    def __init__(self, recipe: HiDANetRecipe, folder: Path):
        """Index the shards of a folder."""
        self._seed, self._spec = recipe.seed, recipe.localiser.pairs
        self.makers: list[str] = []
        self._places = []
        for (kind, makers), count in zip(makers_of(recipe).items(), self._spec.counts, strict=True):
            for path in sorted(folder.glob(f"{kind}-*.safetensors")):
                file, first = safe_open(path, framework="np"), _first(path)
                for place in range(min(_held(path), count - first)):
                    self._places.append((file, place))
                    self.makers.append(makers[(first + place) % len(makers)])

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self._places)

    def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray, Degradation]:
        """Return photo and second image, (H, W, 3) uint8 each, with the same degradation, and the degradation."""
        degradation = draw_degradation(np.random.default_rng([self._seed, 10, number]), self._spec)
        file, place = self._places[number]
        photo, copy = (degrade(file.get_slice(side)[place], degradation) for side in ("photos", "copies"))
        return photo, copy, degradation


@dataclass(frozen=True)
class Moments:
    """Moments of the features of windows, which can be added up."""

    count: int  # number of windows
    sum: Tensor  # (F,) sum over windows
    squares: Tensor  # (F, F) sum of outer products
    shifts: Tensor  # (F,) twice the sum of copies minus photos

    @classmethod
    def of(cls, photo: Tensor, copy: Tensor) -> Moments:
        """Return the moments of windows (n, F) of photos and of their copies."""
        both = torch.cat([photo, copy])
        return cls(len(both), both.sum(0), both.T @ both, 2 * (copy - photo).sum(0))

    def __add__(self, other: Moments) -> Moments:
        pairs = ((self.sum, other.sum), (self.squares, other.squares), (self.shifts, other.shifts))
        return Moments(self.count + other.count, *(mine + theirs for mine, theirs in pairs))

    def figures(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the covariance (F, F) of windows, the mean (F,) of copies minus that of photos, and the mean (F,)."""
        mean = self.sum / self.count
        return self.squares / self.count - torch.outer(mean, mean), self.shifts / self.count, mean


@dataclass(frozen=True)
class Statistics:
    """Statistics to which filters are fitted."""

    mean: Tensor  # (F,) mean of cells
    spread: Tensor  # (F,) standard deviation of cells
    moments: dict[tuple[int, str], Moments]  # moments by band of compression and maker


def residual_filters(recipe: HiDANetRecipe, cache: Path) -> ResidualFilters:
    """Fit or read the residual filters of a recipe, from the pairs in `cache`."""
    spec, path = recipe.localiser.pairs, cache / "residual_filters.safetensors"
    drawn = [spec.counts, spec.seed, spec.side, spec.group_power, spec.resize, spec.held_out_fold]
    degraded = [spec.filter, spec.saves, spec.jpeg_quality]
    made = [recipe.seed, drawn, degraded, makers_of(recipe), recipe.autoencoders, tables_sha256(recipe.data.tables)]
    made_by = fingerprint(what="residual filters", made=made, ridge=recipe.localiser.ridge)
    state = artifacts.load_artifact(path, made_by)
    if state is None:
        statistics = measure_statistics(Pairs(recipe, cache / "pairs"))
        state = fit_residual_filters(statistics, recipe.localiser.ridge).state_dict()
        artifacts.save_artifact(path, state, made_by)
    filters = ResidualFilters(state["filters"].shape[1])
    filters.load_state_dict(state)
    if filters.filters.shape[1] != recipe.network.residual_filters:
        raise RecipeError(f"network: residual_filters must be {filters.filters.shape[1]}, as many as are fitted")
    return filters


def measure_statistics(pairs: Pairs) -> Statistics:
    """Measure pairs."""
    chosen = range(0, len(pairs), max(1, len(pairs) // _FOR_STATISTICS))
    sides = [side for number in chosen for side in pairs[number][:2]]
    cells = torch.cat([residual_features(_patches_of(side)[0]).flatten(0, 2) for side in sides])
    standard = ResidualFilters(0)
    standard.mean.copy_(cells.mean(0))
    standard.spread.copy_(cells.std(0) + _MIN_SPREAD)
    moments: dict[tuple[int, str], Moments] = {}
    for number, maker in enumerate(tqdm(pairs.makers, desc="statistics of pairs", disable=None)):
        photo, copy, degradation = pairs[number]
        part = Moments.of(*(_quarters(standard.standardised_features(*_patches_of(side))) for side in (photo, copy)))
        key = _band(degradation), maker
        moments[key] = moments[key] + part if key in moments else part
    return Statistics(standard.mean, standard.spread, moments)


def _patches_of(pixels: np.ndarray) -> tuple[Tensor, Tensor]:
    """Cut (H, W, 3) uint8 into patches (K, 3, 224, 224) uint8; return them and their corners (K, 2)."""
    views = cut_views(pixels, ViewPlan(thumbnail=False))
    patches, where = tensors_of(views, range(len(views)))
    return patches, where.corners


def fit_residual_filters(statistics: Statistics, ridge: float) -> ResidualFilters:
    """Fit filters to pairs, with a regularisation `ridge` for standardised features.

    w = (C + ridge I)^-1 (mean of copies - mean of photos), C the covariance of all windows: one each for
    the phase profiles, the co-occurrences, and both, per band of compression and for all bands; one per maker, on both;
    and the strengths unchanged. Pairs with generated images are used only for the filter of that maker, as their content
    differs.
    """
    moments = statistics.moments.items()
    bands = [[part for (at, by), part in moments if at == band and by != GENERATED] for band in range(_BANDS)]
    known = {band: sum(parts[1:], parts[0]).figures() for band, parts in enumerate(bands) if parts}
    overall, shift, mean = (sum(values) / len(known) for values in zip(*known.values(), strict=True))
    figures = [known.get(band, (overall, shift, mean)) for band in range(_BANDS)]
    targets = [*(((covariance + overall) / 2, between) for covariance, between, _ in figures), (overall, shift)]
    kinds = (slice(0, PHASE_FEATURES), slice(PHASE_FEATURES, FEATURES), slice(0, FEATURES))
    columns = [
        _discriminants(covariance, between[:, None], kind, ridge) for kind in kinds for covariance, between in targets
    ]
    makers = sorted({maker for (_, maker), _ in moments})
    if len(makers) > 1:
        by_maker = [[part for (_, by), part in moments if by == maker] for maker in makers]
        shifts = torch.stack([sum(parts[1:], parts[0]).figures()[1] for parts in by_maker], dim=1)
        columns.append(_discriminants(overall, shifts, kinds[-1], ridge))
    weights = torch.cat([*columns, torch.eye(FEATURES)[:, STRENGTHS]], dim=1)
    return _filled(statistics, weights, overall, mean)


def _filled(statistics: Statistics, weights: Tensor, covariance: Tensor, mean: Tensor) -> ResidualFilters:
    """Set filters to `weights`, scaled so that the outputs have mean 0 and standard deviation 1."""
    weights = weights / ((weights * (covariance @ weights)).sum(0) + 1e-6).sqrt()
    filters = ResidualFilters(weights.shape[1])
    parts = {"mean": statistics.mean, "spread": statistics.spread, "filters": weights, "offset": mean @ weights}
    filters.load_state_dict(parts)
    return filters


def _discriminants(covariance: Tensor, shifts: Tensor, kind: slice, ridge: float) -> Tensor:
    """Fit a filter for each column of `shifts` (F, n), zero outside the features `kind`: (F, n)."""
    weights = torch.zeros(shifts.shape)
    regular = covariance[kind, kind].double() + ridge * torch.eye(len(shifts[kind])).double()
    weights[kind] = torch.linalg.solve(regular, shifts[kind].double()).float()
    return weights


def _band(degradation: Degradation) -> int:
    """Return the band of compression: 0 without a save, else 1..3 by the lowest JPEG quality, from light to heavy."""
    if not degradation.saves:
        return 0
    lowest = min(save.quality for save in degradation.saves)
    return 1 if lowest >= 93 else 2 if lowest >= 84 else 3


def _quarters(features: Tensor) -> Tensor:
    """Average (B, 14, 14, FEATURES) over the quarters of views: (4 B, FEATURES)."""
    blocks = features.unflatten(2, (-1, _WINDOW)).unflatten(1, (-1, _WINDOW))
    return blocks.mean((2, 4)).flatten(0, 2)
