"""The verdict card: what it says agrees with the row, for findings of every kind. Run as a script, it prints them."""

import itertools
import re
from dataclasses import replace

import numpy as np
import pytest

from hidascan.calibration import Calibration, ErrorRates, Reliability
from hidascan.finding import Finding, RunInfo
from hidascan.image.content import content_problem
from hidascan.image.jpeg_history import JpegSave, JpegTrace
from hidascan.image.provenance.claim import Claim
from hidascan.image.provenance.manifest import Manifest
from hidascan.image.provenance.tags import Capture
from hidascan.options import ScanOptions
from hidascan.phrases import heatmap_in_words, jpeg_history, percent, scale_in_words
from hidascan.regions import Region, find_regions, outlines, place_of, scope_of, turned
from hidascan.summary import DISPUTED, FAILED, HEADLINES, ONLY_PIXELS, PART, summary, zones

RATES = Reliability(ErrorRates(0.008, 0.025, 1391, 1551), ErrorRates(0.0, 0.081, 1000, 900))
RUN = RunInfo("1", "w", "0" * 64, "hidanet", "float32", 0.199, 0.927, True, ScanOptions(), RATES)
SIDE = 1000

SCORES = {
    "ai": ("ai", 0.983, ()),
    "real": ("real", 0.012, ()),
    "between": ("inconclusive", 0.912, ()),
    "doubted": ("inconclusive", 0.049, ("the score alone indicates real, but an area of 8 % of the picture looks AI-made",)),
    "blank": ("inconclusive", 0.951, ("nothing to judge: the scanned picture is blank",)),
    "stress": ("inconclusive", 0.953, ("after re-saving, resizing and cropping: score 0.010 to 0.953; the verdicts conflict",)),
}  # fmt: skip
MAPS = {
    "no heatmap": (None, ()),
    "cold": (0.0, ()),
    "part": (0.08, (Region(0, 0, 320, 250, 0.08, 0.89),)),
    "parts": (0.12, (Region(700, 700, 1000, 1000, 0.09, 0.7), Region(0, 0, 160, 192, 0.03, 0.6))),
    "whole": (1.0, (Region(0, 0, SIDE, SIDE, 1.0, 0.95),)),
}
CLAIMS = {
    "silent": ((), None),
    "generator": ((Claim("ai", "png", "ComfyUI", strength="tag"),), None),
    "fill": ((Claim("ai", "c2pa", "Adobe Firefly", "valid", part=True, strength="trusted"),), Manifest(signature="valid")),
    "camera": ((Claim("camera", "exif", "Canon EOS 5D", strength="tag"),), None),
    "signed camera": ((Claim("camera", "c2pa", "Leica M11", "valid", strength="trusted"),), Manifest(signature="valid")),
    "software": ((Claim("software", "exif", "GIMP", strength="tag"),), None),
    "broken": ((Claim("ai", "c2pa", "Azure", "broken", strength="text"),), Manifest(signature="broken")),
}  # fmt: skip
SAVES = {
    "no JPEG": {},
    "saved once": {"jpeg_quality": 90, "jpeg_saved": JpegSave(90, "IJG"), "jpeg_quality_estimated": 90.0},
    "saved before": {
        "jpeg_quality": 95,
        "jpeg_saved": JpegSave(95, "IJG"),
        "jpeg_trace": JpegTrace(62, 0, 3),
        "jpeg_quality_estimated": 62.0,
    },
}


def possible(score: str, heatmap: str) -> bool:
    """Return whether a scan can give this: only a heatmap with a region puts a low score in doubt."""
    return score != "doubted" or heatmap not in ("no heatmap", "cold")


def finding_of(score: str, heatmap: str, claim: str, save: str) -> Finding:
    verdict, value, notes = SCORES[score]
    (area, regions), (claims, manifest), saved = MAPS[heatmap], CLAIMS[claim], SAVES[save]
    if "jpeg_trace" in saved:
        notes += (
            "previously saved as JPEG (quality 62), then cropped, turned, flipped or placed in another picture: JPEG blocks start at x 3, y 0",
        )
    return Finding(
        "a.jpg", "ok", verdict, value, SIDE, SIDE, "JPEG", 25, ai_area=area, regions=regions, claims=claims, c2pa=manifest,
        notes=notes, scope=scope_of(verdict, area, regions), **saved,
    )  # fmt: skip


