"""hidalab: sampling, forgeries, figures, and a complete training on generated pictures."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from hidascan import Scanner, ScanOptions
from hidascan.detectors.checkpoint import load_detector
from hidascan.detectors.hidanet.filters import ResidualFilters
from hidascan.errors import RecipeError, UsageError
from hidascan.lab.cli import app, main
from hidascan.lab.data.composites import mask_shares, random_region, swap_region
from hidascan.lab.data.degradations import DegradationSpec, degrade, draw_degradation
from hidascan.lab.data.layouts import read_images
from hidascan.lab.data.tables import FOLDS, BalancedSampler, EditedImage, LabelledImage, fold_of, read_table
from hidascan.lab.data.trained_autoencoders import AutoencoderSpec, draw_batches
from hidascan.lab.hidanet import train_part
from hidascan.lab.hidanet.filters import Pairs, build_pairs, cut_window
from hidascan.lab.hidanet.heatmaps import report_heatmaps
from hidascan.lab.hidanet.localiser import train_localiser, window_store
from hidascan.lab.hidanet.quality import made_samples
from hidascan.lab.hidanet.recipe import PairSpec, WindowSpec
from hidascan.lab.hidanet.windows import WindowMaker
from hidascan.lab.measure.calibration import (
    ERRORS,
    calibrate,
    fit_calibration,
    localisation_threshold,
    measure_reliability,
)
from hidascan.lab.measure.detection import evaluate, evaluate_scores
from hidascan.lab.measure.localisation import heatmap_of
from hidascan.lab.measure.metrics import auc, balanced_accuracy, tpr_at_fpr
from hidascan.lab.measure.robustness import scan_changed, tabulate
from hidascan.lab.training.recipe import DataSpec, Recipe, images_of, read_recipe
from tests.conftest import picture, save_picture
from tests.lab import SHARED, on_cpu, table_of, train_into
from tests.test_detectors import save_random


def test_figures_by_hand():
    labels, scores = np.array([0, 0, 0, 1, 1, 1]), np.array([0.1, 0.4, 0.6, 0.4, 0.7, 0.9])
    assert auc(labels, scores) == pytest.approx((1.5 + 3 + 3) / 9)
    assert balanced_accuracy(labels, scores, 0.5) == pytest.approx((2 / 3 + 2 / 3) / 2)
    assert tpr_at_fpr(labels, scores, 0.0) == pytest.approx(2 / 3)
    assert tpr_at_fpr(labels, scores, 0.34) == pytest.approx(2 / 3)


@pytest.mark.skipif(not (SHARED / "tools/score.py").exists(), reason="needs ../shared")
def test_figures_agree_with_the_reference_script(hidascan, tiny_weights, tmp_path):
    rows = []
    for number in range(24):
        save_picture(tmp_path / "t/x" / f"{number}.png", 224, 224, seed=number)
        rows.append((f"t/x/{number}.png", number % 2, f"group{number % 4}", "here"))
    (tmp_path / "t/x/5.png").write_bytes(b"broken")
    table = table_of(tmp_path, rows)
    evaluation = evaluate(Scanner(ScanOptions(str(tiny_weights))), read_table(table))
    hidascan(tmp_path / "t", "--csv", tmp_path / "out.csv")
    score = [sys.executable, SHARED / "tools/score.py", tmp_path / "out.csv", table]
    wanted = json.loads(subprocess.run(score, capture_output=True, text=True).stdout.splitlines()[-1])
    assert {k: v for k, v in evaluation.figures.items() if k in wanted} == pytest.approx(wanted, abs=1e-4)
    assert evaluation.figures["missing"] == 1


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("path\tlabel\n", "is empty"),
        ("path\tlabel\na\t1\n", "column missing"),
        ("path\tlabel\tgroup\tsource\na\t2\tb\tc\n", "labels"),
        ("path\tlabel\tgroup\tsource\na\t1\tb\n", "too few columns"),
        ("path\tlabel\tgroup\tsource\n\xe9\t1\tb\tc\n", "not a table in UTF-8"),
    ],
)
def test_malformed_tables_are_refused(tmp_path, text, complaint):
    (tmp_path / "t.tsv").write_text(text, encoding="latin-1")
    with pytest.raises(RecipeError, match=complaint):
        read_table(tmp_path / "t.tsv")


def test_a_table_may_begin_with_a_byte_order_mark(tmp_path):
    (tmp_path / "t.tsv").write_text("path\tlabel\tgroup\tsource\na\t1\tb\tc\n", encoding="utf-8-sig")
    assert read_table(tmp_path / "t.tsv")[0].source == "c"


@pytest.mark.parametrize("label", [0, 1])
def test_images_of_one_class_have_the_figures_that_can_be_measured(label, recwarn):
    images, scores = [LabelledImage(Path("a.png"), label, "g", "s")] * 3, np.array([0.1, 0.5, 0.9])
    figures = evaluate_scores(images, scores, np.array(["real", "inconclusive", "ai"])).figures
    known = {name for name in ("verdict_ai_on_real", "verdict_ai_on_ai") if figures[name] == figures[name]}
    assert known == {("verdict_ai_on_real", "verdict_ai_on_ai")[label]} and np.isnan(figures["tpr_at_1pct_fpr"])
    robust = tabulate(["unchanged"], np.array([label] * 3), scores[:, None], np.array([["ai"]] * 3))
    assert np.isnan(robust.perturbations[0].tpr_5) and not recwarn.list


def test_sampling_gives_up_where_no_image_is_large_enough(tmp_path, monkeypatch):
    for name in ("hidanet.filters", "hidanet.windows", "data.trained_autoencoders"):
        monkeypatch.setattr(f"hidascan.lab.{name}.TRIES", 3)
    images = [LabelledImage(save_picture(tmp_path / "a.png", 100, 100), label, "g", "s") for label in (0, 1)]
    real, ai = (BalancedSampler(images, label, 0.5) for label in (0, 1))
    for draw in (
        lambda: cut_window(real, PairSpec(), np.random.default_rng(0)),
        lambda: WindowMaker(WindowSpec(counts=(0, 0, 0, 1, 0)), 0, [], real, ai, {})[0],
        lambda: next(draw_batches(AutoencoderSpec(), real)),
    ):
        with pytest.raises(RecipeError, match="images in a row are unreadable or smaller than"):
            draw()


def test_an_edit_that_differs_from_its_mask_in_size_is_refused(tmp_path):
    image, mask = (save_picture(tmp_path / f"{side}.png", 240, side) for side in (240, 260))
    maker = WindowMaker(WindowSpec(), 0, [EditedImage(image, mask, "g")], None, None, {})
    with pytest.raises(RecipeError, match="not as large as its mask"):
        maker[0]


def test_hidanet_refuses_folds_that_its_training_would_ignore(lab, tmp_path):
    data = replace(lab.recipe.data, calibration_fold=0)
    with pytest.raises(RecipeError, match="out of fold"):
        train_into(replace(lab.recipe, data=data), tmp_path, tmp_path / "out.safetensors")


def test_a_failed_system_call_costs_one_line(tmp_path, monkeypatch, capsys):
    path = tmp_path / "no/out.jpg"
    monkeypatch.setattr("hidascan.lab.cli.app", lambda *_, **__: path.write_bytes(b""))
    with pytest.raises(SystemExit):
        main()
    assert capsys.readouterr().err == f"hidalab: {path}: no such file or directory\n"


def test_images_that_cannot_be_read_are_tried_again_by_the_next_run(tmp_path):
    missing = [LabelledImage(tmp_path / "none.png", 0, "g", "s")]
    for read in (lambda: made_samples(missing, 1, tmp_path / "cache"), lambda: scan_changed(None, missing, [], "x")):
        with pytest.raises(RecipeError, match=r"no image of the tables? is readable"):
            read()
    assert not [*(tmp_path / "cache").glob("*.safetensors")]


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        (
            ["heatmaps", "{folder}/hidanet.toml", "--cache", "x", "--weights", "{weights}"],
            "the recipe is one of hidanet",
        ),
    ],
)
def test_recipes_that_do_not_fit_a_command_are_refused(tmp_path, command, complaint):
    for detector in ("npr", "hidanet"):
        (tmp_path / f"{detector}.toml").write_text(f'detector = "{detector}"\n')
    weights = save_random(tmp_path, "npr")
    ran = CliRunner().invoke(app, [part.format(folder=tmp_path, weights=weights) for part in command])
    assert isinstance(ran.exception, UsageError) and complaint in str(ran.exception)


def test_a_big_source_does_not_dominate_a_small_one(tmp_path):
    rows = [(f"{n}.png", 1, "big", "a") for n in range(100)] + [("x.png", 1, "small", "b")]
    sampler = BalancedSampler(read_table(table_of(tmp_path, rows)), 1, power=0.5)
    rng = np.random.default_rng(0)
    share = np.mean([sampler.draw(rng).group == "small" for _ in range(2000)])
    assert share == pytest.approx(1 / 11, abs=0.03)


def test_a_degradation_can_be_given_again():
    pixels = picture(200, 300)
    for seed in range(20):
        drawn = draw_degradation(np.random.default_rng(seed), DegradationSpec(0.5, (0.1, 0.4, 0.3, 0.2)))
        assert (degrade(pixels, drawn) == degrade(pixels, drawn)).all()


@pytest.mark.parametrize("share", [(0.1, 0.3), (0.05, 0.1), (0.4, 0.5)])
def test_regions_have_the_share_that_was_asked_for(share):
    rng = np.random.default_rng(0)
    shares = [random_region(480, 640, share, rng).mean() for _ in range(50)]
    assert share[0] - 0.03 <= min(shares) and max(shares) <= share[1] + 0.03 and np.ptp(shares) > 0.01


def test_a_swap_takes_the_donor_inside_and_the_base_outside():
    base, donor = picture(64, 64, 1), picture(64, 64, 2)
    mask = random_region(64, 64, (0.2, 0.4), np.random.default_rng(0))
    swapped = swap_region(base, donor, mask)
    assert (swapped[mask] == donor[mask]).all() and (swapped[~mask] == base[~mask]).all()


def test_a_soft_border_blends_only_near_the_border():
    base, donor = np.zeros((64, 64, 3), np.uint8), np.full((64, 64, 3), 200, np.uint8)
    mask = np.zeros((64, 64), bool)
    mask[:, 32:] = True
    row = swap_region(base, donor, mask, softness=2.0)[32, :, 0]
    assert row[20] == 0 and row[44] == 200 and (np.diff(row.astype(int)) >= 0).all() and len(set(row)) > 5


def test_cell_shares_are_exact_at_the_edges():
    mask = np.zeros((40, 50), bool)
    mask[32:, 48:] = True
    mask[:16, :8] = True
    shares = mask_shares(mask, 16)
    assert shares.shape == (3, 4) and shares[2, 3] == 1 and shares[0, 0] == 0.5 and shares.sum() == 1.5


def test_calibration_recovers_probabilities_and_limits_errors():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 4000)
    logits = 3 * (labels - 0.5) + rng.normal(0, 1, 8000) * 1.0 + 2
    calibration = fit_calibration(labels, logits)
    scores = np.array([calibration.score(x) for x in logits])
    middle = (scores > 0.6) & (scores < 0.8)
    assert labels[middle].mean() == pytest.approx(0.7, abs=0.08)
    for profile, (false_alarms, misses) in ERRORS.items():
        rule = calibration.rule(profile)
        verdicts = np.array([rule.verdict(score) for score in scores])
        assert (verdicts[labels == 0] == "ai").mean() <= false_alarms + 0.005
        assert (verdicts[labels == 1] == "real").mean() <= misses + 0.005


def test_few_cells_of_real_images_reach_the_localisation_threshold(tmp_path, monkeypatch):
    cells = np.random.default_rng(0).random((100, 100))
    monkeypatch.setattr("hidascan.lab.measure.calibration.heatmap_of", lambda detector, pixels: cells)
    photos = [LabelledImage(save_picture(tmp_path / "a.png"), 0, "g", "s")]
    with_heatmap, without = (SimpleNamespace(has_heatmap=has) for has in (True, False))
    assert localisation_threshold(with_heatmap, photos) == pytest.approx(0.98, abs=0.01)
    assert localisation_threshold(without, photos) == localisation_threshold(with_heatmap, []) == 0.5


def test_a_calibration_never_reverses_a_detector():
    """Once it did: a detector that was below chance on the few sources kept for it came out with a negative scale."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 500)
    calibration = fit_calibration(labels, -2 * labels + rng.normal(0, 1, 1000))
    scores = [calibration.score(logit) for logit in (-5.0, -1.0, 0.0, 5.0)]
    assert scores == sorted(scores) and 0.4 < scores[0] < 0.5 < scores[-1] < 0.6


