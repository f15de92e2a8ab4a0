"""The HTML report: a self-contained file, in which hostile names and metadata are text."""

import html
import re

import pytest

from hidascan import cli
from tests.conftest import HOSTILE, save_hostile, save_picture


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