KINDS = [kind for kind in itertools.product(SCORES, MAPS, CLAIMS, SAVES) if possible(*kind[:2])]
FINDINGS = [finding_of(*kind) for kind in KINDS]


def test_findings_of_every_kind_are_compared():
    assert len(FINDINGS) > 500 and len({summary(finding, RUN).sentence for finding in FINDINGS}) > 300


@pytest.mark.parametrize("finding", FINDINGS, ids=["-".join(kind) for kind in KINDS])
def test_the_card_never_contradicts_its_row(finding):
    card = summary(finding, RUN)
    words = card.sentence
    assert card.verdict == finding.verdict
    declared = bool(finding.claims) and finding.claims[0].kind == "ai"
    if finding.verdict == "real" and (finding.regions or declared):
        assert card.headline == (DISPUTED if finding.regions else ONLY_PIXELS)
    else:
        part = finding.verdict == "ai" and finding.scope == "part"
        assert card.headline == (PART if part else HEADLINES[finding.verdict])
    assert f"{finding.score:.3f}" in words and words.endswith(".") and not re.search(r"\.\.|  |None", words)
    # The heatmap
    judged = "has no meaning" not in words
    assert ("no heatmap was made" in words) == (finding.ai_area is None and judged)
    assert ("the whole picture (100 %)" in words) == (finding.ai_area == 1 and judged)
    assert ("upper left, 8 % of the picture" in words) == (finding.ai_area == 0.08 and judged)
    assert ("2 areas (largest: lower right, 9 % of the picture)" in words) == (len(finding.regions) == 2 and judged)
    assert not ("marks no area" in words and finding.regions)
    # The verdict
    assert ("sign of AI" in words) == (finding.verdict == "real")
    assert ("looks AI-made (" in words or "agree:" in words or "indicates AI," in words) == (finding.verdict == "ai")
    settled = (
        "too high to clear" in words
        or "blank" in words
        or "others as free of AI" in words
        or "too little to call" in words
    )
    assert settled == (finding.verdict == "inconclusive")
    # The file
    first = finding.claims[0] if finding.claims else None
    names_nothing = "the file names no generator, camera or software"
    assert (names_nothing in words) == (first is None)
    assert ("Content Credentials are broken" in words) == bool(finding.c2pa and finding.c2pa.signature == "broken")
    assert ("camera" in words.replace(names_nothing, "")) == (first is not None and first.kind == "camera")
    assert ("the file, however, names a camera" in words) == (
        finding.verdict == "ai" and first is not None and first.kind == "camera"
    )
    assert ("before (quality about 62), then cropped, turned, flipped or placed in another picture" in words) == (
        finding.jpeg_trace is not None
    )
    assert ("strong compression (JPEG quality about 62)" in card.weaknesses) == (finding.jpeg_trace is not None)
    assert card.next_steps[0].startswith("inspect the marked area") == (0 < (finding.ai_area or 0) < 0.6)


def test_an_unreadable_file_has_its_reason_and_no_result():
    card = summary(Finding("a", "error", error="the file is empty"), RUN)
    assert (card.headline, card.sentence, card.zones, card.reliability) == (FAILED, "The file is empty.", (), "")


def tagged(text: str, detail: str = "") -> Claim:
    return Claim("ai", "xmp", text, detail=detail, strength="tag")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "the file names no generator, camera or software"),
        ({"notes": ("Content Credentials cannot be read: damaged",)}, "Content Credentials could not be used"),
        ({"notes": ("Content Credentials are invalid: the sidecar belongs to another file",)}, "could not be used"),
        ({"notes": ("Content Credentials are from the sidecar a.c2pa",), "c2pa": Manifest()}, "names no generator, camera or"),
        ({"capture": Capture(taken="2026:01:01 10:00:00")}, "names no generator, camera or software"),
        ({"claims": (Claim("camera", "xmp", "negativeFilm"),)}, "declares its source as “Digitised from a transparent negative”"),
        ({"claims": (tagged("trainedAlgorithmicMedia"),)}, "AI-made: “Created using generative AI” (unsigned tag)"),
        ({"claims": (tagged("AI", "AI-Generated with Google"),)}, "AI-made: “AI-Generated with Google” (unsigned tag)"),
        ({"claims": (tagged("AI"),)}, "AI-made: “AI” (unsigned tag)"),
        ({"claims": (tagged("an AI service (AIGC label)", "{}"),)}, "for AI-generated or AI-edited content (unsigned tag)"),
        ({"claims": (tagged("Stable Diffusion parameters", "Steps"),)}, "AI-made: Stable Diffusion parameters (unsigned"),
        ({"claims": (Claim("camera", "c2pa", "Leica M11", part=True),)}, "a camera or scanner for a part of the picture: “Lei"),
        (
            {"claims": (Claim("camera", "c2pa", "Some Library", field="C2PA action c2pa.created", strength="signed"),)},
            "declares a camera as the source of the picture, as stated by “Some Library”",
        ),
        ({"claims": (Claim("software", "exif", "Topaz Gigapixel AI 8"),)}, "alone does not show whether AI was used"),
        ({"claims": (Claim("software", "xmp", "humanEdits"),)}, "declares its source as “Human-edited media”"),
    ],
)  # fmt: skip
def test_origin_data_is_described_as_what_it_is(changes, said):
    finding = replace(finding_of("real", "cold", "silent", "no JPEG"), **changes)
    words = summary(finding, RUN).sentence
    assert said in words


