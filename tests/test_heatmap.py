import errno
import os
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image, ImageDraw

from hidascan.atomic import atomic_write
from hidascan.errors import ImageError
from hidascan.finding import Attribution, Finding, RunInfo
from hidascan.options import ScanOptions
from hidascan.report.heatmap import HeatmapReport, contours, draw_attributions, draw_heatmap, heat_layer
from hidascan.report.reporter import pixels_of
from tests.conftest import picture, save_picture

RUN = RunInfo("1", "tiny", "0" * 64, "hidanet", "float32", 0.2, 0.9, True, ScanOptions())


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The current folder, with nothing in it."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def names(folder) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_heatmaps_go_into_the_current_folder_and_not_among_the_scanned_files(hidascan, tmp_path, here):
    save_picture(tmp_path / "in/a.png", 300, 500)
    hidascan(tmp_path / "in", "--heatmap", "--heatmap-raw")
    assert names(here) == {"a.png.heatmap.png", "a.png.heatmap-raw.png"} and names(tmp_path / "in") == {"a.png"}


def test_nothing_is_overwritten_and_heatmaps_are_not_scanned(hidascan, tmp_path, here):
    save_picture(here / "a.png", 300, 500)
    (here / "a.png.heatmap.png").write_bytes(b"mine")
    hidascan(here, "--heatmap", "--heatmap-raw")
    first = (here / "a.png.2.heatmap.png").read_bytes()
    hidascan(here, "--heatmap", "--heatmap-raw")
    assert (here / "a.png.heatmap.png").read_bytes() == b"mine" and (here / "a.png.2.heatmap.png").read_bytes() == first
    assert names(here) == {
        "a.png",
        "a.png.heatmap.png",
        *(f"a.png.{n}.heatmap{k}.png" for n in (2, 3) for k in ("", "-raw")),
    }
    assert len(hidascan(here).out.splitlines()) == 1


def test_the_raw_map_has_one_16_bit_cell_for_16_pixels(hidascan, tmp_path, here):
    save_picture(tmp_path / "a.png", 300, 500)
    hidascan(tmp_path / "a.png", "--heatmap-raw")
    raw = np.asarray(Image.open(here / "a.png.heatmap-raw.png"))
    assert raw.dtype == np.uint16 and raw.shape == (19, 32) and raw.max() > 255


def test_images_of_the_same_name_do_not_overwrite_each_other(hidascan, tmp_path):
    for folder in ("a", "b"):
        save_picture(tmp_path / folder / "x.jpg", 230, 230)
    hidascan(tmp_path / "a", tmp_path / "b", "--heatmap-dir", tmp_path / "maps")
    assert {p.name for p in (tmp_path / "maps").iterdir()} == {"x.jpg.heatmap.png", "x.jpg.2.heatmap.png"}


def test_a_heatmap_is_turned_upright_like_the_photo(hidascan, tmp_path, here):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(picture(240, 480)).save(tmp_path / "a.jpg", exif=exif)
    hidascan(tmp_path / "a.jpg", "--heatmap", "--heatmap-raw")
    raw = Image.open(here / "a.jpg.heatmap-raw.png")
    assert (raw.width, raw.height) == (15, 30)
    overlay = Image.open(here / "a.jpg.heatmap.png")
    assert overlay.height > 480 and overlay.width < overlay.height


def test_a_drawn_heatmap_is_hot_where_its_cells_are():
    cells = np.zeros((20, 30), np.float32)
    cells[10:15, 20:25] = 1
    finding = Finding("a", "ok", verdict="ai", score=0.9, ai_area=0.04, heatmap=cells)
    page = np.asarray(draw_heatmap(np.full((320, 480, 3), 128, np.uint8), finding, RUN)).astype(int)
    redness = (page[..., 0] - page[..., 2])[:320, 30:510]  # a narrow picture is centred on the page
    assert redness[170:230, 335:385].min() > 40 and np.abs(redness[:100, :100]).max() == 0


