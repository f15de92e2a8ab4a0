"""Packs: made, resumed and trained on, and no trace of size, format or JPEG grid tells the class."""

import csv
import errno
import json
import sys

import cv2
import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.preprocessing import StandardScaler

from hidascan.detectors.checkpoint import load_detector
from hidascan.geometry import ViewPlan
from hidascan.lab import cli
from hidascan.lab.data import packs as packs_module
from hidascan.lab.data.packs import DecodedWindows, read_packs
from hidascan.lab.data.tables import fold_of
from hidascan.lab.measure.metrics import auc
from hidascan.lab.training.recipe import EndToEndRecipe
from hidascan.lab.training.samples import PackedSamples
from tests.conftest import picture
from tests.lab import table_of

RECIPE = """
detector = "npr"
[network]
width = 8
[data]
tables = ["{folder}/table.tsv"]
{data}
[training]
epochs = 2
steps = 4
batch = 4
side = 64
lr = 5e-3
"""
SOURCES = ("one", "two", "three", "four", "five", "six")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Equal contents; photos are large JPEGs, AI images square PNGs: size, format and grid tell the class."""
    folder, rows = tmp_path_factory.mktemp("pictures"), []
    for number in range(36):
        label = number % 2
        height, width = (512, 512) if label else (660, 760)
        name = f"{number}.{'png' if label else 'jpg'}"
        options = {} if label else {"quality": 70 + number}
        Image.fromarray(picture(height, width, number)).save(folder / name, **options)
        rows.append((name, label, f"g{label}", SOURCES[number // 6]))
    Image.fromarray(picture(300, 500)).save(folder / "small.png")
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n nothing")
    table_of(folder, [*rows, ("small.png", 1, "g1", "one"), ("broken.png", 1, "g1", "one")])
    return folder


def run(*arguments, capsys) -> tuple[int, str]:
    """Run hidalab; return its exit code, and both of its streams."""
    sys.argv = ["hidalab", *map(str, arguments)]
    try:
        cli.main()
        code = 0
    except SystemExit as exit:
        code = exit.code or 0
    streams = capsys.readouterr()
    return code, streams.out + streams.err


@pytest.fixture
def hidalab(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", [])
    return lambda *arguments: run(*arguments, capsys=capsys)


@pytest.fixture(scope="module")
def packs(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("packs") / "packs"
    packs_module.make_packs(packs_module_images(folder), out, 640)
    return out


def packs_module_images(folder):
    from hidascan.lab.data.tables import read_table

    return read_table(folder / "table.tsv")


def test_windows_keep_their_pixels_and_a_broken_image_is_one_line(folder, tmp_path, hidalab):
    code, text = hidalab("packs", folder / "table.tsv", "--out", tmp_path / "packs", "--side", 640)
    assert code == 0 and text.count("skipped: ") == 1 and "broken.png" in text
    assert "36 windows; skipped in this run: 1 too small (a side under 320 px), 1 unreadable" in text
    packs = read_packs(tmp_path / "packs")
    decoded = DecodedWindows(packs, tmp_path)
    for window in packs.windows[::3]:  # both classes
        whole, part = cv2.imread(str(window.path))[..., ::-1], decoded.pixels(window)
        assert part.shape == ((512, 512, 3) if window.label else (640, 640, 3))
        found = cv2.matchTemplate(whole, np.ascontiguousarray(part), cv2.TM_SQDIFF).min()
        assert found / part.size < 0.1 and (window.quality == 0) == bool(window.label)


def test_an_interrupted_run_goes_on_to_the_same_packs(folder, packs, tmp_path, hidalab, monkeypatch):
    appended, append = [], packs_module._append

    def full(file, data):
        appended.append(1)
        if len(appended) == 12:
            append(file, bytes(data)[:40])
            raise OSError(errno.ENOSPC, "No space left on device")
        append(file, data)

    out = tmp_path / "packs"
    command = ["packs", folder / "table.tsv", "--out", out, "--side", 640, "--cap", 99]
    monkeypatch.setattr(packs_module, "_append", full)
    code, text = hidalab(*command)
    last = text.splitlines()[-1]
    assert code == 2 and last == "hidalab: no space left on device; free some space, then run the same command again"
    monkeypatch.setattr(packs_module, "_append", append)
    (recipe := tmp_path / "npr.toml").write_text(RECIPE.format(folder=folder, data=f'packs = "{out}"'))
    code, text = hidalab("train", recipe, "--cache", tmp_path, "--out", tmp_path / "a.safetensors")
    assert (code, text) == (2, f"hidalab: {out}: unfinished packs; run the same hidalab packs again\n")
    assert hidalab(*command)[0] == 0
    by_name = [
        {window.path.name: DecodedWindows(made, where).pixels(window) for window in made.windows}
        for made, where in ((read_packs(out), tmp_path / "one"), (read_packs(packs), tmp_path / "two"))
    ]
    assert by_name[0].keys() == by_name[1].keys()
    assert all(np.array_equal(pixels, by_name[1][name]) for name, pixels in by_name[0].items())
    code, text = hidalab(*command[:-2], "--cap", 2)
    assert code == 2 and "contains packs of other images or options; choose another folder" in text


def test_missing_and_damaged_packs_are_one_line(folder, packs, tmp_path, hidalab):
    command = ["train", tmp_path / "npr.toml", "--cache", tmp_path, "--out", tmp_path / "a.safetensors"]
    (tmp_path / "npr.toml").write_text(RECIPE.format(folder=folder, data=""))
    missing, damaged = tmp_path / "none", tmp_path / "damaged"
    code, text = hidalab(*command, "--packs", missing)
    assert (code, text) == (2, f"hidalab: {missing}: no packs; make them with hidalab packs\n")
    damaged.mkdir()
    index, blob = (packs / "index.jsonl").read_bytes(), bytearray((packs / "windows.bin").read_bytes())
    blob[len(blob) // 2] ^= 255
    for rows, windows, reason in (
        (index, blob, "wrong checksum"),
        (index, blob[:-9], "windows.bin is truncated"),
        (index[:-30] + b"\n", blob, "damaged packs ("),
    ):
        (damaged / "index.jsonl").write_bytes(rows)
        (damaged / "windows.bin").write_bytes(windows)
        code, text = hidalab(*command, "--packs", damaged)
        last = text.splitlines()[-1]
        assert code == 2 and last.startswith(f"hidalab: {damaged}: damaged packs (") and reason in last
        assert "Traceback" not in text and last.endswith("delete them and make them again")
    (damaged / "index.jsonl").write_bytes(index.splitlines(keepends=True)[0])
    assert hidalab(*command, "--packs", damaged)[1] == f"hidalab: {damaged}: the packs contain no window\n"


def test_a_training_keeps_to_its_budgets_and_resumes(folder, packs, tmp_path, hidalab, monkeypatch):
    from hidascan.lab.training import trainer

    log = trainer._log

    def killed(path, row):
        log(path, row)
        if row["epoch"] == 2:
            raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "npr.toml").write_text(RECIPE.format(folder=folder, data=""))
    command = ["train", tmp_path / "npr.toml", "--packs", packs, "--views", 45, "--cache", tmp_path, "--out"]
    monkeypatch.setattr(trainer, "_log", killed)
    code, text = hidalab(*command, tmp_path / "a.safetensors")
    assert code == 2 and "no space left on device" in text and "Traceback" not in text
    monkeypatch.setattr(trainer, "_log", log)
    assert hidalab(*command, tmp_path / "a.safetensors")[0] == 0
    assert hidalab(*command, tmp_path / "b.safetensors")[0] == 0
    headers = [load_detector(tmp_path / f"{name}.safetensors")[1] for name in "ab"]
    assert [header.training["views"] for header in headers] == [48, 48]
    assert headers[0].training["packs_sha256"] == read_packs(packs).digest
    rows = [json.loads(line) for line in (tmp_path / "b.log.jsonl").read_text().splitlines()]
    assert [row["views"] for row in rows] == [16, 32, 48] and rows[-1]["views_per_second"] > 0
    assert all(0 <= row["waiting"] <= 1 for row in rows)
    states = [load_detector(tmp_path / f"{name}.safetensors")[0].state_dict() for name in "ab"]
    assert all(states[0][name].float().allclose(states[1][name].float(), atol=1e-3) for name in states[0])
    code, text = hidalab(*command, tmp_path / "c.safetensors", "--views", 10**9, "--minutes", 0.01)
    views = load_detector(tmp_path / "c.safetensors")[1].training["views"]
    assert code == 0 and 0 < views < 5000


def test_held_out_sources_are_not_drawn(folder, packs, tmp_path, hidalab, monkeypatch):
    from hidascan.lab.training import samples

    drawn = []
    monkeypatch.setattr(samples, "PackedSamples", lambda recipe, plan, windows, decoded: drawn.extend(windows) or 1 / 0)
    (tmp_path / "npr.toml").write_text(RECIPE.format(folder=folder, data=f'packs = "{packs}"\ncalibration_fold = 0'))
    with pytest.raises(ZeroDivisionError):
        hidalab("train", tmp_path / "npr.toml", "--cache", tmp_path, "--out", tmp_path / "a.safetensors")
    held_out = {source for source in SOURCES if fold_of(source) == 0}
    assert held_out and {window.source for window in drawn} == {*SOURCES} - held_out


def test_compare_trains_on_packs(folder, packs, tmp_path, hidalab):
    (tmp_path / "npr.toml").write_text(RECIPE.format(folder=folder / "missing", data=""))
    for number in range(4):
        Image.fromarray(picture(80, 90, number)).save(tmp_path / f"{number}.png")
    (tmp_path / "test").mkdir()
    table = table_of(tmp_path / "test", [(f"../{number}.png", number % 2, "g", "seven") for number in range(4)])
    command = ["compare", tmp_path / "npr.toml", "--packs", packs, "--views", 16, "--folds", 0, "--table", table]
    code, _ = hidalab(*command, "--cache", tmp_path / "cache", "--out", tmp_path / "out", "--precision", "fp32")
    (row,) = csv.DictReader((tmp_path / "out/test.csv").open())
    assert code == 0 and row["trained with"].startswith("16 views, ")


def test_a_recipe_with_pairs_is_refused_before_another_one_is_trained(folder, packs, tmp_path, hidalab):
    text = RECIPE.format(folder=folder, data="")
    (tmp_path / "npr.toml").write_text(text)
    (tmp_path / "pairs.toml").write_text(text)
    pairs = f"{tmp_path / 'pairs.toml'}@sampling.real=0.4@sampling.ai=0.4@sampling.pair=0.2"
    command = ["compare", tmp_path / "npr.toml", pairs, "--packs", packs, "--cache", tmp_path, "--out", tmp_path]
    code, text = hidalab(*command)
    assert code == 2 and "sampling.pair needs data.tables" in text and "training" not in text


def test_the_default_detector_is_not_trained_on_packs(packs, tmp_path, hidalab):
    code, text = hidalab(
        "train", "recipes/hidascan-b.toml", "--packs", packs, "--cache", tmp_path, "--out", tmp_path / "a"
    )
    assert code == 2 and text.endswith("are not available for the detector hidanet\n")


def grid_features(pixels: np.ndarray) -> list[float]:
    """Shape, steps between neighbouring rows and columns by their place in a grid of 8, and flatness of 8x8 blocks."""
    grey = cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2GRAY).astype(np.float32)
    steps = [np.abs(np.diff(grey, 2, axis)).mean(1 - axis) for axis in (0, 1)]
    phases = [np.log(1 + along[place::8].mean()) for along in steps for place in range(8)]
    ordered = [*sorted(phases[:8]), *sorted(phases[8:])]
    return [*pixels.shape[:2], *phases, *ordered, float(np.log(1 + np.abs(grey - cv2.blur(grey, (3, 3))).mean()))]


def told_apart(pictures: list[np.ndarray], labels: list[int]) -> float:
    """AUC of a logistic regression on size, format and grid, cross-validated."""
    features = StandardScaler().fit_transform([grid_features(pixels) for pixels in pictures])
    guess = cross_val_predict(LogisticRegression(C=0.1), features, labels, cv=5, method="decision_function")
    return auc(np.array(labels), guess)


def test_neither_size_nor_format_nor_grid_tells_the_class(packs, tmp_path):
    made = read_packs(packs)
    decoded = DecodedWindows(made, tmp_path)
    stored = [decoded.pixels(window) for window in made.windows]
    assert told_apart(stored, [window.label for window in made.windows]) > 0.95
    samples = PackedSamples(EndToEndRecipe(), ViewPlan(side=None, thumbnail=False), made.windows, decoded)
    drawn = [samples[number] for number in range(400)]
    apart = told_apart([sample.views.pixels[0] for sample in drawn], [sample.label for sample in drawn])
    assert 0.4 < apart < 0.6  # three standard errors
    assert 0.4 < np.mean([sample.label for sample in drawn]) < 0.6
