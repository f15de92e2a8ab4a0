import copy
import subprocess
import sys

import pytest
import timm
import torch
from torch import nn

from hidascan.detectors import detector_class
from hidascan.detectors.backbones import FrozenViT
from hidascan.detectors.backbones.vit import pack_linears
from hidascan.detectors.base import Positions
from hidascan.detectors.hidanet.filters import (
    FEATURES,
    HISTOGRAM,
    PHASE_FEATURES,
    in_phase,
    residual_features,
)
from hidascan.detectors.hidanet.heads import FeatureAggregation, FusionHead
from hidascan.detectors.hidanet.localiser import CellLocaliser, HeatmapThresholds
from hidascan.detectors.hidanet.network import HiDANet, HiDANetConfig
from hidascan.errors import CheckpointError
from hidascan.geometry import patch_grid
from tests.conftest import TINY


@pytest.mark.parametrize(
    ("name", "taps", "dim", "grid"),
    [
        ("vit_base_patch16_clip_quickgelu_224", (1, 3), 768, 14),
        ("vit_small_patch14_dinov2.lvd142m", (2,), 384, 16),
        ("vit_small_patch14_reg4_dinov2.lvd142m", (1, 2), 384, 16),
        ("vit_tiny_patch16_224", (3,), 192, 14),
    ],
)
def test_any_timm_vit_can_be_the_backbone(name, taps, dim, grid):
    config = HiDANetConfig(backbone=name, taps=taps, dim=32, heads=2)
    network = HiDANet(config).eval()
    assert len(network.backbone.vit.blocks) == taps[-1]
    views = torch.randint(0, 256, (3, 3, 224, 224), dtype=torch.uint8)
    assert network.backbone(views).shape == (3, len(taps), 1 + grid * grid, dim)
    grid = patch_grid(300, 224)
    corners = torch.tensor([[0, 0], *([box.top, box.left] for box in grid.boxes())])
    encoded = network.encode(views, Positions(torch.tensor([True, False, False]), corners))
    decision = network.decide(encoded)
    assert encoded["residuals"].shape == (3, 14, 14, config.residual_filters) and not encoded["residuals"][0].any()
    with torch.no_grad():
        located = network.locate(encoded, grid)
    assert located.shape == (19, 14) and ((located > 0) & (located < 1)).all()
    assert decision.logit.shape == () and 1 <= decision.quality <= 100


def test_names_of_hub_models_are_refused_without_network_access(monkeypatch):
    monkeypatch.setattr("socket.socket.connect", lambda *given: pytest.fail("the network was asked"))
    for name in ("hf-hub:someone/model", "hf_hub:someone/model", "local-dir:/tmp", "../model"):
        with pytest.raises(CheckpointError, match="not the name of a timm model"):
            FrozenViT(name, (1,))
        with pytest.raises(CheckpointError, match="not the name of a timm model"):
            detector_class("swin")(detector_class("swin").Config(model=name))


@pytest.mark.parametrize(
    ("name", "taps"),
    [("no_such_vit", (1,)), ("resnet18", (1,)), ("vit_tiny_patch16_224", (13,)), ("vit_tiny_patch16_224", (2, 1))],
)
def test_an_impossible_backbone_is_refused(name, taps):
    with pytest.raises(CheckpointError):
        FrozenViT(name, taps)


def test_without_timm_clip_runs_and_others_say_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    views = torch.zeros(1, 3, 224, 224, dtype=torch.uint8)
    assert FrozenViT("vit_base_patch16_clip_quickgelu_224", (1,))(views).shape == (1, 1, 197, 768)
    with pytest.raises(CheckpointError, match="pip install timm"):
        FrozenViT("vit_tiny_patch16_224", (1,))


