"""When the score alone does not decide: pictures with nothing to judge, and heatmaps that contradict it."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from hidascan import Scanner, ScanOptions
from hidascan.calibration import Calibration
from hidascan.detectors.checkpoint import load_detector, save_trained
from hidascan.errors import CheckpointError
from hidascan.regions import Region
from tests.conftest import picture

WHITE = np.full((240, 300, 3), 255, np.uint8)


def blank_pictures() -> dict[str, np.ndarray | Image.Image]:
    dotted = WHITE.copy()
    dotted[100, 100] = 0
    shaded = np.broadcast_to(np.linspace(0, 255, 600).astype(np.uint8)[:, None, None], (600, 400, 3)).copy()
    unseen = Image.fromarray(picture(240, 300)).convert("RGBA")
    unseen.putalpha(0)
    return {
        "white": WHITE,
        "black": 0 * WHITE,
        "one dot": dotted,
        "a gradient": shaded,
        "transparent": unseen,
        "one pixel": picture(1, 1)[:1, :1],
        "an icon": picture(16, 16),
        "a thin strip": picture(63, 500),
    }


@pytest.fixture(scope="module")
def scanner(tiny_weights):
    return Scanner(ScanOptions(str(tiny_weights), threshold=1.0))  # without a rule, everything would be real


@pytest.mark.parametrize("suffix", ["png", "jpg"])
@pytest.mark.parametrize("name", blank_pictures())
def test_a_picture_without_content_is_inconclusive(scanner, tmp_path, name, suffix):
    made = blank_pictures()[name]
    image = made if isinstance(made, Image.Image) else Image.fromarray(made)
    if suffix == "jpg" and image.mode == "RGBA":
        pytest.skip("JPEG has no transparency")
    image.save(tmp_path / f"a.{suffix}")
    (finding,) = scanner.scan([tmp_path / f"a.{suffix}"])
    assert finding.verdict == "inconclusive" and any(note.startswith("nothing to judge") for note in finding.notes)


@pytest.mark.parametrize(
    "made",
    [picture(64, 64), picture(240, 300), 0 * WHITE + np.indices((240, 300)).sum(0)[..., None].astype(np.uint8) % 7],
)
def test_a_picture_with_content_is_judged(scanner, made):
    finding = scanner.scan_array(np.ascontiguousarray(made))
    assert finding.verdict == "real" and not any(note.startswith("nothing to judge") for note in finding.notes)


def weights_with(tiny_weights, folder, **changes):
    network, header = load_detector(tiny_weights)
    path = shutil.copytree(tiny_weights.parent, folder / "weights") / "changed.safetensors"
    save_trained(path, network, replace(header, calibration=replace(header.calibration, **changes)))
    return path


def test_a_sure_region_forbids_the_verdict_real_and_says_why(tiny_weights, tmp_path):
    path = weights_with(tiny_weights, tmp_path, localisation=0.0, sure_region=(0.5, 0.0))
    (finding,) = Scanner(ScanOptions(str(path), threshold=1.0)).scan_arrays([("a", picture(240, 300))])
    assert finding.verdict == "inconclusive" and finding.score < 1
    assert any("of the picture" in note and "looks AI-made" in note for note in finding.notes)


def test_only_large_and_hot_regions_contradict_and_only_a_verdict_of_real():
    large, hot, both = (Region(0, 0, 9, 9, area, score) for area, score in ((0.5, 0.6), (0.01, 0.99), (0.3, 0.9)))
    rule = Calibration(sure_region=(0.2, 0.8))
    assert rule.contradicting("real", [large, hot]) is None
    assert rule.contradicting("real", [large, hot, both]) == both
    assert rule.contradicting("ai", [both]) is None and Calibration().contradicting("real", [both]) is None


def test_weights_with_an_absurd_rule_are_refused(tiny_weights, tmp_path):
    path = weights_with(tiny_weights, tmp_path, sure_region=(float("nan"), 0.5))
    with pytest.raises(CheckpointError, match="sure_region"):
        load_detector(path)