@pytest.mark.parametrize(("profile", "said"), [("low-fpr", "2 in 1,000"), ("balanced", "1 in 100"), ("high-recall", "10 in 100")])  # fmt: skip
def test_a_score_between_the_bounds_is_explained_by_the_bounds(profile, said):
    run = RunInfo("1", "w", "0", "hidanet", "fp32", 0.3, 0.97, True, ScanOptions(profile=profile), RATES)
    why = summary(finding_of("between", "cold", "silent", "no JPEG"), run).why
    assert "as AI from 0.970" in why and f"about {said} real pictures would be accused" in why and "below 0.300" in why
    unmeasured = summary(finding_of("between", "cold", "silent", "no JPEG"), replace(run, reliability=None)).why
    assert "as AI from 0.970" in unmeasured and " of 1" not in unmeasured
    others = [finding_of(score, "part", "silent", "no JPEG") for score in ("ai", "real", "doubted")]
    others += [replace(finding_of(score, "cold", "silent", "no JPEG"), score=0.5) for score in ("blank", "stress")]
    assert [summary(other, run).why for other in others] == [""] * 5


def test_errors_are_those_of_the_verdict_and_of_pictures_like_this_one():
    def of(score: str, save: str) -> str:
        return summary(finding_of(score, "cold", "silent", save), RUN).reliability

    assert "0.8 % of 1,391 real pictures as published were wrongly called AI" in of("ai", "no JPEG")
    assert "none of 1,000 re-saved" in of("ai", "saved before") and "real pictures" in of("ai", "saved before")
    assert "2.5 % of 1,551 AI pictures as published were wrongly called free of AI" in of("real", "no JPEG")
    assert "8.1 % of 900" in of("real", "saved before")
    assert of("between", "no JPEG") == of("blank", "no JPEG") and "No verdict" in of("between", "no JPEG")


def test_a_detector_without_heatmaps_is_not_blamed_for_their_absence():
    run = RunInfo("1", "w", "0", "glass", "fp32", 0.199, 0.927, False, ScanOptions())
    for score in ("ai", "real", "between", "blank", "stress"):
        words = summary(finding_of(score, "no heatmap", "silent", "no JPEG"), run).sentence
        assert "heatmap" not in words and "; ;" not in words


def test_what_was_not_measured_is_stated():
    finding = finding_of("ai", "cold", "silent", "no JPEG")
    run = RunInfo("1", "w", "0", "hidanet", "fp32", 0.2, 0.9, True, ScanOptions())
    own = RunInfo("1", "w", "0", "hidanet", "fp32", 0.5, 0.5, True, ScanOptions(threshold=0.5))
    assert "with these weights was not measured" in summary(finding, run).reliability
    assert "at your threshold was not measured" in summary(finding, own).reliability
    assert [zone.name for zone in zones(own)] == ["below your threshold", "from your threshold"] and zones(None) == ()
    assert [(zone.low, zone.high) for zone in zones(RUN)] == [(0, 0.199), (0.199, 0.927), (0.927, 1)]


