"""Missing fine detail: said of enlarged and blurred pictures, never of sharp ones."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from hidascan.image.content import detail_problem
from hidascan.image.perturb import jpeg
from hidascan.image.views import MIN_SIDE
from tests.conftest import picture

EXAMPLES = Path(__file__).parent.parent / "examples"
SHARP = sorted(
    path for path in EXAMPLES.rglob("*") if path.suffix in (".jpg", ".png", ".webp") and "heatmap" not in path.name
)


@pytest.fixture(params=SHARP, ids=lambda path: path.name)
def sharp(request):
    return np.asarray(Image.open(request.param).convert("RGB"))


def test_sharp_pictures_have_their_detail_also_shrunk_and_compressed(sharp):
    half = cv2.resize(sharp, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    assert not any(detail_problem(pixels) for pixels in (sharp, jpeg(sharp, 60), half, jpeg(half, 75)))


@pytest.mark.parametrize("interpolation", [cv2.INTER_CUBIC, cv2.INTER_LANCZOS4], ids=["bicubic", "lanczos"])
@pytest.mark.parametrize("factor", [2, 3])
def test_enlarged_pictures_lack_detail(sharp, factor, interpolation):
    assert detail_problem(cv2.resize(sharp, None, fx=factor, fy=factor, interpolation=interpolation))


def test_blurred_pictures_lack_detail_unless_along_one_direction_only():
    pixels = np.asarray(Image.open(EXAMPLES / "coffee.png").convert("RGB"))
    assert detail_problem(cv2.GaussianBlur(pixels, (0, 0), 2.5))
    assert not detail_problem(cv2.blur(pixels, (1, 15)))


@pytest.mark.parametrize("size", [(MIN_SIDE, MIN_SIDE), (MIN_SIDE, 9000)])
def test_pictures_of_any_size_have_an_answer(size):
    assert detail_problem(cv2.resize(picture(*size), None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC))
    assert not detail_problem(picture(*size))


def test_the_row_and_its_card_say_that_detail_is_missing(hidascan, tmp_path):
    large = cv2.resize(np.asarray(Image.open(EXAMPLES / "coffee.png").convert("RGB"))[:300, :300], None, fx=2, fy=2)
    for name, pixels in (("large.png", large), ("sharp.png", large[::2, ::2])):
        Image.fromarray(pixels).save(tmp_path / name)
    ran = hidascan(tmp_path / "large.png", tmp_path / "sharp.png", "--jsonl", "-", "-q")
    found = [json.loads(line) for line in ran.out.splitlines()]
    note = "looks enlarged or out of focus: fine detail is missing"
    assert [note in row["notes"] for row in found] == [f"it {note}" in row["summary"]["weaknesses"] for row in found]
    assert [note in row["notes"] for row in found] == [True, False]
