"""Golden outputs: the results of the shipped weights and of a tiny network do not change unintentionally.

`python -m tests.goldens.record FILE` records new outputs; tests/goldens/ has the reference.
"""

import json

import cv2
import numpy as np
import pytest
import torch

import hidascan.image.views as views
import hidascan.prepare as prepare
from hidascan.detectors.backbones import FrozenViT
from hidascan.device import cpu_has_bf16
from tests.goldens.record import (
    EXAMPLES,
    OTHERS,
    SHIPPED,
    TINY,
    TINY_WEIGHTS,
    difference,
    made_images,
    numbers,
    record,
    shipped_names,
)

ACROSS_MACHINES = 1e-4  # of a logit of 20: other processors add up in another order
IN_BF16 = 0.01  # of a score
SMALLEST = [path for path in EXAMPLES if path.name in ("coffee.png", "chelsea.jpg")]  # a PNG and a JPEG


@pytest.fixture
def made(tmp_path):
    folder = tmp_path / "made"
    folder.mkdir()
    return made_images(folder)


def largest(golden: dict, found: dict) -> float:
    return max(difference(golden, found).values())


def test_the_tiny_network_matches_its_goldens(made):
    assert largest(json.loads(TINY.read_text()), record(made, TINY_WEIGHTS, "fp32")) < ACROSS_MACHINES


@pytest.mark.slow
def test_the_shipped_weights_match_their_goldens(shipped):
    found = difference(json.loads(SHIPPED.read_text()), numbers(shipped))
    assert max(found.values()) < ACROSS_MACHINES, found


@pytest.mark.slow
@pytest.mark.skipif(not cpu_has_bf16(), reason="this CPU computes bf16 in software, ten times slower")
def test_bf16_moves_no_score_of_the_shipped_weights_by_a_hundredth():
    found = difference(json.loads(SHIPPED.read_text()), record(EXAMPLES, "hidascan-b", "bf16"))
    assert found["score"] < IN_BF16 and found["regions"] == 0


def test_all_weights_that_ship_have_goldens():
    assert shipped_names() == sorted(["hidascan-b", *json.loads(OTHERS.read_text())])


@pytest.mark.parametrize("name", json.loads(OTHERS.read_text()))
def test_the_other_weights_match_their_goldens(name):
    found = record(SMALLEST, name, "fp32", maps=False)
    golden = json.loads(OTHERS.read_text())[name]
    assert len(found) == 2 and largest({name: golden[name] for name in found}, found) < ACROSS_MACHINES


def half_a_pixel_to_the_right(monkeypatch):
    def shifted(pixels, *plan):
        moved = cv2.warpAffine(np.ascontiguousarray(pixels), np.float32([[1, 0, 0.5], [0, 1, 0]]), pixels.shape[1::-1])
        return views.cut_views(moved, *plan)

    monkeypatch.setattr(prepare, "cut_views", shifted)


def blue_for_red(monkeypatch):
    monkeypatch.setattr(prepare, "cut_views", lambda pixels, *plan: views.cut_views(pixels[..., ::-1], *plan))


def another_resampling(monkeypatch):
    def thumbnail(pixels, side):
        return cv2.resize(pixels, (side, side), interpolation=cv2.INTER_LINEAR)

    monkeypatch.setattr(views, "thumbnail", thumbnail)


def no_normalisation(monkeypatch):
    def neither(self):
        self.mean, self.std = torch.zeros(1, 3, 1, 1), torch.ones(1, 3, 1, 1)

    monkeypatch.setattr(FrozenViT, "set_standardisation", neither)


SABOTAGES = (half_a_pixel_to_the_right, blue_for_red, another_resampling, no_normalisation)


@pytest.mark.parametrize("sabotage", SABOTAGES, ids=lambda f: f.__name__)
def test_a_changed_preprocessing_moves_the_goldens_of_the_tiny_network(made, monkeypatch, sabotage):
    sabotage(monkeypatch)
    moved = difference(json.loads(TINY.read_text()), record(made, TINY_WEIGHTS, "fp32"))
    assert moved["logit"] > 10 * ACROSS_MACHINES


def test_a_changed_preprocessing_moves_the_goldens_of_the_shipped_weights(monkeypatch):
    half_a_pixel_to_the_right(monkeypatch)  # the least change
    golden = {"repainted/chelsea.jpg": json.loads(SHIPPED.read_text())["repainted/chelsea.jpg"]}
    moved = difference(golden, record(SMALLEST[1:], "hidascan-b", "fp32"))
    assert moved["logit"] > 100 * ACROSS_MACHINES, moved
