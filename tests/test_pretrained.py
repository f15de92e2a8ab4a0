"""Pre-trained weights: from a local file, or from an unreachable hub."""

import pytest
import timm
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

from hidascan.detectors import detector_class
from hidascan.detectors.checkpoint import load_backbone
from hidascan.errors import RecipeError
from hidascan.lab.cli import app
from hidascan.lab.training.pretrained import start_from_pretrained
from tests.conftest import OURS

MODEL = "resnet10t"


def resnet():
    kind = detector_class("resnet")
    return kind(kind.Config(model=MODEL))


@pytest.fixture
def state():
    torch.manual_seed(1)
    return timm.create_model(MODEL, num_classes=1000).state_dict()


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_a_local_file_fills_the_network_and_leaves_the_head(tmp_path, state, suffix):
    path = tmp_path / f"weights.{suffix}"
    save_file(state, path) if suffix == "safetensors" else torch.save(state, path)
    detector = resnet()
    head = detector.head.weight.clone()
    start_from_pretrained(detector, str(path))
    assert torch.equal(detector.network.conv1[0].weight, state["conv1.0.weight"])
    assert torch.equal(detector.head.weight, head)


def test_both_backbones_of_glass_are_filled(tmp_path, state):
    save_file(state, tmp_path / "weights.safetensors")
    kind = detector_class("glass")
    glass = kind(kind.Config(backbone=MODEL, crops=2))
    start_from_pretrained(glass, str(tmp_path / "weights.safetensors"))
    for encoder in (glass.whole_encoder, glass.crop_encoder):
        assert torch.equal(encoder.conv1[0].weight, state["conv1.0.weight"])


def test_unavailable_weights_are_reported_in_one_line(tmp_path, state, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    (tmp_path / "broken.safetensors").write_bytes(b"x" * 100)
    save_file({"conv1.0.weight": state["conv1.0.weight"]}, tmp_path / "part.safetensors")
    cases = {
        "timm": "cannot be downloaded",
        "timm:no_such_model": "cannot be downloaded",
        str(tmp_path / "none.pth"): "no such file",
        str(tmp_path / "broken.safetensors"): "cannot be read",
        str(tmp_path / "part.safetensors"): "matches only",
    }
    for where, reason in cases.items():
        with pytest.raises(RecipeError, match=reason) as caught:
            start_from_pretrained(resnet(), where)
        assert "\n" not in str(caught.value)


def test_a_detector_without_a_network_of_timms_is_refused():
    kind = detector_class("npr")
    with pytest.raises(RecipeError, match="NPR has no timm network"):
        start_from_pretrained(kind(kind.Config(width=8)), "timm")


def test_the_command_writes_a_backbone_from_a_file(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    torch.manual_seed(2)
    state = timm.create_model("vit_tiny_patch16_224").state_dict()
    save_file(state, tmp_path / "vit.safetensors")
    out = tmp_path / "backbone.safetensors"
    command = ["backbone", "vit_tiny_patch16_224", "--out", str(out)]
    ran = CliRunner().invoke(app, [*command, "--pretrained", str(tmp_path / "vit.safetensors")], catch_exceptions=False)
    assert ran.exit_code == 0
    loaded = load_backbone("vit_tiny_patch16_224", (12,), 224, out)
    assert torch.allclose(loaded.vit.cls_token, state["cls_token"], atol=1e-3)
    failed = CliRunner().invoke(app, ["backbone", OURS, "--out", str(tmp_path / "none.safetensors")])
    assert isinstance(failed.exception, RecipeError) and not (tmp_path / "none.safetensors").exists()
