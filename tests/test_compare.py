"""Comparison of detectors: trained on one split, scored out of fold, written as tables and plots."""

import csv
import dataclasses
import json

import numpy as np
import pytest
from typer.testing import CliRunner

from hidascan.calibration import Calibration
from hidascan.detectors.checkpoint import load_detector
from hidascan.errors import HidascanError, RecipeError, UsageError
from hidascan.lab.artifacts import ResultFile
from hidascan.lab.cli import app
from hidascan.lab.data.layouts import read_images
from hidascan.lab.data.tables import FOLDS, LabelledImage, fold_of
from hidascan.lab.measure import robustness
from hidascan.lab.measure.comparison import DetectorScores, as_markdown, by_kind, short_names
from hidascan.lab.measure.entries import check_tables, folds_of, read_entry
from hidascan.lab.measure.robustness import CURVES, mask_cells
from hidascan.lab.training.recipe import training_module
from tests.conftest import picture
from tests.lab import on_cpu
from tests.test_detectors import save_random
from tests.test_end_to_end import NETWORKS, RECIPE, SOURCES, folder  # noqa: F401


@pytest.fixture
def recipes(folder, tiny_weights):  # noqa: F811
    for name in ("npr", "resnet"):
        text = RECIPE.format(detector=name, network=NETWORKS[name], folder=folder, backbone="none.safetensors")
        (folder / f"{name}.toml").write_text(text.replace("epochs = 3", "epochs = 1").replace("steps = 8", "steps = 2"))
    return folder


def test_a_recipe_is_read_with_changes(recipes):
    entry = read_entry(f"{recipes}/npr.toml@network.scales=[25, 50]@seed=3")
    assert entry.name == "npr@network.scales=[25, 50]@seed=3"
    assert entry.recipe.network.scales == (25, 50) and entry.recipe.seed == 3
    for change in ("network.nothing=1", "network.width=-1", "network.width", "network.width=x"):
        with pytest.raises(RecipeError, match=r"npr\.toml@network\.(nothing|width)"):
            read_entry(f"{recipes}/npr.toml@{change}")


def test_every_fold_is_in_one_part():
    for count in range(1, FOLDS + 1):
        parts = [folds_of(number, count) for number in range(count)]
        assert sorted(fold for part in parts for fold in part) == list(range(FOLDS))


def test_compare_trains_once_without_test_sources_and_writes_all(recipes, tmp_path, monkeypatch):
    trained = []
    module = training_module("npr")
    train = module.train_for_comparison

    def watched(recipe, *rest):
        trained.append((recipe.detector, recipe.data.without_folds))
        train(recipe, *rest)

    monkeypatch.setattr(module, "train_for_comparison", watched)
    monkeypatch.setattr("hidascan.lab.measure.speed.SIZE", (240, 320))
    outside = tmp_path / "outside.csv"
    table = [row.split("\t") for row in (recipes / "table.tsv").read_text().splitlines()][1:]
    outside.write_text("path,score\n" + "".join(f"{recipes / row[0]},{row[1]}\n" for row in table))
    command = ["compare", f"{recipes}/npr.toml", f"{recipes}/resnet.toml", "--folds", 2, "--images", 24]
    command += ["--cache", tmp_path / "cache", "--out", tmp_path / "out", "--precision", "fp32"]
    more = ["--table", recipes / "table.tsv", "--outside", f"theirs={outside}", "--ship", tmp_path / "shipped"]
    ran = CliRunner().invoke(app, [str(part) for part in command + more], catch_exceptions=False)
    assert ran.exit_code == 0 and "theirs" in ran.output and "predicts its errors" in ran.output
    assert sorted(trained) == sorted([(n, w) for n in ("npr", "resnet") for w in ((0, 2, 4), (1, 3, 5), ())])
    assert {path.suffix for path in (tmp_path / "out").iterdir()} == {".md", ".csv", ".png", ".svg", ".txt"}
    rows = list(csv.DictReader((tmp_path / "out/out-of-fold.csv").open()))
    assert [row["detector"] for row in rows] == ["npr", "resnet", "theirs"] and float(rows[2]["AUC"]) == 1
    assert float(rows[0]["gflops"]) > 0 and int(rows[0]["trained"]) == int(rows[0]["parameters"])
    again = CliRunner().invoke(app, [str(part) for part in command], catch_exceptions=False)
    assert len(trained) == 6 and again.exit_code == 0
    with (recipes / "table.tsv").open("a") as rows:
        rows.write("0.png\t0\tg0\tseven\n")
    again = CliRunner().invoke(app, [str(part) for part in command], catch_exceptions=False)
    assert len(trained) == 10 and again.exit_code == 0  # weights of other data are not reused
    header = load_detector(tmp_path / "shipped/npr.safetensors")[1]
    result = header.training["calibration"]
    assert header.name == "npr" and result["out_of_fold"] and result["images"] == 24
    below, above = header.calibration.thresholds["balanced"]
    assert below <= 0.5 <= above and header.calibration != Calibration()


