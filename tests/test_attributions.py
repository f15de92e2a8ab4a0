"""Regions and attributions of findings; safe outputs."""

import csv
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from hidascan import Scanner, ScanOptions
from hidascan.detectors.hidanet.network import HiDANet
from hidascan.geometry import patch_grid
from hidascan.regions import find_regions
from tests.conftest import TINY, picture, randomise, save_picture


def test_regions_are_boxes_in_pixels_largest_first():
    cells = np.zeros((10, 12), np.float32)
    cells[1:4, 2:6] = 0.8
    cells[8:, 10:] = 0.9
    cells[7, 9] = 0.9  # touches at a corner
    large, small = find_regions(cells, 0.5, width=190, height=155, cell=16)
    assert (large.left, large.top, large.right, large.bottom) == (32, 16, 96, 64)
    assert large.area == pytest.approx(12 / 120) and large.score == pytest.approx(0.8)
    assert (small.left, small.top, small.right, small.bottom) == (144, 112, 190, 155)
    assert find_regions(cells, 0.95, 190, 155, 16) == ()


def test_regions_and_effects_are_in_jsonl(hidascan, tmp_path):
    save_picture(tmp_path / "a.png", 240, 500)
    plain, explained = (
        json.loads(hidascan(tmp_path / "a.png", "--jsonl", "-", "--precision", "fp32", *more).out)
        for more in ((), ("--explain",))
    )
    assert plain["effects"] == [] and plain["logit"] == pytest.approx(explained["logit"], abs=1e-5)
    boxes = [tuple(effect[name] for name in ("left", "top", "width", "height")) for effect in explained["effects"]]
    assert boxes == patch_grid(240, 500).boxes()
    over = sum(region["area"] for region in explained["regions"])
    assert over == pytest.approx(explained["ai_area"], abs=1e-4) and explained["regions"] == plain["regions"]


def test_the_influence_of_a_patch_is_in_log_odds_of_the_score(tiny_weights):
    scanner, pixels = Scanner(ScanOptions(str(tiny_weights), precision="fp32", explain=True)), picture(240, 500)
    raw = scanner.scan_array(pixels)
    scanner.rule = replace(scanner.rule, calibration=replace(scanner.rule.calibration, scale=5.0))
    scaled = scanner.scan_array(pixels)
    assert len(raw.attributions) == 6 and any(one.effect for one in raw.attributions)
    for one, other in zip(raw.attributions, scaled.attributions, strict=True):
        assert other.effect == pytest.approx(5 * one.effect, abs=1e-5)
    odds = math.log(scaled.score / (1 - scaled.score))
    assert odds == pytest.approx(5 * scaled.logit + scanner.rule.calibration.shift, abs=1e-4)


@pytest.mark.parametrize("patches", [1, 2, 7])
def test_attributions_equal_the_effect_of_removing_a_patch(patches):
    torch.manual_seed(patches)
    network = HiDANet(TINY).eval()
    randomise(network.probe)
    network.vote.fill_(0.5)
    encoded = {
        "projected": torch.randn(1 + patches, TINY.components) * 0.3,
        "fam": torch.randn(1 + patches, TINY.dim),
        "qfe": torch.randn(1 + patches, TINY.quality_dim) * 0.3,
        "residuals": torch.zeros(1 + patches, 14, 14, TINY.residual_filters),
    }
    with torch.inference_mode():
        logit, found = network.decide(encoded).logit, network.attribute(encoded)
        for patch in range(1, 1 + patches):
            rest = [n for n in range(1 + patches) if n != patch]
            without = network.decide({name: rows[rest] for name, rows in encoded.items()}).logit
            assert float(found[patch - 1]) == pytest.approx(float(logit - without), abs=1e-4)


def test_a_name_that_a_spreadsheet_would_run_is_neutralised(hidascan, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_picture(tmp_path / "=1+1.png")
    save_picture(tmp_path / "plain.png")
    hidascan("=1+1.png", "plain.png", "--csv", "out.csv")
    rows = list(csv.DictReader((tmp_path / "out.csv").open()))
    assert [row["path"] for row in rows] == ["'=1+1.png", "plain.png"]
    assert all(float(row["score"]) >= 0 for row in rows)


def test_too_large_images_are_refused_with_a_reason(hidascan, tmp_path):
    save_picture(tmp_path / "a.png", 240, 300)
    ran = hidascan(tmp_path / "a.png", "--max-pixels", 50000)
    assert ran.code == 3 and "300x240 exceeds the limit" in ran.err
    assert hidascan(tmp_path / "a.png", "--max-pixels", 0).code == 2