def test_taps_equal_the_block_outputs_of_timm():
    torch.manual_seed(0)
    backbone = FrozenViT("vit_small_patch14_reg4_dinov2.lvd142m", (1, 3))
    views = torch.randint(0, 256, (2, 3, 224, 224), dtype=torch.uint8)
    x = (views.float() / 255 - backbone.mean) / backbone.std
    wanted = backbone.vit.forward_intermediates(
        x, [0, 2], return_prefix_tokens=True, output_fmt="NLC", intermediates_only=True
    )
    tokens = backbone(views)
    for tap, (patches, prefix) in enumerate(wanted):
        assert torch.allclose(tokens[:, tap, 0], prefix[:, 0], atol=1e-5)
        assert torch.allclose(tokens[:, tap, 1:], patches, atol=1e-5)


@pytest.mark.parametrize("name", ["vit_base_patch16_clip_quickgelu_224", "vit_large_patch14_clip_224.openai"])
def test_a_vit_of_our_own_computes_what_timm_does(name):
    ours = FrozenViT(name, (1, 2))
    nn.init.normal_(ours.vit.pos_embed)
    theirs = timm.create_model(name, pretrained=False, num_classes=0, depth=2).eval()
    theirs.load_state_dict(ours.vit.state_dict(), strict=False)
    views = torch.randint(0, 256, (2, 3, 224, 224), dtype=torch.uint8)
    x = (views.float() / 255 - ours.mean) / ours.std
    with torch.no_grad():
        wanted = theirs.forward_intermediates(
            x, [0, 1], return_prefix_tokens=True, output_fmt="NLC", intermediates_only=True
        )
    assert (ours.mean.flatten() == torch.tensor(theirs.pretrained_cfg["mean"])).all()
    for tokens, (patches, cls) in zip(ours(views).unbind(1), wanted, strict=True):
        assert torch.allclose(tokens, torch.cat([cls, patches], dim=1), atol=1e-4)


@pytest.mark.parametrize(
    "name", ["vit_base_patch16_clip_quickgelu_224", "vit_xsmall_patch16_clip_224.tinyclip_yfcc15m"]
)
def test_packing_changes_no_token_by_more_than_rounding_does(name):
    torch.manual_seed(0)
    exact, views = FrozenViT(name, (1,)), torch.randint(0, 256, (1, 3, 224, 224), dtype=torch.uint8)
    exact.compute_in(torch.float32)
    tokens, off = exact(views), {}
    for dtype in (torch.float32, torch.bfloat16):
        plain = copy.deepcopy(exact)
        plain.compute_in(dtype)
        packed = copy.deepcopy(plain)
        pack_linears(packed)
        off[dtype] = [float((network(views) - tokens).norm()) for network in (plain, packed)]
    assert off[torch.float32][1] < 1e-4 * float(tokens.norm())
    assert 0 < off[torch.bfloat16][1] < 1.2 * off[torch.bfloat16][0]


@pytest.mark.parametrize("name", ["vit_base_patch16_clip_quickgelu_224", "vit_tiny_patch16_224"])
@pytest.mark.parametrize("packed", [False, True])
def test_cls_alone_equals_cls_among_all_tokens(name, packed):
    torch.manual_seed(0)
    backbone, views = FrozenViT(name, (1, 3)), torch.randint(0, 256, (2, 3, 224, 224), dtype=torch.uint8)
    backbone.compute_in(torch.float32)
    if packed:
        pack_linears(backbone)
    whole = backbone(views)
    assert torch.allclose(backbone.cls(views), whole[:, :, 0], atol=1e-5)
    first, last = backbone.tapped(backbone.standardise(views), (1,))
    assert torch.allclose(first, whole[:, 0]) and torch.allclose(last[:, :1], whole[:, 1, :1], atol=1e-5)


def test_the_backbone_is_frozen_and_the_head_is_not():
    network = HiDANet(TINY).train()
    assert not any(p.requires_grad for p in network.backbone.parameters()) and not network.backbone.training
    assert all(p.requires_grad for p in network.fusion.parameters())