def test_the_headline_is_that_of_the_card(tmp_path, monkeypatch):
    path = save_picture(tmp_path / "a.png", 32, 48)
    texts = []
    monkeypatch.setattr(ImageDraw.ImageDraw, "text", lambda self, place, text, *rest, **options: texts.append(text))
    own = RunInfo("1", "tiny", "0" * 64, "hidanet", "float32", 0.95, 0.95, True, ScanOptions(threshold=0.95))
    report = HeatmapReport(str(tmp_path / "maps"), overlay=True, raw=False, run=own)
    cells, attributions = np.zeros((2, 3), np.float32), (Attribution(0, 0, 224, 224, 0.4),)
    report.add(Finding(str(path), "ok", "real", 0.94, 48, 32, ai_area=0.0, heatmap=cells, attributions=attributions))
    assert texts.count("Below your threshold   score 0.940") == 2


def test_cells_below_the_threshold_are_transparent_and_the_others_get_brighter():
    cells = np.tile(np.linspace(0.05, 1, 20, dtype=np.float32), (4, 1))
    finding = Finding("a", "ok", "ai", 0.9, 320, 64, ai_area=float((cells >= 0.5).mean()), heatmap=cells)
    layer = heat_layer(finding, (64, 320))
    assert [set(part[..., 3].ravel()) for part in np.split(layer, [16 * int((cells[0] < 0.5).sum())], axis=1)] == [
        {0},
        {114},
    ]
    grey = layer[0, 168::16, :3] @ (0.299, 0.587, 0.114)
    assert (np.diff(grey) > 0).all()


def test_outlines_are_those_of_the_regions_in_the_upright_picture():
    cells = np.zeros((4, 6), np.float32)
    cells[0, 4:6] = 0.9
    finding = Finding("a", "ok", "ai", 0.9, 90, 64, ai_area=2 / 24, heatmap=cells, orientation=6)
    ((polygon,),) = contours(finding)
    assert polygon.min(axis=0) == pytest.approx([0.75, 64 / 90]) and polygon.max(axis=0) == pytest.approx([1, 1])
    assert contours(Finding("a", "ok", "real", 0.1, 90, 64)) == []


def test_attributions_are_red_for_ai_and_blue_for_real():
    attributions = (Attribution(0, 0, 224, 224, 0.5), Attribution(200, 0, 224, 224, -0.25))
    finding = Finding("a", "ok", verdict="ai", score=0.9, attributions=attributions)
    page = np.asarray(draw_attributions(np.full((224, 424, 3), 128, np.uint8), finding)).astype(int)
    redness = (page[..., 0] - page[..., 2])[:224, 58:482]
    assert redness[:, :190].min() > 60 and redness[:, 240:].max() < -30
    assert 0 < redness[:, 205:220].mean() < redness[:, :190].mean()  # where they overlap, their mean


def test_explain_draws_its_map_beside_the_heatmap(hidascan, tmp_path):
    save_picture(tmp_path / "a.png", 300, 500)
    hidascan(tmp_path / "a.png", "--heatmap-dir", tmp_path / "maps", "--explain")
    assert names(tmp_path / "maps") == {"a.png.heatmap.png", "a.png.effects.png"}


