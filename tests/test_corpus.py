"""A scan of a thousand broken and unusual files: one row each, with a reason, in bounded time and memory."""

import csv
import os
import resource
import subprocess
import sys

import pytest

from tests.corpus import write_corpus
from tests.test_detectors import save_random

LIMIT_SECONDS, LIMIT_BYTES = 10, 3 << 30


@pytest.fixture(scope="module")
def scanned(tmp_path_factory):
    """Paths of the corpus, rows of its scan, stderr, exit code, and peak memory."""
    folder = tmp_path_factory.mktemp("corpus")
    paths = write_corpus(folder / "in")
    weights = save_random(folder, "npr")  # a quick one, as files are what is tested
    command = [sys.executable, "-m", "hidascan.cli", str(folder / "in"), "--strict"]
    ran = subprocess.run(
        [*command, "--csv", str(folder / "out.csv"), "--weights", weights], capture_output=True, text=True
    )
    with (folder / "out.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return paths, rows, ran, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024


def test_every_file_has_its_row_and_nothing_is_a_traceback(scanned):
    paths, rows, ran, _ = scanned
    assert len(paths) >= 1000 and [os.path.basename(row["path"]) for row in rows] == [path.name for path in paths]
    assert ran.returncode == 3 and "Traceback" not in ran.stderr
    for row in rows:
        assert (row["status"] == "ok") == bool(row["verdict"]) == (not row["error"])
        assert "\n" not in row["error"] and "Error(" not in row["error"]


def test_whole_files_are_read_and_cut_ones_are_not(scanned):
    rows = {os.path.basename(row["path"])[5:]: row["status"] for row in scanned[1]}
    sound = [name for name in rows if name.count(".") == 1 and name.split(".")[0] in ("RGB", "L", "RGBA", "CMYK", "1")]
    assert len(sound) > 15 and all(rows[name] == "ok" for name in sound)
    cut = [name for name in rows if name.startswith(("cut-0-", "cut-5-", "cut-10-", "cut-25-", "cut-50-"))]
    wrong = [name for name in cut if rows[name] == "ok"]
    assert not wrong


def test_no_other_program_is_asked_to_read_a_file(scanned):
    """Pillow would start Ghostscript for an EPS."""
    row = next(row for row in scanned[1] if row["path"].endswith("eps.jpg"))
    assert row["error"].startswith("this is a PostScript file (PS, EPS)")


def test_no_file_takes_long_and_the_scan_stays_small(scanned):
    _, rows, _, largest = scanned
    assert max(float(row["seconds"]) for row in rows) < LIMIT_SECONDS
    assert largest < LIMIT_BYTES