def test_residuals_are_of_whole_blocks_wherever_a_view_starts():
    """A view that starts 3 pixels after a block's border is read as the one that starts at the next border."""
    image = torch.randint(0, 256, (1, 3, 240, 240), dtype=torch.uint8)
    odd, even = image[..., 3 : 3 + 224, 6 : 6 + 224], image[..., 8 : 8 + 224, 8 : 8 + 224]
    assert (in_phase(even, torch.tensor([[8, 8]])) == even).all()
    rolled = in_phase(odd, torch.tensor([[3, 6]]))
    assert (rolled[..., :216, :216] == even[..., :216, :216]).all()
    assert sorted(rolled.flatten().tolist()) == sorted(odd.flatten().tolist())


def test_the_filters_of_residuals_bring_out_a_weak_pattern_of_8_pixels():
    """A pattern of 1 step under noise of 12: profiles of two views with it are more alike than with one without."""
    torch.manual_seed(0)
    noise, pattern = torch.randn(3, 3, 224, 224) * 12, torch.randn(1, 3, 8, 8).repeat(1, 1, 28, 28)
    views = (128 + noise + pattern * torch.tensor([1, 1, 0])[:, None, None, None]).round().byte()
    features = residual_features(views)
    assert features.shape == (3, 14, 14, FEATURES)
    signed = features[..., : 3 * 64].mean((1, 2))
    alike = torch.corrcoef(signed)
    assert alike[0, 1] > 0.5 and alike[0, 2] < 0.3


def test_co_occurrences_are_the_frequencies_of_triples():
    """Columns that go up by 10 and down again: every second difference across is far over the largest level."""
    stripes = torch.tensor([100, 110]).repeat(112).expand(1, 3, 224, 224).to(torch.uint8)
    frequencies = residual_features(stripes)[..., PHASE_FEATURES:].unflatten(3, (-1, HISTOGRAM))
    assert torch.allclose(frequencies.sum(-1), torch.ones(()))
    high_low_high, low_high_low, flat = 4 * 25 + 0 + 4, 0 + 4 * 5 + 0, 2 * 25 + 2 * 5 + 2
    along = frequencies[0, 5, 5, 0]  # brightness, fine steps: half of the triples lie across, half down
    assert along[[high_low_high, low_high_low]].tolist() == [0.25, 0.25] and along[flat] == 0.5
    assert frequencies[0, 5, 5, 4, flat] == 1  # grey has no colour


@torch.no_grad()
def test_tfl_finds_cells_that_differ_wherever_they_lie():
    """The output moves with the region, as the network is translation-equivariant."""
    torch.manual_seed(0)
    localiser, residuals = CellLocaliser(4, 16, 0.0).eval(), torch.randn(1, 4, 60, 60) * 0.01
    here, there = residuals.clone(), residuals.clone()
    here[..., 10:20, 10:20] += 3
    there[..., 30:40, 35:45] += 3
    moved = localiser(there)[0, 25:45, 30:50]
    assert torch.allclose(localiser(here)[0, 5:25, 5:25], moved, atol=0.05)
    assert moved[5:15, 5:15].mean() - moved[:3, :3].mean() != pytest.approx(0, abs=0.01)


def aggregator():
    torch.manual_seed(0)
    return FeatureAggregation(32, 4, 0.0).eval()


@torch.no_grad()
def test_fam_is_invariant_to_the_order_of_patches():
    fam, cls = aggregator(), torch.randn(1, 9, 32)
    assert torch.allclose(fam(cls), fam(cls[:, torch.randperm(9)]), atol=1e-5)


@torch.no_grad()
def test_fam_does_not_see_padding():
    fam, cls = aggregator(), torch.randn(2, 7, 32)
    padding = torch.tensor([[False] * 7, [False] * 3 + [True] * 4])
    together = fam(cls, padding)
    cls[1, 3:] = 1e3
    assert torch.allclose(fam(cls, padding), together, atol=1e-5)
    assert torch.allclose(together[1:], fam(cls[1:, :3]), atol=1e-5)


@torch.no_grad()
def test_fam_does_see_every_patch():
    fam, cls = aggregator(), torch.randn(1, 5, 32)
    for patch in range(5):
        changed = cls.clone()
        changed[:, patch] = torch.randn(32)
        assert not torch.allclose(fam(cls), fam(changed), atol=1e-4)


