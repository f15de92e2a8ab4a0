"""Benchmarks in their published layouts: small trees with the real names."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from hidascan.errors import RecipeError, UsageError
from hidascan.lab.cli import app
from hidascan.lab.data.layouts import read_edited, read_images, read_layout
from hidascan.lab.measure import bench
from hidascan.lab.measure.metrics import average_precision
from tests.conftest import picture, save_picture
from tests.test_detectors import save_random

TREES = {
    "GenImage": [
        "Stable Diffusion V1.4/imagenet_ai_0419_sdv4/val/ai/033_sdv4_00134.png",
        "Stable Diffusion V1.4/imagenet_ai_0419_sdv4/val/nature/ILSVRC2012_val_00000017.JPEG",
        "Stable Diffusion V1.4/imagenet_ai_0419_sdv4/train/ai/000_sdv4_00001.png",
        "Midjourney/imagenet_midjourney/val/ai/100_midjourney_57.PNG",
        "Midjourney/imagenet_midjourney/val/nature/ILSVRC2012_val_00000094.JPEG",
    ],
    "Tiny-GenImage": [
        "imagenet_ai_0419_vqdm/val/ai/VQDM_1000_200_00_012_vqdm_00002.png",
        "imagenet_ai_0419_vqdm/val/nature/ILSVRC2012_val_00000021.JPEG",
        "imagenet_ai_0419_vqdm/train/nature/n01440764_1775.JPEG",
        "imagenet_glide/val/ai/GLIDE_1000_200_00_004_glide_00033.png",
        "imagenet_glide/val/nature/ILSVRC2012_val_00000055.JPEG",
    ],
    "HiRes-50K": [
        f"{bucket}/{kind}/{name}"
        for bucket in ("W>5000", "W_0900", "W_1200")
        for kind, name in (("0_real", "1.JPG"), ("1_fake", "2.png"))
    ],
    "DRCT-2M": [
        "stable-diffusion-v1-4/val2017/000000000139.png",
        "stable-diffusion-v1-4/train2017/000000000009.png",
        "ldm-text2im-large-256/val2017/000000000285.png",
        "MSCOCO/val2017/000000000139.jpg",
        "MSCOCO/train2017/000000000009.jpg",
    ],
    "Synthbuster": ["dalle3/r000da54ft.png", "firefly/r01b4e1d8t.png", "RAISE/r000da54ft.png"],
    "Chameleon": ["test/0_real/0a1b.jpg", "test/1_fake/2c3d.png"],
    "generators": [
        "progan/airplane/0_real/00001.png",
        "progan/airplane/1_fake/00002.png",
        "progan/cat/0_real/00003.png",
        "progan/cat/1_fake/00004.png",
        "whichfaceisreal/0_real/01.jpeg",
        "whichfaceisreal/1_fake/02.jpeg",
    ],
}
WILDRF = [f"{place}/{kind}/{n}.jpg" for place in ("facebook", "reddit") for n, kind in enumerate(("0_real", "1_fake"))]
COUNTS = {
    "GenImage": {"Midjourney": (1, 1), "Stable Diffusion V1.4": (1, 1)},
    "Tiny-GenImage": {"glide": (1, 1), "vqdm": (1, 1)},
    "HiRes-50K": {"W_0900": (1, 1), "W_1200": (1, 1), "W>5000": (1, 1)},
    "DRCT-2M": {"ldm-text2im-large-256": (1, 1), "stable-diffusion-v1-4": (1, 1)},
    "Synthbuster": {"dalle3": (1, 1), "firefly": (1, 1)},
    "Chameleon": {"Chameleon": (1, 1)},
    "generators": {"progan": (2, 2), "whichfaceisreal": (1, 1)},
}


def grow(folder: Path, names: list[str]) -> Path:
    for seed, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        ok, data = cv2.imencode(".png" if path.suffix.lower() == ".png" else ".jpg", picture(40, 50, seed))
        assert ok
        path.write_bytes(data.tobytes())
    return folder


@pytest.fixture(scope="module")
def npr(tmp_path_factory) -> str:
    return save_random(tmp_path_factory.mktemp("npr"), "npr")


def run(*options, weights: str):
    command = ["bench", *(str(option) for option in options), "--weights", weights, "--precision", "fp32"]
    return CliRunner().invoke(app, command, catch_exceptions=False)


@pytest.mark.parametrize("name", TREES)
def test_each_layout_is_recognised_and_scored_by_generator(name, tmp_path, npr):
    tree = grow(tmp_path / "tree", TREES[name])
    layout, images = read_layout(tree)
    scored = bench.score(layout, images, np.linspace(0, 1, len(images)))
    assert layout == name and {row.name: (row.real, row.ai) for row in scored.rows} == COUNTS[name]
    assert [row.name for row in scored.rows] == list(COUNTS[name])
    assert not any("train" in image.path.parts for image in images) and not scored.notes
    ran = run(tree, weights=npr)
    assert ran.exit_code == 0 and f"{name}: {len(images)} files, 0 of them unreadable" in ran.output
    assert "**mean**" in ran.output and "nan" not in ran.output
    assert ("Published" in ran.output) == (name in ("GenImage", "Tiny-GenImage", "HiRes-50K", "DRCT-2M", "Chameleon"))


def test_platforms_and_local_sets_are_read_as_generators(tmp_path):
    assert {image.source for image in read_images(grow(tmp_path, WILDRF))} == {"facebook", "reddit"}


def test_synthbuster_takes_its_photos_from_elsewhere(tmp_path, npr):
    tree = grow(tmp_path / "synthbuster", TREES["Synthbuster"][:2])
    without = run(tree, weights=npr)
    assert "dalle3: no real images" in without.output and "nan" not in without.output
    ran = run(tree, "--real", grow(tmp_path / "photos", ["r1.tif.png", "b.png"]), weights=npr)
    assert "| dalle3 | 2 | 1 |" in ran.output and "no real images" not in ran.output


def test_a_broken_file_an_empty_class_and_a_missing_folder(tmp_path, npr):
    tree = grow(tmp_path / "tree", TREES["generators"])
    (tree / "progan/cat/1_fake/00004.png").write_bytes(b"no picture")
    (tree / "whichfaceisreal/1_fake/02.jpeg").unlink()
    (tree / "deepfake/0_real").mkdir(parents=True)
    ran = run(tree, weights=npr)
    assert ran.exit_code == 0 and "5 files, 1 of them unreadable" in ran.output
    assert "| progan | 2 | 1 |" in ran.output and "whichfaceisreal: no AI images" in ran.output
    with pytest.raises(RecipeError, match="no such folder"):
        run(tmp_path / "none", weights=npr)
    (tmp_path / "other/pictures").mkdir(parents=True)
    with pytest.raises(RecipeError, match=r"no known layout .* expected folders named") as caught:
        run(tmp_path / "other", weights=npr)
    assert "\n" not in str(caught.value)


def test_both_columns_with_formats_aligned(tmp_path, npr):
    ran = run(grow(tmp_path / "tree", TREES["Tiny-GenImage"]), "--align-format", weights=npr)
    assert "| accuracy | accuracy, formats aligned | AP |" in ran.output


def test_scores_are_stored_and_a_broken_run_resumes(tmp_path, npr, monkeypatch):
    tree, kept = grow(tmp_path / "tree", TREES["generators"]), tmp_path / "scores.jsonl"
    first = run(tree, "--keep", kept, weights=npr).output
    lines = kept.read_text().splitlines()
    assert len(lines) == 6
    kept.write_text("\n".join([*lines[:3], lines[3][:20]]) + "\n")
    seen = []
    watch_paths(monkeypatch, seen)
    assert run(tree, "--keep", kept, weights=npr).output == first and len(seen) == 3
    assert len([line for line in kept.read_text().splitlines() if line.endswith("}")]) == 6


def test_a_file_that_can_be_read_again_is_scored(tmp_path, npr):
    tree, kept = grow(tmp_path / "tree", TREES["generators"]), tmp_path / "scores.jsonl"
    lost = tree / "progan/cat/1_fake/00004.png"
    content = lost.read_bytes()
    lost.write_bytes(b"no picture")
    assert "6 files, 1 of them unreadable" in run(tree, "--keep", kept, weights=npr).output
    lost.write_bytes(content)
    assert "6 files, 0 of them unreadable" in run(tree, "--keep", kept, weights=npr).output


def watch_paths(monkeypatch, seen: list) -> None:
    from hidascan.scanner import Scanner

    scan = Scanner.scan_files
    monkeypatch.setattr(Scanner, "scan_files", lambda scanner, paths: seen.extend(paths) or scan(scanner, paths))


def test_a_limit_is_spread_over_all(tmp_path, npr):
    ran = run(grow(tmp_path / "tree", TREES["HiRes-50K"]), "--limit", 3, weights=npr)
    assert "3 files" in ran.output and all(bucket in ran.output for bucket in ("W_0900", "W_1200", "W>5000"))


EDITED = {
    "AutoSplice": (
        ["Authentic/1001.jpg", "Forged_JPEG100/1001_0.jpg", "Forged_JPEG75/1001_2.jpg"],
        ["Mask/1001_mask.png"],
        [("Authentic", False), ("Forged_JPEG100", True), ("Forged_JPEG75", True)],
    ),
    "CocoGlide": (
        ["real/a_1.png", "fake/glide_9.png"],
        ["mask/mask_of_9.png"],
        [("real", False), ("fake", True)],
    ),
    "BR-Gen": (["test/Au/1.jpg", "test/Tp/2.jpg"], ["test/Gt/2.png"], [("test", True), ("test", False)]),
    "TGIF": (
        ["original/testing/77.png", "sd2-sp/testing/77_0.png", "sd2-fr/testing/77_0.png", "sd2-fr/training/78.png"],
        ["masks/testing/77.png"],
        [("original", False), ("sd2-fr", True), ("sd2-sp", True)],
    ),
}


def grow_edited(folder: Path, name: str) -> Path:
    images, masks, _ = EDITED[name]
    grow(folder, images)
    for mask in masks:
        (folder / mask).parent.mkdir(parents=True, exist_ok=True)
        region = np.zeros((40, 50), np.uint8)
        region[:16, :32] = 255
        cv2.imwrite(str(folder / mask), region)
    if name == "CocoGlide":
        (folder / "table.csv").write_text(
            "\ufeffreal;x,fake,mask\na_1.png,glide_9.png,mask_of_9.png\n", encoding="utf-8"
        )
    return folder


@pytest.mark.parametrize("name", EDITED)
def test_layouts_of_localisation_are_recognised_and_scored(name, tmp_path, tiny_weights):
    tree = grow_edited(tmp_path / "tree", name)
    layout, images = read_edited(tree)
    assert layout == name and [(one.group, one.mask is not None) for one in images] == EDITED[name][2]
    ran = run(tree, weights=str(tiny_weights))
    assert ran.exit_code == 0 and "pixel F1" in ran.output and "nan" not in ran.output
    assert f"{name}: {len(images)} files, 0 of them unreadable" in ran.output
    assert ("regenerated as a whole" in ran.output) == (name == "TGIF")


def test_a_mask_of_another_size_and_a_detector_without_a_map(tmp_path, tiny_weights, npr):
    tree = grow_edited(tmp_path / "tree", "AutoSplice")
    save_picture(tree / "Mask/1001_mask.png", 20, 20)
    assert "2 of them unreadable" in run(tree, weights=str(tiny_weights)).output
    with pytest.raises(UsageError, match="npr produces no heatmap"):
        run(tree, weights=npr)


def test_average_precision_matches_the_textbook():
    assert average_precision(np.array([1, 0, 1, 0]), np.array([0.9, 0.8, 0.7, 0.1])) == pytest.approx((1 + 2 / 3) / 2)
    assert average_precision(np.array([1, 0]), np.array([0.5, 0.5])) == pytest.approx(0.5)
    assert np.isnan(average_precision(np.array([1]), np.array([0.5])))


def test_published_figures_name_benchmarks_that_are_read():
    import tomllib

    from hidascan.lab.data.layouts import LAYOUTS

    text = Path(bench.__file__).with_name("published.toml").read_text()
    assert {row["benchmark"] for row in tomllib.loads(text)["figures"]} <= LAYOUTS.keys()
