"""Measurements of hidalab: held-out families, perturbations and flips."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from sklearn.metrics import balanced_accuracy_score, roc_auc_score, roc_curve
from typer.testing import CliRunner

from hidascan.detectors.checkpoint import save_backbone
from hidascan.errors import RecipeError
from hidascan.finding import Finding
from hidascan.image.perturb import PERTURBATIONS, letterbox, shrink
from hidascan.lab.cli import app
from hidascan.lab.data.tables import LabelledImage
from hidascan.lab.hidanet.samples import verdict_samples
from hidascan.lab.measure.metrics import auc, balanced_accuracy, interval_over_sources, tpr_at_fpr
from hidascan.lab.measure.robustness import STABILITY, UNTOUCHED, measure_robustness
from hidascan.lab.training.losses import contrastive_loss
from tests.conftest import picture, save_picture
from tests.lab import on_cpu, table_of


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from([0, 1]), st.integers(0, 20), st.integers(1, 9)), min_size=2))
def test_metrics_are_those_of_scikit_learn(rows):
    labels, scores, weights = (np.array(column) for column in zip(*rows, (0, 3, 1), (1, 3, 2), strict=True))
    assert auc(labels, scores) == pytest.approx(roc_auc_score(labels, scores))
    assert auc(labels, scores, weights) == pytest.approx(roc_auc_score(labels, scores, sample_weight=weights))
    assert balanced_accuracy(labels, scores, 5) == pytest.approx(balanced_accuracy_score(labels, scores >= 5))
    false_positives, true_positives, _ = roc_curve(labels, scores, drop_intermediate=False)
    for fpr in (0.0, 0.05, 0.5):
        assert tpr_at_fpr(labels, scores, fpr) == true_positives[false_positives <= fpr].max()


@settings(deadline=None)
@given(st.integers(1, 300), st.integers(1, 300))
def test_letterbox_only_adds_borders(height, width):
    pixels = picture(height, width)
    boxed = letterbox(pixels)
    assert boxed.shape[0] == height or boxed.shape[1] == width
    assert abs(boxed.shape[1] - boxed.shape[0] * 16 / 9) <= 1.4
    assert boxed.astype(int).sum() == pixels.astype(int).sum()
    assert shrink(pixels, 0.25).shape[:2] == (max(1, round(height / 4)), max(1, round(width / 4)))


def test_a_flip_is_ai_and_real_in_one_image_over_the_perturbations_that_count(tmp_path):
    names, images = [UNTOUCHED, *PERTURBATIONS], []
    for number in range(4):
        images.append(LabelledImage(save_picture(tmp_path / f"{number}.png", seed=number), number % 2, "g", "s"))
    table = np.full((4, len(names)), "real", dtype=object)
    table[1] = "ai"
    table[2, names.index(STABILITY[0])] = "ai"  # a flip
    table[3] = "ai"
    table[3, names.index("JPEG 75")] = "inconclusive"  # none
    table[0, names.index("blur 2")] = "ai"  # not among those that count
    scores = {"real": 0.1, "inconclusive": 0.5, "ai": 0.9}
    verdicts = iter(table.ravel())

    class FixedScanner:
        def scan_arrays(self, arrays):
            for _ in arrays:
                verdict = next(verdicts)
                yield Finding("a", "ok", verdict=verdict, score=scores[verdict])

    found = measure_robustness(FixedScanner(), images)
    assert (found.flips, found.flips_real, found.flips_ai) == (0.25, 0.5, 0.0)
    rows = {row.perturbation: row for row in found.perturbations}
    assert rows["unchanged"].auc == 1 and rows["blur 2"].ai_on_real == 0.5 and rows["JPEG 75"].inconclusive == 0.25


def test_robustness_is_measured_under_every_perturbation(tiny_weights, tmp_path):
    save_picture(tmp_path / "a.png", 120, 150)
    save_picture(tmp_path / "b.png", 120, 150, seed=1)
    (tmp_path / "c.png").write_bytes(b"broken")
    table = table_of(tmp_path, [(f"{name}.png", label, "g", "s") for name, label in (("a", 0), ("c", 1), ("b", 1))])
    ran = CliRunner().invoke(app, ["robustness", str(table), "--weights", str(tiny_weights)], catch_exceptions=False)
    assert ran.stderr.count("skipped: ") == 1 and "c.png" in ran.stderr
    rows = [line.split("|")[1].strip(" *") for line in ran.stdout.splitlines() if line.startswith("|")]
    assert rows[2:] == [UNTOUCHED, *PERTURBATIONS] and "flip" in ran.stdout


def test_a_changed_backbone_does_not_reuse_old_features(lab, tmp_path):
    recipe, cache = lab.recipe, shutil.copytree(lab.cache, tmp_path / "cache")
    other = tmp_path / "other.safetensors"
    tensors = load_file(recipe.data.backbone)
    save_backbone(other, {name: tensor * 1.1 for name, tensor in tensors.items()}, recipe.network.backbone, "none")
    changed = replace(recipe, data=replace(recipe.data, backbone=str(other)))
    with pytest.raises(RecipeError, match="made from other settings"):
        verdict_samples(changed, on_cpu(cache))


def test_an_interval_over_sources_is_wider_where_sources_differ():
    labels = np.repeat([0, 1], 200)
    sources = [f"{label}-{n // 20}" for label in (0, 1) for n in range(200)]
    rng = np.random.default_rng(0)
    alike = labels + rng.normal(0, 1, 400)
    shift = rng.normal(0, 1, 20)
    differing = labels + rng.normal(0, 0.1, 400) + np.repeat(shift, 20)
    widths = [np.ptp(interval_over_sources(auc, labels, scores, sources)) for scores in (alike, differing)]
    low, high = interval_over_sources(auc, labels, alike, sources)
    assert low < auc(labels, alike) < high and widths[1] > 2 * widths[0]


def test_the_contrastive_loss_is_least_where_classes_lie_apart():
    shares = torch.tensor([1.0, 0.9, 0.0, 0.1])
    apart = torch.tensor([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [-1.0, 0.0]])
    assert contrastive_loss(apart, shares) < 1e-5
    assert contrastive_loss(apart[[0, 2, 1, 3]], shares) > 1
