"""Special files in folders: cyclic links, pipes, devices, too long names, and vanishing files."""

import csv
import os

import pytest

from hidascan import Scanner, ScanOptions
from tests.conftest import save_picture


def rows(out: str) -> dict[str, dict]:
    return {os.path.basename(row["path"]): row for row in csv.DictReader(out.splitlines())}


def test_a_folder_of_traps_is_walked_once_and_opens_nothing_that_could_block(hidascan, tmp_path):
    folder = tmp_path / "in"
    save_picture(folder / "a.png")
    save_picture(folder / "folder.png" / "b.png")
    os.symlink(folder, folder / "circle")
    for name, target in (
        ("self.png", "self.png"),
        ("zero.png", "/dev/zero"),
        ("gone.png", "nowhere"),
        ("ok.png", "a.png"),
    ):
        os.symlink(target, folder / name)
    os.mkfifo(folder / "pipe.png")
    ran = hidascan(folder, "--csv", "-")
    errors = {name: row["error"] for name, row in rows(ran.out).items()}
    assert errors == {
        "a.png": "",
        "b.png": "",
        "ok.png": "",
        "gone.png": "no such file or directory",
        "pipe.png": "not a regular file",
        "self.png": "too many levels of symbolic links",
        "zero.png": "not a regular file",
    }
    assert ran.err.count("\n") == 5 and ran.err.endswith("1 link to folders not followed (use --follow-symlinks)\n")


def test_long_paths_are_read_and_too_long_ones_are_reported(hidascan, tmp_path):
    deep = tmp_path.joinpath(*["d" * 200] * 8)
    found = rows(hidascan(save_picture(deep / "a.png"), tmp_path / ("n" * 300 + ".png"), "--csv", "-").out)
    assert [row["error"] for row in found.values()] == ["", "file name too long"]


def test_a_file_that_vanishes_before_its_turn_costs_its_own_row(tiny_weights, tmp_path):
    def paths():
        for number in range(3):
            path = save_picture(tmp_path / f"{number}.png")
            if number == 1:
                path.unlink()
            yield path

    found = list(Scanner(ScanOptions(str(tiny_weights))).scan(paths()))
    assert [finding.error for finding in found] == [None, "no such file or directory", None]


@pytest.mark.parametrize("option", ["--csv", "--jsonl", "--html"])
def test_an_unwritable_output_is_reported_before_the_scan(hidascan, tmp_path, option):
    path = save_picture(tmp_path / "a.png")
    ran = hidascan(path, option, tmp_path)  # a folder
    assert ran.code == 2 and ran.err.count("\n") == 1 and "is a folder; choose another name" in ran.err and not ran.out
