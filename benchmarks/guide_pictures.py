"""Renew the pictures of the guides: a heatmap, the page of `hidascan serve`, and a report on the examples.

python -m benchmarks.guide_pictures [--chromium /usr/bin/chromium]
"""

from __future__ import annotations

import argparse
import io
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Locator, Page, sync_playwright

from benchmarks.report_screenshots import EXAMPLES
from benchmarks.serve_screenshots import scanned
from benchmarks.service import running_service

OUT = EXAMPLES.parent / "docs" / "images"
PASTED = EXAMPLES / "pasted" / "rocket.jpg"


def scan(*arguments: object) -> None:
    """Scan in the root of the repository; exit code 1 means that a picture was called AI."""
    command = [sys.executable, "-m", "hidascan.cli", *map(str, arguments)]
    code = subprocess.run(command, cwd=EXAMPLES.parent, check=False).returncode
    assert code in (0, 1), code


def save(seen: Page | Locator, name: str) -> None:
    """Save a screenshot with few colours, so that the repository stays small."""
    image = Image.open(io.BytesIO(seen.screenshot())).convert("RGB")
    image.quantize(128, dither=Image.Dither.NONE).save(OUT / name, optimize=True)


def picture_page(page: Page, base: str) -> None:
    """Save screenshots of the page with three scans, and of the pasted area at full size."""
    page.goto(base)
    scanned(page, [PASTED, EXAMPLES / "generated" / "infinity_cat.webp", EXAMPLES / "flower.jpg"])
    save(page, "page.png")
    page.get_by_role("button", name=f"Show {PASTED.name} at full size").click()
    page.locator("#full img").first.wait_for()
    save(page, "page-zoom.png")


def picture_report(page: Page, report: Path) -> None:
    """Save screenshots of the top of a report, and of the card of the pasted area."""
    page.goto(report.as_uri())
    save(page, "report.png")
    card = page.locator("article.row", has_text="pasted/rocket.jpg")
    card.locator("summary", has_text="What to do next").click()
    save(card, "report-card.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        report = Path(folder) / "report.html"
        scan("examples/", "--html", report, "--case", "Example pictures", "-q")
        for old in (EXAMPLES / "heatmaps").glob("*.png"):
            old.unlink()
        scan("examples/pasted", "--heatmap", "--heatmap-dir", "examples/heatmaps", "-q")
        browser = playwright.chromium.launch(executable_path=given.chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1000, "height": 900})
        picture_report(page, report)
        with running_service() as (base, _):
            picture_page(page, base)
        browser.close()


if __name__ == "__main__":
    main()
