"""The HTML report in Debian's Chromium, if installed."""

from dataclasses import replace

import numpy as np
import pytest

from hidascan.finding import Attribution, Finding, RunInfo
from hidascan.options import ScanOptions
from hidascan.regions import find_regions
from hidascan.report.html_report import HtmlReport
from tests.conftest import CHROMIUM, HOSTILE, save_hostile, save_picture

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
    page.get_by_role("button", name="1 Could not be scanned").click()
    assert len(shown(page)) == 3 and page.locator("#shown").text_content() == "3 of 4 shown"
    page.locator("#order").select_option("high")
    scores = [float(text.split("score ")[1]) for text in page.locator("article.row:visible div:has(> .verdict)").all_text_contents()]  # fmt: skip
    assert scores == sorted(scores, reverse=True)
    page.locator("#find").fill("no such name")
    assert page.locator("#shown").text_content() == "No file matches the filter." and not shown(page)
    assert page.locator("#totals").text_content().startswith("4 files: ")


@pytest.fixture
def cards(browser, tmp_path):
    """The open report on a card of each kind, one with a region and notable patches."""
    path = save_picture(tmp_path / "a.png", 160, 240)
    cells = np.zeros((10, 15), np.float32)
    cells[2:5, 3:8] = 0.9
    regions = find_regions(cells, 0.5, 240, 160, 16)
    sound = Finding(
        str(path), "ok", "real", 0.01, 240, 160, "PNG", 2, ai_area=0.0, heatmap=np.zeros_like(cells), scope="none"
    )
    part = replace(
        sound, verdict="ai", score=0.95, ai_area=0.1, heatmap=cells, regions=regions, scope="part",
        attributions=(Attribution(0, 0, 224, 224, 0.4),),
    )  # fmt: skip
    whole = replace(sound, verdict="ai", score=0.99)
    between = replace(sound, verdict="inconclusive", score=0.5)
    run = RunInfo("1", "tiny", "ab" * 32, "hidanet", "float32", 0.2, 0.9, True, ScanOptions(profile="low-fpr"))
    report = HtmlReport(str(tmp_path / "cards.html"), run)
    for finding in (part, sound, whole, between, Finding("b.png", "error", error="the file is empty")):
        report.add(finding)
    report.close()
    page = browser.new_page()
    watch(page, ("file:", "data:"))
    page.goto((tmp_path / "cards.html").as_uri())
    yield page
    page.close()


def test_each_card_has_its_headline_and_its_marker_in_the_zone_of_its_score(cards):
    assert cards.locator(".verdict").all_text_contents() == [
        "Part of it looks AI-made", "No sign of AI found", "Likely AI-generated", "Cannot tell", "Could not be scanned",
    ]  # fmt: skip
    for row, zone in enumerate(("ai", "real", "ai", "inconclusive")):
        card = cards.locator("article").nth(row)
        box, marker = card.locator(f".zone.{zone}").bounding_box(), card.locator(".zones i").bounding_box()
        assert box["x"] - 3 <= marker["x"] + marker["width"] / 2 <= box["x"] + box["width"] + 3
    assert cards.get_by_role("heading", level=2).count() == 5 and not cards.wrong


def test_files_are_counted_and_filtered_by_their_headlines(cards):
    assert cards.locator("#totals").text_content() == (
        "5 files: 1 Part of it looks AI-made, 1 Likely AI-generated, 1 Cannot tell, 1 No sign of AI found, "
        "1 Could not be scanned."
    )
    cards.get_by_role("button", name="1 Part of it looks AI-made").click()
    assert [name[-5:] for name in shown(cards)].count("b.png") == 1 and len(shown(cards)) == 4
    assert "Likely AI-generated" in cards.locator("article.row:visible .verdict").all_text_contents()


def test_the_heatmap_is_shown_and_fades_by_keyboard(cards):
    picture, heat = (cards.locator("article.row").first.locator(f"img{kind}") for kind in (":not(.layer)", ".heat"))
    opacity = "element => getComputedStyle(element).opacity"
    assert heat.evaluate(opacity) == "1"
    cards.locator("#strength").focus()
    cards.keyboard.press("Home")
    assert heat.evaluate(opacity) == "0"
    assert picture.bounding_box() == pytest.approx(heat.bounding_box(), abs=1)


