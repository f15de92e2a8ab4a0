import io

import numpy as np
import pytest
from PIL import Image

from hidascan.image.jpeg import ijg_table, quality_from_tables
from tests.conftest import picture


def tables(quality: int, mode: str = "RGB", **options) -> dict:
    file = io.BytesIO()
    Image.fromarray(picture(32, 32)).convert(mode).save(file, "JPEG", quality=quality, **options)
    return Image.open(file).quantization


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_every_ijg_quality_is_read_exactly(mode):
    assert [quality_from_tables(tables(q, mode)) for q in range(1, 101)] == list(range(1, 101))


@pytest.mark.parametrize("options", [{"subsampling": 0}, {"progressive": True}, {"optimize": True}])
def test_quality_does_not_depend_on_how_it_was_encoded(options):
    assert quality_from_tables(tables(83, **options)) == 83


def test_foreign_tables_give_the_nearest_quality():
    table = np.maximum(1, ijg_table(88) + np.random.default_rng(0).integers(-1, 2, 64))
    assert abs(quality_from_tables({0: table.tolist()}) - 88) <= 2


def test_no_table_is_no_quality():
    assert quality_from_tables({}) is None
