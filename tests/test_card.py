"""The model card: measured figures are written between marks, and other text is unchanged."""

import dataclasses
import re
import shutil

import pytest

from hidascan.errors import RecipeError, UsageError
from hidascan.lab.hidanet import SECTIONS as OF_HIDANET
from hidascan.lab.measure.card import SECTIONS as OF_ALL
from hidascan.lab.measure.card import CardSpec, fill_cards
from hidascan.options import ScanOptions
from tests.conftest import save_picture
from tests.lab import table_of

SECTIONS = OF_ALL | OF_HIDANET
CARD = "# A card\n\nBy hand.\n" + "".join(
    f"\n## {name}\n<!-- hidalab card: {name} -->\nold {name}\n<!-- end -->\nafter {name}\n" for name in SECTIONS
)


@pytest.fixture
def spec(lab, tmp_path):
    rows = []
    for number in range(8):  # of one patch each
        path = save_picture(tmp_path / f"{number}.png", 224, 224, number)
        rows.append((path.name, number % 2, "g1" if number % 2 else "hn_astro", f"source {number // 2}"))
    images = {"quality": 1, "robustness": 3, "speed": 2, "perturbed": 3}
    cache = shutil.copytree(lab.cache, tmp_path / "cache")
    return CardSpec(table_of(tmp_path, rows), lab.recipe, cache, images=images)


def test_every_section_is_measured_and_manual_text_is_kept(spec, lab, tmp_path):
    card = tmp_path / "CARD.md"
    card.write_text(CARD)
    fill_cards([card], ScanOptions(str(lab.weights), precision="fp32", batch_size=8), spec, more=OF_HIDANET)
    text = card.read_text()
    assert not re.search(r"^old", text, re.M) and text.startswith("# A card\n\nBy hand.\n")
    for name in SECTIONS:
        section = text.split(f"<!-- hidalab card: {name} -->\n")[1].split("<!-- end -->")[0]
        assert (section.count("\n|") >= 2 or name in ("panel", "where")) and f"after {name}\n" in text
    assert "Scores in float32 against fp32 on the same images: mean difference 0.0000" in text
    assert "| untouched |" in text and "unchanged" in text


def test_one_section_alone_leaves_the_others(spec, lab, tmp_path):
    card = tmp_path / "CARD.md"
    card.write_text(CARD)
    fill_cards([card], ScanOptions(str(lab.weights), precision="fp32"), spec, ("quality",), OF_HIDANET)
    text = card.read_text()
    assert "old quality" not in text and all(f"old {name}" in text for name in SECTIONS if name != "quality")


def test_a_section_without_images_needs_no_table(spec, tiny_weights, tmp_path):
    card, without = tmp_path / "CARD.md", dataclasses.replace(spec, table="")
    card.write_text(CARD)
    options = ScanOptions(str(tiny_weights), precision="fp32")
    fill_cards([card], options, without, ("panel",), OF_HIDANET)
    assert "old panel" not in card.read_text()
    with pytest.raises(UsageError, match="pass --table"):
        fill_cards([card], options, without, ("detection",), OF_HIDANET)


def test_a_section_that_is_not_known_is_refused_before_anything_is_measured(spec, tmp_path):
    card = tmp_path / "CARD.md"
    card.write_text(CARD.replace("card: quality", "card: nonsense"))
    with pytest.raises(RecipeError, match="nonsense"):
        fill_cards([card], ScanOptions("no-such-weights"), spec)