def test_regions_are_outlined_where_they_are_and_named(cards):
    first, second = cards.locator("article").nth(0), cards.locator("article").nth(1)
    picture, outline = first.locator(".picture img").first.bounding_box(), first.locator("path").last.bounding_box()
    shares = [(outline[a] - picture[a]) / picture[b] for a, b in (("x", "width"), ("y", "height"))]
    assert shares == pytest.approx([3 / 15, 2 / 10], abs=0.02)
    assert outline["width"] / picture["width"] == pytest.approx(5 / 15, abs=0.03)
    assert first.locator("svg .number").count() == 1
    number = "element => getComputedStyle(element, '::before').content"
    assert first.locator("svg .number").evaluate(number) == '"1"'
    assert first.locator("img.heat").get_attribute("alt") == "the heatmap marks one area (centre, 10 % of the picture)"
    assert first.locator(".regions li").all_text_contents() == ["centre, 10 % of the picture, mean heatmap value 0.90"]
    assert first.locator(".heat-legend").is_visible() and not first.locator(".effects-legend").is_visible()
    assert second.locator("svg, img.heat").count() == 0 and "marks no area" in second.locator(".legend").text_content()
    cards.locator("#map").select_option("effects")
    assert not first.locator("img.heat").is_visible() and first.locator("img.effects").is_visible()
    assert first.locator(".effects-legend").is_visible() and second.locator("img.effects").count() == 0


def test_a_report_of_a_killed_scan_says_so(browser, tmp_path):
    run = RunInfo("1", "tiny", "ab" * 32, "hidanet", "float32", 0.2, 0.9, True, ScanOptions())
    report = HtmlReport(str(tmp_path / "cards.html"), run)
    report.add(Finding("b.png", "error", error="the file is empty"))
    page = browser.new_page()
    page.goto((tmp_path / "cards.html").as_uri())
    assert page.locator("#unfinished").is_visible()
    report.close()
    page.reload()
    assert not page.locator("#unfinished").is_visible()
    page.close()


def test_a_print_has_the_counts_first_no_controls_and_whole_cards(cards):
    cards.emulate_media(media="print")
    assert cards.locator("#totals").is_visible() and "profile low-fpr" in cards.locator(".run").text_content()
    assert "ab" * 32 in cards.locator(".run").text_content() and not cards.locator("#controls").is_visible()
    style = "element => [getComputedStyle(element).breakInside, getComputedStyle(element).printColorAdjust]"
    assert cards.locator("article").first.evaluate(style) == ["avoid", "exact"]
    picture, words = (cards.locator(f"article >> nth=0 >> {part}").bounding_box() for part in (".view", ".words"))
    assert picture["x"] + picture["width"] <= words["x"] and picture["y"] == pytest.approx(words["y"], abs=1)
    cards.emulate_media(media="screen")
    cards.locator("#layout").select_option("list")
    cards.emulate_media(media="print")
    tops = {round(card.bounding_box()["y"]) for card in cards.locator("article").all()}
    assert len(tops) == 1 and not cards.locator(".sentence").first.is_visible()


def test_a_print_of_filtered_rows_says_so(cards):
    shown_here = cards.locator("#filtered")
    for media, part, visible in (("print", "", False), ("screen", "b.png", False), ("print", "b.png", True)):
        cards.emulate_media(media="screen")
        cards.locator("#find").fill(part)
        cards.emulate_media(media=media)
        assert shown_here.is_visible() == visible
    assert shown_here.text_content() == "1 of 5 files shown here."


@pytest.mark.parametrize("scripts", [True, False])
def test_an_interrupted_report_says_so(browser, tmp_path, scripts):
    run = RunInfo("1", "tiny", "ab" * 32, "hidanet", "float32", 0.2, 0.9, True, ScanOptions())
    for interrupted in (True, False):
        report = HtmlReport(str(tmp_path / "a.html"), run)
        report.add(Finding("b.png", "error", error="the file is empty"))
        report.interrupted = interrupted
        report.close()
        page = browser.new_page(java_script_enabled=scripts)
        page.goto((tmp_path / "a.html").as_uri())
        note = page.get_by_text("The scan was interrupted; the other files are not in this report.")
        assert note.count() == interrupted
        for media in ("screen", "print") * interrupted:
            page.emulate_media(media=media)
            assert note.is_visible()
        page.close()


