"""End-to-end training: it learns, resumes after a kill, and never uses held-out sources."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from hidascan import Scanner, ScanOptions
from hidascan.detectors.checkpoint import load_detector
from hidascan.geometry import ViewPlan
from hidascan.lab.cli import app
from hidascan.lab.data.tables import fold_of
from hidascan.lab.measure.metrics import auc
from hidascan.lab.training import end_to_end, trainer
from hidascan.lab.training.recipe import images_of, read_recipe
from hidascan.lab.training.samples import CachedSamples, SampleDrawer, open_samples
from tests.conftest import OURS, picture
from tests.lab import on_cpu, table_of

RECIPE = """
detector = "{detector}"
[network]
{network}
[data]
tables = ["{folder}/table.tsv"]
backbone = "{backbone}"
calibration_fold = 0
[sampling]
real = 0.5
ai = 0.5
pair = 0
resize = 0
filter = 0
saves = [1, 0, 0, 0]
history = 0
[training]
epochs = 3
steps = 8
batch = 8
lr = 5e-3
ema = 0.8
side = 64
patches = 2
samples = 24
"""
NETWORKS = {
    "npr": "width = 8",
    "glass": f'backbone = "{OURS}"\ntaps = [1, 2]\ncrops = 2\ndropout = 0.0',
    "vit": f'backbone = "{OURS}"\ntap = 2\ndropout = 0.0',
    "vit_cnn": f'backbone = "{OURS}"\ntap = 2\ndropout = 0.0',
    "ppl": f'backbone = "{OURS}"\ntap = 2\nadapted_depth = 2\nrank = 4\ncrops = 4',
    "spai": f'backbone = "{OURS}"\ntaps = [1, 2]\ndim = 32\nheads = 2\nhead_dim = 8\nwidening = 1\ndropout = 0.0\n'
    "token_stride = 2",
    "resnet": 'model = "resnet10t"\nbayesian = true\nside = 64',
}
SOURCES = ("one", "two", "three", "four", "five", "six")


@pytest.fixture
def folder(tmp_path):
    """Pictures of six sources: soft ones, and AI ones with a pattern of 2 pixels."""
    rows = []
    for number in range(24):
        pixels, label = picture(150, 170, number), number % 2
        if label:
            pixels[::2, ::2] //= 3
        cv2.imwrite(str(tmp_path / f"{number}.png"), pixels)
        rows.append((f"{number}.png", label, f"g{label}", SOURCES[number // 4]))
    table_of(tmp_path, rows)
    return tmp_path


def recipe_of(folder, tiny_weights, detector: str):
    text = RECIPE.format(
        detector=detector,
        network=NETWORKS[detector],
        folder=folder,
        backbone=tiny_weights.parent / "backbone-tiny.safetensors",
    )
    (folder / f"{detector}.toml").write_text(text)
    return read_recipe(folder / f"{detector}.toml")


def run(recipe, folder, name: str = "out") -> Path:
    end_to_end.train(recipe, folder / f"{name}.safetensors", on_cpu(folder / "cache"))
    return folder / f"{name}.safetensors"


def logits(weights: Path) -> np.ndarray:
    scanner = Scanner(ScanOptions(str(weights), precision="fp32"))
    pixels = [picture(150, 170, 100 + number) for number in range(8)]
    for one in pixels[4:]:
        one[::2, ::2] //= 3
    return np.array([finding.logit for finding in scanner.scan_arrays([("", one) for one in pixels])])


@pytest.mark.parametrize("detector", NETWORKS)
def test_a_training_learns(folder, tiny_weights, detector):
    recipe = recipe_of(folder, tiny_weights, detector)
    (folder / "backbone-tiny.safetensors").symlink_to(recipe.data.backbone)
    whole = run(recipe, folder, "whole")
    rows = [json.loads(line) for line in (folder / "cache/whole.log.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2, 3] and rows[-1]["cls"] < rows[0]["cls"]
    assert auc(np.repeat([0, 1], 4), logits(whole)) > 0.9


@pytest.mark.parametrize("detector", ("spai", "ppl"))
def test_trained_layers_behind_cached_rows_train_in_bf16(folder, tiny_weights, detector):
    recipe = recipe_of(folder, tiny_weights, detector)
    recipe = replace(recipe, training=replace(recipe.training, steps=2))
    (folder / "backbone-tiny.safetensors").symlink_to(recipe.data.backbone)
    workspace = replace(on_cpu(folder / "cache"), dtype=torch.bfloat16)
    end_to_end.train(recipe, folder / "half.safetensors", workspace)
    assert np.isfinite(logits(folder / "half.safetensors")).all()


@pytest.mark.parametrize("detector", ("resnet", "glass"))  # a random head; a frozen encoder, whose rows are cached
def test_a_training_resumes_after_a_kill_with_equal_results(folder, tiny_weights, monkeypatch, detector):
    recipe = recipe_of(folder, tiny_weights, detector)
    recipe = replace(recipe, training=replace(recipe.training, steps=2))
    (folder / "backbone-tiny.safetensors").symlink_to(recipe.data.backbone)
    whole, log = run(recipe, folder, "whole"), trainer._log

    def killed(path, row):
        log(path, row)
        if row["epoch"] == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(trainer, "_log", killed)
    with pytest.raises(KeyboardInterrupt):
        run(recipe, folder, "broken")
    monkeypatch.setattr(trainer, "_log", log)
    assert logits(run(recipe, folder, "broken")) == pytest.approx(logits(whole), abs=1e-3)


def test_networks_of_other_crops_are_not_trained_on_the_same_samples(folder, tiny_weights):
    recipe = recipe_of(folder, tiny_weights, "glass")
    crops = [replace(recipe, network=replace(recipe.network, crops=count)) for count in (1, 2, 3)]
    one, two, three = (end_to_end.sample_settings(changed) for changed in crops)
    assert one != two == three  # `training.patches` are 2
    for count, kind in ((2, SampleDrawer), (4, CachedSamples)):  # the first 2 of 4 patches are those at the top
        assert type(open_samples(recipe, ViewPlan(64, patches=count), on_cpu(folder), keep=True)) is kind


def test_frozen_layers_of_another_block_are_computed_anew(folder, tiny_weights):
    recipe = recipe_of(folder, tiny_weights, "vit")
    other = replace(recipe, network=replace(recipe.network, tap=1))
    assert end_to_end.sample_settings(recipe) != end_to_end.sample_settings(other)


def test_a_short_training_encodes_only_the_images_that_it_draws(folder, tiny_weights):
    recipe = recipe_of(folder, tiny_weights, "vit")
    recipe = replace(recipe, training=replace(recipe.training, epochs=1, steps=1, samples=1000))
    (folder / "backbone-tiny.safetensors").symlink_to(recipe.data.backbone)
    record = load_detector(run(recipe, folder))[1].training
    assert (record["encoded"], record["views"]) == (8, 8)


def test_pairs_are_drawn_as_often_as_the_recipe_says(folder, tiny_weights):
    recipe = recipe_of(folder, tiny_weights, "npr")
    sampling = replace(recipe.sampling, real=0.35, ai=0.35, pair=0.3)
    drawer = SampleDrawer(replace(recipe, sampling=sampling), ViewPlan(64), images_of(recipe), (None,))
    for maker in (drawer.maker, drawer.single):
        pair = maker.spec.pair
        maker.draw = lambda rng, pair=pair: (["photo", "copy"] if rng.random() < pair else ["single"], None, 0)
    drawn = [drawer.draw_composite(number, 0)[0] for number in range(4000)]
    assert np.mean([one != "single" for one in drawn]) == pytest.approx(0.3, abs=0.04)
    assert (drawer.single.spec.real, drawer.single.spec.pair) == (pytest.approx(0.5), 0)


def test_the_two_of_a_pair_are_drawn_once_and_trained_on_together(folder, tiny_weights):
    recipe = recipe_of(folder, tiny_weights, "npr")
    recipe = replace(recipe, sampling=replace(recipe.sampling, real=0, ai=0, pair=1))
    drawer, drawn = SampleDrawer(recipe, ViewPlan(64), images_of(recipe), (None,)), []
    drawer.maker.draw = lambda rng: drawn.append(1) or (["photo", "copy"], None, 0)
    assert [drawer.draw_composite(number, 0)[0] for number in range(6)] == ["photo", "copy"] * 3 and len(drawn) == 3
    for batch in end_to_end.draw_batches(recipe, 0, 5, drawer, list(range(24))):
        assert len(batch) == 8 and all(
            first % 2 == 0 and second == first + 1 for first, second in zip(batch[::2], batch[1::2], strict=True)
        )


def test_a_detector_of_several_crops_learns_from_random_ones_if_it_takes_one_per_image(folder, tiny_weights):
    recipe = recipe_of(folder, tiny_weights, "ppl")
    plans = [end_to_end.detector_class("ppl")(replace(recipe.network, crops=count)).plan for count in (4, 1)]
    drawers = [open_samples(recipe, plan.limited(1), on_cpu(folder), keep=False) for plan in plans]
    boxes = set()
    for number in range(6):
        of_several, of_centre = (drawer[number] for drawer in drawers)
        assert np.array_equal(of_several.views.pixels[0], of_centre.views.pixels[0]) and of_several.count == 1
        boxes.add(of_several.views.pixels[0].tobytes())
    assert len(boxes) > 3


@pytest.mark.parametrize("change", [{"crops": 1}, {"adapted_depth": 1}])
def test_frozen_layers_of_ppl_are_computed_anew_for_other_views_or_blocks(folder, tiny_weights, change):
    recipe = recipe_of(folder, tiny_weights, "ppl")
    other = replace(recipe, network=replace(recipe.network, **change))
    assert end_to_end.sample_settings(recipe) != end_to_end.sample_settings(other)


def test_cached_rows_keep_the_shares_of_their_cells(folder, tiny_weights):
    recipe = recipe_of(folder, tiny_weights, "ppl")
    workspace = on_cpu(folder / "cache")
    detector = end_to_end.new_detector(recipe, torch.float32)
    samples = open_samples(recipe, detector.plan.limited(2), workspace, keep=False)
    cached = end_to_end.encode_samples(recipe, 6, samples, detector, workspace)
    assert len({one.label for one in cached}) == 2
    for number, one in enumerate(cached):
        assert (one.label, one.count) == (samples[number].label, samples[number].count)
        assert np.array_equal(one.shares, samples[number].shares)


def test_sources_kept_for_calibration_are_not_drawn(folder, tiny_weights):
    recipe = recipe_of(folder, tiny_weights, "npr")
    drawn, apart = (images_of(recipe, for_training) for for_training in (True, False))
    kept = {source for source in SOURCES if fold_of(source) == 0}
    assert {image.source for image in apart} == kept and {image.source for image in drawn} == {*SOURCES} - kept
    assert len(drawn) + len(apart) == 24
    without = replace(recipe, data=replace(recipe.data, calibration_fold=-1))
    assert len(images_of(without)) == 24


def test_a_frozen_encoder_encodes_once_per_backbone(folder, tiny_weights, monkeypatch):
    recipe = recipe_of(folder, tiny_weights, "glass")
    run(recipe, folder)
    encoded = []
    monkeypatch.setattr(end_to_end, "_encode_shard", lambda *given: encoded.append(1) or 1 / 0)
    run(recipe, folder, "again")
    assert not encoded
    other = folder / "other.safetensors"
    other.write_bytes(Path(recipe.data.backbone).read_bytes() + b" ")
    changed = replace(recipe, data=replace(recipe.data, backbone=str(other)))
    monkeypatch.setattr(end_to_end, "load_backbone", lambda name, taps, side, path, dtype: load(path, name, taps, side))
    with pytest.raises(ZeroDivisionError):
        run(changed, folder, "changed")
    assert encoded


def load(path, name, taps, side):
    from hidascan.detectors.backbones import FrozenViT

    return FrozenViT(name, taps, side)


def test_the_command_trains_and_calibrates(folder, tiny_weights):
    recipe_of(folder, tiny_weights, "npr")
    out = folder / "npr.safetensors"
    options = ["train", folder / "npr.toml", "--cache", folder / "cache", "--out", out, "--precision", "fp32"]
    ran = CliRunner().invoke(app, [str(option) for option in options], catch_exceptions=False)
    assert ran.exit_code == 0 and "cross_fitted_balanced_accuracy" in ran.output  # of the two sources in fold 0
    header = Scanner(ScanOptions(str(out))).header
    assert header.architecture == "npr" and header.calibration.scale != 1.0
    assert header.training["calibration"]["images"] > 0 and header.training["recipe"]["detector"] == "npr"


def test_cached_samples_equal_drawn_ones(folder, tiny_weights):
    for detector, change in (("npr", {}), ("spai", {}), ("vit", {})):
        recipe = recipe_of(folder, tiny_weights, detector)
        recipe = replace(recipe, training=replace(recipe.training, side=224), **change)
        plan = end_to_end.detector_class(detector)(recipe.network).plan.limited(recipe.training.patches)
        drawers = [open_samples(recipe, plan, on_cpu(folder), keep) for keep in (False, True)]
        for number in (0, 1, 7):
            drawn, kept, again = (drawer[number] for drawer in (drawers[0], drawers[1], drawers[1]))
            for other in (kept, again):
                assert other.label == drawn.label and other.views.boxes == drawn.views.boxes
                assert all(np.array_equal(a, b) for a, b in zip(other.views.pixels, drawn.views.pixels, strict=True))
                assert (drawn.shares is None) == (other.shares is None) == (detector == "vit")
    assert (
        len({path.name for path in folder.glob("drawn-*")}) == 1
        and len(list(folder.glob("drawn-*/*.safetensors"))) == 3
    )


@pytest.mark.parametrize("steps", [5, 20, 400])
def test_averaged_weights_forget_the_start_even_in_short_trainings(steps):
    torch.manual_seed(0)
    network = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(network.weight, 0.0)
    spec = trainer.TrainerSpec(epochs=1, lr=0.1, weight_decay=0.0)
    trained = trainer.Trainer(network, spec, steps)
    for _ in range(steps):
        trained.step({"loss": (network.weight - 10.0).square().sum()})
    assert trained.averaged.weight.item() > 0.6 * network.weight.item() > 0