@pytest.mark.parametrize("size", [(1, 1), (3000, 100), (40, 2500)])
def test_any_size_can_be_drawn(size):
    cells = np.zeros((-(-size[0] // 16), -(-size[1] // 16)), np.float32)
    page = draw_heatmap(
        np.zeros((*size, 3), np.uint8), Finding("a", "ok", verdict="real", score=0.1, ai_area=0.0, heatmap=cells), RUN
    )
    assert max(page.size) <= 1700


def test_an_unwritable_heatmap_is_reported_and_the_scan_continues(hidascan, tmp_path, here, monkeypatch):

    def locked(target, replace):
        if target.name.startswith("a"):
            raise PermissionError(errno.EACCES, "Permission denied")
        return atomic_write(target, replace)

    monkeypatch.setattr("hidascan.report.heatmap.atomic_write", locked)
    files = [save_picture(tmp_path / name, 230, 230) for name in ("a.png", "b.png")]
    ran = hidascan(*files, "--heatmap", "--threshold", 1)
    assert ran.code == 3 and "a.png.heatmap.png: permission denied" in ran.err and len(ran.out.splitlines()) == 2
    assert names(here) == {"b.png.heatmap.png"}


def test_a_name_that_another_scan_takes_meanwhile_costs_no_heatmap(hidascan, tmp_path, here, monkeypatch):
    @contextmanager
    def overtaken(target, replace):
        with atomic_write(target, replace) as partial:
            yield partial
            if target.name in ("a.png.heatmap-raw.png", "a.png.2.heatmap.png"):
                target.write_bytes(b"of another scan")

    monkeypatch.setattr("hidascan.report.heatmap.atomic_write", overtaken)
    ran = hidascan(save_picture(tmp_path / "a.png", 230, 230), "--heatmap", "--heatmap-raw", "--threshold", 1)
    assert ran.code == 0 and not ran.err
    others = {"a.png.heatmap-raw.png", "a.png.2.heatmap.png"}
    assert names(here) == {*others, "a.png.3.heatmap.png", "a.png.3.heatmap-raw.png"}
    assert all((here / name).read_bytes() == b"of another scan" for name in others)


LONG = {"latin": "l" * 251, "chinese": "x" + "\u65e5" * 83, "emoji": "\U0001f600" * 62}


@pytest.mark.parametrize("name", [f"{stem}.png" for stem in LONG.values()], ids=LONG)
def test_a_long_name_is_shortened_for_heatmaps_and_sidecars(hidascan, tmp_path, here, name):
    image = save_picture(tmp_path / name, 230, 230)
    for _ in range(2):
        ran = hidascan(image, "--heatmap", "--heatmap-raw", "--xmp", tmp_path / "xmp", "--threshold", 1)
        assert ran.code == 0 and not ran.err
    written = names(here) | names(tmp_path / "xmp")
    assert len(written) == 5  # the second scan replaces its own sidecar
    for one in written:
        assert name.startswith(one.partition(".")[0]) and one.encode().decode() == one and len(one.encode()) > 240


def test_a_picture_from_a_pipe_has_no_heatmap_and_a_clear_line(hidascan, tmp_path, here):
    reads, writes = os.pipe()
    os.write(writes, save_picture(tmp_path / "a.jpg", 230, 230).read_bytes())
    os.close(writes)
    ran = hidascan(f"/dev/fd/{reads}", "--heatmap", "--threshold", 1)
    os.close(reads)
    reason = "no heatmap: a pipe can be read only once; save the image to a file first"
    assert ran.code == 3 and ran.err == f"hidascan: /dev/fd/{reads}: {reason}\n" and len(ran.out.splitlines()) == 1


def test_a_damaged_picture_has_a_heatmap_of_its_intact_rows(hidascan, tmp_path, here):
    data = save_picture(tmp_path / "a.jpg", 512, 512).read_bytes()
    (tmp_path / "a.jpg").write_bytes(data[: len(data) * 6 // 10])
    ran = hidascan(tmp_path / "a.jpg", "--heatmap", "--threshold", 1)
    assert ran.code == 0 and "no heatmap" not in ran.err and names(here) == {"a.jpg.heatmap.png"}


def test_a_stream_is_not_read_twice():
    with pytest.raises(ImageError, match="a pipe can be read only once"):
        pixels_of(Finding("/dev/stdin", "ok", height=40, width=40))


def test_a_row_comes_after_its_heatmap(hidascan, tmp_path, here, monkeypatch):
    """A file with a row is not scanned again when the scan is resumed."""
    save_picture(tmp_path / "a.png", 230, 230)

    def interrupt(pixels, finding, run):
        raise KeyboardInterrupt

    monkeypatch.setattr("hidascan.report.heatmap.draw_heatmap", interrupt)
    assert hidascan(tmp_path / "a.png", "--heatmap", "--jsonl", tmp_path / "out.jsonl").code == 130
    assert not (tmp_path / "out.jsonl").read_text()
