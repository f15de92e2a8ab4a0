"""The model card: measured figures are written between marks, and other text is unchanged."""

import re
import shutil
from pathlib import Path

import pytest

from hidascan.errors import RecipeError
from hidascan.lab.hidanet import SECTIONS as OF_HIDANET
from hidascan.lab.measure.card import SECTIONS as OF_ALL
from hidascan.lab.measure.card import CardSpec, fill_cards
from hidascan.options import ScanOptions

SECTIONS = OF_ALL | OF_HIDANET
CARD = "# A card\n\nBy hand.\n" + "".join(
    f"\n## {name}\n<!-- hidalab card: {name} -->\nold {name}\n<!-- end -->\nafter {name}\n" for name in SECTIONS
)


@pytest.fixture
def spec(lab, tmp_path):
    table = lab.recipe.data.tables[0]
    rows = Path(table).read_text().splitlines()[:9]  # the header, and two images of each source
    lines = [line.replace("png\t0\tg0", "png\t0\thn_astro") for line in rows]
    test = Path(table).with_name("test.tsv")
    test.write_text("\n".join(lines) + "\n")
    images = {"quality": 1, "where": 2, "robustness": 3, "speed": 2, "perturbed": 3}
    cache = shutil.copytree(lab.cache, tmp_path / "cache")
    return CardSpec(test, lab.recipe, cache, images=images)


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


def test_one_section_alone_leaves_the_others(spec, tiny_weights, tmp_path):
    card = tmp_path / "CARD.md"
    card.write_text(CARD)
    fill_cards([card], ScanOptions(str(tiny_weights), precision="fp32"), spec, ("quality",), OF_HIDANET)
    text = card.read_text()
    assert "old quality" not in text and all(f"old {name}" in text for name in SECTIONS if name != "quality")


def test_a_section_that_is_not_known_is_refused_before_anything_is_measured(spec, tmp_path):
    card = tmp_path / "CARD.md"
    card.write_text(CARD.replace("card: quality", "card: nonsense"))
    with pytest.raises(RecipeError, match="nonsense"):
        fill_cards([card], ScanOptions("no-such-weights"), spec)
