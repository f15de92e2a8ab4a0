"""Early stopping: the same verdict with fewer patches, and a full scan if required."""

import dataclasses
import json
import math
import shutil

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from hidascan import Scanner, ScanOptions
from hidascan.calibration import Calibration
from hidascan.detectors.base import Positions
from hidascan.detectors.checkpoint import load_detector, save_trained
from hidascan.examination import error_margin, jackknife_error, settled_by
from hidascan.geometry import patch_grid, spread_order
from hidascan.lab.cli import app
from hidascan.lab.data.tables import LabelledImage
from hidascan.lab.measure.calibration import recalibrate
from hidascan.lab.measure.entries import EntryTrainer, read_entry
from hidascan.lab.measure.settling import (
    Trajectory,
    cross_fitted,
    fit_settling,
    outcome,
    record_trajectories,
)
from hidascan.options import PROFILES
from tests.conftest import picture, save_picture
from tests.lab import on_cpu
from tests.test_compare import recipes  # noqa: F401
from tests.test_end_to_end import folder  # noqa: F401


@pytest.fixture
def settling(tiny_weights, tmp_path):
    """Make weights with a rule of settling."""

    def make(factor: float, floor: float, **thresholds):
        path = shutil.copytree(tiny_weights.parent, tmp_path / "weights", dirs_exist_ok=True) / tiny_weights.name
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
    assert jackknife_error(mean, effects) == pytest.approx(values.std(ddof=1) / math.sqrt(12))


def test_the_margin_is_zero_when_all_patches_are_seen():
    assert error_margin((3.0, 2.0), 0.5, 40, 40) == 0
    assert error_margin((3.0, 2.0), 0.5, 10, 40) > error_margin((3.0, 2.0), 0.5, 20, 40) > 0


def test_a_verdict_is_settled_if_it_is_the_same_at_both_ends_of_the_margin():
    rule = settled_by(Calibration(settling=(1.0, 0.0)).rule("balanced"))
    assert rule(2.0, 0.5, 20, 100) and not rule(0.2, 0.5, 20, 100) and not rule(2.0, 0.5, 2, 100)


def test_far_fewer_patches_settle_a_clear_verdict(settling, tmp_path):
    weights = settling(0.0, 0.0, localisation=1.1)
    (tmp_path / "in").mkdir()
    for number, side in enumerate((230, 700)):
        save_picture(tmp_path / "in" / f"{number}.png", side, side, seed=number)
    options = ScanOptions(str(weights), precision="fp32", batch_size=16)
    full = list(Scanner(options).scan([tmp_path / "in"]))
    seen: list[int] = []
    fast = list(Scanner(dataclasses.replace(options, fast=True)).scan([tmp_path / "in"], seen.append))
    assert [one.patches for one in full] == [4, 16]
    assert [one.patches for one in fast] == [4, 10] and sum(seen) == 5 + 11
    assert fast[0].heatmap is not None and fast[1].heatmap is None
    assert fast[0].logit == pytest.approx(full[0].logit, abs=1e-5)
    assert "stopped early after 10 of 16 patches" in fast[1].notes[-1]


def test_a_scan_is_full_if_the_suspects_are_the_last_patches(settling):
    options, pixels = ScanOptions(str(settling(0.0, 0.0, localisation=1.1)), precision="fp32"), picture(660, 660)
    full, fast = (Scanner(dataclasses.replace(options, fast=fast)).scan_array(pixels) for fast in (False, True))
    assert full.patches == fast.patches == 9
    assert fast.logit == pytest.approx(full.logit, abs=1e-5) and np.allclose(fast.heatmap, full.heatmap, atol=1e-5)
    assert not any("settled" in note for note in fast.notes)


@pytest.mark.parametrize(("thresholds", "patches"), [((1.0, 1.1), 16), ((0.0, 0.0), 10)])
def test_a_hot_patch_requires_a_full_scan_unless_the_image_is_ai_anyway(settling, thresholds, patches):
    weights = settling(0.0, 0.0, localisation=0.0, thresholds=dict.fromkeys(PROFILES, thresholds))
    options = ScanOptions(str(weights), precision="fp32")
    pixels = picture(700, 700)
    fast = Scanner(dataclasses.replace(options, fast=True)).scan_array(pixels)
    assert fast.patches == patches
    if patches == 16:
        full = Scanner(options).scan_array(pixels)
        assert fast.logit == pytest.approx(full.logit, abs=1e-5) and np.allclose(fast.heatmap, full.heatmap, atol=1e-5)