def test_calibration_converges_on_logits_of_any_scale():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 500)
    logits = 2 * (labels - 0.5) + rng.normal(0, 1, 1000)
    scores = []
    for scale, shift in ((1, 0), (30, 100), (0.01, -5)):
        calibration = fit_calibration(labels, scale * logits + shift)
        scores.append([calibration.score(scale * x + shift) for x in logits])
    assert np.allclose(scores[0], scores[1], atol=1e-3) and np.allclose(scores[0], scores[2], atol=1e-3)


def test_a_training_learns_and_writes_what_a_scanner_reads(lab):
    log = [json.loads(line) for line in (lab.cache / "tfl.log.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in log] == [1, 2] and log[-1]["tfl"] < log[0]["tfl"]
    scanner = Scanner(ScanOptions(str(lab.weights), precision="fp32"))
    assert scanner.header.training["tables_sha256"] and scanner.header.training["recipe"]["seed"] == 0


@pytest.mark.slow
def test_a_killed_training_resumes_with_equal_results(lab, tmp_path, monkeypatch):
    """And so a training can be repeated."""
    import hidascan.lab.training.trainer as training

    cache = shutil.copytree(lab.cache, tmp_path / "cache", ignore=shutil.ignore_patterns("*.state", "*.log.jsonl"))
    broken, log = tmp_path / "broken.safetensors", training._log
    shutil.copy(lab.recipe.data.backbone, tmp_path)

    def killed(path, row):
        log(path, row)
        if row["epoch"] == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(training, "_log", killed)
    with pytest.raises(KeyboardInterrupt):
        train_into(lab.recipe, cache, broken)
    monkeypatch.setattr(training, "_log", log)
    (cache / "probe/000000.safetensors").unlink()  # as if the features, too, had been cut off
    train_into(lab.recipe, cache, broken)
    found = [
        Scanner(ScanOptions(str(w), precision="fp32")).scan_array(picture(240, 240)) for w in (lab.weights, broken)
    ]
    assert found[0].logit == pytest.approx(found[1].logit, abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(("part", "kept"), [("verdict", "localiser"), ("heatmap", "probe")])
def test_one_part_is_trained_alone_and_the_rest_is_kept(lab, tmp_path, capsys, part, kept):
    out = lab.weights.parent / f"{part}.safetensors"
    recipe = replace(lab.recipe, fusion=replace(lab.recipe.fusion, vote=0.25))
    train_part(part, recipe, out, on_cpu(lab.cache), lab.weights)
    assert "`hidalab settle`" in capsys.readouterr().out  # as --fast does not work without it
    (before, _), (after, header) = load_detector(lab.weights), load_detector(out)
    pairs = zip(getattr(before, kept).state_dict().values(), getattr(after, kept).state_dict().values(), strict=True)
    assert all(torch.equal(*pair) for pair in pairs) and part in header.training
    assert float(after.vote) == (0.25 if part == "verdict" else 0.5)
    assert header.calibration.reliability and set(header.training) == {"verdict", "heatmap"}
    with pytest.raises(RecipeError, match=f"in more than the {part}"):
        other = replace(recipe, network=replace(recipe.network, side=448))
        train_part(part, other, out, on_cpu(lab.cache), lab.weights)


def test_only_one_part_needs_weights_for_the_rest(tmp_path):
    ran = CliRunner().invoke(app, ["train", "none.toml", "--cache", str(tmp_path), "--out", "x", "--only", "verdict"])
    assert isinstance(ran.exception, UsageError) and "given together" in str(ran.exception)


def test_error_rates_are_counted_on_published_and_delivered_images_apart():
    rng = np.random.default_rng(0)
    labels, folds, as_published = np.arange(600) % 2, np.arange(600) // 2 % 6, np.arange(600) < 300
    logits = (labels * 2.0 - 1) + rng.normal(0, np.where(as_published, 0.5, 2.0))
    rates = measure_reliability(labels, logits, folds, as_published)
    assert set(rates) == set(ERRORS)
    balanced = rates["balanced"]
    assert balanced.as_published.real_images == balanced.delivered.ai_images == 150
    assert balanced.as_published.ai_called_real < balanced.delivered.ai_called_real <= 0.12
    assert not measure_reliability(labels[::2], logits[::2], folds[::2], as_published[::2])


def test_pairs_are_degraded_alike_and_more_of_them_may_come_later(recipe, tmp_path):
    (Path(recipe.data.tables[0]).parent / "0.png").write_bytes(b"broken")  # an unreadable photo is skipped
    recipe = with_pairs(recipe, replace(recipe.localiser.pairs, side=96))
    build_pairs(recipe, on_cpu(tmp_path))
    pairs = replace(recipe.localiser.pairs, saves=(1, 0, 0, 0), filter=0)
    untouched = Pairs(with_pairs(recipe, pairs), tmp_path / "pairs")
    assert len(untouched) == 2
    photo, copy, degradation = untouched[0]
    assert photo.shape == copy.shape == (96, 96, 3) and not degradation.saves
    assert (photo != copy).mean() > 0.5 and (untouched[1][0] != photo).any()
    saved = Pairs(with_pairs(recipe, replace(pairs, saves=(0, 0, 1, 0))), tmp_path / "pairs")[1]
    assert saved[0].shape == saved[1].shape and len(saved[2].saves) == 2
    build_pairs(with_pairs(recipe, replace(pairs, counts=(45, 0, 0))), on_cpu(tmp_path))
    more = Pairs(with_pairs(recipe, replace(pairs, counts=(45, 0, 0))), tmp_path / "pairs")
    assert len(more) == 45 and len(Pairs(with_pairs(recipe, pairs), tmp_path / "pairs")) == 2
    with pytest.raises(RecipeError, match="made from other settings"):
        build_pairs(replace(recipe, seed=5), on_cpu(tmp_path))


def with_pairs(recipe, pairs):
    return replace(recipe, localiser=replace(recipe.localiser, pairs=pairs))


def test_tfl_learns_to_find_regions_of_reconstructions(recipe, tmp_path):
    windows = replace(recipe.localiser.windows, counts=(12, 0, 0, 4, 0), turned=0)
    spec = replace(recipe.localiser, epochs=1, steps=60, batch=4, lr=5e-3, input_dropout=0, windows=windows)
    recipe = replace(recipe, localiser=spec, network=replace(recipe.network, localiser_dim=16))
    store = window_store(recipe, ResidualFilters(recipe.network.residual_filters), on_cpu(tmp_path))
    trained = train_localiser(recipe, store, tmp_path / "tfl.state")
    seen = [(cells.shares, trained.logits(cells.tokens, cells.residuals)) for cells in (store[n] for n in range(12))]
    inside, logits = (torch.cat([pair[place].flatten() for pair in seen]).numpy() for place in (0, 1))
    assert auc((inside > 0.5).astype(int), logits) > 0.8


def test_hidalab_heatmaps_measures_edits_forgeries_and_honest_windows_out_of_fold(recipe, tmp_path, tiny_weights):
    folder = Path(recipe.data.tables[0]).parent
    save_picture(folder / "edit.png", 240, 260)
    mask = np.zeros((240, 260), np.uint8)
    mask[48:160, 64:200] = 255
    Image.fromarray(mask).save(folder / "edit.mask.png")
    Image.fromarray(np.full((240, 260), 255, np.uint8)).save(folder / "all.mask.png")  # no real cell: no token AUC
    rows = ("edit.png\tedit.mask.png\tby_hand\tme", "edit.png\tall.mask.png\tall_over\tme")
    (folder / "edits.tsv").write_text("\n".join(["path\tmask\tgroup\tsource", *rows, ""]))
    recipe = replace(recipe, data=replace(recipe.data, edits=(str(folder / "edits.tsv"),)))
    detector = SimpleNamespace(residuals=ResidualFilters(recipe.network.residual_filters))
    text = "\n".join(report_heatmaps(recipe, detector, on_cpu(tmp_path)))
    for row in (
        "| edits as published | 2 |",
        "| edits delivered | 6 |",
        "| by_hand | 1 |",
        "| all_over | 1 |  |",
        "| untouched | 4 |",
        "| repainted by a held-out autoencoder |",
    ):
        assert row in text, row


def test_localisation_is_measured_without_omitted_groups(autoencoder, tiny_weights, tmp_path):
    for number in range(2):
        save_picture(tmp_path / f"{number}.png", 96, 128, seed=number)
    (tmp_path / "chart.png").write_bytes(b"cannot be read, so must not be")
    rows = [("0.png", 0, "photos", "a"), ("1.png", 0, "photos", "b"), ("chart.png", 0, "charts", "c")]
    table = table_of(tmp_path, rows)
    options = ["--autoencoder", autoencoder, "--without", "charts", "--weights", tiny_weights]
    nothing = CliRunner().invoke(app, [str(a) for a in ("localise", table, *options, "--without", "photos")])
    assert isinstance(nothing.exception, UsageError) and "no real image" in str(nothing.exception)
    ran = CliRunner().invoke(app, [str(a) for a in ("localise", table, *options)], catch_exceptions=False)
    figures = json.loads(ran.stdout.splitlines()[-1])
    assert figures["images"] == 2
    assert all(0 <= figures[name] <= 1 for name in ("pooled_auc", "mean_auc", "iou", "false_area"))


@pytest.mark.parametrize("size", [(240, 460), (100, 300)])
def test_the_heatmap_that_is_measured_is_the_one_of_a_scan(tiny_weights, size):
    network, _ = load_detector(tiny_weights)
    scanned = Scanner(ScanOptions(str(tiny_weights), precision="fp32")).scan_array(picture(*size)).heatmap
    assert heatmap_of(network, picture(*size)) == pytest.approx(scanned, abs=1e-5)


def test_a_calibration_is_written_into_the_weights(recipe, tmp_path, tiny_weights):
    weights = tiny_weights.parent / "calibrated.safetensors"
    shutil.copy(tiny_weights, weights)
    folder = Path(recipe.data.tables[0]).parent
    table = table_of(folder, [(f"{n}.png", n % 2, "any", f"source{n % 6}") for n in range(16)])
    figures = calibrate(weights, read_table(table), ScanOptions(precision="fp32"))
    assert 0 <= figures["cross_fitted_balanced_accuracy"] <= 1
    with pytest.raises(RecipeError, match="real and AI"):
        calibrate(weights, [image for image in read_table(table) if image.label], ScanOptions(precision="fp32"))
    before, after = (Scanner(ScanOptions(str(w), precision="fp32")) for w in (tiny_weights, weights))
    assert after.header.calibration != before.header.calibration
    finding, same = (s.scan_array(picture(240, 240)) for s in (before, after))
    assert finding.logit == pytest.approx(same.logit, abs=1e-6) and finding.score != same.score


@pytest.mark.parametrize(
    "text",
    [
        'detector = "hidanet"\n[nonsense]\na = 1',
        'detector = "npr"\n[data]\nno_such_key = 1',
        'detector = "npr"\n[network]\nwidth = 1000000000',
        'detector = "npr"\n[network]\nno_such_key = 1',
        'detector = "oracle"',
        "seed = 1",
        "not toml at all [",
        'base = "no_such_file.toml"\ndetector = "npr"',
        'base = "r.toml"\ndetector = "npr"',
        'detector = "npr"\n[training]\nlr = "1e-3"',
        'detector = "npr"\n[data]\ntables = "labels.tsv"',
        'detector = "npr"\ntraining = 3',
        'detector = "npr"\n[sampling]\nai = 0.6',
        'detector = "npr"\n[sampling]\nsaves = [0.5, 0.0, 0.0, 0.0]',
    ],
)
def test_malformed_recipes_are_refused(tmp_path, text):
    (tmp_path / "r.toml").write_text(text)
    with pytest.raises(RecipeError):
        read_recipe(tmp_path / "r.toml")


def test_a_recipe_inherits_what_it_does_not_set(tmp_path):
    (tmp_path / "base").mkdir()
    base = 'seed = 3\n[data]\nautoencoders = ["a"]\ncalibration_fold = 2\n[training]\nepochs = 7\nbatch = 5\n'
    (tmp_path / "base/common.toml").write_text(base)
    text = 'base = "base/common.toml"\ndetector = "npr"\n[data]\nautoencoders = ["b", "c"]\n[training]\nbatch = 6\n'
    (tmp_path / "npr.toml").write_text(text)
    recipe = read_recipe(tmp_path / "npr.toml")
    assert (recipe.seed, recipe.data.autoencoders, recipe.data.calibration_fold) == (3, ("b", "c"), 2)
    assert (recipe.training.epochs, recipe.training.batch) == (7, 6)


def test_a_recipe_inherits_the_other_values_of_a_table_in_a_table(tmp_path):
    (tmp_path / "short.toml").write_text('detector = "npr"\n[sampling]\nsaves = [0.5, 0.5]\n')
    with pytest.raises(RecipeError, match="saves must have 4 values, not 2"):
        read_recipe(tmp_path / "short.toml")
    (tmp_path / "base.toml").write_text('detector = "hidanet"\n[localiser.pairs]\nside = 96\ncounts = [1, 2, 3]\n')
    (tmp_path / "own.toml").write_text('base = "base.toml"\n[localiser.pairs]\ncounts = [4, 5, 6]\n')
    pairs = read_recipe(tmp_path / "own.toml").localiser.pairs
    assert (pairs.side, pairs.counts) == (96, (4, 5, 6))


def test_only_the_calibration_fold_calibrates(tmp_path):
    rows = [(f"{n}.png", n % 2, "any", f"source {n}") for n in range(24)]
    data = DataSpec((str(table_of(tmp_path, rows)),), calibration_fold=0, without_folds=(1, 2))
    images = {training: images_of(Recipe(data=data), training) for training in (True, False)}
    found = {training: {fold_of(image.source) for image in kept} for training, kept in images.items()}
    assert found == {True: {3, 4, 5}, False: {0}}


def test_every_recipe_in_the_repository_can_be_read():
    for path in (Path(__file__).parent.parent / "recipes").glob("*.toml"):
        assert read_recipe(path).detector


def test_folds_are_fixed_by_the_source_and_no_source_is_in_two():
    folds = {source: fold_of(source) for source in (f"owner{n}/repository" for n in range(600))}
    assert [folds[f"owner{n}/repository"] for n in range(6)] == [0, 4, 3, 5, 4, 3]
    counts = np.bincount(list(folds.values()), minlength=FOLDS)
    assert len(counts) == FOLDS and counts.min() > 60


@pytest.mark.parametrize(
    ("folders", "labels", "groups"),
    [
        (["0_real", "1_fake"], [0, 1], ["0_real", "1_fake"]),
        (["Nature", "AI"], [1, 0], ["AI", "Nature"]),
        (["progan/car/0_real", "progan/car/1_fake"], [0, 1], ["progan (real)", "progan"]),
        (["Midjourney/real", "Midjourney/fake"], [1, 0], ["Midjourney", "Midjourney (real)"]),
    ],
)
def test_folders_of_benchmarks_are_read_by_their_layout(tmp_path, folders, labels, groups):
    for folder in folders:
        save_picture(tmp_path / folder / "a.PNG", 30, 30, format="PNG")
        (tmp_path / folder / "notes.txt").write_text("no image")
    images = read_images(tmp_path)
    assert [image.label for image in images] == labels and [image.group for image in images] == groups


def test_a_folder_in_an_unknown_layout_is_refused(tmp_path):
    save_picture(tmp_path / "cats/a.png", 30, 30)
    with pytest.raises(RecipeError, match="expected folders named 0_real"):
        read_images(tmp_path)
