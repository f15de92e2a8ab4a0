"""The weights that ship, on the examples that ship."""

from pathlib import Path

import numpy as np
import pytest

from hidascan import Scanner, ScanOptions
from hidascan.image.decode import decode

EXAMPLES = Path(__file__).parent.parent / "examples"
REPAINTED = {  # left, top, right, bottom, as in examples/README.md
    "china.jpg": (340, 190, 622, 386),
    "chelsea.jpg": (28, 50, 167, 239),
    "astronaut.jpg": (199, 246, 370, 475),
}


@pytest.fixture(scope="module")
def scanner() -> Scanner:
    return Scanner(ScanOptions())


@pytest.mark.parametrize("name", ["china.jpg", "flower.jpg", "rocket.jpg", "coffee.png"])
def test_photos_are_not_called_ai(scanner, name):
    finding = next(scanner.scan([EXAMPLES / name]))
    assert finding.verdict != "ai"


@pytest.mark.parametrize("name", REPAINTED)
def test_repainted_regions_stand_out(scanner, name):
    finding = next(scanner.scan([EXAMPLES / "repainted" / name]))
    left, top, right, bottom = (round(edge / 16) for edge in REPAINTED[name])
    inside = np.zeros_like(finding.token_map, dtype=bool)
    inside[top:bottom, left:right] = True
    assert finding.token_map[inside].mean() > finding.token_map[~inside].mean() + 0.2


def test_a_harder_compression_is_seen_in_the_pixels(scanner):
    from hidascan.lab.degrade import Compression, compress

    pixels = decode(EXAMPLES / "coffee.png").pixels
    seen = [scanner.scan_array(compress(pixels, Compression("JPEG", q))).jpeg_quality_estimated for q in (30, 60, 95)]
    assert seen == sorted(seen) and abs(seen[0] - 30) < 15