def test_suspects_are_the_patches_with_traces(settling, tmp_path):
    scanner = Scanner(ScanOptions(str(settling(0.0, 0.0)), precision="fp32", fast=True))
    grid, traced = patch_grid(1800, 1800), 13
    assert traced not in spread_order(grid)[:7]

    def traces(views, where):
        rows = torch.zeros(len(views), 8)
        rows[(where.corners == torch.tensor(grid.boxes()[traced][1::-1])).all(1), 2] = 1.0
        return rows

    encoded = []
    scanner.detector.glance = traces
    scanner.engine.runner.encode = lambda views, where: encoded.append(where.corners) or scanner.encode(views, where)
    scanner.scan_array(picture(1800, 1800))
    assert list(grid.boxes()[traced][1::-1]) in torch.cat(encoded).tolist()


def test_a_glance_is_the_output_of_the_filters_at_the_middle_of_a_patch():
    scanner = Scanner(ScanOptions("hidascan-b", precision="fp32"))
    image = torch.from_numpy(picture(300, 300)).permute(2, 0, 1)
    for corner in ((0, 0), (3, 21)):
        view = image[None, :, corner[0] : corner[0] + 224, corner[1] : corner[1] + 224]
        where = Positions(torch.zeros(1, dtype=torch.bool), torch.tensor([corner]))
        top, left = (-(-(start + 56) // 8) * 8 for start in corner)  # the first block's corner from the window on
        window = image[None, :, top : top + 112, left : left + 112]
        expected = scanner.detector.residuals(window).mean((1, 2))[:, :8]
        assert torch.allclose(scanner.detector.glance(view, where), expected, atol=1e-5)


@torch.inference_mode()
@pytest.mark.parametrize("likely, sure", [(-1.5, 0.5), (0.2, 0.2), (-0.5, 30.0)])
def test_the_peak_value_of_a_patch_is_that_of_its_own_map(tiny_weights, likely, sure):
    scanner, grid = Scanner(ScanOptions(str(tiny_weights), precision="fp32")), patch_grid(224, 224)
    network, views = scanner.detector, torch.randint(0, 256, (5, 3, 224, 224), dtype=torch.uint8)
    network.heatmap.likely.fill_(likely), network.heatmap.sure.fill_(sure), network.heatmap.evidence.fill_(0.1)
    corners = torch.arange(10).view(5, 2) * 8
    encoded = network.encode(views, Positions(torch.arange(5) == 0, corners))
    evidence = network.probe.patch_votes(encoded["projected"][:1], encoded["projected"][1:])
    for place, peak in enumerate(network.peak_values(encoded)):
        cells = network.locate_cells({name: rows[[place + 1]] for name, rows in encoded.items()}, grid)
        alone = network.heatmap(cells, evidence[place].expand_as(cells))
        assert float(peak) == pytest.approx(float(alone.max()), abs=1e-5)


def test_a_verdict_that_is_never_settled_is_that_of_all_patches(settling, tmp_path):
    weights = settling(1e9, 1e9)
    pixels = picture(900, 1100)
    pixels[:500] = 255  # patches of one colour, which are encoded once
    options = ScanOptions(str(weights), precision="fp32", batch_size=4)
    full = Scanner(options).scan_array(pixels)
    fast = Scanner(dataclasses.replace(options, fast=True)).scan_array(pixels)
    assert fast.patches == full.patches and fast.logit == pytest.approx(full.logit, abs=1e-5)
    assert np.allclose(fast.heatmap, full.heatmap, atol=1e-5) and not any("settled" in note for note in fast.notes)


def test_an_image_that_is_nearly_all_of_one_colour_has_its_row(settling):
    weights = settling(1e9, 1e9)
    pixels = np.full((2000, 2000, 3), 255, np.uint8)
    pixels[:300, :300] = picture(300, 300)
    options = ScanOptions(str(weights), precision="fp32")
    full = Scanner(options).scan_array(pixels)
    fast = Scanner(dataclasses.replace(options, fast=True)).scan_array(pixels)
    assert fast.patches == full.patches == 81 and fast.logit == pytest.approx(full.logit, abs=1e-5)


def test_order_and_bad_files_are_as_in_a_full_scan(hidascan, settling, tmp_path):
    weights = settling(0.3, 0.1)
    for number in range(6):
        side = (240, 700, 500)[number % 3]
        save_picture(tmp_path / "in" / f"{number}.png", side, side, seed=number)
    (tmp_path / "in/4.png").write_bytes(b"broken")
    ran = hidascan(tmp_path / "in", "--weights", weights, "--fast", "--jsonl", "-", "--batch-size", 8)
    rows = [json.loads(line) for line in ran.out.splitlines()]
    assert [row["path"][-5:] for row in rows] == [f"{number}.png" for number in range(6)]
    assert [row["status"] for row in rows].index("error") == 4


@pytest.mark.parametrize("wrong", [[], [1.0], [1, 2, 3], [-1, 0], [float("nan"), 0], 5, "ab"])
def test_an_invalid_rule_is_refused_with_a_reason(hidascan, settling, tmp_path, wrong):
    weights = settling(1.0, 0.0)
    detector, header = load_detector(weights)
    broken = dataclasses.replace(header.calibration, settling=wrong)
    save_trained(weights, detector, dataclasses.replace(header, calibration=broken))
    ran = hidascan(save_picture(tmp_path / "a.png"), "--weights", weights)
    assert ran.code == 2 and ran.err.count("\n") == 1 and "unexpected" not in ran.err


def test_conflicting_options_are_reported(hidascan, tiny_weights, tmp_path):
    picture = save_picture(tmp_path / "a.png")
    for option in ("--explain", "--heatmap", "--patches=3"):
        ran = hidascan(picture, "--fast", option)
        assert ran.code == 2 and "--fast" in ran.err
    assert "were not calibrated for early stopping" in hidascan(picture, "--fast").err


def trajectories(count: int, noise: float) -> list[Trajectory]:
    """Images whose logits come to that of all patches as means of samples do."""
    rng, found = np.random.default_rng(0), []
    for number in range(count):
        final, steps = rng.normal(0, 3), []
        for seen in (7, 15, 31, 63):
            error = noise * math.sqrt(1 / seen - 1 / 100)
            steps.append((final + error * rng.normal(), error, seen, 100))
        found.append(Trajectory(f"{number}.png", steps, final, 100))
    return found


def test_a_rule_is_more_careful_for_noisier_logits():
    calibration = Calibration(thresholds=dict.fromkeys(PROFILES, (0.3, 0.7)))
    calm, restless = (trajectories(300, noise) for noise in (0.1, 3.0))
    seen = []
    for some in (calm, restless):
        found = outcome(some, calibration, fit_settling(some, calibration))
        assert found.differ <= 0.005 and not found.reversed
        seen.append(found.seen.mean())
    assert seen[0] < 12 < 30 < seen[1]
    figures = cross_fitted(restless, [number % 3 for number in range(300)], calibration)
    assert figures["verdicts_differ"] < 0.02 and figures["patches_seen"] < figures["patches_in_all"] == 30_000


def test_trajectories_are_recorded_once_and_the_rule_is_written(settling, tmp_path, monkeypatch):
    weights = settling(9.0, 9.0)
    images = []
    for number in range(4):
        path = save_picture(tmp_path / "in" / f"{number}.png", 900, 230 + 400 * (number % 2), seed=number)
        images.append(LabelledImage(path, number % 2, "g", f"s{number}", "photo", ""))
    (tmp_path / "in/broken.png").write_bytes(b"broken")
    images.append(LabelledImage(tmp_path / "in/broken.png", 0, "g", "s", "photo", ""))
    scanner = Scanner(ScanOptions(str(weights), precision="fp32"))
    full = [one.logit for one in scanner.scan([image.path for image in images]) if one.logit is not None]
    found = record_trajectories(scanner, images, tmp_path / "ways.jsonl")
    assert [trajectory.logit for trajectory in found] == pytest.approx(full, abs=1e-5)
    assert [[step[2:] for step in trajectory.steps] for trajectory in found] == [[(7, 10)], [(7, 15)]] * 2
    monkeypatch.setattr(scanner, "scan", None)
    assert record_trajectories(scanner, images[:4], tmp_path / "ways.jsonl") == found
    recalibrate(weights, settling=(0.0, 0.0))
    assert load_detector(weights)[1].calibration.settling == (0.0, 0.0)


def test_settle_fits_out_of_fold_and_writes(recipes, tmp_path):  # noqa: F811
    cache, recipe = tmp_path / "cache", f"{recipes}/npr.toml"
    weights = EntryTrainer(on_cpu(cache), ScanOptions()).weights(read_entry(recipe), ())
    command = ["settle", recipe, weights, "--cache", cache, "--images", 12, "--folds", 2, "--precision", "fp32"]
    ran = CliRunner().invoke(app, [*map(str, command), "--write"], catch_exceptions=False)
    printed = [json.loads(line) for line in ran.output.splitlines() if line.startswith("{")]
    assert ran.exit_code == 0 and printed[-2]["images"] == 12 and printed[-2]["verdicts_differ"] == 0
    assert load_detector(weights)[1].calibration.settling == tuple(printed[-1]["settling"])
