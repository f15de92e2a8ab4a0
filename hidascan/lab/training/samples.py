"""Draw labelled images for training any detector, degrade both classes in the same way, and cut them by its plan.

Images come from tables or packs. From packs, neither size, file format nor JPEG grid reveals the class: a draw first
chooses a size and a range of JPEG qualities, from a distribution that both classes share, and only then a class and one
of its windows. Lossless windows get a JPEG history of that range; half of these samples are delivered.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from hidascan.detectors.base import Encoded, Positions
from hidascan.errors import HidascanError, RecipeError
from hidascan.geometry import CELL, PATCH, Box, ViewPlan
from hidascan.image.perturb import compress
from hidascan.image.views import Views, cut_views, mirror_to
from hidascan.lab.artifacts import Workspace, fingerprint, load_artifact, save_artifact
from hidascan.lab.data.autoencoders import Autoencoder, load_autoencoder
from hidascan.lab.data.composites import Composite, CompositeMaker, SamplingSpec, mask_shares
from hidascan.lab.data.degradations import Degradation, degrade, draw_delivery, jpeg_of, random_window
from hidascan.lab.data.packs import SIDES, DecodedWindows, PackedWindow, read_packs
from hidascan.lab.data.tables import BalancedSampler, LabelledImage, fold_of, tables_sha256
from hidascan.lab.training.recipe import EndToEndRecipe, images_of

_MAX_ATTEMPTS = 20  # draws of one sample
_KEPT_PATCHES = 4  # cached per image
_QUALITIES = ((1, 84), (85, 94), (95, 100))  # ranges of the samples from packs
_DELIVERED = 0.5  # share of the samples from packs
_GRID = 16  # pixels: the blocks of a JPEG with 4:2:0


@dataclass(frozen=True)
class Sample:
    """One image: its views or encoded rows, and its label."""

    label: int  # 1 if any pixel is AI-made, else 0
    views: Views | None = None
    encoded: Encoded | None = None
    # (V, h, w) shares of AI-made pixels in each cell of the views, 0..1; None with a thumbnail.
    shares: np.ndarray | None = None

    @property
    def count(self) -> int:
        """Number of views."""
        return len(self.views) if self.views else len(next(iter((self.encoded or {}).values()), ()))


class SampleDrawer:
    """Samples by number; each has its own random generator, so that it can be drawn again.

    Attributes:
        maker: Maker of composites of all kinds.
        single: Maker of those that are not half of a pair.
    """

    def __init__(
        self, recipe: EndToEndRecipe, plan: ViewPlan, images: list[LabelledImage], autoencoders: tuple[Autoencoder, ...]
    ):
        """Set up; RecipeError if there are pairs but no autoencoder, or a class has no image."""
        sampling, spec = recipe.sampling, recipe.training
        if sampling.pair and not autoencoders:
            raise RecipeError("sampling.pair needs data.autoencoders")
        real, ai = (BalancedSampler(images, label, spec.group_power) for label in (0, 1))
        self.maker = CompositeMaker(sampling, real, ai, *autoencoders)
        self.single = CompositeMaker(_without_pairs(sampling), real, ai, *autoencoders)
        self._plan, self._side, self._seed = plan, plan.side or spec.side, recipe.seed
        self._last: tuple[tuple[int, int], Any] = (-1, -1), None  # numbers of the last pair and attempt, and the pair

    def __getitem__(self, number: int) -> Sample:
        """Draw a sample."""
        return cut_for_training(*self.degraded(number), self._plan, self._side)

    def degraded(self, number: int) -> tuple[np.ndarray, np.ndarray, np.random.Generator]:
        """Draw pixels (H, W, 3), the mask (H, W) of AI-made ones, and a generator for the positions of crops.

        A file that cannot be read or degraded, such as one too large for WebP, is replaced by another draw.
        """
        for attempt in range(_MAX_ATTEMPTS):
            try:
                composite, degradation, places = self.draw_composite(number, attempt)
                pixels = degrade(composite.pixels, degradation)
            except (HidascanError, ValueError, OSError, MemoryError) as error:
                tqdm.write(f"skipped: {error}")
            else:
                top, left = (a - b for a, b in zip(composite.mask.shape, pixels.shape[:2], strict=True))
                return pixels, composite.mask[top:, left:], np.random.default_rng(places)
        raise RecipeError(f"{_MAX_ATTEMPTS} unreadable images in a row: check the tables")

    def draw_composite(self, number: int, attempt: int) -> tuple[Composite, Degradation, int]:
        """Draw the composite, degradation and random seed of places of sample `number`, in this attempt, from 0.

        The two of a pair have neighbouring numbers.
        """
        again = [attempt] if attempt else []
        if self.maker.spec.pair:
            pair, degradation, places = self._pair(number // 2, attempt)
            if len(pair) > 1:
                return pair[number % 2], degradation, places
        rng = np.random.default_rng([self._seed, 4, number, *again])
        (composite,), degradation, places = self.single.draw(rng)
        return composite, degradation, places

    def _pair(self, number: int, attempt: int) -> tuple[list[Composite], Degradation, int]:
        """Draw a pair, or return the last one, which the second of its samples asks for again."""
        (key, drawn), wanted = self._last, (number, attempt)
        if key != wanted:
            drawn = self.maker.draw(np.random.default_rng([self._seed, 6, number, *([attempt] if attempt else [])]))
            self._last = wanted, drawn
        return drawn


def _without_pairs(sampling: SamplingSpec) -> SamplingSpec:
    """Return the probabilities of the other kinds, given that a sample is not half of a pair."""
    rest = sampling.real + sampling.ai
    if not sampling.pair or not rest:
        return sampling
    return dataclasses.replace(sampling, pair=0.0, real=sampling.real / rest, ai=sampling.ai / rest)


class CachedSamples(SampleDrawer):
    """Samples cached in a folder, cut in every way, for all detectors with the same sampling."""

    def __init__(self, folder: Path, made_by: str, *arguments: Any):
        """Set up, with the arguments of SampleDrawer.

        The side of the plan must be that of crops, or None, and its number of patches 0 or 4.
        """
        super().__init__(*arguments)
        self._folder, self._made_by = folder / f"drawn-{made_by[:12]}", made_by

    def __getitem__(self, number: int) -> Sample:
        """Read a sample, or draw and cache it."""
        path = self._folder / f"{number:06d}.safetensors"
        tensors = load_artifact(path, self._made_by)
        if tensors is None:
            tensors = self._cut_in_every_way(*self.degraded(number))
            save_artifact(path, tensors, self._made_by)
        return self._sample_for_plan(tensors)

    def _cut_in_every_way(self, pixels: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> dict[str, Tensor]:
        plan = ViewPlan(self._side, thumbnail=False, patches=_KEPT_PATCHES)
        ways = {
            "thumbnail": cut(pixels, mask, ViewPlan(self._side, patches=0)),
            "patches": cut(pixels, mask, plan),
            "crop": crop(pixels, mask, self._side, rng),
        }
        tensors = {}
        for name, sample in ways.items():
            tensors[f"{name}.label"] = torch.tensor(sample.label)
            views = sample.views or Views([], [])
            tensors[f"{name}.pixels"] = torch.from_numpy(np.stack(views.pixels))
            tensors[f"{name}.boxes"] = torch.tensor([list(box) for box in views.boxes])
            if sample.shares is not None:
                tensors[f"{name}.shares"] = torch.from_numpy(sample.shares)
        return tensors

    def _sample_for_plan(self, tensors: dict[str, Tensor]) -> Sample:
        plan = self._plan
        names = ["crop"] if wants_crop(plan) else [*(["thumbnail"] if plan.thumbnail else []), "patches"]
        label = int(tensors[f"{names[0]}.label"])
        pixels = [view for name in names for view in tensors[f"{name}.pixels"].numpy()]
        boxes = [Box(*box) for name in names for box in tensors[f"{name}.boxes"].tolist()]
        count = len(pixels) if wants_crop(plan) else int(plan.thumbnail) + int(plan.patches)
        views = Views(pixels[:count], boxes[:count], plan.thumbnail, min(count, len(boxes)) - int(plan.thumbnail))
        shares = None if plan.thumbnail else tensors[f"{names[-1]}.shares"].numpy()[:count]
        return Sample(label, views, shares=shares)


@dataclass(frozen=True)
class Stratum:
    """Windows of both classes with a size and a range of JPEG qualities in common."""

    side: int  # side of the samples cut from them, pixels
    qualities: tuple[int, ...]  # qualities of its JPEG windows; none if all windows of the packs are lossless
    samplers: tuple[BalancedSampler, BalancedSampler]  # samplers of real and of AI windows
    count: int  # number of windows of the rarer class


class PackedSamples:
    """Samples by number, drawn from decoded windows; each has its own random generator."""

    def __init__(self, recipe: EndToEndRecipe, plan: ViewPlan, windows: list[PackedWindow], decoded: DecodedWindows):
        """Set up; RecipeError if the classes have no size and quality in common."""
        sampling, spec = recipe.sampling, recipe.training
        self._decoded, self._plan, self._side, self._seed = decoded, plan, spec.side, recipe.seed
        self._ai_share = sampling.ai / (sampling.real + sampling.ai)  # all that is used of the recipe's sampling
        self._strata = strata_of(windows, spec.group_power)
        counts = np.array([stratum.count for stratum in self._strata], float)
        self._shares = counts / counts.sum()

    def __getitem__(self, number: int) -> Sample:
        """Draw a sample."""
        rng = np.random.default_rng([self._seed, 8, number])
        stratum = self._strata[rng.choice(len(self._strata), p=self._shares)]
        label = int(rng.random() < self._ai_share)
        window = stratum.samplers[label].draw(rng)
        assert isinstance(window, PackedWindow)
        stored = self._decoded.pixels(window)
        pixels = stored[random_window(stored.shape, stratum.side + _GRID, rng)]
        if rng.random() < 0.5:
            pixels = pixels[:, ::-1]
        if not window.quality and stratum.qualities:
            pixels = compress(pixels, jpeg_of(int(rng.choice(stratum.qualities)), rng))
        pixels = pixels[random_window(pixels.shape, stratum.side, rng)]
        if rng.random() < _DELIVERED:
            pixels = draw_delivery(rng)(np.ascontiguousarray(pixels))
        mask = np.full(pixels.shape[:2], bool(label))
        return cut_for_training(pixels, mask, rng, self._plan, self._side)


def strata_of(windows: list[PackedWindow], group_power: float) -> list[Stratum]:
    """Divide windows by size and JPEG quality; a window is in every stratum that it fits.

    Raises:
        RecipeError: If a class is missing, or the classes have nothing in common.
    """
    for label in (0, 1):
        BalancedSampler([*windows], label, group_power)
    ranges = _QUALITIES if any(window.quality for window in windows) else ((0, 0),)
    found = []
    for side in SIDES:
        fitting = [window for window in windows if min(window.box[2:]) >= side]
        for low, high in ranges:
            members = [window for window in fitting if not window.quality or low <= window.quality <= high]
            qualities = tuple(window.quality for window in members if window.quality)
            ai = sum(window.label for window in members)
            count = min(ai, len(members) - ai)
            if count and (qualities or not high):
                real, generated = (BalancedSampler([*members], label, group_power) for label in (0, 1))
                found.append(Stratum(side, qualities, (real, generated), count))
    if not found:
        raise RecipeError("the packs contain no real and AI images of a common size and JPEG quality")
    return found


SampleSource = SampleDrawer | PackedSamples


def open_samples(recipe: EndToEndRecipe, plan: ViewPlan, workspace: Workspace, keep: bool) -> SampleSource:
    """Open the samples of a recipe, from its packs or its tables; with `keep`, those of tables are cached, if possible."""
    spec, data = recipe.training, recipe.data
    if data.packs:
        packs = read_packs(Path(data.packs))
        windows = [window for window in packs.windows if fold_of(window.source) not in data.excluded]
        return PackedSamples(recipe, plan, windows, DecodedWindows(packs, workspace.cache))
    autoencoders = [load_autoencoder(path, workspace.dtype, workspace.device) for path in data.autoencoders]
    arguments = recipe, plan, images_of(recipe), tuple(autoencoders)
    stored = plan.patches in (0, _KEPT_PATCHES)  # fewer would be the first rows of a grid, at the top of the image
    if not keep or plan.side not in (None, spec.side) or not (stored or wants_crop(plan)):
        return SampleDrawer(*arguments)
    decides = [spec.side, spec.group_power, recipe.seed, recipe.sampling, data.autoencoders, *data.excluded]
    made_by = fingerprint(what="drawn samples, labelled by view", decides=decides, tables=tables_sha256(data.tables))
    return CachedSamples(workspace.cache, made_by, *arguments)


def wants_crop(plan: ViewPlan) -> bool:
    """Return whether training uses random crops: for plans of one view at its own size."""
    return plan.side is None or plan.patches == "centre" or (plan.patches == 1 and not plan.thumbnail)


def cut_for_training(
    pixels: np.ndarray, mask: np.ndarray, rng: np.random.Generator, plan: ViewPlan, side: int
) -> Sample:
    """Cut pixels by a plan; `side` is that of random crops for plans without one."""
    return crop(pixels, mask, plan.side or side, rng) if wants_crop(plan) else cut(pixels, mask, plan)


def crop(pixels: np.ndarray, mask: np.ndarray, side: int, rng: np.random.Generator) -> Sample:
    """Cut a random window from pixels (H, W, 3) with a mask (H, W) of AI-made ones; mirror small images."""
    window = random_window(pixels.shape, side, rng)
    views = cut_views(pixels[window], ViewPlan(side, thumbnail=False))
    return Sample(int(mask[window].any()), views, shares=_shares(mask[window], views, side))


def cut(pixels: np.ndarray, mask: np.ndarray, plan: ViewPlan) -> Sample:
    """Cut pixels (H, W, 3) with a mask (H, W) of AI-made ones, by a plan that has a side."""
    views = cut_views(pixels, plan)
    return Sample(int(mask.any()), views, shares=None if views.thumbnail else _shares(mask, views, plan.side or PATCH))


def _shares(mask: np.ndarray, views: Views, side: int) -> np.ndarray:
    filled = mirror_to(np.repeat(mask[..., None].astype(np.uint8), 3, axis=2), side)[..., 0]
    parts = [filled[box.top : box.top + box.height, box.left : box.left + box.width] for box in views.boxes]
    return np.stack([mask_shares(part, CELL) for part in parts]).astype(np.float32)


def views_of(samples: list[Sample], device: torch.device) -> tuple[Tensor, Positions]:
    """Stack the views of samples: (B, 3, H, W) uint8, and their positions."""
    views = [sample.views for sample in samples if sample.views]
    pixels = torch.from_numpy(np.stack([view for one in views for view in one.pixels])).permute(0, 3, 1, 2)
    thumbnails = [one.thumbnail and number == 0 for one in views for number in range(len(one))]
    corners = [[box.top, box.left] for one in views for box in one.boxes]
    return pixels.to(device), Positions(torch.tensor(thumbnails, device=device), torch.tensor(corners, device=device))


def split_by_image(encoded: Encoded, counts: list[int]) -> list[Encoded]:
    """Split the rows of a batch by image, `counts` rows each."""
    parts = {name: rows.split(counts) for name, rows in encoded.items()}
    return [{name: part[number] for name, part in parts.items()} for number in range(len(counts))]