def test_one_training_without_a_fold_scores_its_images_and_a_table(recipes, tmp_path, monkeypatch):
    trained = []
    module = training_module("npr")
    train = module.train_for_comparison
    watched = lambda recipe, *rest: (trained.append(recipe.data.without_folds), train(recipe, *rest))  # noqa: E731
    monkeypatch.setattr(module, "train_for_comparison", watched)
    monkeypatch.setattr("hidascan.lab.measure.speed.SIZE", (240, 320))
    table, out = recipes / "table.tsv", tmp_path / "out"
    folds = [fold_of(row.split("\t")[3]) for row in table.read_text().splitlines()[1:]]
    held = max(set(folds), key=folds.count)
    command = ["compare", f"{recipes}/npr.toml", "--hold-out", held, "--table", table, "--precision", "fp32"]
    command += ["--cache", tmp_path / "cache", "--out", out, "--ship", tmp_path / "shipped"]
    ran = CliRunner().invoke(app, [str(part) for part in command], catch_exceptions=False)
    assert ran.exit_code == 0 and trained == [(held,)]
    assert len((out / "held-out-fold.txt").read_text().splitlines()) == folds.count(held)
    scored = next(path for path in out.glob("*.txt") if path.stem != "held-out-fold")
    assert len(scored.read_text().splitlines()) == len(folds)
    header = load_detector(tmp_path / "shipped/npr.safetensors")[1]
    assert header.training["recipe"]["data"]["without_folds"] == [held]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--folds", "0"], "--folds 0 needs --table"),
        (["--ship", "x"], "recipes of different names"),
        (["--outside", "theirs=none.csv"], "expected NAME=FILE"),
        (["--outside", "theirs={folder}/table.tsv"], "columns path and score"),
        (["--table", "none.tsv"], "none.tsv"),
        (["--hold-out", "{empty}"], "no real and AI images in this fold"),
        (["--folds", "1"], "--folds 1 leaves no source to train on"),
        (["--folds", "0", "--table", "{folder}/gone.tsv"], "none of its files exists"),
        (["--outside", "theirs={folder}/logits.csv"], "scores must be within 0 and 1"),
        (["--outside", "theirs={folder}/elsewhere.csv"], "no score of the compared images"),
    ],
)
def test_compare_refuses_its_options_before_it_trains(recipes, tmp_path, options, complaint):
    paths = [f"{recipes}/npr.toml", f"{recipes}/npr.toml@seed=1", "--cache", str(tmp_path), "--out", str(tmp_path)]
    (recipes / "elsewhere.csv").write_text("path,score\nelsewhere.png,0.5\n")
    (recipes / "logits.csv").write_text("path,score\nelsewhere.png,-2.5\n")
    (recipes / "gone.tsv").write_text("path\tlabel\tgroup\tsource\ngone.png\t1\tg\ts\n")
    (empty, *_) = {*range(FOLDS)} - {fold_of(source) for source in SOURCES}
    given = [option.format(folder=recipes, empty=empty) for option in options]
    ran = CliRunner().invoke(app, ["compare", *paths, *given])
    assert isinstance(ran.exception, HidascanError) and complaint in str(ran.exception)


def compared(name: str, scores, uncertainties=None) -> DetectorScores:
    images = [
        LabelledImage(f"{n}.png", n % 2, "g", f"source {n % 5}", "photo", "flux" if n % 2 else "") for n in range(10)
    ]
    nothing = np.full(10, np.nan)
    return DetectorScores(
        name, images, np.array(scores, float), nothing if uncertainties is None else np.array(uncertainties)
    )


def test_figures_are_those_of_the_scores():
    right = np.arange(10) % 2
    scores = np.where(np.arange(10) == 1, 0.2, right)
    uncertain = compared("one", scores, np.where(np.arange(10) == 1, 0.4, 0.1))
    found = uncertain.figures
    assert found["accuracy"] == 0.9 and found["fake accuracy"] == 0.8 and found["real accuracy"] == 1
    assert found["predicts its errors"] == 1 and found["AUC"] == 1
    unread = compared("two", np.where(np.arange(10) == 1, np.nan, right))
    assert unread.figures["accuracy"] == 1 and np.isnan(unread.figures["predicts its errors"])
    assert "| **one** |" in as_markdown([uncertain]) and "| AI | flux | 5 | 0.80 | **1.00** |" in by_kind(
        [uncertain, compared("two", right)]
    )


def test_names_are_short_where_nothing_is_lost():
    names = ["vit@training.steps=2", "glass@training.steps=2@network.crops=2", "glass@training.steps=2@network.crops=4"]
    assert short_names(names) == ["vit", "glass@network.crops=2", "glass@network.crops=4"]
    assert short_names(["npr", "npr@seed=1"]) == ["npr", "npr@seed=1"]


