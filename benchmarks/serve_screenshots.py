"""Save screenshots of the page of `hidascan serve`: empty, one result, many, an error, on a phone, dark.

python -m benchmarks.serve_screenshots OUT [--weights NAME|PATH] [--chromium /usr/bin/chromium]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks.report_screenshots import EXAMPLES, make_pictures
from benchmarks.service import running_service

DESK, PHONE = {"width": 1100, "height": 800}, {"width": 390, "height": 844}


def opened(browser: Browser, base: str, dark: bool = False, size: dict[str, int] = DESK) -> Page:
    """Open a new page, with an empty list of results."""
    page = browser.new_page(color_scheme="dark" if dark else "light", viewport=size)
    page.goto(base)
    return page


def scanned(page: Page, files: list[Path]) -> None:
    """Pick files, and wait until all have a row."""
    page.locator("#pick").set_input_files([str(path) for path in files])
    page.locator("#status", has_text=f"{len(files)} of {len(files)} finished").wait_for(timeout=300_000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--weights", default="hidascan-b")
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    one = EXAMPLES / "repainted" / "chelsea.jpg"
    with (
        tempfile.TemporaryDirectory() as folder,
        running_service("--weights", given.weights) as (base, _),
        sync_playwright() as playwright,
    ):
        many, broken = Path(folder) / "many", Path(folder) / "broken.jpg"
        make_pictures(many, 12)
        broken.write_bytes(one.read_bytes()[:3000])
        browser = playwright.chromium.launch(executable_path=given.chromium, args=["--no-sandbox"])
        pictures = sorted(many.iterdir())
        views = {
            "empty": (opened(browser, base), []),
            "one": (opened(browser, base), [one]),
            "many": (opened(browser, base), pictures),
            "error": (opened(browser, base), [broken, one]),
            "phone": (opened(browser, base, size=PHONE), [one]),
            "dark": (opened(browser, base, dark=True), [one, broken]),
        }
        for name, (page, files) in views.items():
            if files:
                scanned(page, files)
            page.screenshot(path=given.out / f"serve-{name}.png", full_page=name in ("one", "phone"))
        page = views["one"][0]
        page.get_by_role("button", name="Show chelsea.jpg at full size").click()
        page.locator("#full img").first.wait_for()
        page.screenshot(path=given.out / "serve-zoom.png")
        browser.close()
    print(f"{len(views) + 1} pictures in {given.out}")


if __name__ == "__main__":
    main()
