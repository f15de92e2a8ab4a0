"""The page of `hidascan serve` in Debian's Chromium, if installed."""

import io
import json
import shutil
import signal
import urllib.request
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from benchmarks.service import running_service
from hidascan.detectors.checkpoint import load_detector, save_trained
from tests.conftest import CHROMIUM, HOSTILE, picture, save_hostile, save_picture
from tests.test_browser import watch

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no Chromium on this machine")
AXE = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}


@pytest.fixture(scope="module")
def server(tiny_weights, tmp_path_factory):
    """A service whose profile low-fpr calls fewer pictures AI."""
    folder = tmp_path_factory.mktemp("careful")
    shutil.copy(tiny_weights.parent / "backbone-tiny.safetensors", folder)
    network, header = load_detector(tiny_weights)
    thresholds = header.calibration.thresholds | {"low-fpr": (0.5, 0.6)}
    calibration = replace(header.calibration, thresholds=thresholds)
    save_trained(folder / "careful.safetensors", network, replace(header, calibration=calibration))
    with running_service("--weights", folder / "careful.safetensors") as (base, _):
        yield base


def test_fewer_false_alarms_are_offered_only_by_weights_that_give_them(tiny_weights, server):
    with running_service("--weights", tiny_weights) as (base, _):
        plain = urllib.request.urlopen(base).read()
    assert b"Fewer false alarms" not in plain and b"Fewer false alarms" in urllib.request.urlopen(server).read()


@pytest.fixture(scope="module")
def marking_server(tiny_weights, tmp_path_factory):
    """A service whose network marks every patch."""
    folder = tmp_path_factory.mktemp("marking")
    shutil.copy(tiny_weights.parent / "backbone-tiny.safetensors", folder)
    network, header = load_detector(tiny_weights)
    network.heatmap.evidence.fill_(-100.0)
    save_trained(folder / "marking.safetensors", network, header)
    with running_service("--weights", folder / "marking.safetensors") as (base, _):
        yield base


def opened(browser, address, **context):
    page = browser.new_page(accept_downloads=True, **context)
    watch(page, (address, "data:", "blob:"))
    page.set_default_timeout(60_000)
    page.goto(address)
    return page


@pytest.fixture
def service(browser, server):
    """The open page, checked for errors and requests to other hosts."""
    page = opened(browser, server)
    yield page
    page.close()