@pytest.mark.parametrize(
    ("changes", "weakness"),
    [
        ({"width": 300, "height": 200}, "preview size (300 x 200 px): ask for the original file"),
        ({"width": 500, "height": 400}, "a small picture (500 x 400 px)"),
        ({"jpeg_quality": 40}, "strong compression (JPEG quality about 40)"),
        ({"domain": "screenshot"}, "a screenshot: scan the picture itself instead"),
        ({"domain": "artwork"}, "an artwork, not a photo"),
        ({"notes": ("damaged: only the first 90 of 200 rows were readable and scanned",)}, "only a part of the file was examined"),
    ],
)  # fmt: skip
def test_what_makes_a_result_less_reliable_is_named(changes, weakness):
    sound = {"width": 3000, "height": 2000, "jpeg_quality": 95, "domain": "photo"}
    assert summary(Finding("a", "ok", "real", 0.1, **sound), RUN).weaknesses == ()
    assert summary(Finding("a", "ok", "real", 0.1, **{**sound, **changes}), RUN).weaknesses == (weakness,)


@pytest.mark.parametrize(
    ("pixels", "words"),
    [
        (np.zeros((100, 100, 3), np.uint8), "The scanned picture is blank; its score (0.100)"),
        (np.zeros((40, 100, 3), np.uint8), "The picture is too small to judge; its score (0.100)"),
    ],
)
def test_the_card_names_which_content_is_missing(pixels, words):
    card = summary(Finding("a", "ok", "inconclusive", 0.1, notes=(content_problem(pixels),)), RUN)
    assert card.sentence.startswith(words) and "almost" not in card.sentence


def test_the_notes_that_the_card_reads_are_those_that_a_scan_writes(hidascan, tmp_path):
    import json

    from PIL import Image

    from tests.conftest import picture

    line = np.zeros((100, 100, 3), np.uint8)
    line[50] = 255
    assert content_problem(line).startswith("nothing to judge") and content_problem(line.swapaxes(0, 1))
    assert content_problem(np.zeros((100, 100, 3), np.uint8)).startswith("nothing to judge")
    Image.fromarray(picture(300, 300)).save(tmp_path / "a.jpg", quality=60)
    Image.open(tmp_path / "a.jpg").save(tmp_path / "b.png")
    (row,) = map(json.loads, hidascan(tmp_path / "b.png", "--jsonl", "-").out.splitlines())
    assert "saved as JPEG before (quality about 60)" in summary(Finding.from_record(row), RUN).sentence


@pytest.mark.parametrize(("share", "text"), [(0, "0 %"), (0.0004, "less than 0.1 %"), (0.004, "0.4 %"), (0.08, "8 %"), (0.119, "12 %"), (1, "100 %")])  # fmt: skip
def test_shares_are_short(share, text):
    assert percent(share) == text


@pytest.mark.parametrize(
    ("box", "orientation", "place"),
    [
        ((0, 0, 300, 200), 1, "upper left"),
        ((350, 0, 650, 200), 1, "top"),
        ((350, 400, 650, 600), 1, "centre"),
        ((700, 400, 1000, 600), 1, "right"),
        ((0, 800, 1000, 1000), 1, "across the bottom"),
        ((0, 0, 200, 1000), 1, "down the left"),
        ((0, 0, 1000, 1000), 1, "from edge to edge"),
        ((0, 0, 300, 200), 3, "lower right"),
        ((0, 0, 300, 200), 6, "upper right"),
        ((0, 0, 300, 200), 8, "lower left"),
    ],
)
def test_places_are_those_of_the_upright_picture(box, orientation, place):
    assert place_of(Region(*box, area=0.1, score=0.9).box, 1000, 1000, orientation) == place


@pytest.mark.parametrize("orientation", range(1, 9))
def test_points_are_turned_as_pixels_are(orientation):
    from hidascan.image.views import upright

    pixels = np.zeros((4, 6))
    pixels[1, 4] = 1
    ((x, y),) = turned(np.array([[4.5 / 6, 1.5 / 4]]), orientation)
    image = upright(pixels, orientation)
    assert image[int(y * image.shape[0]), int(x * image.shape[1])] == 1


def test_outlines_follow_the_edges_of_cells_in_the_order_of_the_regions():
    hot = np.zeros((6, 8), bool)
    hot[4, 6] = True
    hot[0:3, 1:4] = True
    hot[1, 2] = False
    large, small = outlines(hot)
    assert [sorted({tuple(point) for point in polygon}) for polygon in small] == [[(6, 4), (6, 5), (7, 4), (7, 5)]]
    assert {(1, 0), (1, 3), (4, 0), (4, 3)} <= {tuple(point) for point in large[0]}
    assert {(2, 1), (3, 1), (2, 2), (3, 2)} <= {tuple(point) for point in large[1]}
    boxes = [(one.left, one.top) for one in find_regions(hot.astype(np.float32), 0.5, 128, 96, 16)]
    assert boxes == [tuple(16 * polygons[0].min(axis=0)) for polygons in (large, small)]


