"""Verdicts that depend on more than the score: pictures without content, and contradicting heatmaps."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from hidascan import Scanner, ScanOptions
from hidascan.calibration import Calibration, ErrorRates, Reliability
from hidascan.detectors.checkpoint import load_detector, save_trained
from hidascan.errors import CheckpointError
from hidascan.finding import Finding
from hidascan.image.content import content_problem
from hidascan.lab.cli import app
from hidascan.lab.measure.region_odds import LabelledFinding, cross_fitted_odds, fit_region_odds
from hidascan.regions import Region, scope_of
from tests.conftest import picture, save_picture
from tests.lab import table_of

WHITE = np.full((240, 300, 3), 255, np.uint8)


def blank_pictures() -> dict[str, np.ndarray | Image.Image]:
    dotted = WHITE.copy()
    dotted[100, 100] = 0
    shaded = np.broadcast_to(np.linspace(0, 255, 600).astype(np.uint8)[:, None, None], (600, 400, 3)).copy()
    unseen = Image.fromarray(picture(240, 300)).convert("RGBA")
    unseen.putalpha(0)
    return {
        "white": WHITE,
        "black": 0 * WHITE,
        "one dot": dotted,
        "a gradient": shaded,
        "transparent": unseen,
        "one pixel": picture(1, 1)[:1, :1],
        "an icon": picture(16, 16),
        "a thin strip": picture(63, 500),
        "grain of a scanner": np.random.default_rng(0).normal(250, 2, WHITE.shape).clip(0, 255).astype(np.uint8),
        "an icon on white": np.pad(picture(30, 40), ((200, 210), (150, 150), (0, 0)), constant_values=255),
    }


@pytest.fixture(scope="module")
def scanner(tiny_weights):
    return Scanner(
        ScanOptions(str(tiny_weights), threshold=1.0, explain=True)
    )  # without a rule, everything would be real


@pytest.mark.parametrize("suffix", ["png", "jpg"])
@pytest.mark.parametrize("name", blank_pictures())
def test_a_picture_without_content_is_inconclusive(scanner, tmp_path, name, suffix):
    made = blank_pictures()[name]
    image = made if isinstance(made, Image.Image) else Image.fromarray(made)
    if suffix == "jpg" and image.mode == "RGBA":
        pytest.skip("JPEG has no transparency")
    image.save(tmp_path / f"a.{suffix}")
    (finding,) = scanner.scan([tmp_path / f"a.{suffix}"])
    assert finding.verdict == "inconclusive" and any(note.startswith("nothing to judge") for note in finding.notes)
    assert finding.heatmap is None and not finding.regions and finding.ai_area is None
    assert (
        finding.domain is None and not finding.attributions and not any("not a photo" in note for note in finding.notes)
    )
    assert finding.jpeg_trace or finding.jpeg_quality_estimated is None


@pytest.mark.parametrize("name", ["white", "black"])
def test_only_a_picture_of_one_colour_is_called_blank(name):
    assert content_problem(blank_pictures()[name]) == "nothing to judge: the scanned picture is blank"


@pytest.mark.parametrize("name", ["one dot", "a gradient", "an icon on white", "grain of a scanner"])
def test_a_picture_of_several_colours_is_not_called_blank(name):
    assert content_problem(blank_pictures()[name]) == "nothing to judge: the scanned picture has too little content"


def sunset() -> np.ndarray:
    rows, columns = np.indices((540, 960))
    sky = np.stack([40 + rows / 3, 30 + rows / 5, 120 - rows / 6], axis=2)
    sky[(rows - 300) ** 2 + (columns - 480) ** 2 < 400] = 255
    return (sky + np.random.default_rng(0).normal(0, 3, sky.shape)).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    "made",
    [
        sunset(),
        np.pad(picture(90, 90), ((150, 150), (150, 150), (0, 0)), constant_values=255),
        picture(64, 64),
        picture(240, 300),
        0 * WHITE + np.indices((240, 300)).sum(0)[..., None].astype(np.uint8) % 7 * 9,
    ],
)
def test_a_picture_with_content_is_judged(scanner, made):
    finding = scanner.scan_array(np.ascontiguousarray(made))
    assert finding.verdict == "real" and not any(note.startswith("nothing to judge") for note in finding.notes)


def weights_with(tiny_weights, folder, **changes):
    network, header = load_detector(tiny_weights)
    path = shutil.copytree(tiny_weights.parent, folder / "weights") / "changed.safetensors"
    save_trained(path, network, replace(header, calibration=replace(header.calibration, **changes)))
    return path


def test_a_region_prevents_the_verdict_real_with_a_note(tiny_weights, tmp_path):
    path = weights_with(tiny_weights, tmp_path, localisation=0.0, region_odds=1e9)
    (finding,) = Scanner(ScanOptions(str(path), threshold=0.999)).scan_arrays([("a", picture(240, 300))])
    assert finding.verdict == "inconclusive" and finding.score < 1 and finding.scope in ("part", "whole")
    assert any("of the picture looks AI-made" in note for note in finding.notes)


def test_a_region_is_named_where_the_verdict_stays_real(tiny_weights, tmp_path):
    path = weights_with(tiny_weights, tmp_path, localisation=0.0, region_odds=0.0)
    (finding,) = Scanner(ScanOptions(str(path), threshold=1.0)).scan_arrays([("a", picture(240, 300))])
    assert finding.verdict == "real" and any("too low for that to change the verdict" in note for note in finding.notes)


def test_a_region_multiplies_the_odds_of_ai():
    thresholds = dict.fromkeys(Calibration().thresholds, (0.2, 0.9))
    rule = Calibration(thresholds=thresholds, region_odds=4.0).rule("balanced")
    assert rule.contradicts(0.06) and not rule.contradicts(0.058)  # 0.2 is odds of 1 to 4, a fourth of it 1 to 16
    assert not Calibration(thresholds=thresholds).rule("balanced").contradicts(0.19)


@pytest.mark.parametrize(
    ("verdict", "area", "regions", "scope"),
    [
        ("ai", 0.9, 1, "whole"),
        ("ai", 0.1, 2, "part"),
        ("ai", 0.0, 0, None),  # no area stands out: the score alone cannot say how much is AI-made
        ("inconclusive", 0.1, 1, "part"),
        ("inconclusive", 0.0, 0, None),
        ("real", 0.0, 0, "none"),
        ("real", 0.01, 1, None),  # the heatmap does not agree
        ("ai", None, 0, None),
    ],
)
def test_the_scope_is_what_verdict_and_heatmap_agree_on(verdict, area, regions, scope):
    assert scope_of(verdict, area, [Region(0, 0, 9, 9, area or 0.0, 0.9)] * regions) == scope


def test_weights_with_an_absurd_rule_are_refused(tiny_weights, tmp_path):
    path = weights_with(tiny_weights, tmp_path, region_odds=float("nan"))
    with pytest.raises(CheckpointError, match="region_odds"):
        load_detector(path)


def test_error_rates_are_read_from_weights_for_the_profile_that_they_were_measured_with(tiny_weights, tmp_path):
    rates = Reliability(ErrorRates(0.01, 0.02, 300, 400), ErrorRates(0.03, 0.04, 300, 400))
    weights = str(weights_with(tiny_weights, tmp_path, reliability={"balanced": rates}))
    assert Scanner(ScanOptions(weights)).info.reliability == rates
    assert Scanner(ScanOptions(weights, profile="low-fpr")).info.reliability is None
    assert Scanner(ScanOptions(weights, threshold=0.5)).info.reliability is None


@pytest.mark.parametrize("rates", [7, {"real_called_ai": 2}, {"real_called_ai": float("nan")}, {"real_images": 0}])
def test_weights_with_absurd_error_rates_are_refused(tiny_weights, tmp_path, rates):
    sound = {"real_called_ai": 0.1, "ai_called_real": 0.1, "real_images": 9, "ai_images": 9}
    one = {**sound, **rates} if isinstance(rates, dict) else rates
    path = weights_with(tiny_weights, tmp_path, reliability={"balanced": {"as_published": sound, "delivered": one}})
    with pytest.raises(CheckpointError):
        load_detector(path)


def labelled(label: int, found: bool, score: float, number: int) -> LabelledFinding:
    regions = (Region(0, 0, 9, 9, 0.1, 0.9),) if found else ()
    return LabelledFinding(label, number % 6, Finding("a", "ok", score=score, ai_area=0.1 * found, regions=regions))


def test_a_rule_moves_hardly_any_real_images():
    real = [labelled(0, number < 20, 0.1 if number < 10 else 0.01, number) for number in range(1000)]
    ai = [labelled(1, number < 60, 0.3, number) for number in range(100)]
    calibration = Calibration(thresholds=dict.fromkeys(Calibration().thresholds, (0.5, 0.9)))
    odds = fit_region_odds(real + ai, calibration)
    assert 7 < odds < 9  # the ratio is 28, but from 9 on ten real images of a score of 0.1 lose `real`
    figures = cross_fitted_odds(real + ai, calibration)
    assert figures["real_moved"] == 0 and figures["ai_called_real_by_score"] == 1 and figures["ai_moved"] == 0.6
    assert fit_region_odds(ai, calibration) is None


def test_the_lab_fits_a_rule_to_a_report_and_writes_it_into_weights(hidascan, tiny_weights, tmp_path):
    weights = weights_with(
        tiny_weights, tmp_path, localisation=0.0, thresholds=dict.fromkeys(Calibration().thresholds, (1.0, 1.0))
    )
    for number in range(4):
        save_picture(tmp_path / f"{number}.png", seed=number)
    table = table_of(tmp_path, [(f"{number}.png", int(number < 3), "g", f"s{number}") for number in range(4)])
    report = tmp_path / "r.jsonl"
    hidascan(tmp_path, "--weights", weights, "--jsonl", report, "-q")
    rows = [json.loads(line) for line in report.read_text().splitlines()]
    for row in rows:
        row["regions"] = [region | {"score": 0.9} for region in row["regions"]] if row["path"][-5] != "3" else []
    report.write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments = ["agree", str(report), str(table), "--weights", str(weights), "--write"]
    ran = CliRunner().invoke(app, arguments)
    figures, rule = (json.loads(line) for line in ran.output.splitlines())
    assert (ran.exit_code, figures["ai"], figures["real"]) == (0, 3, 1)
    assert load_detector(weights)[1].calibration.region_odds == rule["region_odds"]
    report.write_text(json.dumps(rows[0]))
    assert "needs real and AI images" in str(CliRunner().invoke(app, arguments).exception)
