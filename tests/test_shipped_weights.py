"""The weights that ship, on the examples that ship."""

from pathlib import Path

import pytest

from hidascan import Scanner, ScanOptions
from hidascan.image.decode import decode

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture(scope="module")
def scanner() -> Scanner:
    return Scanner(ScanOptions())


@pytest.mark.parametrize("name", ["china.jpg", "flower.jpg", "rocket.jpg", "coffee.png"])
def test_photos_are_not_called_ai(scanner, name):
    finding = next(scanner.scan([EXAMPLES / name]))
    assert finding.verdict != "ai"


def test_a_harder_compression_is_seen_in_the_pixels(scanner):
    from hidascan.image.redeliver import Compression, compress

    pixels = decode(EXAMPLES / "coffee.png").pixels
    seen = [scanner.scan_array(compress(pixels, Compression("JPEG", q))).jpeg_quality_estimated for q in (30, 60, 95)]
    assert seen == sorted(seen) and abs(seen[1] - 60) < 15