def test_the_map_of_a_tall_image_does_not_depend_on_the_rows_it_is_made_in(monkeypatch):
    localiser, residuals = CellLocaliser(4, 16, 0.0).eval(), torch.randn(1, 4, 150, 20)
    in_strips = localiser(residuals)
    monkeypatch.setattr("hidascan.detectors.hidanet.localiser._ROWS", 1000)
    assert torch.allclose(in_strips, localiser(residuals), atol=1e-5)


def test_fusing_thousands_of_patches_takes_memory_by_their_number_not_its_square():
    code = """
import resource, torch
from hidascan.detectors.hidanet.heads import FeatureAggregation
aggregator = FeatureAggregation(32, 4, 0.0).eval()
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
with torch.inference_mode():
    aggregator(torch.randn(1, 100, 32))
    before = peak()
    aggregator(torch.randn(1, 8000, 32))
    print(peak() - before)
"""
    grown = int(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout)
    assert grown < 250  # MB; the attention of all pairs alone would be 1,000


@torch.no_grad()
def test_leaving_out_each_patch_at_once_is_leaving_it_out_by_hand():
    torch.manual_seed(0)
    head, thumbnail, patches = FusionHead(12, 32, 4, 0.0).eval(), torch.randn(1, 32), torch.randn(6, 32)
    each = head.leave_one_out(thumbnail, patches)
    for patch in range(6):
        rest = torch.cat([patches[:patch], patches[patch + 1 :]])
        assert torch.allclose(each[patch], head(thumbnail, rest[None])[0], atol=1e-5)


@torch.no_grad()
def test_an_image_without_a_patch_is_judged_by_its_thumbnail():
    head, thumbnail = FusionHead(12, 32, 4, 0.0).eval(), torch.randn(1, 32)
    assert torch.isfinite(head(thumbnail, torch.zeros(1, 0, 32))).all()


def rule(likely=0.0, sure=2.0, sure_area=9.0, evidence=0.5) -> HeatmapThresholds:
    made = HeatmapThresholds()
    for name, value in (("likely", likely), ("sure", sure), ("sure_area", sure_area), ("evidence", evidence)):
        getattr(made, name).fill_(value)
    return made


def test_a_region_is_hot_as_a_whole_where_a_neighbourhood_is_sure_and_cold_where_none_is():
    logits = torch.full((8, 12), -6.0)
    logits[1:4, 1:5], logits[1:4, 5] = 2.5, 0.5  # 3 x 3 cells are sure, and the likely ones beside them belong to them
    logits[5:8, 8:11] = 1.9  # larger, but never sure
    logits[0, 10] = 9.0  # sure, but alone
    hot = rule()(logits) >= 0.5
    assert hot[1:4, 1:6].all() and int(hot.sum()) == 15


def test_weaker_evidence_over_a_large_area_makes_a_region_too():
    logits = torch.full((40, 40), -6.0)
    logits[4:30, 6:34] = 0.4  # as a generated picture in a screenshot, which no 3 x 3 cells give away
    hot = rule(sure_area=0.2)(logits) >= 0.5
    assert hot[4:30, 6:34].all() and int(hot.sum()) == 26 * 28
    assert not (rule()(logits) >= 0.5).any()


def test_a_picture_that_is_warm_all_over_has_no_region():
    assert not (rule()(torch.full((8, 12), 3.0)) >= 0.5).any()


def test_cells_that_stay_cold_keep_their_order():
    logits = torch.randn(9, 9, generator=torch.Generator().manual_seed(0)).clamp(max=1.9)
    hot = rule()(logits)
    assert hot.max() < 0.5
    assert torch.equal(hot.flatten().argsort(), logits.flatten().argsort())


def test_a_patch_that_the_probe_calls_ai_is_hot_regardless_of_its_cells():
    logits, patches = torch.full((6, 6), -9.0), torch.full((6, 6), -1.0)
    patches[:, :3] = 0.51
    assert torch.equal(rule()(logits, patches) >= 0.5, patches > 0.5)