def test_masking_hides_about_a_share_and_always_the_same():
    pixels = picture(640, 640)
    masked = mask_cells(pixels, 0.4)
    assert 0.3 < (masked != pixels).any(2).mean() < 0.5 and np.array_equal(masked, mask_cells(pixels, 0.4))
    assert np.array_equal(mask_cells(pixels, 0.0), pixels)


def test_curves_are_measured_plotted_and_resumed(recipes, tmp_path, monkeypatch):
    weights = save_random(tmp_path, "npr")
    command = ["curves", recipes / "table.tsv", "--weights", weights, "--images", 5, "--out", tmp_path / "out"]
    ran = CliRunner().invoke(app, [str(part) for part in command], catch_exceptions=False)
    assert ran.exit_code == 0 and all(f"| {name} |" in ran.output for name in CURVES) and "nan" not in ran.output
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"curves.png", "curves.svg", "curves.jsonl"}
    monkeypatch.setattr(robustness, "decode", lambda path: 1 / 0)  # nothing is scanned again
    assert CliRunner().invoke(app, [str(part) for part in command], catch_exceptions=False).output == ran.output


def test_influential_cells_are_found(tmp_path, monkeypatch):
    from PIL import Image

    from hidascan.detectors import DETECTORS

    monkeypatch.setitem(DETECTORS, "brightness", "tests.test_detectors:Brightness")
    weights, pixels = save_random(tmp_path, "brightness"), np.zeros((96, 96, 3), np.uint8)
    pixels[24:48, 72:] = 255  # the one bright cell, of 24 pixels: row 1, column 3
    Image.fromarray(pixels).save(tmp_path / "a.png")
    command = ["tde", tmp_path / "a.png", tmp_path / "out.png", "--grid", 4, "--weights", weights]
    ran = CliRunner().invoke(app, [str(part) for part in command], catch_exceptions=False)
    result = json.loads(ran.output.splitlines()[-1])
    assert result["cells"] == 16 and result["strongest"]["effect"] > 0 and (tmp_path / "out.png").exists()
    assert {name: result["strongest"][name] for name in ("left", "top")} == {"left": 72, "top": 24}


def test_a_detector_with_a_heatmap_is_not_shipped_by_compare(tmp_path):
    command = ["compare", "recipes/hidascan-b.toml", "--ship", "x", "--cache", str(tmp_path), "--out", str(tmp_path)]
    ran = CliRunner().invoke(app, command)
    assert isinstance(ran.exception, UsageError) and "compare trains no heatmap" in str(ran.exception)


def test_hidanet_is_compared_without_its_folds(lab, tiny_weights):
    from hidascan import Scanner, ScanOptions
    from hidascan.lab.hidanet import train_for_comparison

    logits = []
    for number, without in enumerate(((), (fold_of("source 0"),))):
        changed = dataclasses.replace(lab.recipe, data=dataclasses.replace(lab.recipe.data, without_folds=without))
        out = tiny_weights.parent / f"compared-{number}.safetensors"
        train_for_comparison(changed, out, on_cpu(lab.cache))
        logits.append(Scanner(ScanOptions(str(out), precision="fp32")).scan_array(picture(240, 240)).logit)
    assert np.isfinite(logits).all() and logits[0] != logits[1]


def test_a_table_of_known_sources_is_named_as_such(recipes, tmp_path):
    entry = read_entry(f"{recipes}/npr.toml")
    (recipes / "test").mkdir()
    rows = (recipes / "table.tsv").read_text().splitlines()
    table = recipes / "test/labels.tsv"
    own = "\t".join(["../0.png", "1", "g", "a new source"])
    table.write_text("\n".join([rows[0], own, *(f"../{row}" for row in rows[1:4])]) + "\n")
    line = check_tables([entry], read_images(table), 0, ())
    assert line == "3 of these 4 images are of sources that the networks were trained on."
    assert check_tables([entry], read_images(table)[:1], 0, ()) == ""


def test_a_score_of_a_file_that_was_replaced_is_forgotten(tmp_path):
    (tmp_path / "a.png").write_bytes(b"old")
    ResultFile(tmp_path / "scores.jsonl", "run").add(str(tmp_path / "a.png"), score=0.5)
    assert ResultFile(tmp_path / "scores.jsonl", "run").known[str(tmp_path / "a.png")]["score"] == 0.5
    (tmp_path / "a.png").write_bytes(b"another")
    assert not ResultFile(tmp_path / "scores.jsonl", "run").known


def test_settle_refuses_weights_of_another_detector(recipes, tmp_path):
    weights = save_random(tmp_path, "resnet")
    ran = CliRunner().invoke(app, ["settle", f"{recipes}/npr.toml", str(weights), "--cache", str(tmp_path)])
    assert isinstance(ran.exception, UsageError) and "the recipe is for npr" in str(ran.exception)
