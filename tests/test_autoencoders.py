"""Autoencoders: taef2, those that are trained here, and those of diffusers."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from hidascan.detectors.hidanet.residuals import ResidualFilters
from hidascan.errors import RecipeError
from hidascan.lab.data.autoencoders.base import load_autoencoder
from hidascan.lab.data.autoencoders.trained import AutoencoderSpec, build_autoencoders, trained_path
from hidascan.lab.data.sampling import BalancedSampler
from hidascan.lab.data.tables import read_table
from hidascan.lab.hidanet.filters import filter_count, fit_filters
from hidascan.lab.hidanet.pairs import Pairs, build_pairs
from tests.conftest import picture
from tests.lab import SHARED


@pytest.mark.parametrize("size", [(64, 64), (61, 83)])
def test_an_autoencoder_gives_back_the_shape_it_got(autoencoder_folder, size):
    out = load_autoencoder(autoencoder_folder).reconstruct(picture(*size))
    assert out.shape == (*size, 3) and out.dtype == np.uint8


@pytest.mark.skipif(not (SHARED / "data/models").exists(), reason="needs ../shared")
def test_taef2_gives_back_nearly_what_it_got():
    pixels = cv2.GaussianBlur(picture(128, 192), (0, 0), 3)
    out = load_autoencoder(SHARED / "data/models", torch.float32).reconstruct(pixels)
    assert np.abs(out.astype(int) - pixels).mean() < 8


SMALL = AutoencoderSpec("small", factor=4, width=8, latent=4, batch=2, steps=40, lr=1e-2)


def photos_of(recipe) -> BalancedSampler:
    return BalancedSampler(read_table(recipe.data.tables[0]), 0, 0.5)


@pytest.mark.parametrize("changes", [
    {"up": "nearest", "adversarial": 0.1},
    {"up": "bilinear", "factor": 8},
    {"up": "transposed"},
    {"up": "shuffle", "quantised": True},
])  # fmt: skip
def test_autoencoders_learn_to_give_back_photos(recipe, tmp_path, changes):
    member, untrained = (replace(SMALL, **changes, steps=steps) for steps in (40, 1))
    errors = []
    for number, one in enumerate((untrained, member)):
        build_autoencoders((one,), photos_of(recipe), tmp_path / f"made{number}", "cpu", bf16=False)
        autoencoder = load_autoencoder(trained_path(tmp_path / f"made{number}", one), torch.float32)
        photo = cv2.GaussianBlur(picture(64, 83), (0, 0), 3)
        copy = autoencoder.reconstruct(photo)
        assert copy.shape == photo.shape and copy.dtype == np.uint8
        errors.append(np.abs(copy.astype(int) - photo).mean())
    assert errors[1] < 0.7 * errors[0]


def test_a_trained_one_stays_and_another_is_not_taken_for_it(recipe, tmp_path):
    build_autoencoders((SMALL,), photos_of(recipe), tmp_path, "cpu", bf16=False)
    before = trained_path(tmp_path, SMALL).stat().st_mtime_ns
    build_autoencoders((replace(SMALL, held_out=True),), photos_of(recipe), tmp_path, "cpu", bf16=False)
    assert trained_path(tmp_path, SMALL).stat().st_mtime_ns == before
    with pytest.raises(RecipeError, match="another recipe"):
        build_autoencoders((replace(SMALL, up="shuffle"),), photos_of(recipe), tmp_path, "cpu", bf16=False)


def test_pairs_by_others_come_after_those_by_taef2_and_none_by_one_held_out(recipe, tmp_path):
    several = (
        SMALL,
        replace(SMALL, name="apart", up="shuffle", held_out=True),
        replace(SMALL, name="other", up="transposed"),
    )
    pairs = replace(recipe.localiser.pairs, trained_count=4)
    recipe = replace(recipe, autoencoders=several, localiser=replace(recipe.localiser, pairs=pairs))
    build_pairs(recipe, tmp_path, "cpu", torch.float32)
    found = Pairs(recipe, tmp_path / "pairs")
    assert [found.maker(n) for n in range(6)] == [0, 0, 1, 2, 1, 2]
    assert all((found[n][0] != found[n][1]).any() for n in range(6))
    filters = ResidualFilters(filter_count(3))
    fit_filters(filters, found, ridge=1e-3)
    assert filters.filters.isfinite().all() and (filters.filters.abs().sum(0) > 0).all()
    with pytest.raises(RecipeError, match=str(filter_count(3))):
        fit_filters(ResidualFilters(filter_count(1)), found, ridge=1e-3)


def test_autoencoders_that_are_all_held_out_are_refused(recipe, tmp_path):
    pairs = replace(recipe.localiser.pairs, trained_count=4)
    recipe = replace(
        recipe, autoencoders=(replace(SMALL, held_out=True),), localiser=replace(recipe.localiser, pairs=pairs)
    )
    with pytest.raises(RecipeError, match="not held out"):
        build_pairs(recipe, tmp_path, "cpu", torch.float32)


def test_what_is_no_autoencoder_is_refused_in_one_line(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    for where in (tmp_path / "a.png", tmp_path / "none.safetensors", tmp_path, "diffusers:no/such"):
        with pytest.raises(RecipeError) as refused:
            load_autoencoder(where)
        assert "\n" not in str(refused.value)
