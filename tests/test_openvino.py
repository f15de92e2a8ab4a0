"""The OpenVINO backend: what it says is what torch says but for a little, and its model is made once."""

import json
import sys
from dataclasses import replace

import pytest

from tests.conftest import TINY, save_picture, save_random_weights


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/hidascan"


@pytest.fixture
def pictures(tmp_path):
    for number in range(3):
        save_picture(tmp_path / f"in/{number}.png", 300, 200 + 150 * number, seed=number)
    return tmp_path / "in"


@pytest.mark.parametrize("backbone", [TINY.backbone, "vit_tiny_patch16_224"])  # our own, and by timm
def test_it_says_what_torch_says(hidascan, pictures, tmp_path, backbone):
    pytest.importorskip("openvino")
    weights = save_random_weights(tmp_path, replace(TINY, backbone=backbone))
    said = {}
    for backend in ("torch", "openvino"):
        ran = hidascan(pictures, "--jsonl", "-", "--backend", backend, "--precision", "fp32", "--weights", weights)
        said[backend] = [json.loads(line) for line in ran.out.splitlines()]
    for one, other in zip(said["torch"], said["openvino"], strict=True):
        assert one["score"] == pytest.approx(other["score"], abs=0.02)
        assert one["ai_area"] == pytest.approx(other["ai_area"], abs=0.05)


def test_the_converted_network_is_kept_and_used_again(hidascan, pictures, cache):
    pytest.importorskip("openvino")
    first = hidascan(pictures, "--backend", "openvino").out
    (kept,) = cache.glob("*.xml")
    made = kept.stat().st_mtime_ns
    assert hidascan(pictures, "--backend", "openvino").out == first and kept.stat().st_mtime_ns == made
    assert sorted(path.suffix for path in cache.iterdir()) == [".bin", ".xml"]


def test_a_cache_that_cannot_be_written_is_done_without(hidascan, pictures, cache):
    pytest.importorskip("openvino")
    cache.parent.write_text("no folder")
    assert len(hidascan(pictures, "--backend", "openvino").out.splitlines()) == 3


def test_without_openvino_the_way_to_get_it_is_said(hidascan, pictures, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    ran = hidascan(pictures, "--backend", "openvino")
    assert ran.code == 2 and "pip install 'hidascan[openvino]'" in ran.err and not ran.out


def test_a_backend_that_is_none_is_refused(hidascan, pictures):
    assert "torch, openvino" in hidascan(pictures, "--backend", "abacus").err
