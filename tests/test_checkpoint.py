import json
import os
import shutil

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from hidascan.detectors import find_weights
from hidascan.detectors.checkpoint import load_backbone, load_detector, save_backbone
from hidascan.errors import CheckpointError
from tests.conftest import TINY, save_picture

EXAMPLES = int(os.environ.get("HIDASCAN_EXAMPLES", "50"))  # of files drawn by Hypothesis


@pytest.fixture
def copied(tiny_weights, tmp_path):
    for path in tiny_weights.parent.glob("*.safetensors"):
        shutil.copy(path, tmp_path)
    return tmp_path / tiny_weights.name


def test_a_checkpoint_is_self_contained(tiny_weights):
    network, header = load_detector(tiny_weights)
    assert header.architecture == "hidanet" and header.config == TINY == network.config
    assert json.loads(json.dumps(header.training)) == header.training


def test_bf16_keeps_all_but_the_backbone_in_full_precision(tiny_weights):
    network, _ = load_detector(tiny_weights, torch.bfloat16)
    vit = network.backbone.vit
    assert vit.blocks[0].mlp.fc1.weight.dtype == torch.bfloat16 and vit.cls_token.dtype == torch.float32
    assert {weight.dtype for weight in network.fusion.parameters()} == {torch.float32}
    assert network.backbone(torch.zeros(1, 3, 224, 224, dtype=torch.uint8)).dtype == torch.float32


def test_int8_matrices_are_scaled_by_row(tmp_path, tiny_weights):
    plain = load_file(tiny_weights.parent / "backbone-tiny.safetensors")
    name = "blocks.0.mlp.fc1.weight"
    scale = plain[name].abs().amax(dim=1) / 127
    stored = {k: v for k, v in plain.items() if k != name}
    stored |= {name + ".q8": (plain[name] / scale[:, None]).round().to(torch.int8), name + ".scale": scale}
    save_backbone(tmp_path / "b.safetensors", stored, TINY.backbone, "none")
    weight = load_backbone(TINY.backbone, TINY.taps, 224, tmp_path / "b.safetensors").vit.blocks[0].mlp.fc1.weight
    assert ((weight - plain[name]).abs() <= scale[:, None] / 2 + plain[name].abs() / 200 + 1e-7).all()


def test_the_weights_that_views_meet_are_the_same_in_every_precision(tmp_path, tiny_weights):
    """Norms, biases and position embeddings too: once, bf16 rounded them and fp32 did not, and every score moved."""
    tensors = load_file(tiny_weights.parent / "backbone-tiny.safetensors")
    save_backbone(
        tmp_path / "b.safetensors", {k: v + torch.randn_like(v) * 0.1 for k, v in tensors.items()}, TINY.backbone, ""
    )
    whole, narrow = (
        load_backbone(TINY.backbone, TINY.taps, 224, tmp_path / "b.safetensors", dtype).vit.state_dict()
        for dtype in (torch.float32, torch.bfloat16)
    )
    assert all(torch.equal(whole[name], narrow[name].float()) for name in whole)
    whole, narrow = (
        load_detector(tiny_weights, dtype)[0].fusion.state_dict() for dtype in (torch.float32, torch.bfloat16)
    )
    assert all(torch.equal(whole[name], narrow[name].float()) for name in whole)


def cut_in_half(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def replace_by_text(path):
    path.write_text("not weights at all")


def replace_by_foreign_tensors(path):
    save_file({"a": torch.zeros(2)}, path)


def lose_a_tensor(path):
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    tensors.pop(sorted(tensors)[0])
    save_file(tensors, path, metadata)


def take_it_away(path):
    path.unlink()


@pytest.mark.parametrize("file", ["tiny.safetensors", "backbone-tiny.safetensors"])
@pytest.mark.parametrize(
    "harm",
    [cut_in_half, replace_by_text, replace_by_foreign_tensors, lose_a_tensor, take_it_away],
    ids=lambda f: f.__name__,
)
def test_broken_weights_end_in_one_line_and_exit_code_2(copied, hidascan, tmp_path, file, harm):
    harm(copied.parent / file)
    ran = hidascan(save_picture(tmp_path / "a.png"), "--weights", copied)
    assert ran.code == 2 and ran.out == ""
    assert ran.err.startswith("hidascan: ") and ran.err.count("\n") == 1 and file in ran.err


def test_a_backbone_in_place_of_the_trained_part_is_refused(tiny_weights):
    with pytest.raises(CheckpointError, match="not a trained file"):
        load_detector(tiny_weights.parent / "backbone-tiny.safetensors")


def test_unknown_names_are_answered_with_the_known_ones(hidascan, tmp_path):
    ran = hidascan(save_picture(tmp_path / "a.png"), "--weights", "hidascan-z")
    assert ran.code == 2 and "no such weights" in ran.err


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=5),
    max_leaves=8,
)