def test_a_print_has_the_pictures_that_were_never_scrolled_to(browser, hidascan, tmp_path):
    for number in range(30):
        save_picture(tmp_path / "in" / f"{number}.png", 60, 60, seed=number)
    hidascan(tmp_path / "in", "--html", tmp_path / "out.html", "-q")
    page = browser.new_page()
    page.goto((tmp_path / "out.html").as_uri())
    loaded = "Promise.all([...document.images].map(one => one.decode()))"
    page.evaluate(f"Promise.race([{loaded}, new Promise((_, fail) => setTimeout(fail, 10000))])")
    assert page.pdf().count(b"/Subtype /Image") >= 30
    page.close()


def test_without_scripts_there_are_no_dead_controls(browser, report):
    page = browser.new_page(java_script_enabled=False)
    page.goto(report.as_uri())
    assert not page.locator("#controls").is_visible() and page.locator("article.row").count() == 4
    assert page.get_by_text("4 files: ").is_visible()
    page.close()


def test_notes_are_kept_in_a_copy_and_printed(browser, hidascan, tmp_path):
    case, notes = 'A "b" <img src=x>', "first\n</textarea><script>alert(1)</script> & last"
    for number in range(2):
        save_picture(tmp_path / "in" / f"{number}.png", 60, 60, seed=number)
    (tmp_path / "in/broken.png").write_bytes(b"no picture")
    saved = tmp_path / "out.html"
    hidascan(tmp_path / "in", "--html", saved, "--case", case, "-q")
    page = browser.new_page(offline=True, accept_downloads=True)
    watch(page, ("file:", "data:", "blob:"))
    for copy in ("one.html", "two.html"):
        page.goto(saved.as_uri())
        assert page.locator("#case-name").input_value() == case and not page.locator("#noted").is_visible()
        page.locator("#case-notes").fill(notes)
        page.locator("#order").select_option("low")
        page.get_by_role("button", name="1 Could not be scanned").click()
        assert len(shown(page)) == 2
        with page.expect_download() as got:
            page.get_by_role("button", name="Save a copy with these notes").click()
        saved = tmp_path / copy
        got.value.save_as(saved)
    page.goto(saved.as_uri())
    assert page.locator("#case-notes").input_value() == notes and len(shown(page)) == 3
    assert [name[-5:] for name in shown(page)] == ["0.png", "1.png", "n.png"]
    page.emulate_media(media="print")
    assert page.locator("#noted").text_content() == f"Case: {case}\n{notes}" and page.locator("#noted").is_visible()
    assert not page.locator("#case").is_visible() and not page.wrong
    page.close()
    page = browser.new_page(java_script_enabled=False)
    page.goto(saved.as_uri())
    assert page.locator("#noted").is_visible() and not page.locator("#case").is_visible()
    assert page.get_by_text("3 files: ").is_visible() and not page.locator("#controls").is_visible()
    page.close()
    assert not HtmlReport.recognises(saved.read_bytes())  # or a scan could replace the notes


def test_a_case_needs_a_report_that_names_it(hidascan, tmp_path):
    ran = hidascan(save_picture(tmp_path / "a.png"), "--case", "A", "--csv", "-")
    assert ran.code == 2 and "--case needs an HTML report: add --html FILE" in ran.err


@pytest.mark.parametrize("width", [390, 1200])
def test_a_card_fits_its_screen(cards, width):
    cards.set_viewport_size({"width": width, "height": 800})
    for summary in cards.locator("summary").all():
        summary.click()
    assert cards.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert cards.get_by_text("none found").first.is_visible()


def test_ink_and_paper_contrast_in_light_and_dark(page):
    style = page.evaluate("[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]")
    ink, paper = (sum(int(part) for part in colour[4:-1].split(",")) / 3 for colour in style)
    assert abs(ink - paper) > 180
