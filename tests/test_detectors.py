"""The contract of all detectors in the registry; new ones are tested automatically."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from torch import nn

from hidascan import Scanner, ScanOptions
from hidascan.detectors import DETECTORS, detector_class, detector_names
from hidascan.detectors.base import Decision, Detector, DetectorConfig, Positions, SingleView
from hidascan.detectors.checkpoint import CheckpointHeader, Part, load_detector, save_backbone, save_trained, sha256_of
from hidascan.detectors.hidanet.kernel_probe import KernelProbe
from hidascan.errors import CheckpointError
from hidascan.finding import Finding
from hidascan.geometry import ViewPlan, patch_grid
from hidascan.image.views import cut_views
from tests.conftest import OURS, TINY, picture, randomise, save_picture

SMALL = {  # configs that are quick to run; a detector that is not here is tested as its default has it
    "hidanet": dataclasses.asdict(TINY),
    "glass": {"backbone": OURS, "taps": (1, 2), "crops": 4, "scorer_dim": 8},
    "npr": {"width": 8},
    "vit": {"backbone": OURS, "tap": 2},
    "vit_cnn": {"backbone": OURS, "tap": 2},
    "ppl": {"backbone": OURS, "tap": 3, "adapted_depth": 2, "rank": 2},
    "spai": {"backbone": OURS, "taps": (1, 2), "dim": 16, "heads": 2, "head_dim": 8, "widening": 1},
    "cvt": {"widths": (8, 16, 24), "depths": (1, 1, 2), "heads": (1, 2, 3)},
    "resnet": {"model": "resnet10t"},
    "swin": {"side": 112},
    "hidanet of 112 px": dataclasses.asdict(TINY) | {"side": 112},
    "npr at several scales": {"width": 8, "scales": (25, 50, 75), "channel_attention": True, "spatial_attention": True},
    "ppl of several crops": {"backbone": OURS, "tap": 2, "adapted_depth": 1, "rank": 2, "crops": 3},
    "spai without attention": {"backbone": OURS, "taps": (1, 2), "dim": 16, "widening": 1, "attention": False},
    "spai of few tokens": {"backbone": OURS, "taps": (2,), "dim": 8, "heads": 2, "widening": 1, "token_stride": 3},
    "glass of two CNNs": {"backbone": "resnet10t", "crops": 4, "scorer_dim": 8},
    "glass of one CNN": {"backbone": "convnext_atto", "crops": 2, "scorer_dim": 8, "shared": True},
    "resnet with a Bayesian head": {"model": "resnet10t", "spatial_attention": True, "bayesian": True},
}
VARIANTS = list(dict.fromkeys([*detector_names(), *SMALL]))


def save_random(folder, name: str) -> str:
    """Weights of a newly built detector, with its frozen parts."""
    architecture = name.split()[0]
    kind = detector_class(architecture)
    config = kind.Config(**SMALL.get(name, {}))
    torch.manual_seed(0)
    detector, parts = kind(config), []
    for module in detector.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_var.uniform_(0.5, 2)
        if isinstance(module, KernelProbe):
            randomise(module)
    for module, part in detector.frozen_parts().items():
        path = folder / f"backbone-{name}-{module}.safetensors"
        save_backbone(path, part.vit.state_dict(), part.name, "none: random")
        parts.append(Part(module, path.name, sha256_of(path)))
    header = CheckpointHeader(name, architecture, config, tuple(parts))
    save_trained(folder / f"{name}.safetensors", detector, header)
    return str(folder / f"{name}.safetensors")


@pytest.fixture(scope="module", params=VARIANTS)
def weights(request, tmp_path_factory) -> str:
    return save_random(tmp_path_factory.mktemp(request.param.replace(" ", "-")), request.param)


@pytest.fixture(scope="module")
def scanner(weights) -> Scanner:
    return Scanner(ScanOptions(weights, precision="fp32", batch_size=5, explain=True))


SIZES = [(300, 500), (1, 1), (224, 224), (40, 700), (450, 260), (225, 231)]


@pytest.fixture(scope="module")
def pictures() -> list[tuple[str, np.ndarray]]:
    return [(f"{height}x{width}", picture(height, width, seed)) for seed, (height, width) in enumerate(SIZES)]


@pytest.fixture(scope="module")
def findings(scanner, pictures) -> list[Finding]:
    return list(scanner.scan_arrays(pictures))


def test_saved_weights_are_loaded_again(weights):
    detector, header = load_detector(weights)
    assert type(detector) is detector_class(header.architecture) and header.config == detector.config
    assert not detector.training and not any(tensor.is_meta for tensor in (*detector.parameters(), *detector.buffers()))
    with torch.no_grad():
        again = [load_detector(weights)[0].state_dict() for _ in range(2)]
    assert all(torch.equal(again[0][name], again[1][name]) for name in again[0])


def test_every_size_of_image_gets_a_finding(scanner, pictures, findings):
    for (name, pixels), finding in zip(pictures, findings, strict=True):
        assert (finding.path, finding.status) == (name, "ok") and np.isfinite(finding.logit) and 0 <= finding.score <= 1
        assert (finding.height, finding.width) == pixels.shape[:2]
        assert finding.patches == cut_views(pixels, scanner.plan).patches


def test_a_finding_says_which_part_of_a_picture_the_detector_never_examines(scanner, findings):
    side = scanner.plan.side
    for (height, width), finding in zip(SIZES, findings, strict=True):
        total = len(patch_grid(height, width, side)) if side else 1
        partly = total > 1 and finding.patches < total
        assert any(note.endswith("as always by this detector") for note in finding.notes) == partly, finding.path


def test_a_result_does_not_depend_on_the_batch(weights, pictures, findings):
    for batch_size, chosen in ((1, slice(2)), (16, slice(3, 5))):
        other = Scanner(ScanOptions(weights, precision="fp32", batch_size=batch_size))
        for one, finding in zip(pictures[chosen], findings[chosen], strict=True):
            assert other.scan_array(one[1]).logit == pytest.approx(finding.logit, abs=1e-4)


def test_bf16_is_near_fp32(weights, pictures, findings):
    narrow = Scanner(ScanOptions(weights, precision="bf16"))
    chosen = slice(2, 4)  # a few, as some CPUs compute bf16 slowly
    for one, other in zip(findings[chosen], narrow.scan_arrays(pictures[chosen]), strict=True):
        assert other.score == pytest.approx(one.score, abs=0.03)


def test_the_same_views_encode_to_the_same_rows_wherever_they_stand_in_a_batch(scanner):
    side = scanner.plan.side or 240
    views = torch.randint(0, 256, (3, 3, side, side), dtype=torch.uint8)
    where = Positions(torch.tensor([scanner.plan.thumbnail, False, False]), torch.tensor([[0, 0], [0, 8], [16, 0]]))
    with torch.inference_mode():
        rows = scanner.encode(views, where)
        turned = scanner.encode(views.flip(0), Positions(*(part.flip(0) for part in where)))
    assert rows and all(len(part) == 3 for part in rows.values())
    assert all(torch.allclose(rows[name], turned[name].flip(0), atol=1e-4) for name in rows)


def test_explain_gives_the_influence_of_each_patch(findings):
    for finding in findings:
        without_content = any(note.startswith("nothing to judge") for note in finding.notes)
        assert len(finding.attributions) == (0 if without_content else max(1, finding.patches))
        for one in finding.attributions:
            assert np.isfinite(one.effect) and one.width > 0 and one.height > 0
            assert 0 <= one.left < finding.width and 0 <= one.top < finding.height
    if finding.patches == 0 and finding.attributions:
        assert finding.attributions[0].effect == pytest.approx(finding.logit, abs=1e-5)


def test_a_heatmap_covers_the_image_or_is_not_there(scanner, findings):
    for finding in findings:
        without_content = any(note.startswith("nothing to judge") for note in finding.notes)
        if without_content or not scanner.detector.has_heatmap:
            assert finding.heatmap is None and finding.ai_area is None and not finding.regions
            continue
        assert finding.heatmap.shape == (-(-finding.height // 16), -(-finding.width // 16))
        assert ((finding.heatmap >= 0) & (finding.heatmap <= 1)).all()


def test_every_report_copes(hidascan, weights, scanner, tmp_path, monkeypatch):
    save_picture(tmp_path / "in/a.png", 300, 500)
    save_picture(tmp_path / "in/b.jpg", 100, 90, quality=80)
    (tmp_path / "in/broken.png").write_bytes(b"no picture")
    outputs = [part for suffix in ("csv", "jsonl", "html") for part in ("-o", tmp_path / f"out.{suffix}")]
    ran = hidascan(tmp_path / "in", *outputs, "--explain", "--weights", weights, "--strict")
    assert ran.code == 3 and len(ran.out.splitlines()) == 3
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["status"] for row in rows] == ["ok", "ok", "error"] and rows[0]["effects"]
    page = (tmp_path / "out.html").read_text()
    assert page.count("<article") == 3 and "None" not in page and f"detector {scanner.info.detector}" in page
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    panel = hidascan(tmp_path / "in/b.jpg", "-v", "--weights", weights).out
    assert "None" not in panel and "score" in panel and ("heatmap" in panel) == scanner.detector.has_heatmap


def test_a_heatmap_is_drawn_or_refused_in_one_line(hidascan, weights, scanner, tmp_path):
    save_picture(tmp_path / "a.png", 300, 500)
    ran = hidascan(tmp_path / "a.png", "--heatmap-dir", tmp_path / "maps", "--weights", weights)
    if scanner.detector.has_heatmap:
        assert ran.code in (0, 1) and [path.name for path in (tmp_path / "maps").iterdir()] == ["a.png.heatmap.png"]
    else:
        assert ran.code == 2 and ran.err.count("\n") == 1 and "produces no heatmap" in ran.err and not ran.out


def test_fewer_patches_are_examined_with_a_limit(weights, scanner):
    pixels = picture(700, 900)
    finding = Scanner(ScanOptions(weights, precision="fp32", patches=2)).scan_array(pixels)
    assert finding.patches == min(2, cut_views(pixels, scanner.plan).patches)


def test_absurd_numbers_are_refused(weights):
    config = load_detector(weights)[1].config
    for field in dataclasses.fields(config):
        wrong = {"int": 10**9, "float": float("nan"), "str": 5, "bool": 2}.get(str(field.type), (1, 10**12))
        with pytest.raises(ValueError, match=field.name):
            dataclasses.replace(config, **{field.name: wrong})


def test_registry_names_exist_and_others_are_refused():
    assert {*DETECTORS} <= {*detector_names()} and "hidanet" in DETECTORS
    with pytest.raises(CheckpointError, match="unknown detector: 'oracle'"):
        detector_class("oracle")


# A made-up detector, as CONTRIBUTING.md shows one: a file, and a line in the registry.


@dataclasses.dataclass(frozen=True)
class BrightnessConfig(DetectorConfig):
    side: int = 96


class Brightness(SingleView):
    """A detector that classifies bright pictures as AI, with an uncertainty."""

    Config = BrightnessConfig

    def __init__(self, config):
        super().__init__(config)
        self.plan = ViewPlan(config.side, patches=0)
        self.network = Mean()

    def decide(self, encoded) -> Decision:
        return Decision(encoded["logit"][0], uncertainty=torch.tensor(0.125))


class Mean(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x):
        return x.mean((1, 2, 3)) * self.scale


def test_a_detector_of_another_package_is_scanned_with_by_name(hidascan, tmp_path, monkeypatch):
    monkeypatch.setitem(DETECTORS, "brightness", f"{__name__}:Brightness")
    weights = save_random(tmp_path, "brightness")
    for name, level in (("dark", 20), ("light", 240)):
        save_picture(tmp_path / f"{name}.png")
        from PIL import Image

        Image.new("RGB", (300, 200), (level,) * 3).save(tmp_path / f"{name}.png")
    paths = tmp_path / "dark.png", tmp_path / "light.png"
    ran = hidascan(*paths, "--jsonl", "-", "--weights", weights, "--explain")
    dark, light = (json.loads(line) for line in ran.out.splitlines())
    assert (
        dark["score"] < 0.5 < light["score"]
        and light["uncertainty"] == 0.125
        and light["jpeg_quality_estimated"] is None
    )
    hidascan(*paths, "--html", tmp_path / "out.html", "-q", "--weights", weights)
    assert "± 0.125" in (tmp_path / "out.html").read_text()


def test_entry_points_of_other_packages_are_in_the_registry(monkeypatch):
    from importlib.metadata import EntryPoint

    theirs = EntryPoint("brightness", f"{__name__}:Brightness", "hidascan.detectors")
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: [theirs])
    assert "brightness" in detector_names() and detector_class("brightness").__name__ == "Brightness"
    assert issubclass(detector_class("brightness"), Detector)
