"""Settings of the last save in the headers of a JPEG."""

import io

import numpy as np
import pytest
from PIL import Image

from hidascan.image.jpeg_history import JpegSave, ijg_table, read_save
from tests.conftest import picture


def saved(mode: str = "RGB", **options) -> JpegSave:
    file = io.BytesIO()
    Image.fromarray(picture(32, 32)).convert(mode).save(file, "JPEG", **options)
    opened = Image.open(file)
    return read_save(opened.quantization, opened.layer)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_every_ijg_quality_is_read_exactly(mode):
    all_saves = [saved(mode, quality=quality) for quality in range(1, 101)]
    assert [save.quality for save in all_saves] == list(range(1, 101))
    assert {save.tables for save in all_saves} == {"IJG"}


@pytest.mark.parametrize("options", [{"subsampling": 0}, {"progressive": True}, {"optimize": True}])
def test_quality_does_not_depend_on_how_it_was_encoded(options):
    assert saved(quality=83, **options).quality == 83


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
def test_subsampling_is_recognised(subsampling):
    assert saved(subsampling=subsampling).subsampling == subsampling


def test_grey_has_no_subsampling():
    assert saved("L").subsampling == ""


def test_tables_of_photoshop_are_known():
    assert saved(quality="web_high").tables == "Photoshop web high"


@pytest.mark.parametrize(("change", "whose"), [(1, "near IJG"), (40, "own")])
def test_foreign_tables_give_the_nearest_quality(change, whose):
    table = np.maximum(1, ijg_table(88) + np.random.default_rng(0).integers(-1, change + 1, 64))
    save = read_save({0: table.tolist()}, [])
    assert save.tables == whose and (abs(save.quality - 88) <= 2 or change > 1)


def test_there_is_no_save_without_tables():
    assert read_save({}, []) is None
