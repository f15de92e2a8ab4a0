"""The trace of JPEG in pixels: quality and grid are found, without false positives."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hidascan.image.jpeg_history import jpeg_trace
from hidascan.image.perturb import Compression, compress, shrink
from tests.conftest import picture


def textured(seed: int = 0) -> np.ndarray:
    """A picture without clipped pixels."""
    return (40 + picture(300, 340, seed) * 0.7).astype(np.uint8)


@settings(deadline=None, max_examples=25)
@given(st.integers(25, 95), st.integers(0, 7), st.integers(0, 7), st.sampled_from([0, 2]))
def test_quality_to_two_and_grid_of_the_last_save_are_found(quality, top, left, subsampling):
    saved = compress(textured(), Compression("JPEG", quality, subsampling))
    cropped = saved[top:, left:]
    found = jpeg_trace(cropped)
    assert (found.top, found.left) == (-top % 8, -left % 8)
    assert abs(found.quality - quality) <= 2  # the tables of 49 to 51 agree in nearly all frequencies of a soft picture


@pytest.mark.parametrize("seed", range(4))
def test_pixels_without_a_trace_have_none(seed):
    clean, saved = textured(seed), compress(textured(seed), Compression("JPEG", 75))
    for pixels in (
        clean,
        shrink(saved, 0.7),
        compress(clean, Compression("WEBP", 80)),
        clean[:14],
        np.zeros_like(clean),
    ):
        assert jpeg_trace(pixels) is None


def test_a_png_made_from_a_jpeg_is_reported(hidascan, tmp_path):
    import json

    from PIL import Image

    saved = compress(textured(), Compression("JPEG", 70))
    Image.fromarray(saved).save(tmp_path / "whole.png")
    Image.fromarray(saved[5:, 2:]).save(tmp_path / "crop.png")
    Image.fromarray(textured()).save(tmp_path / "clean.png")
    Image.fromarray(textured()).save(tmp_path / "a.jpg", quality=70)
    Image.fromarray(saved).save(tmp_path / "twice.jpg", quality=95, subsampling=0)
    names = ("whole.png", "crop.png", "clean.png", "a.jpg", "twice.jpg")
    rows = [json.loads(line) for line in hidascan(*(tmp_path / n for n in names), "--jsonl", "-").out.splitlines()]
    whole, crop, clean, jpeg, twice = rows
    assert whole["jpeg_quality_estimated"] == crop["jpeg_quality_estimated"] == jpeg["jpeg_quality_estimated"] == 70
    assert any("saved as JPEG (quality 70)" in note and "cropped" not in note for note in whole["notes"])
    assert any("x 6, y 3" in note for note in crop["notes"])
    assert any("(quality 70), now at quality 95" in note for note in twice["notes"])
    assert twice["jpeg_saved"] == {"quality": 95, "tables": "IJG", "subsampling": "4:4:4"}
    assert (crop["jpeg_saved"], crop["jpeg_trace"]) == (None, {"quality": 70, "top": 3, "left": 6})
    assert not any("JPEG" in note for row in (clean, jpeg) for note in row["notes"])
