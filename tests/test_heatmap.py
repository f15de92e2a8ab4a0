import numpy as np
import pytest
from PIL import Image

from hidascan.finding import Effect, Finding
from hidascan.report.overlay import draw_effects, draw_overlay
from tests.conftest import picture, save_picture


def test_heatmaps_lie_beside_the_image_and_are_not_scanned_next_time(hidascan, tmp_path):
    save_picture(tmp_path / "a.png", 300, 500)
    hidascan(tmp_path, "--heatmap", "--heatmap-raw")
    assert {p.name for p in tmp_path.iterdir()} == {"a.png", "a.png.heatmap.png", "a.png.heatmap-raw.png"}
    assert len(hidascan(tmp_path).out.splitlines()) == 1


def test_the_raw_map_has_one_16_bit_cell_for_16_pixels(hidascan, tmp_path):
    save_picture(tmp_path / "a.png", 300, 500)
    hidascan(tmp_path / "a.png", "--heatmap-raw")
    raw = np.asarray(Image.open(tmp_path / "a.png.heatmap-raw.png"))
    assert raw.dtype == np.uint16 and raw.shape == (19, 32) and raw.max() > 255


def test_images_of_the_same_name_do_not_overwrite_each_other(hidascan, tmp_path):
    for folder in ("a", "b"):
        save_picture(tmp_path / folder / "x.jpg", 230, 230)
    hidascan(tmp_path / "a", tmp_path / "b", "--heatmap-dir", tmp_path / "maps")
    assert {p.name for p in (tmp_path / "maps").iterdir()} == {"x.jpg.heatmap.png", "x.jpg.2.heatmap.png"}


def test_a_heatmap_is_turned_the_way_the_photo_is_looked_at(hidascan, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(picture(240, 480)).save(tmp_path / "a.jpg", exif=exif)
    hidascan(tmp_path / "a.jpg", "--heatmap", "--heatmap-raw")
    raw = Image.open(tmp_path / "a.jpg.heatmap-raw.png")
    assert (raw.width, raw.height) == (15, 30)
    overlay = Image.open(tmp_path / "a.jpg.heatmap.png")
    assert overlay.height > 480 and overlay.width < overlay.height


def test_an_overlay_is_hot_where_the_tokens_are():
    cells = np.zeros((20, 30), np.float32)
    cells[10:15, 20:25] = 1
    finding = Finding("a", "ok", verdict="ai", score=0.9, ai_area=0.04, token_map=cells)
    page = np.asarray(draw_overlay(np.full((320, 480, 3), 128, np.uint8), finding)).astype(int)
    redness = (page[..., 0] - page[..., 2])[:320]
    assert redness[170:230, 330:390].min() > 40 and redness[:100, :100].max() < 10


def test_effects_are_red_where_a_patch_speaks_for_ai_and_blue_where_for_real():
    effects = (Effect(0, 0, 0.5), Effect(200, 0, -0.25))
    finding = Finding("a", "ok", verdict="ai", score=0.9, effects=effects)
    page = np.asarray(draw_effects(np.full((224, 424, 3), 128, np.uint8), finding)).astype(int)
    redness = (page[..., 0] - page[..., 2])[:224]
    assert redness[:, :190].min() > 60 and redness[:, 240:].max() < -30
    assert 0 < redness[:, 205:220].mean() < redness[:, :190].mean()  # where they overlap, their mean


def test_explain_draws_its_map_beside_the_heatmap(hidascan, tmp_path):
    save_picture(tmp_path / "a.png", 300, 500)
    hidascan(tmp_path, "--heatmap", "--explain")
    assert {p.name for p in tmp_path.iterdir()} == {"a.png", "a.png.heatmap.png", "a.png.effects.png"}
    assert len(hidascan(tmp_path).out.splitlines()) == 1


@pytest.mark.parametrize("size", [(1, 1), (3000, 100), (40, 2500)])
def test_any_size_can_be_drawn(size):
    cells = np.zeros((-(-size[0] // 16), -(-size[1] // 16)), np.float32)
    page = draw_overlay(
        np.zeros((*size, 3), np.uint8), Finding("a", "ok", verdict="real", score=0.1, ai_area=0.0, token_map=cells)
    )
    assert max(page.size) <= 1700


def test_a_heatmap_that_cannot_be_written_is_said_and_the_scan_goes_on(hidascan, tmp_path):
    for name in ("a", "b"):
        save_picture(tmp_path / f"{name}.png", 230, 230)
    (tmp_path / "a.png.heatmap.png").mkdir()
    ran = hidascan(tmp_path / "a.png", tmp_path / "b.png", "--heatmap", "--threshold", 1)
    assert ran.code == 3 and "a.png" in ran.err and len(ran.out.splitlines()) == 2
    assert (tmp_path / "b.png.heatmap.png").is_file()
