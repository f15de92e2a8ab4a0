"""The kernel probe: closed-form fits, source-disjoint folds, cross-validation."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from hidascan.detectors.hidanet.filters import FEATURES
from hidascan.detectors.hidanet.kernel_probe import ProbeInput
from hidascan.detectors.hidanet.network import HiDANetConfig
from hidascan.lab.cli import app
from hidascan.lab.data.degradations import draw_delivery, draw_hard_delivery
from hidascan.lab.data.tables import LabelledImage, capped
from hidascan.lab.hidanet import cross_validation
from hidascan.lab.hidanet.quality import QualitySamples, errors_as_markdown, estimate_out_of_fold, quality_samples
from hidascan.lab.hidanet.recipe import HiDANetRecipe, QualitySpec
from hidascan.lab.hidanet.samples import VerdictFeatures, verdict_samples
from hidascan.lab.hidanet.voters import ViewTokens, fit_kernel_probe, predict_out_of_fold, probe_input, train_fusion
from hidascan.lab.measure.metrics import auc, source_weights
from tests.conftest import picture
from tests.lab import on_cpu

NETWORK = HiDANetConfig(components=6, landmarks=60)
RECIPE = HiDANetRecipe(network=NETWORK)
SOURCES = 24


def samples_of(count: int = 240, label_of_source: bool = False, seed: int = 0) -> VerdictFeatures:
    """Samples of one class inside a ring of the other, not linearly separable; ten per source."""
    draw = torch.Generator().manual_seed(seed)
    sources = torch.arange(count) % SOURCES
    labels = (sources % 2 if label_of_source else (torch.arange(count) // SOURCES) % 2).long()
    angle = torch.rand(count, generator=draw) * 6.283
    radius = torch.where(labels == 1, 3.0, 0.5) + 0.2 * torch.randn(count, generator=draw)
    plane = torch.stack([radius * angle.cos(), radius * angle.sin()], dim=1)
    tokens = plane @ torch.randn(2, 8, generator=draw)
    residuals = torch.zeros(count, FEATURES)
    residuals[:, 0] = torch.rand(count, generator=draw)
    qualities = 20 + 80 * residuals[:, 0]
    families = torch.where(labels == 1, (angle > 3).long(), -1)
    images = [
        LabelledImage(None, int(y), "", f"s{s}", "photo", "") for y, s in zip(labels, sources.tolist(), strict=True)
    ]
    return VerdictFeatures(
        images=images,
        views=tuple(torch.stack([tokens, tokens], dim=1)),
        thumbnail=tokens,
        patches=tokens.clone(),
        residuals=residuals,
        labels=labels,
        folds=sources % 6,
        as_published=torch.ones(count, dtype=torch.bool),
        hard=torch.zeros(count, dtype=torch.bool),
        qualities=qualities,
        domains=torch.zeros(count).long(),
        families=families,
    )


@pytest.fixture(scope="module")
def predictions():
    """Predictions of the samples of a ring, out of fold."""
    return predict_out_of_fold(samples_of(), RECIPE).predictions


def test_a_kernel_separates_a_class_from_a_ring(predictions):
    assert auc(samples_of().labels.numpy(), predictions.logits.numpy()) > 0.99


def test_qfe_learns_the_quality_from_residuals_on_sources_that_it_never_saw():
    drawn = samples_of()
    samples = QualitySamples(drawn.residuals, drawn.qualities, torch.ones(len(drawn.folds)), drawn.folds % 3)
    estimates = estimate_out_of_fold(samples, 16, QualitySpec(epochs=40, lr=1e-2))
    assert (estimates - drawn.qualities).abs().mean() < 9  # a constant is off by 20
    assert (
        estimates.min() >= 1
        and estimates.max() <= 100
        and "| as saved | 240 |" in errors_as_markdown(samples, estimates)
    )


@torch.no_grad()
def test_the_family_of_a_generator_is_classified():
    samples = samples_of()
    probe, known = fit_kernel_probe(samples, RECIPE), samples.labels == 1
    found = probe(probe_input(probe, samples.only(known)))
    assert (found.families.argmax(1) == samples.families[known]).float().mean() > 0.9
    assert (found.domains.argmax(1) == 0).all()


@torch.no_grad()
def test_landmarks_span_what_kernel_ridge_regression_on_all_samples_finds():
    samples = samples_of()
    probe = fit_kernel_probe(samples, replace(RECIPE, network=replace(NETWORK, landmarks=240)))
    kernel = probe.kernel_values(probe_input(probe, samples)).double()
    target = samples.labels.double() * 2 - 1
    exact = kernel @ torch.linalg.solve(kernel + 0.3 * torch.eye(240).double(), target)
    assert torch.allclose(probe(probe_input(probe, samples)).logits.double(), exact, atol=0.05)


def test_out_of_fold_results_do_not_depend_on_the_labels_of_their_fold(predictions):
    """Flipping the labels of a fold does not change its results, so no source is in two folds."""
    samples = samples_of()
    here = samples.folds == 2
    turned = replace(samples, labels=torch.where(here, 1 - samples.labels, samples.labels))
    after = predict_out_of_fold(turned, RECIPE, folds=(1, 2)).predictions
    assert torch.equal(predictions.logits[here], after.logits[here])
    other = samples.folds == 1
    assert not torch.equal(predictions.logits[other], after.logits[other])


def test_no_source_of_the_samples_is_in_two_folds(lab):
    samples = verdict_samples(lab.recipe, on_cpu(lab.cache))
    folds = {(image.source, fold) for image, fold in zip(samples.images, samples.folds.tolist(), strict=True)}
    assert len(folds) == len({source for source, _ in folds}) == 4 and len(samples.images) == 2 * 16
    qualities = quality_samples(lab.recipe, samples, lab.cache)
    assert len(qualities.qualities) == 16 and set(qualities.folds.tolist()) <= set(samples.folds.tolist())


@torch.no_grad()
def test_a_probe_decides_on_images_one_by_one_as_on_all():
    probe = fit_kernel_probe(samples_of(), RECIPE)
    seen = probe_input(probe, samples_of())
    together, alone = probe(seen), probe(ProbeInput(*(part[7:8] for part in seen)))
    for whole, part in zip(together, alone, strict=True):
        assert torch.allclose(whole[7], part[0], atol=2e-3)


@pytest.mark.parametrize("draw", [draw_delivery, draw_hard_delivery])
def test_a_delivery_does_the_same_each_time_and_differs_from_draw_to_draw(draw):
    pixels, results = picture(300, 420), []
    for seed in range(30):
        delivery = draw(np.random.default_rng(seed))
        once, again = delivery(pixels), delivery(pixels)
        assert once.dtype == np.uint8 and once.ndim == 3 and min(once.shape[:2]) >= 100
        assert np.array_equal(once, again)
        results.append(once.tobytes())
    assert len(set(results)) >= 28
    assert all(draw(np.random.default_rng(seed))(picture(1, 1)).size for seed in range(1, 30))


def test_hard_copies_change_the_fit_of_fam_alone_and_are_not_measured():
    samples, hard = samples_of(), torch.arange(240) % 5 == 0
    marked = replace(samples, hard=hard, as_published=~hard)
    kernel, without = (fit_kernel_probe(part, RECIPE) for part in (marked, samples.only(~hard)))
    assert torch.equal(kernel.coefficients, without.coefficients)
    fam = [train_fusion(ViewTokens.of(kernel, part), part, RECIPE) for part in (marked, samples.only(~hard))]
    assert any((a != b).any() for a, b in zip(*(head.parameters() for head in fam), strict=True))
    found = predict_out_of_fold(marked, RECIPE, folds=(0,))
    assert len(found.samples.images) == len(found.predictions.logits) == 192 and not found.samples.hard.any()


def test_a_cap_limits_each_group_in_any_order(tmp_path):
    images = [LabelledImage(tmp_path / f"{n}.png", 0, f"g{n % 2}", "s") for n in range(40)]
    chosen = capped(images, 5)
    assert [sum(image.group == group for image in chosen) for group in ("g0", "g1")] == [5, 5]
    assert chosen == capped(images[::-1], 5) and len(capped(images, 100)) == 40


def test_sources_alike_is_the_auc_of_one_image_a_source():
    labels, scores = np.array([0, 0, 0, 1, 1]), np.array([0.1, 0.1, 0.9, 0.5, 0.8])
    weights = source_weights(labels, ["a", "a", "b", "c", "d"])
    assert weights.tolist() == [0.5, 0.5, 1, 1, 1] and auc(labels, scores, weights) == 0.5
    assert auc(labels, scores, np.ones(5)) == pytest.approx(auc(labels, scores))


def test_steps_hide_the_thumbnail_or_patches_from_fam(monkeypatch):
    monkeypatch.setattr(cross_validation, "ABLATIONS", cross_validation.ABLATIONS[-2:])
    samples = samples_of()
    noise = torch.randn(len(samples.views), 2, 8, generator=torch.Generator().manual_seed(1))
    views = tuple(torch.cat([one[:1], other]) for one, other in zip(samples.views, noise, strict=True))
    half = torch.arange(len(views)) // (2 * SOURCES) % 2 == 0
    in_thumbnail = replace(samples, views=views, patches=noise.mean(1), as_published=half)  # two patches of noise
    out_of_fold = predict_out_of_fold(in_thumbnail, RECIPE)
    table = cross_validation.ablations_as_markdown(in_thumbnail, RECIPE, out_of_fold).splitlines()[2:]
    figures = {row.split(" | ")[0].strip("| "): float(row.split(" | ")[1]) for row in table}
    assert figures.pop("FAM alone, without thumbnail") < 0.6
    assert len(figures) == 3 and min(figures.values()) > 0.9  # without patches, at most 1 of 2 patches, both votes


def test_hidalab_cv_writes_every_table(lab, monkeypatch):
    monkeypatch.setattr(cross_validation, "ABLATIONS", cross_validation.ABLATIONS[-4:])
    monkeypatch.setattr(cross_validation, "_MIN_IMAGES", 1)
    table = lab.recipe.data.tables[0]
    recipe = table.replace("table.tsv", "recipe.toml")
    ran = CliRunner().invoke(app, ["cv", recipe, "--cache", str(lab.cache), "--precision", "fp32", "--perturbed", "5"])
    assert ran.exit_code == 0, ran.output
    for wanted in (
        "16 images of 4 sources",
        "Images as delivered",
        "AI images by family",
        "domain held out",
        "thumbnail and patches side by side",
        "FAM alone, without thumbnail",
        "at most 1 of 2 patches",
    ):
        assert wanted in ran.output
