"""hidalab's measurements: leaving families out, deliveries and flips."""

from types import SimpleNamespace

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from hidascan.image.redeliver import letterbox, shrink
from hidascan.lab import cache as feature_cache
from hidascan.lab import lofo
from hidascan.lab.ablate import VARIANTS, ablate, as_markdown
from hidascan.lab.clean import clean_cache, clean_images
from hidascan.lab.cli import app
from hidascan.lab.data import LabelledImage
from hidascan.lab.evidence import evidence_samples, fit_evidence
from hidascan.lab.losses import contrastive_loss
from hidascan.lab.robustness import DELIVERIES, STABILITY, measure_robustness
from hidascan.model.heads import LinearEvidence
from tests.conftest import picture, save_picture
from tests.lab import table_of


def test_a_family_is_found_by_evidence_that_never_saw_it(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(lofo, "FAMILIES", {"one": ("g1",), "other": ("g3",), "absent": ("nowhere",)})
    cache = tmp_path / "cache"
    feature_cache.build_cache(recipe, cache, "cpu", torch.float32)
    clean = clean_images(recipe, recipe.data.tables[0], cache, "cpu", torch.float32)
    rows = lofo.leave_one_family_out(recipe, cache, clean, clean)
    assert [row.family for row in rows] == ["one", "other"]
    assert all(row.images == 3 and row.left_out > 0 and row.auc > 0.8 for row in rows)
    assert f"**{min(rows, key=lambda row: row.auc).family}**" in lofo.as_markdown(rows)
    parts = evidence_samples(recipe, cache)
    evidence, again = LinearEvidence(2, 192), LinearEvidence(2, 192)
    fit_evidence(recipe, parts, evidence, without={"g1"})
    for part in parts:  # what an image of the group says must not matter
        part.means[part.holding({"g1"})] = 1e3
    fit_evidence(recipe, parts, again, without={"g1"})
    assert torch.equal(evidence.weight, again.weight)
    fit_evidence(recipe, parts, again)
    assert not torch.equal(evidence.weight, again.weight)


def test_clean_images_are_computed_once_and_of_the_whole_image(recipe, tmp_path):
    cache, table = tmp_path / "cache", recipe.data.tables[0]
    feature_cache.build_cache(recipe, cache, "cpu", torch.float32)
    first = clean_images(recipe, table, cache, "cpu", torch.float32)
    assert all(image.cls.shape == (1 + 4, 2, 192) for image in first) and [i.label for i in first] == [0, 1] * 8
    for image in feature_cache.images_of(recipe, recipe.rounds[0]):
        image.path.unlink()
    again = clean_images(recipe, table, cache, "cpu", torch.float32)
    assert all(torch.equal(one.cls, two.cls) for one, two in zip(first, again, strict=True))
    assert again[1].group == "g1"


@given(st.integers(1, 300), st.integers(1, 300))
def test_letterbox_only_adds_borders(height, width):
    pixels = picture(height, width)
    boxed = letterbox(pixels)
    assert boxed.shape[0] == height or boxed.shape[1] == width
    assert abs(boxed.shape[1] - boxed.shape[0] * 16 / 9) <= 1.4
    assert boxed.astype(int).sum() == pixels.astype(int).sum()
    assert shrink(pixels, 0.25).shape[:2] == (max(1, round(height / 4)), max(1, round(width / 4)))


def test_a_flip_is_ai_and_real_in_one_image_over_the_deliveries_that_count(tmp_path):
    names, images = list(DELIVERIES), []
    for number in range(4):
        images.append(LabelledImage(save_picture(tmp_path / f"{number}.png", seed=number), number % 2, "g", "s"))
    said = np.full((4, len(names)), "real", dtype=object)
    said[1] = "ai"
    said[2, names.index(STABILITY[0])] = "ai"  # a flip
    said[3] = "ai"
    said[3, names.index("JPEG 75")] = "inconclusive"  # none
    said[0, names.index("blur 2")] = "ai"  # not among those that count
    scores = {"real": 0.1, "inconclusive": 0.5, "ai": 0.9}
    verdicts = iter(said.ravel())

    class Told:
        def scan_arrays(self, arrays):
            for _ in arrays:
                verdict = next(verdicts)
                yield SimpleNamespace(score=scores[verdict], verdict=verdict)

    found = measure_robustness(Told(), images)
    assert (found.flips, found.flips_real, found.flips_ai) == (0.25, 0.5, 0.0)
    rows = {row.delivery: row for row in found.deliveries}
    assert rows["as it is"].auc == 1 and rows["blur 2"].ai_on_real == 0.5 and rows["JPEG 75"].inconclusive == 0.25


def test_robustness_is_measured_under_every_delivery(tiny_weights, tmp_path):
    save_picture(tmp_path / "a.png")
    save_picture(tmp_path / "b.png", seed=1)
    table = table_of(tmp_path, [("a.png", 0, "g", "s"), ("b.png", 1, "g", "s")])
    ran = CliRunner().invoke(app, ["robustness", str(table), "--weights", str(tiny_weights)], catch_exceptions=False)
    rows = [line.split("|")[1].strip(" *") for line in ran.stdout.splitlines() if line.startswith("|")]
    assert rows[2:] == list(DELIVERIES) and "flip" in ran.stdout


def test_every_variant_of_the_ablations_trains_and_is_tested_on_images_as_they_are(recipe, tmp_path):
    cache = tmp_path / "cache"
    feature_cache.build_cache(recipe, cache, "cpu", torch.float32)
    test = clean_cache(recipe, recipe.data.tables[0], cache, "cpu", torch.float32)
    assert len(test) == 16 and test[1].label == 1 and test[0].tokens.shape == (5, 2, 197, 192)
    rows = ablate(recipe, cache, test, samples=60)
    assert [row.variant for row in rows] == list(VARIANTS)
    assert all(0 <= row.auc <= 1 and 0.5 <= row.balanced <= 1 for row in rows) and rows[0].auc > 0.6
    assert as_markdown(rows).count("**") == 10


def test_what_is_hidden_from_a_variant_does_not_reach_its_verdict(recipe, tmp_path):
    from hidascan.lab.ablate import _fuse, _Joint
    from hidascan.lab.train import new_head

    feature_cache.build_cache(recipe, tmp_path, "cpu", torch.float32)
    model = _Joint(new_head(recipe, tmp_path), recipe.network.dim).eval()
    refined, is_global = torch.randn(3, 197, 32), torch.tensor([True, False, False])
    other = refined.clone()
    other[0] += 1
    for views, same in (((False, True), True), ((True, True), False)):
        logits = [_fuse(model, tokens, is_global, [3], views)[0] for tokens in (refined, other)]
        assert torch.equal(*logits) == same


def test_the_contrastive_loss_is_least_where_classes_lie_apart():
    shares = torch.tensor([1.0, 0.9, 0.0, 0.1])
    apart = torch.tensor([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [-1.0, 0.0]])
    assert contrastive_loss(apart, shares) < 1e-5
    assert contrastive_loss(apart[[0, 2, 1, 3]], shares) > 1
