"""The other systems, compared with their papers and public code."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from hidascan import Scanner, ScanOptions
from hidascan.detectors import detector_class
from hidascan.detectors.base import Positions
from hidascan.detectors.checkpoint import load_detector
from hidascan.detectors.cvt import CvTConfig, CvTNetwork
from hidascan.detectors.glass import Glass, GlassConfig
from hidascan.detectors.layers import npr
from hidascan.detectors.npr import NPRConfig, NPRNetwork
from hidascan.detectors.ppl import Adapter, attached, merge
from hidascan.detectors.resnet import BayesianLinear
from hidascan.detectors.spai import ContextAttention, split_frequencies, thin_out
from hidascan.geometry import ViewPlan
from hidascan.image.views import cut_views
from hidascan.lab.training.recipe import read_recipe
from tests.conftest import OURS, picture
from tests.test_detectors import SMALL, save_random


def build(name: str, **config):
    kind = detector_class(name)
    with torch.device("meta"):
        return kind(kind.Config(**config))


def trained_parameters(detector) -> int:
    return sum(p.numel() for p in detector.parameters() if p.requires_grad)


CLIP_WIDTH, TAPS = 768, 12
PROJECTOR = 2 * CLIP_WIDTH + CLIP_WIDTH * 1024 + 1024 + 1024 * 1024 + 1024 + 2 * 1024


@pytest.mark.parametrize(
    ("name", "config", "count"),
    [
        ("npr", {}, 1.44e6),
        ("npr", {"scales": (25, 50, 75), "channel_attention": True}, 1.44e6 + 2 * 64 * 4 + 2 * 256 * 16),
        ("cvt", {}, 20e6),
        ("swin", {}, 28e6),
        ("resnet", {}, 23.5e6),
        ("resnet", {"bayesian": True}, 23.5e6 + 4 * 2049),
        ("vit", {}, 768 * 512 + 512 + 512 * 256 + 256 + 512 + 2),
        ("glass", {"backbone": "resnet50"}, 2 * 23.5e6),
        ("glass", {"backbone": "resnet50", "shared": True}, 23.8e6),
        ("glass", {"backbone": "convnext_tiny", "shared": True}, 28e6),
        ("ppl", {}, 4 * 8 * (768 * 2 + 768 * 4) + 3 * 768 + 1),
        ("spai", {}, 12 * PROJECTOR + 3.15e6 + 1096 * 3 * 1536 + 1096 * 3288 + 3288**2),
    ],
)
def test_numbers_of_parameters_match_the_papers(name, config, count):
    assert trained_parameters(build(name, **config)) == pytest.approx(count, rel=0.03)


def test_cvt_has_the_shapes_of_the_paper():
    network = CvTNetwork(CvTConfig()).eval()
    x, shapes = torch.zeros(1, 3, 224, 224), []
    with torch.no_grad():
        for stage in network.stages:
            x, cls = stage(x)
            shapes.append((tuple(x.shape[1:]), None if cls is None else tuple(cls.shape[1:])))
    assert shapes == [((64, 56, 56), None), ((192, 28, 28), None), ((384, 14, 14), (384,))]
    assert [len(stage.blocks) for stage in network.stages] == [1, 2, 10]


ALL = {"scales": (25, 50, 75), "channel_attention": True, "spatial_attention": True}


@pytest.mark.parametrize("config", [{}, {"channel_attention": True}, {"spatial_attention": True}, ALL])
def test_npr_reads_large_images_in_strips(config, monkeypatch):
    torch.manual_seed(0)
    network = NPRNetwork(NPRConfig(width=8, **config)).eval()
    views = torch.randn(2, 3, 1311, 130)
    with torch.no_grad():
        in_strips = network(views)
        monkeypatch.setattr("hidascan.detectors.npr._STRIP", 10**6)
        assert torch.allclose(in_strips, network(views), atol=1e-5)


def test_npr_is_blind_to_what_was_doubled_and_sees_the_rest():
    small = torch.randn(1, 3, 20, 30)
    doubled = nn.functional.interpolate(small, scale_factor=2, mode="nearest")
    assert npr(doubled).abs().max() == 0
    several = NPRNetwork(NPRConfig(width=8, scales=(25, 50, 75))).residual
    assert several(doubled).abs().max() > 0
    with torch.no_grad():
        several.weights.copy_(torch.tensor([-50.0, 50.0, -50.0]))
    assert several(doubled).abs().max() < 1e-6


def test_adapters_change_nothing_at_first_and_are_the_same_when_merged():
    torch.manual_seed(0)
    linear, adapter, x = nn.Linear(12, 20), Adapter(12, 20, 3), torch.randn(5, 12)
    with torch.no_grad():
        before = linear(x)
        with attached([(linear, adapter)]):
            assert torch.equal(linear(x), before)
            adapter.up.normal_()
            after = linear(x)
        assert torch.equal(linear(x), before) and not torch.allclose(after, before)
        merge(linear, adapter)
        assert torch.allclose(linear(x), after, atol=1e-5)


def test_ppl_gives_equal_results_with_separate_and_merged_adapters(tmp_path):
    weights = save_random(tmp_path, "ppl")
    detector, _ = load_detector(weights)
    with torch.no_grad():
        for adapter in detector.adapters:
            adapter.up.normal_(std=0.2)
    views = torch.from_numpy(picture(224, 224)).permute(2, 0, 1)[None]
    where = Positions(torch.tensor([False]), torch.tensor([[0, 0]]))
    with torch.inference_mode():
        beside, plain = detector.encode(views, where)["logit"], load_detector(weights)[0].encode(views, where)["logit"]
        within = detector.prepare_inference(torch.device("cpu"), torch.float32)(views, where)["logit"]
    assert torch.allclose(beside, within, atol=1e-3) and not torch.allclose(beside, plain, atol=1e-2)
    rows = detector.encode_trained(detector.encode_frozen(views, where))
    assert rows["patch_tokens"].shape[1] == detector.backbone.grid**2


def test_glass_runs_its_cnns_in_the_precision_of_the_scan():
    torch.manual_seed(0)
    glass = Glass(GlassConfig(backbone="resnet10t", scorer_dim=8)).eval()
    views, where = (
        torch.randint(0, 256, (2, 3, 224, 224), dtype=torch.uint8),
        Positions(torch.tensor([True, False]), torch.zeros(2, 2)),
    )
    with torch.inference_mode():
        encoded = [
            glass.prepare_inference(torch.device("cpu"), dtype)(views, where)["cls"]
            for dtype in (torch.float32, torch.bfloat16)
        ]
    assert torch.allclose(*encoded, rtol=0.1, atol=0.1) and not torch.equal(*encoded)
    assert encoded[1].dtype == torch.float32


def test_a_plan_for_the_centre_cuts_the_centre():
    pixels = picture(500, 301)
    views = cut_views(pixels, ViewPlan(thumbnail=False, patches="centre"))
    assert views.boxes == [(38, 138, 224, 224)] and views.patches == 1 and views.grid is None
    assert np.array_equal(views.pixels[0], pixels[138:362, 38:262])
    assert cut_views(picture(50, 60), ViewPlan(thumbnail=False, patches="centre")).pixels[0].shape == (224, 224, 3)
    assert ViewPlan(patches="centre").limited(3).patches == "centre"


def test_frequencies_are_split_by_a_circle():
    across = torch.arange(224) / 224
    slow, fast = (0.5 + 0.2 * torch.sin(2 * torch.pi * waves * across) for waves in (10, 40))
    low, high = split_frequencies((slow + fast - 0.5).expand(1, 3, 224, 224), 16)
    assert torch.allclose(low, slow.expand_as(low), atol=1e-4)
    assert torch.allclose(high, (fast - 0.5).clamp(0, 1).expand_as(high), atol=1e-4)


def test_tokens_are_thinned_out_to_rows_and_columns():
    tokens = torch.arange(14 * 14).reshape(1, 14 * 14, 1)
    assert torch.equal(thin_out(tokens, 14, 1), tokens)
    assert thin_out(tokens, 14, 3)[0, :, 0].tolist() == [
        14 * row + column for row in range(1, 14, 3) for column in range(1, 14, 3)
    ]


def test_spai_compares_72_similarities_and_a_context():
    spai = build("spai")
    assert spai.classifier[0].normalized_shape == (72 + 1024,)
    assert [part.out_features for part in spai.classifier if isinstance(part, nn.Linear)] == [3288, 3288, 1]


def test_context_attention_is_invariant_to_the_order_of_patches():
    torch.manual_seed(0)
    attention, patches = ContextAttention(10, 2, 4), torch.randn(7, 10)
    with torch.no_grad():
        assert torch.allclose(attention(patches), attention(patches.flip(0)), atol=1e-6)
        assert not torch.allclose(attention(patches), attention(patches[:6]), atol=1e-4)


def test_a_bayesian_layer_is_its_mean_and_its_spread():
    torch.manual_seed(0)
    layer, x = BayesianLinear(6, 2), torch.randn(6)
    with torch.no_grad():
        drawn = torch.stack([layer(x) for _ in range(4000)])
        samples = layer.samples(x, 4000)
        assert torch.allclose(drawn.mean(0), samples.mean(0), atol=0.02)
        assert torch.allclose(drawn.std(0), samples.std(0), atol=0.02)
        assert torch.equal(layer.samples(x, 50), layer.samples(x, 50))
        for name, mu in layer.mu.items():
            mu.zero_()
            layer.rho[name].fill_(np.log(np.e - 1))  # softplus of which is 1: the prior
        assert layer.divergence().item() == pytest.approx(0, abs=1e-5)


def test_a_bayesian_head_gives_reproducible_uncertainty(tmp_path):
    SMALL["resnet unsure"] = {"model": "resnet10t", "bayesian": True}
    try:
        weights = save_random(tmp_path, "resnet unsure")
    finally:
        del SMALL["resnet unsure"]
    findings = [Scanner(ScanOptions(weights, precision="fp32")).scan_array(picture(90, 80)) for _ in range(2)]
    assert findings[0].uncertainty == findings[1].uncertainty and 0 < findings[0].uncertainty < 0.5
    assert findings[0].logit == findings[1].logit


def test_separate_encoders_see_thumbnail_and_crops_apart():
    kind = detector_class("glass")
    torch.manual_seed(0)
    glass = kind(kind.Config(**SMALL["glass of two CNNs"])).eval()
    views = torch.randint(0, 256, (2, 3, 224, 224), dtype=torch.uint8)[[0, 0]]
    with torch.no_grad():
        rows = glass.encode(views, Positions(torch.tensor([True, False]), torch.zeros(2, 2)))["cls"]
        shared = kind(dataclasses.replace(glass.config, shared=True)).eval()
        same = shared.encode(views, Positions(torch.tensor([True, False]), torch.zeros(2, 2)))["cls"]
    assert not torch.allclose(rows[0], rows[1]) and torch.allclose(same[0], same[1])


def test_a_frozen_vit_trains_its_head_alone():
    for name in ("vit", "vit_cnn"):
        kind = detector_class(name)
        vit = kind(kind.Config(backbone=OURS, tap=2))
        assert not any(p.requires_grad for p in vit.backbone.parameters())
        assert {n.split(".")[0] for n, p in vit.named_parameters() if p.requires_grad} <= {"head", "cnn", "shares"}


RECIPES = sorted((Path(__file__).parent.parent / "recipes").glob("*.toml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_can_be_read_and_its_network_built(path):
    recipe = read_recipe(path)
    with torch.device("meta"):
        detector = detector_class(recipe.detector)(recipe.network)
    assert trained_parameters(detector) > 0 and path.name in path.read_text()


def test_recipes_that_are_compared_draw_alike():
    spec = {}
    for path in RECIPES:
        recipe = read_recipe(path)
        if hasattr(recipe, "training"):
            drawn = recipe.sampling
            images = recipe.training.epochs * recipe.training.steps * recipe.training.batch
            spec[path.stem] = (recipe.data.tables, drawn.saves, drawn.jpeg_quality, images)
            if path.stem in ("ppl", "vit", "vit-cnn"):  # their frozen layers are computed once for each image
                assert recipe.training.samples == images
    glass = spec.pop("glass")  # its encoder is frozen: images are encoded once, and drawn often
    assert len(spec) == 16 and len(set(spec.values())) == 1 and glass[:3] == spec["npr"][:3]
