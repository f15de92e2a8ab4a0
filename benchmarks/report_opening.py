"""Measure how fast a long HTML report opens in headless Chromium, without scanning: its findings are made up.

    python benchmarks/report_opening.py [--rows 2000] [--repeat 3] [--chromium /usr/bin/chromium]

Pictures are crops of `examples/`; each row has a heatmap, every third one with a region. Prints megabytes, and seconds
until the page is loaded and painted, then to filter, to sort and to show the compact list.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from hidascan.finding import Finding, RunInfo
from hidascan.options import ScanOptions
from hidascan.regions import find_regions
from hidascan.report.html_report import HtmlReport

EXAMPLES = Path(__file__).parent.parent / "examples"
HEIGHT, WIDTH = 320, 480
PAINTED = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
RUN = RunInfo("1", "made up", "0" * 64, "hidanet", "float32", 0.2, 0.9, True, ScanOptions())


def write_report(folder: Path, rows: int) -> Path:
    """Write a report on crops of the examples."""
    sources = [np.asarray(Image.open(path).convert("RGB")) for path in sorted(EXAMPLES.glob("*.[jp][pn]g"))]
    rng = np.random.default_rng(0)
    report = HtmlReport(str(folder / "report.html"), RUN)
    for number in range(rows):
        pixels = sources[number % len(sources)]
        top, left = (int(rng.integers(0, max(1, side - 200))) for side in pixels.shape[:2])
        crop = Image.fromarray(pixels[top : top + 200, left : left + 300]).resize((WIDTH, HEIGHT))
        crop.save(folder / f"{number:05}.jpg", quality=85)
        cells = rng.uniform(0, 0.4, (HEIGHT // 16, WIDTH // 16)).astype(np.float32)
        if number % 3 == 0:
            cells[4:12, 5:17] = 0.9
        regions = find_regions(cells, 0.5, WIDTH, HEIGHT, 16)
        score, area = float(rng.random()), float((cells >= 0.5).mean())
        verdict = "ai" if score >= RUN.ai_from else "real" if score < RUN.real_below else "inconclusive"
        report.add(
            Finding(
                str(folder / f"{number:05}.jpg"), "ok", verdict, score, WIDTH, HEIGHT, "JPEG", 6, ai_area=area,
                heatmap=cells, regions=regions, jpeg_quality_estimated=85.0, domain="photo", provenance="",
            )
        )  # fmt: skip
    report.close()
    return folder / "report.html"


def measure(page: Page, report: Path) -> dict[str, float]:
    """Return the seconds of each action."""

    def timed(action: Callable[[], object]) -> float:
        started = time.perf_counter()
        action()
        page.evaluate(PAINTED)
        return round(time.perf_counter() - started, 2)

    return {
        "open": timed(lambda: page.goto(report.as_uri())),
        "filter": timed(lambda: page.locator("#find").fill("0001")),
        "all": timed(lambda: page.locator("#find").fill("")),
        "order": timed(lambda: page.locator("#order").select_option("high")),
        "list": timed(lambda: page.locator("#layout").select_option("list")),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        report = write_report(Path(name), given.rows)
        browser = playwright.chromium.launch(executable_path=given.chromium, args=["--no-sandbox"])
        for _ in range(given.repeat):
            page = browser.new_page(viewport={"width": 1100, "height": 800})
            seconds = measure(page, report)
            page.close()
            print(json.dumps({"rows": given.rows, "megabytes": report.stat().st_size // 1_000_000, **seconds}))
        browser.close()


if __name__ == "__main__":
    main()
