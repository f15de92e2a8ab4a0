"""The HTML report in Debian's Chromium, if installed."""

import shutil

import pytest

from tests.conftest import HOSTILE, save_hostile, save_picture

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no Chromium on this machine")


@pytest.fixture
def report(hidascan, tmp_path):
    """A report on a hostile file, two harmless ones and one that is not an image."""
    save_hostile(tmp_path / "in")
    for number in range(2):
        save_picture(tmp_path / "in" / f"plain{number}.png", seed=number)
    (tmp_path / "in/broken.png").write_bytes(b"no picture")
    hidascan(tmp_path / "in", "--html", tmp_path / "out.html", "--explain", "-q")
    return tmp_path / "out.html"


@pytest.fixture(scope="module")
def browser():
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


def watch(page, allowed: tuple[str, ...]) -> None:
    """Collect in `page.wrong` errors, dialogs, and requests to URLs that are not allowed."""
    page.wrong = []
    page.on("pageerror", lambda error: page.wrong.append(str(error)))
    page.on("dialog", lambda dialog: (page.wrong.append(dialog.message), dialog.dismiss()))
    page.on("request", lambda request: page.wrong.append(request.url) if not request.url.startswith(allowed) else 0)


@pytest.fixture(params=["light", "dark"])
def page(browser, report, request):
    """The open report, checked for errors and network requests."""
    page = browser.new_page(color_scheme=request.param, offline=True)
    watch(page, ("file:", "data:"))
    page.goto(report.as_uri())
    yield page
    page.close()


def shown(page) -> list[str]:
    return page.locator("article.row:visible .path").all_text_contents()


def test_hostile_names_and_metadata_show_as_text(page):
    assert any(name.endswith(HOSTILE) for name in shown(page))
    assert page.locator("main b").count() == 0
    assert page.locator("main script").count() == 0 and page.locator("img[src=x]").count() == 0 and not page.wrong


def test_rows_are_filtered_and_ordered(page):
    assert len(shown(page)) == 4
    page.locator("#find").fill("PLAIN")
    assert [name[-10:] for name in shown(page)] == ["plain0.png", "plain1.png"]
    page.locator("#find").fill("")
    page.get_by_role("button", name="1 error").click()
    assert len(shown(page)) == 3
    page.locator("#order").select_option("high")
    scores = [float(text.split("score ")[1]) for text in page.locator("article.row:visible div:has(> .verdict)").all_text_contents()]  # fmt: skip
    assert scores == sorted(scores, reverse=True)


def test_the_heatmap_comes_with_the_slider_and_by_keyboard(page):
    heat = page.locator("img.heat").first
    opacity = "element => getComputedStyle(element).opacity"
    assert heat.evaluate(opacity) == "0"
    page.locator("#strength").focus()
    page.keyboard.press("End")
    assert heat.evaluate(opacity) == "1"
    boxes = [page.locator(f"article.row img{kind}").first.bounding_box() for kind in (":not(.heat)", ".heat")]
    assert boxes[0] == pytest.approx(boxes[1], abs=1)

    page.locator("#map").select_option("effects")
    assert not heat.is_visible() and page.locator("img.effects").first.is_visible()


def test_ink_and_paper_contrast_in_light_and_dark(page):
    style = page.evaluate("[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]")
    ink, paper = (sum(int(part) for part in colour[4:-1].split(",")) / 3 for colour in style)
    assert abs(ink - paper) > 180
