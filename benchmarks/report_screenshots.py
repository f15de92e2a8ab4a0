"""Save screenshots of the HTML report in headless Chromium, and print errors of its scripts.

    python benchmarks/report_screenshots.py OUT [--images 1 300] [--chromium /usr/bin/chromium]

Pictures are crops of `examples/`; one is named, and one described, as a hostile sender might.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, PngImagePlugin
from playwright.sync_api import Page, sync_playwright

EXAMPLES = Path(__file__).parent.parent / "examples"
HOSTILE = "<img src=x onerror=alert(1)>.png"


def make_pictures(folder: Path, count: int) -> None:
    folder.mkdir()
    sources = [np.asarray(Image.open(path).convert("RGB")) for path in sorted(EXAMPLES.glob("*.[jp][pn]g"))]
    rng = np.random.default_rng(0)
    text = PngImagePlugin.PngInfo()
    text.add_text("Software", "Midjourney <script>alert(2)</script>")
    Image.fromarray(sources[0]).save(folder / HOSTILE, pnginfo=text)
    for number in range(1, count):
        pixels = sources[number % len(sources)]
        top, left = (int(rng.integers(0, max(1, side - 300))) for side in pixels.shape[:2])
        crop = Image.fromarray(pixels[top : top + 300, left : left + 400])
        crop.save(folder / f"picture-{number:03d}.{('png', 'jpg')[number % 2]}")


def save_screenshots(page: Page, report: Path, out: Path, count: int) -> dict:
    """Save a screenshot of the top, and one with the influence of areas; return errors and dialogs of the page."""
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))
    page.goto(report.as_uri())
    page.screenshot(path=out / f"report-{count}.png")
    page.locator("#order").select_option("high")
    if page.locator("#map").is_visible():  # the report has a marked area and a notable influence
        page.locator("#strength").fill("60")
        page.locator("#map").select_option("effects")
    page.screenshot(path=out / f"report-{count}-effects.png")
    return {"images": count, "rows": page.locator("article.row").count(), "wrong": wrong}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--images", type=int, nargs="+", default=[1, 300])
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=given.chromium, args=["--no-sandbox"])
        for number, count in enumerate(given.images):
            folder, report = Path(name) / str(count), Path(name) / f"{count}.html"
            make_pictures(folder, count)
            command = [sys.executable, "-m", "hidascan.cli", str(folder), "--html", str(report), "--explain", "-q"]
            subprocess.run(command, check=False)  # ends with 1 where AI was found
            scheme = ("light", "dark")[number % 2]
            page = browser.new_page(viewport={"width": 1100, "height": 800}, color_scheme=scheme)
            row = save_screenshots(page, report, given.out, count)
            print(json.dumps({**row, "megabytes": report.stat().st_size // 1_000_000}))
        browser.close()


if __name__ == "__main__":
    main()
