"""Autoencoders: tiny, trained by hidalab, and from diffusers."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from hidascan.errors import RecipeError
from hidascan.lab.data.autoencoders import load_autoencoder, tiny_decoder, tiny_encoder
from hidascan.lab.data.tables import BalancedSampler, read_table
from hidascan.lab.data.trained_autoencoders import AutoencoderSpec, build_autoencoders, trained_path
from hidascan.lab.hidanet.filters import Pairs, build_pairs, fit_residual_filters, measure_statistics
from tests.conftest import picture
from tests.lab import SHARED, on_cpu


def test_an_autoencoder_preserves_the_shape(tmp_path):
    torch.manual_seed(0)
    for name, network in (("encoder", tiny_encoder("taef2")), ("decoder", tiny_decoder("taef2"))):
        save_file(network.half().state_dict(), tmp_path / f"taef2_{name}.safetensors")
    autoencoder = load_autoencoder(tmp_path / "taef2")
    for size in ((64, 64), (61, 83)):
        out = autoencoder.reconstruct(picture(*size))
        assert out.shape == (*size, 3) and out.dtype == np.uint8


@pytest.mark.skipif(not (SHARED / "data/models").exists(), reason="needs ../shared")
@pytest.mark.parametrize("name", ["taesd", "taesdxl", "taef1", "taef2"])
def test_tiny_autoencoders_reconstruct_approximately(name):
    pixels = cv2.GaussianBlur(picture(128, 192), (0, 0), 3)
    out = load_autoencoder(SHARED / "data/models" / name, torch.float32).reconstruct(pixels)
    assert np.abs(out.astype(int) - pixels).mean() < 12


SMALL = AutoencoderSpec("small", factor=4, width=8, latent=4, batch=2, steps=2, lr=1e-2)


def photos_of(recipe) -> BalancedSampler:
    return BalancedSampler(read_table(recipe.data.tables[0]), 0, 0.5)


@pytest.mark.parametrize("changes", [
    {"up": "nearest", "adversarial": 0.1},
    {"up": "bilinear", "factor": 8},
    {"up": "transposed"},
    {"up": "shuffle", "quantised": True},
])  # fmt: skip
def test_autoencoders_learn_to_reconstruct_photos(recipe, tmp_path, changes):
    member, untrained = (replace(SMALL, **changes, steps=steps) for steps in (40, 1))
    errors = []
    for number, one in enumerate((untrained, member)):
        build_autoencoders((one,), photos_of(recipe), tmp_path / f"made{number}", on_cpu(tmp_path))
        autoencoder = load_autoencoder(trained_path(tmp_path / f"made{number}", one), torch.float32)
        photo = cv2.GaussianBlur(picture(64, 83), (0, 0), 3)
        copy = autoencoder.reconstruct(photo)
        assert copy.shape == photo.shape and copy.dtype == np.uint8
        errors.append(np.abs(copy.astype(int) - photo).mean())
    assert errors[1] < 0.7 * errors[0]


def test_a_trained_autoencoder_is_reused_only_for_its_own_recipe(recipe, tmp_path):
    build_autoencoders((SMALL,), photos_of(recipe), tmp_path, on_cpu(tmp_path))
    before = trained_path(tmp_path, SMALL).stat().st_mtime_ns
    build_autoencoders((replace(SMALL, held_out=True),), photos_of(recipe), tmp_path, on_cpu(tmp_path))
    assert trained_path(tmp_path, SMALL).stat().st_mtime_ns == before
    with pytest.raises(RecipeError, match="different recipe"):
        build_autoencoders((replace(SMALL, up="shuffle"),), photos_of(recipe), tmp_path, on_cpu(tmp_path))


def test_pairs_are_made_by_each_maker_in_turn_and_by_none_held_out(recipe, tmp_path):
    several = (
        SMALL,
        replace(SMALL, name="apart", up="shuffle", held_out=True),
        replace(SMALL, name="other", up="transposed"),
    )
    recipe = with_counts(replace(recipe, autoencoders=several), (2, 4, 2))
    build_pairs(recipe, on_cpu(tmp_path))
    found = Pairs(recipe, tmp_path / "pairs")
    assert found.makers == [*["blur.safetensors"] * 2, "small", "other", "small", "other", "generated", "generated"]
    assert all((found[n][0] != found[n][1]).any() for n in range(8))
    statistics = measure_statistics(found)
    filters = fit_residual_filters(statistics, 1e-3).filters
    assert (
        filters.isfinite().all() and (filters.abs().sum(0) > 0).all() and filters.shape[1] == 3 * 5 + 9 + 4
    )  # kinds times bands, strengths, makers


def with_counts(recipe, counts):
    pairs = replace(recipe.localiser.pairs, counts=counts, side=128)
    return replace(recipe, localiser=replace(recipe.localiser, pairs=pairs))


def test_autoencoders_that_are_all_held_out_are_refused(recipe, tmp_path):
    recipe = with_counts(replace(recipe, autoencoders=(replace(SMALL, held_out=True),)), (2, 4, 0))
    with pytest.raises(RecipeError, match="no autoencoder"):
        build_pairs(recipe, on_cpu(tmp_path))


def test_invalid_autoencoders_are_refused_in_one_line(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    for where in (tmp_path / "a.png", tmp_path / "none.safetensors", tmp_path / "taesd", "diffusers:no/such"):
        with pytest.raises(RecipeError) as refused:
            load_autoencoder(where)
        assert "\n" not in str(refused.value)