def save_large(path, height: int = 3600, width: int = 4800):
    """A JPEG of several hundred patches, no two of one kind."""
    tile = picture(300, 300)
    Image.fromarray(np.tile(tile, (height // 300, width // 300, 1))).save(path, quality=90)
    return path


def states(page) -> list[str]:
    return page.locator("article").evaluate_all("all => all.map(one => one.dataset.state)")


def test_pictures_that_are_picked_are_scanned_and_kept_for_download(service, tmp_path):
    save_hostile(tmp_path / "in")
    plain = save_picture(tmp_path / "in/plain.png")
    (tmp_path / "in/broken.png").write_bytes(b"no picture")
    service.locator("#pick").set_input_files(
        [str(path) for path in (plain, tmp_path / "in/broken.png", tmp_path / "in" / HOSTILE)]
    )
    service.locator("#status", has_text="3 of 3 finished").wait_for(timeout=60_000)
    names = service.locator("article.row .path").all_text_contents()
    assert "changed" not in service.locator("article").all_text_contents()[0]  # the time of an upload is unknown
    assert names == ["plain.png", "broken.png", HOSTILE]
    assert service.locator("article[data-verdict=error]").count() == 1 and service.locator("img[src=x]").count() == 0
    with service.expect_download() as got:
        service.locator("#jsonl").click()
    rows = [json.loads(line) for line in got.value.path().read_text().splitlines()]
    assert [row["path"] for row in rows] == ["plain.png", "broken.png", HOSTILE] and rows[0]["file"]["sha256"]
    with service.expect_download() as got:
        service.locator("#report").click()
    report = got.value.path().read_text()
    assert report.count("<article") == 3 and report.rstrip().endswith("</html>")
    assert [f'data-number="{number}"' in report for number in range(5)] == [False, True, True, True, False]
    assert not service.wrong


def test_accuse_fewer_is_the_profile_of_the_pictures_added_from_then_on(service, tmp_path):
    for name, fewer in (("a.png", False), ("b.png", True)):
        service.get_by_label("Fewer false alarms").set_checked(fewer)
        service.locator("#pick").set_input_files(str(save_picture(tmp_path / name)))
    service.locator("#status", has_text="2 of 2 finished").wait_for(timeout=60_000)
    with service.expect_download() as got:
        service.locator("#jsonl").click()
    rows = [json.loads(line) for line in got.value.path().read_text().splitlines()]
    assert [row["scan"]["profile"] for row in rows] == ["balanced", "low-fpr"]
    with service.expect_download() as got:
        service.locator("#report").click()
    assert "scale of pictures scanned with profile low-fpr" in got.value.path().read_text() and not service.wrong


def test_copies_are_tested_by_one_click_and_cancelling_keeps_the_result(service, tmp_path):
    service.locator("#pick").set_input_files(str(save_picture(tmp_path / "a.png", 300, 300)))
    again = service.get_by_role("button", name="Test a.png again on re-saved and shrunk copies")
    again.click()
    service.get_by_text("After re-saving, resizing and cropping: score").first.wait_for()
    assert states(service) == ["done"] and not again.is_visible()
    with service.expect_download() as got:
        service.locator("#jsonl").click()
    assert len(json.loads(got.value.path().read_text())["stress"]) == 5
    service.locator("#clear").click()
    service.locator("#pick").set_input_files(str(save_large(tmp_path / "b.jpg", 1200, 1500)))
    service.locator("article[data-state=done]").wait_for()
    before = service.locator("article .headline").text_content()
    service.get_by_role("button", name="Test b.jpg again on re-saved and shrunk copies").click()
    service.locator("article[data-state=scanning]").wait_for()
    service.get_by_role("button", name="Cancel b.jpg").click()
    assert states(service) == ["done"] and service.locator("article .headline").text_content() == before
    assert "the copies were not tested (cancelled)" in service.locator("#problem").text_content()
    waiting = "async () => (await (await fetch('v1/health')).json()).waiting"
    service.wait_for_function(f"async () => await ({waiting})() === 0", timeout=30_000)
    assert not service.wrong


@pytest.fixture
def marking(browser, marking_server):
    """The open page of a service that marks every patch."""
    page = opened(browser, marking_server)
    yield page
    page.close()


def test_a_picture_is_shown_at_full_size_under_its_map(marking, tmp_path):
    service = marking
    service.locator("#pick").set_input_files(str(save_picture(tmp_path / "a.png", 700, 900)))
    service.get_by_role("button", name="Show a.png at full size").click(timeout=60_000)
    picture = service.locator("#full img").first
    picture.wait_for()
    service.locator("#actual").click()
    before = picture.bounding_box()["width"]
    service.locator("#more").click()
    assert picture.bounding_box()["width"] > before and service.locator("#full img.layer").count() == 1
    service.locator("#strength2").fill("80")
    assert service.locator("#full img.layer").evaluate("layer => getComputedStyle(layer).opacity") == "0.8"
    service.keyboard.press("Escape")
    assert not service.locator("#zoom").evaluate("dialog => dialog.open") and not service.wrong


def test_the_page_is_used_by_keyboard_and_on_a_phone(marking, tmp_path):
    service = marking
    service.set_viewport_size({"width": 375, "height": 700})
    service.locator("#pick").set_input_files(str(save_picture(tmp_path / "a.png")))
    service.locator("article.row .verdict").wait_for(timeout=60_000)
    assert service.evaluate("document.documentElement.scrollWidth <= innerWidth")
    service.locator("#pick").focus()
    reached = set()
    for _ in range(12):
        service.keyboard.press("Tab")
        reached.add(service.evaluate("document.activeElement.id || document.activeElement.textContent"))
    assert {"strength", "jsonl", "report", "clear"} <= reached
    labels = service.locator("button, input").evaluate_all(
        "all => all.map(one => one.labels?.length || one.ariaLabel || one.textContent)"
    )
    assert all(labels)


def test_controls_without_a_function_are_hidden(marking, tmp_path):
    service = marking
    assert not service.locator("#controls").is_visible()
    service.locator("#pick").set_input_files(str(save_picture(tmp_path / "a.png", 500, 500)))
    service.locator("article.row .verdict").wait_for(timeout=60_000)
    assert service.locator("#controls").is_visible()
    assert not service.locator("#map").is_visible()  # no influence of the random network is worth a map
    assert service.locator("img.heat").is_visible() and service.locator("#strength").is_visible()
    assert "influence of each patch" in service.locator("article").text_content()
    service.locator("#clear").click()
    assert not service.locator("#controls").is_visible() and not service.wrong


def test_without_a_marked_area_there_is_no_slider(service, tmp_path):
    service.locator("#pick").set_input_files(str(save_picture(tmp_path / "a.png", 500, 500)))
    service.locator("article.row .verdict").wait_for(timeout=60_000)
    assert service.locator("#controls").is_visible() and not service.locator("#strength").is_visible()


def test_an_unreachable_service_is_reported(service, tmp_path):
    service.route("**/v1/scan", lambda route: route.abort())
    service.locator("#pick").set_input_files(str(save_picture(tmp_path / "a.png")))
    failed = service.locator("article[data-state=failed]")
    failed.get_by_text("hidascan is not running").wait_for(timeout=20_000)
    assert "1 of 1 finished" in service.locator("#status").text_content()
    service.unroute("**/v1/scan")
    failed.get_by_role("button", name="Retry a.png").click()
    service.locator("article[data-state=done]").wait_for(timeout=60_000)
    assert service.locator("article").count() == 1


def test_states_are_streamed_with_a_first_impression_and_a_title(service, tmp_path):
    service.evaluate("""() => {
        window.seen = [];
        new MutationObserver(() => seen.push([document.querySelector("article")?.dataset.state, document.querySelector(".state")?.textContent, document.title]))
            .observe(document.querySelector("#rows"), {subtree: true, childList: true, attributes: true, characterData: true});
    }""")
    service.locator("#pick").set_input_files(str(save_large(tmp_path / "large.jpg", 1800, 2400)))
    service.locator(".first", has_text="First impression").wait_for()
    service.locator("article[data-state=done]").wait_for()
    seen = service.evaluate("seen")
    order = list(dict.fromkeys(state for state, _, _ in seen if state))
    assert order == ["waiting", "scanning", "done"]
    words = [words for _, words, _ in seen if words]
    assert any(" of 99 patches, about " in one and one.endswith(" left") for one in words), words
    assert any("% of large.jpg" in title for _, _, title in seen)
    verdict = service.evaluate("headline(jobs[0])")
    assert verdict in (
        "Likely AI-generated",
        "Part of it looks AI-made",
        "No sign of AI found",
        "Little sign of AI, but the heatmap disagrees",
        "Cannot tell",
    )
    assert service.title() == f"{verdict}: large.jpg - hidascan"
    assert service.locator("#status").text_content().startswith(f"large.jpg: {verdict}.") and not service.wrong


def test_cancelling_one_all_and_clearing_keep_the_count_true(service, server, tmp_path):
    paths = [str(save_large(tmp_path / f"{number}.jpg")) for number in range(5)]
    service.locator("#pick").set_input_files(paths)
    service.locator("article[data-state=scanning]").first.wait_for()
    assert service.locator("article .path").all_text_contents() == [f"{number}.jpg" for number in range(5)]
    service.get_by_role("button", name="Cancel 0.jpg").click()
    assert states(service)[0] == "cancelled" and "1 of 5 finished" in service.locator("#status").text_content()
    service.locator("article[data-state=scanning]").first.wait_for()
    service.locator("#stop").click()
    assert (
        states(service) == ["cancelled"] * 5
        and "5 of 5 finished: 5 cancelled" in service.locator("#status").text_content()
    )
    assert service.locator("article .verdict").all_text_contents() == ["Cancelled"] * 5
    waiting = "async () => (await (await fetch('v1/health')).json()).waiting"
    service.wait_for_function(f"async () => await ({waiting})() === 0", timeout=30_000)
    service.get_by_role("button", name="Retry 1.jpg").click()
    service.locator("article[data-state=scanning]").wait_for()
    service.locator("#clear").click()
    small = str(save_picture(tmp_path / "small.png", 60, 60))
    service.locator("#pick").set_input_files(small)
    service.locator("article[data-state=done]").wait_for()
    assert "1 of 1 finished" in service.locator("#status").text_content() and service.locator("article").count() == 1
    assert not service.wrong


def test_twenty_files_at_once_are_listed_and_counted_in_their_order(service, tmp_path):
    paths = [save_picture(tmp_path / f"{number:02}.png", 60, 60, number) for number in range(19)]
    (tmp_path / "broken.png").write_bytes(b"no picture")
    service.locator("#pick").set_input_files(
        [*map(str, paths[:10]), str(tmp_path / "broken.png"), *map(str, paths[10:])]
    )
    service.locator("#status", has_text="20 of 20 finished").wait_for()
    names = service.locator("article .path").all_text_contents()
    assert names == [f"{number:02}.png" for number in range(10)] + ["broken.png"] + [
        f"{number:02}.png" for number in range(10, 19)
    ]
    assert states(service).count("failed") == 1 and "1 failed" in service.locator("#status").text_content()
    assert service.locator("article", has_text="broken.png").get_by_role("button", name="Retry").is_visible()
    assert service.get_by_role("heading", level=2).count() == 20 and not service.wrong


def test_a_server_that_dies_is_reported_and_its_files_stay_in_the_report(browser, tiny_weights, tmp_path):
    with running_service("--weights", tiny_weights) as (base, process):
        page = opened(browser, base)
        page.locator("#pick").set_input_files(
            [str(save_large(tmp_path / "a.jpg")), str(save_large(tmp_path / "b.jpg"))]
        )
        page.locator("article[data-state=scanning]").first.wait_for()
        process.send_signal(signal.SIGKILL)
        page.locator("#status", has_text="2 of 2 finished").wait_for()
        assert states(page) == ["failed", "failed"]
        assert "Start “hidascan serve” again, then press Retry" in page.locator("article").first.text_content()
        assert page.get_by_role("button", name="Retry a.jpg").is_visible()
        with page.expect_download() as got:
            page.locator("#jsonl").click()
        rows = [json.loads(line) for line in got.value.path().read_text().splitlines()]
        assert [(row["path"], row["status"]) for row in rows] == [("a.jpg", "error"), ("b.jpg", "error")]
        assert "Start “hidascan serve” again" in rows[0]["summary"]["sentence"]
        page.close()


DROP = """async ([kind, text]) => {
    const data = new DataTransfer();
    data.setData("text/uri-list", text);
    dispatchEvent(kind === "drop" ? new DragEvent(kind, {dataTransfer: data}) : new ClipboardEvent(kind, {clipboardData: data}));
}"""


@pytest.mark.parametrize("kind", ["drop", "paste"])
def test_a_link_is_answered_with_advice(service, kind):
    service.evaluate(DROP, [kind, "https://example.org/a.jpg"])
    service.locator("#problem", has_text="This is a link, not a file: save the picture").wait_for()
    service.evaluate(DROP, [kind, "some words"])
    service.locator("#problem", has_text="This is not a file").wait_for()
    assert service.locator("article").count() == 0


def test_a_pasted_picture_and_a_dropped_folder_are_scanned(service, tmp_path):
    file = io.BytesIO()
    Image.fromarray(picture(60, 60)).save(file, "PNG")
    service.evaluate(
        """pixels => {
        const file = name => new File([new Uint8Array(pixels)], name, {type: "image/png"});
        const data = new DataTransfer();
        data.items.add(file("pasted.png"));
        dispatchEvent(new ClipboardEvent("paste", {clipboardData: data}));
        const leaf = (name, place) => ({isFile: true, name, fullPath: place + name, file: resolve => resolve(file(name))});
        const lost = {isFile: true, name: "locked.png", file: (resolve, reject) => reject(new Error())};
        const folder = (name, inside) => ({isDirectory: true, name, createReader: () => ({readEntries: resolve => resolve(inside.splice(0, 1))})});
        const tree = folder("all", [leaf("b.png", "/all/"), leaf(".hidden.png", "/all/"), lost, folder("deep", [leaf("c.png", "/all/deep/")])]);
        const event = new Event("drop");
        event.dataTransfer = {files: [], getData: () => "", items: [{kind: "file", webkitGetAsEntry: () => tree}]};
        dispatchEvent(event);
    }""",
        list(file.getvalue()),
    )
    service.locator("#status", has_text="3 of 3 finished").wait_for()
    assert service.locator("article .path").all_text_contents() == ["pasted.png", "all/b.png", "all/deep/c.png"]
    problem = service.locator("#problem").text_content()
    assert "Skipped 1 file in the folder" in problem and "Could not be read: locked.png." in problem
    assert not service.wrong


def test_figures_of_hidascan_in_a_folder_are_not_scanned(service, tmp_path):
    for name in ("a.jpg", "a.jpg.heatmap.png", "a.jpg.effects.png", "a.jpg.heatmap-raw.png", "heatmap.png"):
        save_picture(tmp_path / "in" / name, 60, 60)
    service.locator("#pick-folder").set_input_files(str(tmp_path / "in"))
    service.locator("#status", has_text="2 of 2 finished").wait_for()
    assert sorted(service.locator("article .path").all_text_contents()) == ["in/a.jpg", "in/heatmap.png"]
    assert service.locator("#problem").text_content() == "Skipped 3 files named like a heatmap of hidascan."


@pytest.mark.parametrize("kind", ["animated.png", "animated.gif", "animated.webp", "transparent.png"])
def test_pixels_that_were_not_scanned_are_not_shown_at_full_size(service, tmp_path, kind):
    frames = [Image.fromarray(picture(200, 300, seed)) for seed in range(2)]
    if kind == "transparent.png":
        frames[0].putalpha(Image.new("L", frames[0].size, 60))
        frames[0].save(tmp_path / kind)
    else:
        frames[0].save(tmp_path / kind, save_all=True, append_images=frames[1:], duration=100, loop=0)
    service.locator("#pick").set_input_files(str(tmp_path / kind))
    with service.expect_request("**/v1/preview", timeout=30_000):
        service.get_by_role("button", name=f"Show {kind} at full size").click()
    service.locator("#scale", has_text="% (of a JPEG copy, 300 px wide)").wait_for()
    assert not service.wrong


def blue_at_the_edge(part) -> int:
    """Count the pixels of the colour of the focus within 4 px of the edge of an element."""
    pixels = np.asarray(Image.open(io.BytesIO(part.screenshot())).convert("RGB")).astype(int)
    blue = np.abs(pixels - (59, 130, 246)).max(axis=-1) < 8
    blue[5:-5, 5:-5] = False
    return int(blue.sum())


def test_the_picture_and_its_full_size_show_the_keyboard_focus(service, tmp_path):
    service.locator("#pick").set_input_files(str(save_picture(tmp_path / "a.png", 300, 300)))
    button = service.get_by_role("button", name="Show a.png at full size")
    service.locator("#clear").focus()
    before = blue_at_the_edge(button)
    service.keyboard.press("Tab")
    assert blue_at_the_edge(button) > before + 800  # twice four sides of about 240 px
    service.keyboard.press("Enter")
    service.locator("#full img").first.wait_for()
    while service.evaluate("document.activeElement.id") != "view":
        service.keyboard.press("Tab")
    for _ in range(12):
        service.keyboard.press("+")
    assert blue_at_the_edge(service.locator("#view")) > 2000


def test_without_javascript_a_plain_form_shows_the_results(browser, server, tmp_path):
    page = opened(browser, server, java_script_enabled=False)
    assert not page.get_by_text("choose a folder").is_visible()
    (tmp_path / "broken.png").write_bytes(b"no picture")
    page.locator("input[name=file]").set_input_files(
        [str(save_picture(tmp_path / "a.png", 60, 60)), str(tmp_path / "broken.png")]
    )
    page.get_by_role("button", name="Scan").click()
    page.locator("article[data-verdict=error]").wait_for()
    assert page.locator("article .path").all_text_contents() == ["a.png", "broken.png"]
    page.close()


def test_a_tiff_is_shown_at_full_size_moved_and_zoomed(service, tmp_path):
    service.locator("#pick").set_input_files(str(save_picture(tmp_path / "a.tiff", 700, 900)))
    service.get_by_role("button", name="Show a.tiff at full size").click()
    picture = service.locator("#full img").first
    picture.wait_for()
    assert picture.evaluate("picture => [picture.naturalWidth, picture.naturalHeight]") == [900, 700]
    box = service.locator("#view").bounding_box()
    centre = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    service.mouse.move(*centre)
    width = picture.bounding_box()["width"]
    service.mouse.wheel(0, -800)
    service.wait_for_function(f"document.querySelector('#full img').getBoundingClientRect().width > {2 * width}")
    before = picture.bounding_box()
    service.mouse.down()
    service.mouse.move(centre[0] + 40, centre[1] + 30)
    service.mouse.up()
    after = picture.bounding_box()
    assert (after["x"] - before["x"], after["y"] - before["y"]) == pytest.approx((40, 30), abs=1)
    service.locator("#view").focus()
    service.keyboard.press("0")
    assert picture.bounding_box()["width"] <= box["width"] and not service.wrong


def test_two_fingers_zoom(browser, server, tmp_path):
    page = opened(browser, server, has_touch=True, viewport={"width": 390, "height": 800})
    page.locator("#pick").set_input_files(str(save_picture(tmp_path / "a.png", 700, 900)))
    page.get_by_role("button", name="Show a.png at full size").click()
    picture = page.locator("#full img").first
    picture.wait_for()
    width = picture.bounding_box()["width"]
    box = page.locator("#view").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    touch = page.context.new_cdp_session(page)
    for kind, apart in (("touchStart", 40), ("touchMove", 80), ("touchMove", 120)):
        points = [{"x": x - apart / 2, "y": y, "id": 0}, {"x": x + apart / 2, "y": y, "id": 1}]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    assert picture.bounding_box()["width"] > 2 * width and not page.wrong
    page.close()


def test_the_downloaded_heatmap_is_the_figure_of_the_command_line(service, hidascan, tiny_weights, tmp_path):
    path = save_picture(tmp_path / "a.png", 500, 500)
    service.locator("#pick").set_input_files(str(path))
    with service.expect_download() as got:
        service.get_by_role("button", name="Download the heatmap of a.png").click()
    assert got.value.suggested_filename == "a.png.heatmap.png"
    hidascan(path, "--heatmap", "--heatmap-dir", tmp_path / "maps", "-q")
    ours, theirs = (np.asarray(Image.open(one)) for one in (got.value.path(), tmp_path / "maps/a.png.heatmap.png"))
    assert ours.shape == theirs.shape and np.abs(ours.astype(int) - theirs).max() <= 2 and not service.wrong


@pytest.mark.parametrize(
    "context",
    [
        {"color_scheme": "light"},
        {"color_scheme": "dark", "viewport": {"width": 390, "height": 800}, "reduced_motion": "reduce"},
        {"color_scheme": "light", "viewport": {"width": 640, "height": 400}, "device_scale_factor": 2},  # 200 %
    ],
    ids=["light", "dark-390px", "200-percent"],
)
def test_axe_finds_no_violation_and_leaves_nothing_undecided(browser, server, tmp_path, context):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page = opened(browser, server, **context)

    def found() -> list[tuple[str, str]]:
        response = axe.run(page, options=AXE).response
        return [(one["id"], node["html"][:120]) for part in ("violations", "incomplete") for one in response[part] for node in one["nodes"]]  # fmt: skip

    assert found() == []
    (tmp_path / "broken.png").write_bytes(b"no picture")
    page.locator("#pick").set_input_files(
        [str(save_picture(tmp_path / "a.png", 500, 500)), str(tmp_path / "broken.png")]
    )
    page.locator("#status", has_text="2 of 2 finished").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert found() == []
    page.get_by_role("button", name="Show a.png at full size").click()
    page.locator("#full img").first.wait_for()
    assert found() == []
    page.close()
