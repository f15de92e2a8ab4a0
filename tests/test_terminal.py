"""Terminal output: a panel for one image, a table for several, and no untrusted escape codes."""

import os
import re
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from hidascan.finding import Attribution, Finding, RunInfo
from hidascan.options import ScanOptions
from hidascan.report.heatmap import HeatmapReport
from hidascan.report.terminal import Terminal
from tests.conftest import picture, save_picture

RUN = RunInfo("1", "tiny", "0" * 64, "hidanet", "float32", 0.2, 0.9, True, ScanOptions())
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture
def terminal(hidascan, monkeypatch):
    """Run hidascan as at a terminal so many columns wide: -> its stdout."""

    def run(*arguments, columns=100, **environment):
        for name in ("NO_COLOR", "COLORTERM", "TTY_COMPATIBLE"):
            monkeypatch.delenv(name, raising=False)
        for name, value in {"COLUMNS": str(columns), "TERM": "xterm", **environment}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
        return hidascan(*arguments)

    return run


def test_one_image_gives_a_panel_with_all_that_is_known_of_it(terminal, tmp_path):
    out = COLOUR.sub("", terminal(save_picture(tmp_path / "a.jpg", 300, 500, quality=83), "--threshold", "0").out)
    assert re.search(r"result +(Reaches your threshold|Likely AI-generated|Part of it looks AI-made) \(ai\)", out)
    assert re.search(r"score +[█░]{24} [01]\.\d{3} \(your threshold: 0\)", out)
    assert re.search(r"errors +How often pictures are wrongly called AI", out)
    assert all(re.search(rf"│ {name} +\S", out) for name in ("summary", "next", "image"))
    assert "500x300 JPEG, 6 patches" in out and "quality 83 in the header (IJG tables" in out and "a.jpg" in out
    assert "files in" not in out


def test_many_images_give_a_table_and_a_line_with_counts_and_time(terminal, tmp_path):
    for number in range(3):
        save_picture(tmp_path / f"{number}.png", seed=number)
    (tmp_path / "3.png").write_bytes(b"broken")
    lines = COLOUR.sub("", terminal(tmp_path, "--threshold", "1").out).splitlines()
    assert lines[0].split()[:3] == ["verdict", "score", "jpeg"] and len(lines) == 7
    assert all(line.startswith("real") for line in lines[1:4]) and lines[4].startswith("error")
    assert re.fullmatch(r"4 files in \d+\.\d s: 1 error, 3 real", lines[5])
    assert lines[6] == f"error: {tmp_path / '3.png'}: this is plain text, not an image"
    assert terminal(tmp_path, "-v").out.count("╭") == 4


@pytest.mark.parametrize("columns", [20, 40, 60])
def test_a_narrow_terminal_is_not_overrun_by_the_panel(terminal, tmp_path, columns):
    out = terminal(save_picture(tmp_path / ("long" * 20 + ".png")), columns=columns).out
    assert max(len(line) for line in COLOUR.sub("", out).splitlines()) <= columns


def test_a_long_path_keeps_its_folder_and_its_name(terminal, tmp_path):
    path = save_picture(tmp_path / ("long" * 20) / "photo.png")
    title = COLOUR.sub("", terminal(path, columns=60).out).splitlines()[0]
    assert str(path)[:10] in title and "…" in title and "photo.png ─" in title


def test_explain_lists_the_places_that_count_most(capsys):
    attributions = tuple(Attribution(224 * n, 0, 224, 224, effect) for n, effect in enumerate((0.1, -0.25, 0.4)))
    finding = Finding("a.png", "ok", "ai", 0.95, 672, 224, "PNG", 3, attributions=attributions)
    faint = replace(finding, attributions=attributions[:1])
    for findings in ([finding], [faint, finding]):
        report = Terminal(RUN)
        for one in findings:
            report.add(one)
        report.close()
        out = capsys.readouterr().out
        assert out.index("right, at x 448, y 0: +0.400 for AI") < out.index("at x 224, y 0: -0.250 against AI")
        assert "+0.100" not in out
        assert out.count("no single area changes the log-odds of the score by 0.2 or more") == len(findings) - 1


def test_the_folder_of_heatmaps_is_named(tmp_path, capsys):
    heatmaps = HeatmapReport(str(tmp_path / "maps"), overlay=True, raw=False, run=RUN)
    path = save_picture(tmp_path / "a.png", 32, 48)
    heatmaps.add(
        Finding(str(path), "ok", "real", 0.1, 48, 32, "PNG", 1, ai_area=0.0, heatmap=np.zeros((2, 3), np.float32))
    )
    Terminal(RUN, heatmaps=(heatmaps,)).close()
    assert capsys.readouterr().out == f"1 heatmap in {tmp_path / 'maps'}\n"
    Terminal(RUN, heatmaps=(HeatmapReport(str(tmp_path), overlay=True, raw=False, run=RUN),)).close()
    assert capsys.readouterr().out == ""


def test_colours_are_omitted_on_request(terminal, tmp_path):
    path = save_picture(tmp_path / "a.png")
    assert "\x1b[" in terminal(path).out and not re.search(r"\x1b\[[0-9;]*3\d", terminal(path, NO_COLOR="1").out)


def test_escape_codes_in_names_and_metadata_are_shown_and_not_run(terminal, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a short path, so that no title is cut off
    info = PngInfo()
    info.add_text("Software", "Midjourney\x1b[2J")
    path = b"\x1b[31mred\xff\n\xe2\x80\xae.png"
    with open(path, "wb") as file:
        Image.fromarray(picture(240, 300)).save(file, "PNG", pnginfo=info)
    one = terminal(os.fsdecode(path)).out
    assert "\x1b[2J" not in one and "\x1b[31mred" not in one and "\\x1b[31mred\\udcff\\n\\u202e.png" in one
    with open(path, "wb") as file:
        file.write(b"broken")
    ran = terminal(os.fsdecode(path), save_picture(tmp_path / "b.png"))
    assert "\x1b[31mred" not in ran.out + ran.err and len(ran.err.splitlines()) == 1