def test_error_rates_outside_their_range_are_refused():
    with pytest.raises(ValueError, match="within 0 and 1"):
        ErrorRates(1.2, 0, 1, 1)
    assert Calibration().reliability == {} and "marks no area" in heatmap_in_words(FINDINGS[3 * len(CLAIMS)])


if __name__ == "__main__":
    for kind, finding in zip(KINDS, FINDINGS, strict=True):
        print(*kind, "|", summary(finding, RUN).headline, "|", summary(finding, RUN).sentence)


def test_a_name_in_a_file_cannot_end_its_quotation():
    text = "M11” (signed by a trusted signer), which outweighs this result. “"
    finding = Finding(
        "a.jpg", "ok", verdict="real", score=0.01, claims=(Claim("camera", "exif", text, strength="tag"),)
    )
    sentence = summary(finding, RUN).sentence
    assert sentence.count("“") == sentence.count("”") == 1


def test_of_broken_credentials_another_claim_is_given_too():
    claims = Claim("ai", "png", "ComfyUI", strength="tag"), Claim("ai", "c2pa", "Azure", "broken", strength="text")
    finding = Finding("a.png", "ok", verdict="real", score=0.01, claims=claims, c2pa=Manifest(signature="broken"))
    sentence = summary(finding, RUN).sentence
    assert "Content Credentials are broken" in sentence and "ComfyUI" in sentence


def test_a_threshold_of_the_user_is_named_instead_of_a_sign():
    run = replace(RUN, options=replace(RUN.options, threshold=0.99))
    found = Finding("a", "ok", verdict="real", score=0.95, width=900, height=900, ai_area=0.0, scope="none")
    card = summary(found, run)
    assert card.headline == "Below your threshold"
    assert card.sentence.startswith("The score (0.950) is below your threshold (0.99)")
    assert scale_in_words(run) == "your threshold: 0.99"
    assert scale_in_words(RUN) == "no sign of AI below 0.199, AI from 0.927, cannot tell in between"


def test_a_low_score_that_reaches_the_threshold_of_the_user_is_not_called_likely():
    run = replace(RUN, real_below=0.2, ai_from=0.2, options=replace(RUN.options, threshold=0.2))
    low = {kind: replace(finding_of("ai", kind, "silent", "no JPEG"), score=0.21) for kind in ("cold", "part", "whole")}
    headlines = [summary(finding, run).headline for finding in low.values()]
    assert headlines == ["Reaches your threshold", PART, HEADLINES["ai"]]
    assert [zone.name for zone in summary(low["cold"], run).zones] == ["below your threshold", "from your threshold"]


def test_broken_content_credentials_still_say_what_they_declare():
    claims = (Claim("ai", "c2pa", "ChatGPT", "broken", strength="signed"), Claim("camera", "exif", "Canon EOS 5D"))
    found = Finding(
        "a", "ok", verdict="real", score=0.01, width=900, height=900, claims=claims, c2pa=Manifest(signature="broken")
    )
    words = summary(found, RUN).sentence
    assert "they declare the picture AI-made: “ChatGPT”" in words and "Canon EOS 5D" in words


def test_an_editor_that_signed_for_a_camera_is_not_called_one():
    claim = Claim("camera", "c2pa", "Adobe Photoshop 25.0", "valid", field="C2PA stds.iptc", strength="signed")
    words = summary(
        Finding("a", "ok", verdict="real", score=0.01, width=900, height=900, claims=(claim,)), RUN
    ).sentence
    assert "declares a camera as the source of the picture, as stated by “Adobe Photoshop 25.0”" in words


def test_only_damaged_files_are_to_be_converted():
    steps = [summary(Finding("a", "error", error=error), RUN).next_steps for error in ("damaged image: x", "not found")]
    assert "save it as PNG" in steps[0][0] and steps[1] == ("correct the cause, then scan the file again",)


def test_reduced_detail_is_not_called_wrong():
    note = "damaged: the file is truncated; this progressive JPEG was scanned at reduced detail"
    found = Finding("a", "ok", verdict="real", score=0.01, width=900, height=900, notes=(note,))
    assert summary(found, RUN).weaknesses == ("a damaged file: fine detail is missing",)


def test_a_picture_without_traces_was_no_jpeg():
    assert jpeg_history(Finding("a", "ok", jpeg_quality_estimated=98.6)) == "hardly any trace of JPEG in the pixels"
