"""What the shipped weights and a tiny network say does not change unless somebody means it to.

`python -m tests.goldens.record FILE` writes the outputs anew; tests/goldens/ holds those that count.
"""

import json

import pytest

from tests.goldens.record import EXAMPLES, SHIPPED, TINY, TINY_WEIGHTS, difference, made_images, record

ACROSS_MACHINES = 1e-4  # of a logit of 20: other processors add up in another order
IN_BF16 = 0.01  # of a score


@pytest.fixture
def made(tmp_path):
    folder = tmp_path / "made"
    folder.mkdir()
    return made_images(folder)


def largest(golden: dict, found: dict) -> float:
    return max(difference(golden, found).values())


def test_the_tiny_network_says_what_it_always_said(made):
    assert largest(json.loads(TINY.read_text()), record(made, TINY_WEIGHTS, "fp32")) < ACROSS_MACHINES


def test_the_shipped_weights_say_what_they_always_said():
    found = difference(json.loads(SHIPPED.read_text()), record(EXAMPLES, "hidascan-b", "fp32"))
    assert max(found.values()) < ACROSS_MACHINES, found


def test_bf16_moves_no_score_of_the_shipped_weights_by_a_hundredth():
    found = difference(json.loads(SHIPPED.read_text()), record(EXAMPLES, "hidascan-b", "bf16"))
    assert found["score"] < IN_BF16 and found["regions"] == 0
