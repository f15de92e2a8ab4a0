"""Sample training images by class, then group, then image."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from hidascan.errors import RecipeError
from hidascan.lab.data.tables import LabelledImage


@dataclass(frozen=True)
class SamplingSpec:
    """Sampling settings. The first four are probabilities and sum to 1."""

    real: float = 0.36
    ai: float = 0.36
    pair: float = 0.13  # probability of a photo and its reconstruction, two samples
    swap: float = 0.15  # RPS
    degradations: int = 2  # per draw, of the same pixels
    history: float = 0.5  # probability that a lossless AI image gets a JPEG history like that of photos
    resize: float = 0.5  # probability of a random resize
    whole: float = 0.3  # probability of the whole image, instead of a window
    window_side: tuple[int, int] = (160, 900)  # pixels, drawn log-uniformly
    reconstruction_side: int = 448  # maximum side of an autoencoder's input, pixels
    swap_share: tuple[float, float] = (0.05, 0.5)  # area of a swapped region
    replaced: float = 0.0  # probability that cells of a pair's reconstruction are replaced by those of its photo (RPR)
    replaced_grids: tuple[int, ...] = (2, 7, 14)  # cells along a side for that
    patch_counts: tuple[int, ...] = (1, 2, 2, 3, 4, 4, 4, 6, 8, 16)  # maximum K, drawn from these
    filter: float = 0.15  # probability of blur, sharpening or noise
    saves: tuple[float, float, float, float] = (0.25, 0.50, 0.12, 0.13)  # none, JPEG, two JPEGs, WebP
    jpeg_quality: tuple[int, int] = (30, 100)


class BalancedSampler:
    """Draws images of one class, each (group, source) of n images with weight n ** power, to limit big sources."""

    def __init__(self, images: list[LabelledImage], label: int, power: float):
        """Group the images of a class.

        Raises:
            RecipeError: If there are none.
        """
        by_group = defaultdict(list)
        for image in images:
            if image.label == label:
                by_group[image.group, image.source].append(image)
        if not by_group:
            raise RecipeError(f"the tables contain no image with label {label}")
        self.label = label
        self._groups = [by_group[key] for key in sorted(by_group)]
        weights = np.array([len(group) for group in self._groups], dtype=float) ** power
        self._weights = weights / weights.sum()

    def draw(self, rng: np.random.Generator) -> LabelledImage:
        """Draw one image."""
        group = self._groups[rng.choice(len(self._groups), p=self._weights)]
        return group[rng.integers(len(group))]
