"""The shipped weights on the shipped examples."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hidascan import Scanner, ScanOptions
from hidascan.geometry import CELL
from hidascan.image.decode import decode
from hidascan.lab.measure.metrics import auc
from hidascan.summary import summary
from tests.goldens.record import results

EXAMPLES = Path(__file__).parent.parent / "examples"
REPAINTED = {  # left, top, right, bottom in pixels, as examples/README.md has them
    "china.jpg": (340, 190, 622, 386),
    "chelsea.jpg": (28, 50, 167, 239),
    "astronaut.jpg": (199, 246, 370, 475),
}


@pytest.fixture(scope="module")
def found(shipped) -> dict:
    return results(shipped)


@pytest.mark.parametrize("name", ["china.jpg", "flower.jpg", "rocket.jpg", "coffee.png"])
def test_photos_are_not_called_ai(found, name):
    row, _ = found[f"examples/{name}"]
    assert row["verdict"] in ("real", "inconclusive")


def test_stronger_compression_is_seen_in_the_pixels():
    from hidascan.image.perturb import Compression, compress

    scanner, pixels = Scanner(ScanOptions()), decode(EXAMPLES / "coffee.png").pixels[:224, :448]
    seen = [scanner.scan_array(compress(pixels, Compression("JPEG", q))).jpeg_quality_estimated for q in (30, 60, 95)]
    assert seen == sorted(seen) and abs(seen[0] - 30) < 15 and abs(seen[1] - 60) < 15


def test_lines_and_text_are_no_strong_compression():
    (finding,) = Scanner(ScanOptions(patches=1)).scan([EXAMPLES.parent / "docs/images/page.png"])
    assert finding.domain in ("screenshot", "document") and finding.jpeg_quality_estimated is None
    assert not any("compression" in weakness for weakness in summary(finding, None).weaknesses)


@pytest.mark.parametrize(("name", "region"), REPAINTED.items())
def test_the_heatmap_is_hotter_where_a_photo_was_repainted(found, name, region):
    _, cells = found[f"repainted/{name}"]
    left, top, right, bottom = (side // CELL for side in region)
    inside = np.zeros(cells.shape, int)
    inside[top : bottom + 1, left : right + 1] = 1
    assert auc(inside.ravel(), cells.ravel()) > 0.6


def test_a_pasted_generated_region_is_outlined_and_changes_the_verdict(found):
    row, _ = found["pasted/rocket.jpg"]
    (region,) = row["regions"]
    corners = np.array([region[side] for side in ("left", "top", "right", "bottom")])
    assert (abs(corners - (380, 60, 620, 237)) <= 2 * CELL).all()
    assert row["verdict"] == "inconclusive" and row["scope"] == "part"


def test_generated_images_are_called_ai_as_a_whole_and_by_a_few_patches(found):
    row, _ = found["generated/bitdance_face.webp"]
    assert row["verdict"] == "ai" and row["scope"] == "whole"
    (few,) = Scanner(ScanOptions(patches=6)).scan([EXAMPLES / "generated/infinity_cat.webp"])
    assert few.verdict == "ai"


def test_fast_works_with_the_shipped_weights():
    (found,) = Scanner(ScanOptions(fast=True)).scan([EXAMPLES / "generated/infinity_cat.webp"])
    assert found.verdict == "ai"


def test_loading_the_network_brings_in_no_second_framework():
    """timm, torchvision and torch's compiler would each take a second or so before the first verdict."""
    code = """
import sys, torch
before = set(sys.modules)
from hidascan import Scanner
Scanner()
print(*({"timm", "torchvision", "torch._dynamo", "sympy"} & (set(sys.modules) - before)))
"""
    assert not subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()