def loads_or_fails_with_a_reason(path):
    try:
        load_detector(path)
    except CheckpointError as error:
        assert str(path.parent) in str(error) and "\n" not in str(error)


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_header_value_is_accepted_or_refused_with_a_reason(copied, data):
    with safe_open(copied, "pt") as file:
        header = json.loads(file.metadata()["hidascan"])
    inner = data.draw(st.sampled_from([header, header["config"], header["calibration"], header["parts"][0]]))
    inner[data.draw(st.sampled_from(sorted(inner)))] = data.draw(ANYTHING)
    changed = copied.parent / "changed.safetensors"
    save_file(load_file(copied), changed, {"hidascan": json.dumps(header)})
    loads_or_fails_with_a_reason(changed)


@settings(max_examples=2 * EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_leading_bytes_are_refused_without_using_memory(copied, data):
    whole = copied.read_bytes()
    place = data.draw(st.integers(0, 3000))
    changed = copied.parent / "changed.safetensors"
    changed.write_bytes(whole[:place] + data.draw(st.binary(min_size=1, max_size=40)) + whole[place:])
    loads_or_fails_with_a_reason(changed)


@pytest.mark.parametrize("name", ["x" * 300, "two\nlines", "\0"])
def test_a_backbone_with_an_invalid_file_name_is_refused(copied, name):
    with safe_open(copied, "pt") as file:
        header = json.loads(file.metadata()["hidascan"])
    header["parts"][0]["file"] = name
    changed = copied.parent / "changed.safetensors"
    save_file(load_file(copied), changed, {"hidascan": json.dumps(header)})
    with pytest.raises(CheckpointError) as raised:
        load_detector(changed)
    assert "missing backbone" in str(raised.value) and "\n" not in str(raised.value)


def test_a_network_of_absurd_size_is_refused_at_once(copied):
    with safe_open(copied, "pt") as file:
        header = json.loads(file.metadata()["hidascan"])
    for name, value in (
        ("aggregator_depth", 10**9),
        ("dim", 10**9),
        ("taps", [1, 10**12]),
        ("heads", 0),
        ("dim", 32.5),
    ):
        wrong = header | {"config": header["config"] | {name: value}}
        save_file(load_file(copied), copied.parent / "wrong.safetensors", {"hidascan": json.dumps(wrong)})
        with pytest.raises(CheckpointError, match=name):
            load_detector(copied.parent / "wrong.safetensors")


def test_an_unknown_detector_is_answered_with_the_known_ones(copied):
    with safe_open(copied, "pt") as file:
        header = json.loads(file.metadata()["hidascan"]) | {"architecture": "oracle"}
    save_file(load_file(copied), copied.parent / "wrong.safetensors", {"hidascan": json.dumps(header)})
    with pytest.raises(CheckpointError, match=r"oracle.*available: cvt, glass, hidanet, npr, ppl"):
        load_detector(copied.parent / "wrong.safetensors")


def test_frozen_parts_must_match_the_network(copied):
    with safe_open(copied, "pt") as file:
        header = json.loads(file.metadata()["hidascan"])
    for parts in ([], [header["parts"][0] | {"module": "elsewhere"}], [header["parts"][0] | {"kind": "spell"}]):
        save_file(
            load_file(copied), copied.parent / "wrong.safetensors", {"hidascan": json.dumps(header | {"parts": parts})}
        )
        with pytest.raises(CheckpointError):
            load_detector(copied.parent / "wrong.safetensors")


def test_weights_are_found_by_name_path_and_folder(copied, monkeypatch):
    (copied.parent / "hidascan-b").mkdir()  # a folder of evidence may have any name
    shutil.copy(copied, copied.parent / "hidascan-b")
    monkeypatch.chdir(copied.parent)
    assert find_weights("hidascan-b").name == "hidascan-b.safetensors"
    assert find_weights("./hidascan-b").name == "tiny.safetensors"
    assert find_weights(str(copied)) == copied and find_weights(str(copied.parent)) == copied
    save_file({"cached": torch.zeros(2)}, copied.parent / "cached.safetensors")
    (copied.parent / "broken.safetensors").write_bytes(b"no weights")
    assert find_weights(str(copied.parent)) == copied
    shutil.copy(copied, copied.parent / "other.safetensors")
    with pytest.raises(CheckpointError, match=r"other\.safetensors, tiny\.safetensors"):
        find_weights(str(copied.parent))
    with pytest.raises(CheckpointError, match="shipped: glass, hidascan-b, ppl, vit-cnn"):
        find_weights("hidascan-z")


def test_a_frozen_part_may_lie_among_the_shipped_weights(copied, tmp_path_factory, monkeypatch):
    apart = tmp_path_factory.mktemp("apart")
    shutil.move(copied, apart / copied.name)
    with pytest.raises(CheckpointError, match="missing backbone"):
        load_detector(apart / copied.name)
    monkeypatch.setattr("hidascan.detectors.checkpoint.shipped_folders", lambda: [copied.parent])
    assert load_detector(apart / copied.name)[1].name == "tiny"
