"""A scan that stops when its verdict is settled: the same verdict, fewer patches, and full where it must be."""

import dataclasses
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hidascan import Scanner, ScanOptions
from hidascan.calibration import Calibration
from hidascan.detectors.checkpoint import load_detector, save_trained
from hidascan.geometry import patch_grid, spread_order
from hidascan.settling import doubt_of, reach, settled_by
from tests.conftest import TINY, picture, save_picture, save_random_weights


@pytest.fixture
def settling(tmp_path):
    """Make weights with a rule of settling."""

    def make(factor: float, floor: float, **thresholds):
        path = save_random_weights(tmp_path, TINY)
        detector, header = load_detector(path)
        calibration = dataclasses.replace(header.calibration, settling=(factor, floor), **thresholds)
        save_trained(path, detector, dataclasses.replace(header, calibration=calibration))
        return path

    return make


@given(st.integers(1, 2500), st.integers(1, 2500))
def test_an_order_has_every_patch_once_and_starts_in_the_middle(height, width):
    grid = patch_grid(height, width, 224)
    order = spread_order(grid)
    assert sorted(order) == list(range(len(grid)))
    rows, columns = divmod(order[0], len(grid.lefts))
    assert abs(rows - (len(grid.tops) - 1) / 2) <= 1 and abs(columns - (len(grid.lefts) - 1) / 2) <= 1


def test_a_prefix_of_the_order_is_spread_over_the_image():
    grid = patch_grid(2240, 2240)
    seen = {divmod(number, 10) for number in spread_order(grid)[:9]}
    quarters = {(row >= 5, column >= 5) for row, column in seen}
    assert len(quarters) == 4


def test_the_jackknife_of_a_mean_is_its_standard_error():
    values = np.random.default_rng(0).normal(size=12)
    mean = values.mean()
    effects = [mean - np.delete(values, place).mean() for place in range(12)]
    assert doubt_of(mean, effects) == pytest.approx(values.std(ddof=1) / math.sqrt(12))


def test_nothing_is_left_open_when_all_has_been_seen():
    assert reach((3.0, 2.0), 0.5, 40, 40) == 0
    assert reach((3.0, 2.0), 0.5, 10, 40) > reach((3.0, 2.0), 0.5, 20, 40) > 0


def test_a_verdict_is_settled_where_both_ends_of_its_reach_have_it():
    rule = settled_by(Calibration(settling=(1.0, 0.0)), "balanced", None)
    assert rule(2.0, 0.5, 20, 100) and not rule(0.2, 0.5, 20, 100) and not rule(2.0, 0.5, 2, 100)


def test_far_fewer_patches_settle_a_clear_verdict(settling, tmp_path):
    weights = settling(0.0, 0.0)
    (tmp_path / "in").mkdir()
    for number, side in enumerate((230, 700, 1800)):
        save_picture(tmp_path / "in" / f"{number}.png", side, side, seed=number)
    options = ScanOptions(str(weights), precision="fp32", batch_size=16)
    full = list(Scanner(options).scan([tmp_path / "in"]))
    seen: list[int] = []
    fast = list(Scanner(dataclasses.replace(options, fast=True)).scan([tmp_path / "in"], seen.append))
    assert [one.patches for one in full] == [4, 16, 81]
    assert [one.patches for one in fast] == [4, 7, 7] and sum(seen) == 5 + 8 + 8
    assert fast[0].heatmap is not None and fast[1].heatmap is None
    assert fast[0].logit == pytest.approx(full[0].logit, abs=1e-5)
    assert "7 of 81 patches settled the verdict" in fast[2].notes[-1]


def test_a_verdict_that_is_never_settled_is_that_of_all_patches(settling, tmp_path):
    weights = settling(1e9, 1e9)
    pixels = picture(900, 1100)
    pixels[:500] = 255  # patches of one colour, which are looked at once
    options = ScanOptions(str(weights), precision="fp32", batch_size=4)
    full = Scanner(options).scan_array(pixels)
    fast = Scanner(dataclasses.replace(options, fast=True)).scan_array(pixels)
    assert fast.patches == full.patches and fast.logit == pytest.approx(full.logit, abs=1e-5)
    assert np.allclose(fast.heatmap, full.heatmap, atol=1e-5) and not any("settled" in note for note in fast.notes)


def test_order_and_bad_files_are_as_in_a_full_scan(hidascan, settling, tmp_path):
    weights = settling(0.3, 0.1)
    for number in range(9):
        side = (240, 900, 500)[number % 3]
        save_picture(tmp_path / "in" / f"{number}.png", side, side, seed=number)
    (tmp_path / "in/4.png").write_bytes(b"broken")
    ran = hidascan(tmp_path / "in", "--weights", weights, "--fast", "--jsonl", "-", "--batch-size", 8)
    rows = [json.loads(line) for line in ran.out.splitlines()]
    assert [row["path"][-5:] for row in rows] == [f"{number}.png" for number in range(9)]
    assert [row["status"] for row in rows].index("error") == 4


def test_what_it_does_not_go_with_is_said(hidascan, tiny_weights, tmp_path):
    picture = save_picture(tmp_path / "a.png")
    for option in ("--explain", "--heatmap", "--patches=3"):
        ran = hidascan(picture, "--fast", option)
        assert ran.code == 2 and "--fast" in ran.err
    assert "do not tell when a verdict is settled" in hidascan(picture, "--fast").err
