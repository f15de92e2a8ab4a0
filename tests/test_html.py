"""The HTML report: a self-contained file, in which hostile names and metadata are text."""

import html
import re

import pytest

from hidascan import cli
from hidascan.finding import Attribution, Finding, RunInfo
from hidascan.image.provenance.claim import Claim
from hidascan.image.provenance.tags import Capture
from hidascan.options import ScanOptions
from hidascan.regions import Region
from hidascan.report import html_report
from tests.conftest import HOSTILE, save_hostile, save_picture

RUN = RunInfo("1", "tiny", "0" * 64, "hidanet", "float32", 0.2, 0.9, True, ScanOptions())


@pytest.fixture(scope="module")
def page(tiny_weights, tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    save_hostile(folder / "in")
    save_picture(folder / "in/plain.jpg", 300, 400, quality=90)
    (folder / "in/broken.png").write_bytes(b"no picture")
    options = ["--html", folder / "out.html", "--explain", "-q", "--weights", tiny_weights]
    cli.run([str(part) for part in (folder / "in", *options)])
    return (folder / "out.html").read_text()


def test_every_file_has_its_row_and_readable_ones_their_pictures(page):
    rows = re.findall(r'<article class="row".*?</article>', page, re.S)
    assert len(rows) == 3
    counts = [(row.count("data:image/webp"), row.count("data:image/png")) for row in rows]
    assert counts == [(1, 0), (0, 0), (1, 0)]  # the random network marks no area, and no influence is worth a map
    assert "This is plain text, not an image" in rows[1] and "influence of each patch" in rows[0]
    assert ["no single area changes the log-odds" in row for row in rows] == [True, False, True]
    assert "quality 90 in the header (IJG tables, 4:2:0)" in rows[2] and page.rstrip().endswith("</html>")


def test_names_and_metadata_are_text(page):
    assert HOSTILE not in page and html.escape(HOSTILE) in page
    assert "<script>alert" not in page and "&lt;script&gt;alert(2)" in page
    assert page.count("<script>") == 1


def test_nothing_is_fetched(page):
    assert not re.findall(r"""(?:src|href)\s*=\s*["']?(?!data:)[^"'>\s]""", page.replace(html.escape(HOSTILE), ""))
    assert "default-src 'none'" in page and "url(" not in page and "@import" not in page


def test_an_unwritable_report_is_reported(hidascan, tmp_path):
    save_picture(tmp_path / "a.png")
    ran = hidascan(tmp_path / "a.png", "--html", tmp_path / "none/out.html")
    assert ran.code == 2 and "no such file" in ran.err


def row(**changes) -> str:
    finding = Finding("a.jpg", "ok", "inconclusive", 0.5, 4000, 3000, "JPEG", 9, **changes)
    return html_report.render("row.html", finding=finding, number=1, layers={}, run=RUN)


def test_the_strongest_patches_are_listed_for_and_against_ai():
    effects = [0.3] * 45 + [-2.0, -1.5] + [0.01] * 100
    table = row(attributions=tuple(Attribution(0, 0, 224, 224, effect) for effect in effects)).partition("<caption>")[2]
    assert re.findall(r"[+-][0-9.]{5}", table) == ["-2.000", "-1.500", *["+0.300"] * 38]
    assert table.startswith("influence of the 40 strongest of 147 patches on the log-odds of the score<")


def test_a_long_list_of_regions_says_how_many_follow():
    regions = tuple(Region(16 * n, 0, 16 * n + 16, 16, 1 / 46875, 0.6) for n in range(60))
    assert row(regions=regions, ai_area=60 / 46875).count("… and 40 more<") == 2
    assert " more<" not in row(regions=regions[:20], ai_area=20 / 46875)


@pytest.mark.parametrize("capture", [Capture(taken="2024:01:02 03:04:05"), None])
def test_a_camera_named_by_its_lens_is_the_camera_of_the_row(capture):
    lens = Claim("camera", "exif", "iPhone 15 back camera", field="EXIF LensModel", strength="tag")
    words = row(claims=(lens,), capture=capture)
    assert "<dt>camera</dt><dd>iPhone 15 back camera</dd>" in words and "no camera" not in words
    other = row(claims=(Claim("camera", "xmp", "Canon", field="XMP tiff:Model", strength="tag"),), capture=capture)
    assert ("<dt>camera</dt><dd>not stated</dd>" in other) is bool(capture)
    assert "<dd>Canon EOS</dd>" in row(claims=(lens,), capture=Capture("Canon EOS"))


def test_a_tiny_area_is_not_written_as_none():
    words = row(regions=(Region(0, 0, 16, 16, 1 / 46875, 0.6),), ai_area=1 / 46875)
    assert "<dd>less than 0.1 % in 1 region<" in words and "0.0 %" not in words


def test_a_threshold_of_the_user_is_named_in_the_head_and_the_counts(tmp_path):
    own = RunInfo("1", "tiny", "0" * 64, "hidanet", "float32", 0.95, 0.95, True, ScanOptions(threshold=0.95))
    report = html_report.HtmlReport(str(tmp_path / "a.html"), own)
    report.add(Finding("a.jpg", "error", error="the file is empty"))
    report.add(Finding(str(save_picture(tmp_path / "b.png")), "ok", "real", 0.94, 300, 240, "PNG", 4))
    report.close()
    page = (tmp_path / "a.html").read_text()
    assert "<dt>scale</dt><dd>your threshold: 0.95</dd>" in page and "no sign" not in page.partition("</style>")[2]
    assert "2 files: 1 Could not be scanned, 1 Below your threshold." in page
