"""Training windows of TFL, and their cache."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from hidascan.detectors.hidanet.filters import ResidualFilters
from hidascan.errors import RecipeError
from hidascan.lab.data.autoencoders import load_autoencoder
from hidascan.lab.data.composites import match_tone, poisson_blend
from hidascan.lab.data.tables import BalancedSampler, EditedImage, LabelledImage, fold_of
from hidascan.lab.hidanet.heatmaps import FOLD_COUNT, split_windows
from hidascan.lab.hidanet.localiser import QUANTUM, WindowInfo, build_window_cells
from hidascan.lab.hidanet.recipe import WindowSpec
from hidascan.lab.hidanet.windows import EDIT, GENERATED, KINDS, PASTED, REPAINTED, RETOUCHED, UNTOUCHED, WindowMaker
from tests.conftest import picture, save_picture
from tests.lab import on_cpu

SPEC = WindowSpec(edit_draws=2, counts=(2, 2, 7, 2, 2), saves=(1, 0, 0, 0), filter=0, turned=0, resize=0)


@pytest.fixture
def maker(tmp_path, autoencoder):
    images = []
    for number in range(8):
        path = save_picture(tmp_path / f"{number}.png", 460 if number < 6 else 240, 500, seed=number)
        images.append(LabelledImage(path, number % 2, f"g{number}", f"s{number}"))
    save_picture(tmp_path / "edit.png", 520, 600, seed=20)
    mask = np.zeros((520, 600), np.uint8)
    mask[100:300, 100:300] = 255
    Image.fromarray(mask).save(tmp_path / "edit.mask.png")
    edits = [EditedImage(tmp_path / "edit.png", tmp_path / "edit.mask.png", "by hand", "somewhere")]

    def make(spec: WindowSpec = SPEC) -> WindowMaker:
        samplers = (BalancedSampler(images, label, 0.5) for label in (0, 1))
        autoencoders = {"blur": load_autoencoder(autoencoder, torch.float32)}
        return WindowMaker(spec, 0, edits, *samplers, autoencoders)

    return make


def test_windows_of_every_kind_have_the_masks_that_they_should(maker):
    windows = [maker()[number] for number in range(len(maker()))]
    by_kind = {kind: [window for window in windows if window.kind == kind] for kind in KINDS}
    assert [len(by_kind[kind]) for kind in KINDS] == [2, 2, 2, 7, 2, 2]
    for window in windows:
        assert window.pixels.dtype == np.uint8 and window.pixels.shape == (*window.mask.shape, 3)
        assert window.mask.shape in ((448, 448), (224, 224))
    for kind in (EDIT, REPAINTED, PASTED):
        assert all(0 < window.mask.mean() < 1 for window in by_kind[kind])
    assert not any(window.mask.any() for kind in (RETOUCHED, UNTOUCHED) for window in by_kind[kind])
    assert all(window.mask.all() for window in by_kind[GENERATED])
    assert len({window.maker for window in by_kind[RETOUCHED]}) == 7  # each way of retouching takes its turn
    assert by_kind[EDIT][0].source == "somewhere" and by_kind[EDIT][0].maker == "by hand"


def test_only_the_region_of_a_repainted_photo_differs_and_draws_can_be_repeated(maker, tmp_path):
    again, window = maker()[2], maker()[2]
    assert window.kind == REPAINTED and (again.pixels == window.pixels).all()
    original = np.asarray(Image.open(tmp_path / f"{window.source[1:]}.png"))
    corners = ((top, left) for top in range(0, 13, 8) for left in range(0, 53, 8))
    shifted = [original[top : top + 448, left : left + 448] for top, left in corners]
    assert min((cut != window.pixels).any(2)[~window.mask].mean() for cut in shifted) < 0.1  # a soft border at most


def test_deliveries_turn_mask_and_pixels_alike_and_keep_the_size(maker):
    turned = replace(SPEC, turned=1.0, saves=(0, 0, 1, 0), jpeg_quality=(95, 96))
    pairs = [(maker(turned)[number], maker()[number]) for number in (4, 5)]
    for delivered, plain in pairs:
        assert delivered.kind == PASTED and delivered.pixels.shape == plain.pixels.shape
        turns = [abs(np.rot90(plain.mask, n).astype(int) - delivered.mask).mean() for n in range(4)]
        assert min(turns) < 0.03  # two saves shift the grid by some pixels


def test_cells_match_the_network_and_a_killed_run_resumes(maker, tmp_path, recipe):
    from hidascan.lab.hidanet.recipe import recipe_backbone

    recipe = replace(recipe, network=replace(recipe.network, cell_taps=(1,)))
    backbone, filters = recipe_backbone(recipe, recipe.network.cell_taps, on_cpu(tmp_path)), ResidualFilters(3)
    store = build_window_cells(maker(), backbone, filters, tmp_path / "windows", "one")
    assert (
        len(store) == len(maker()) and store.made_by == "one" and store.about[0] == (EDIT, "somewhere", "by hand", "")
    )
    cells, window = store[0], maker()[0]
    assert cells.tokens.shape == (28, 28, backbone.dim) and cells.residuals.shape == (28, 28, 3)
    share = window.mask[16:32, 32:48].mean()
    assert float(cells.shares[1, 2]) == pytest.approx(float(share))
    patch = torch.from_numpy(window.pixels[224:, :224].copy()).permute(2, 0, 1)[None]
    tokens = (backbone(patch)[0, 0, 1:].unflatten(0, (14, 14)) - store.mean) / store.spread
    assert torch.allclose(cells.tokens[14:, :14] * QUANTUM, tokens.clamp(-6, 6), atol=0.6 * QUANTUM)
    shard = tmp_path / "windows" / "000000.safetensors"
    before = load_file(shard)
    shard.unlink()
    build_window_cells(maker(), backbone, filters, tmp_path / "windows", "one")
    after = load_file(shard)
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
    with pytest.raises(RecipeError, match="made from other settings"):
        build_window_cells(maker(), backbone, filters, tmp_path / "windows", "other")


def test_training_sees_no_window_with_a_region_of_a_held_out_source(maker):
    windows = [maker()[number] for number in range(len(maker()))]
    joined = [window for window in windows if window.kind == PASTED or window.maker == "spliced"]
    assert len(joined) == 3 and all(window.donor for window in joined)
    assert not any(window.donor for window in windows if window.kind in (EDIT, REPAINTED, UNTOUCHED, GENERATED))
    by_fold = {fold_of(f"s{number}") % FOLD_COUNT: f"s{number}" for number in range(30)}
    about = [
        WindowInfo(PASTED, by_fold[0], "g", by_fold[1]),
        WindowInfo(UNTOUCHED, by_fold[1], "real"),
        WindowInfo(REPAINTED, by_fold[2], "blur"),
        WindowInfo(REPAINTED, by_fold[2], "other"),
    ]
    assert split_windows(about, 0, ()) == ([0], {0})
    assert split_windows(about, 1, {"blur"}) == ([1], {0, 1, 2})


def test_a_pasted_region_can_be_blended_or_matched_in_tone():
    base, donor = picture(64, 64, 1), np.roll(picture(64, 64, 2) // 2, 3)
    matched = match_tone(donor, base)
    assert np.abs(matched.mean((0, 1)) - base.mean((0, 1))).max() < 3
    mask = np.zeros((64, 64), bool)
    mask[:20, 30:50] = True
    blended = poisson_blend(base, donor, mask)
    changed = (blended != base).any(2)
    assert changed.any() and not changed[30:].any() and not changed[:, :28].any()
    assert (poisson_blend(base, donor, np.zeros_like(mask)) == base).all()
