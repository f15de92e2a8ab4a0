import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hidascan.detectors.hidanet.localiser import cell_map
from hidascan.geometry import PATCH, ViewPlan, patch_grid, starts, stratified_sample
from hidascan.image.views import cut_views, mirror_to, thumbnail

SIDES = st.one_of(st.sampled_from([224, 225, 447, 448, 449, 227, 443, 997]), st.integers(224, 1500))


@given(SIDES, SIDES)
def test_patches_cover_every_pixel_and_lie_inside(height, width):
    grid = patch_grid(height, width)
    covered = np.zeros((height, width), bool)
    for left, top, _, _ in grid.boxes():
        assert 0 <= top <= height - PATCH and 0 <= left <= width - PATCH
        covered[top : top + PATCH, left : left + PATCH] = True
    assert covered.all()


@given(SIDES, SIDES)
def test_patch_count_is_the_product_of_ceilings(height, width):
    assert len(patch_grid(height, width)) == math.ceil(height / 224) * math.ceil(width / 224)


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        (224, (0,)),
        (225, (0, 1)),
        (447, (0, 223)),
        (448, (0, 224)),
        (449, (0, 224, 225)),
        (1000, (0, 224, 448, 672, 776)),
    ],
)
def test_last_patch_is_edge_aligned(length, expected):
    assert starts(length) == expected


def test_a_side_under_a_patch_is_refused():
    with pytest.raises(ValueError, match="shorter than a patch"):
        starts(223)


def test_views_are_cut_without_copies():
    pixels = np.zeros((300, 500, 3), np.uint8)
    views = cut_views(pixels, ViewPlan(thumbnail=False))
    assert len(views) == 6 and all(np.shares_memory(view, pixels) for view in views.pixels)


@pytest.mark.parametrize(
    ("plan", "shapes", "patches", "whole"),
    [
        (ViewPlan(), [(224, 224)] * 7, 6, True),
        (ViewPlan(thumbnail=False), [(224, 224)] * 6, 6, True),
        (ViewPlan(patches=2), [(224, 224)] * 3, 2, False),
        (ViewPlan(patches=10), [(224, 224)] * 7, 6, True),
        (ViewPlan(96, patches=0), [(96, 96)], 0, False),
        (ViewPlan(96), [(96, 96)] * 25, 24, True),
        (ViewPlan(None, thumbnail=False), [(300, 500)], 0, False),
    ],
)
def test_an_image_is_cut_by_the_plan_of_its_detector(plan, shapes, patches, whole):
    pixels = np.random.default_rng(0).integers(0, 256, (300, 500, 3), dtype=np.uint8)
    views = cut_views(pixels, plan)
    assert [view.shape[:2] for view in views.pixels] == shapes and (views.patches, views.grid is not None) == (
        patches,
        whole,
    )
    for box, view in list(zip(views.boxes, views.pixels, strict=True))[int(views.thumbnail) :]:
        assert (pixels[box.top : box.top + box.height, box.left : box.left + box.width] == view).all()


def test_a_plan_is_limited_only_if_it_has_more_patches():
    assert ViewPlan().limited(3).patches == 3 and ViewPlan(patches=10).limited(3).patches == 3
    assert ViewPlan(patches=2).limited(3).patches == 2 and ViewPlan(patches=0).limited(3).patches == 0
    assert ViewPlan().limited(None) == ViewPlan() and ViewPlan(None).limited(3) == ViewPlan(None)


@given(st.integers(1, 500), st.integers(1, 500))
def test_mirroring_keeps_the_image_and_reaches_patch_size(height, width):
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    mirrored = mirror_to(pixels, PATCH)
    assert mirrored.shape[:2] == (max(224, height), max(224, width))
    assert (mirrored[:height, :width] == pixels).all()


@pytest.mark.parametrize("size", [(1, 1), (100, 900), (224, 224), (5000, 7), (333, 777)])
def test_thumbnail_shows_the_whole_image(size):
    pixels = np.zeros((*size, 3), np.uint8)
    pixels[: size[0] // 2] = 200
    small = thumbnail(pixels, PATCH)
    assert small.shape == (224, 224, 3) and small.dtype == np.uint8
    assert abs(small.mean() - pixels.mean()) < 2


@given(SIDES, SIDES)
def test_cell_map_of_a_constant_is_that_constant(height, width):
    grid = patch_grid(height, width)
    cells = cell_map(torch.full((len(grid), 14, 14, 2), 0.3), grid)
    assert cells.shape == (math.ceil(height / 16), math.ceil(width / 16), 2)
    assert torch.allclose(cells, torch.tensor(0.3), atol=1e-5)


@pytest.mark.parametrize("parts", [14, 16])
def test_cell_map_puts_each_part_where_its_pixels_are(parts):
    grid = patch_grid(300, 500)
    values = torch.zeros(len(grid), parts, parts, 3)
    values[-1, -1, -1, 1] = 1  # the last part of the last patch: the bottom right corner of the image
    cells = cell_map(values, grid).numpy()
    assert (cells[..., [0, 2]] == 0).all()
    cells = cells[..., 1]
    assert np.unravel_index(cells.argmax(), cells.shape) == (18, 31)
    assert (cells > 0).sum() <= 4


def test_cell_map_agrees_with_averaging_pixel_by_pixel():
    grid = patch_grid(250, 400)
    parts = np.random.default_rng(0).random((len(grid), 14, 14)).astype(np.float32)
    total, count = np.zeros((250, 400)), np.zeros((250, 400))
    for (left, top, _, _), values in zip(grid.boxes(), parts, strict=True):
        total[top : top + 224, left : left + 224] += np.kron(values, np.ones((16, 16)))
        count[top : top + 224, left : left + 224] += 1
    cells = cell_map(torch.from_numpy(parts)[..., None], grid)[..., 0]
    block = (slice(224, 240), slice(0, 16))  # one patch of four covers these pixels
    assert cells[14, 0] == pytest.approx((total / count)[block].mean(), abs=1e-5)


@given(SIDES, SIDES, st.integers(1, 60))
def test_patches_that_are_drawn_are_different_few_and_spread_over_the_image(height, width, most):
    grid = patch_grid(height, width)
    drawn = stratified_sample(grid, most)
    assert drawn == sorted(set(drawn)) == stratified_sample(grid, most) and 1 <= len(drawn) <= min(most, len(grid))
    assert len(drawn) > min(most, len(grid)) / 2
    if most >= 4 and min(len(grid.tops), len(grid.lefts)) >= 2 and len(drawn) > 3:
        rows, cols = {n // len(grid.lefts) for n in drawn}, {n % len(grid.lefts) for n in drawn}
        assert len(rows) > 1 and len(cols) > 1
