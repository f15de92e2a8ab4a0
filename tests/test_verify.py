"""Evidence in rows, and changes of files or weights found by `hidascan verify`."""

import hashlib
import json
import os
import tempfile
from pathlib import Path

import pytest

from tests.conftest import save_picture
from tests.test_detectors import save_random


@pytest.fixture
def report(hidascan, tiny_weights, tmp_path):
    for seed, name in enumerate(("a.png", "b.jpg", "c.png")):
        save_picture(tmp_path / "in" / name, 100, 120, seed)
    (tmp_path / "in/broken.png").write_bytes(b"no picture")
    hidascan(tmp_path / "in", "--jsonl", tmp_path / "out.jsonl", "-q", "--weights", tiny_weights)
    return tmp_path / "out.jsonl"


def test_rows_identify_their_file(report, tmp_path):
    rows = [json.loads(line) for line in report.read_text().splitlines()]
    for row in rows:
        data = Path(row["path"]).read_bytes()
        assert row["file"]["sha256"] == hashlib.sha256(data).hexdigest() and row["file"]["bytes"] == len(data)
        assert row["file"]["modified"].endswith("Z")
        assert row["scan"]["detector"] == "hidanet" and len(row["scan"]["weights"]) == 64


def test_a_sound_report_is_sound(hidascan, report, tiny_weights):
    ran = hidascan("verify", report, "--weights", tiny_weights)
    assert ran.code == 0 and "4 files hashed, 4 scanned again: no differences" in ran.out


def test_a_changed_byte_a_changed_file_and_a_missing_one_are_found(hidascan, report, tiny_weights, tmp_path):
    data = bytearray((tmp_path / "in/b.jpg").read_bytes())
    data[-30] ^= 1
    (tmp_path / "in/b.jpg").write_bytes(data)
    save_picture(tmp_path / "in/a.png", 90, 80, 9)
    (tmp_path / "in/c.png").unlink()
    ran = hidascan("verify", report, "--weights", tiny_weights)
    a, b, c, last = ran.out.splitlines()
    assert ran.code == 1 and "a.png: content has changed" in a and "bytes then" in a
    assert "b.jpg: content has changed" in b and "bytes then" not in b and "c.png: no such file: " in c
    assert "3 files hashed, 1 scanned again: 3 differences" in last


def test_other_weights_and_other_scores_are_found(hidascan, report, tmp_path):
    other = save_random(tmp_path, "hidanet")
    ran = hidascan("verify", report, "--weights", other, "--sample", 3)
    assert ran.code == 1 and "different weights: " in ran.out
    rows = [json.loads(line) for line in report.read_text().splitlines()]
    rows[0]["score"], rows[0]["verdict"] = 0.01, "real"
    report.write_text("".join(json.dumps(row) + "\n" for row in rows))
    lines = hidascan("verify", report, "--weights", other, "--sample", 9).out
    assert "a.png: score 0.0100 then" in lines
    for removed in (None, float("nan")):
        rows[0]["score"] = removed
        report.write_text("".join(json.dumps(row) + "\n" for row in rows))
        ran = hidascan("verify", report, "--weights", other, "--sample", 9)
        assert ran.code == 1 and f"a.png: score {'none' if removed is None else 'nan'} then" in ran.out


def test_relative_paths_start_from_the_given_folder(hidascan, tiny_weights, tmp_path, monkeypatch):
    save_picture(tmp_path / "there/a.png", 40, 40)
    monkeypatch.chdir(tmp_path / "there")
    hidascan("a.png", "--jsonl", tmp_path / "out.jsonl", "-q", "--weights", tiny_weights)
    monkeypatch.chdir(tmp_path)
    assert "a.png: no such file: " in hidascan("verify", "out.jsonl", "--weights", tiny_weights).out
    assert hidascan("verify", "out.jsonl", "--base", "there", "--weights", tiny_weights).code == 0


def test_other_files_than_reports_are_refused_in_one_line(hidascan, tmp_path):
    (tmp_path / "other.jsonl").write_text('{"path": "a.png"}\n')
    for name in ("none.jsonl", "other.jsonl"):
        ran = hidascan("verify", tmp_path / name)
        assert ran.code == 2 and ran.err.count("\n") == 1 and name in ran.err


def test_a_pipe_is_not_waited_for(tmp_path):
    from hidascan.image.identity import identify

    os.mkfifo(tmp_path / "pipe")
    assert identify(str(tmp_path / "pipe")) is None and identify(str(tmp_path / "none")) is None


def test_a_report_without_rows_is_no_sound_report(hidascan, tmp_path):
    for text in ("", "\n\n"):
        (tmp_path / "empty.jsonl").write_text(text)
        ran = hidascan("verify", tmp_path / "empty.jsonl")
        assert ran.code == 2 and "empty.jsonl: the report has no rows" in ran.err and ran.err.count("\n") == 1


def test_a_torn_line_and_another_kind_of_file_are_named(hidascan, report, tmp_path):
    report.write_text(report.read_text()[:-9])
    (tmp_path / "latin.jsonl").write_bytes(b"\xe9\n")
    (tmp_path / "list.jsonl").write_text("[1]\n")
    lines = [hidascan("verify", path).err for path in (report, tmp_path / "latin.jsonl", tmp_path / "list.jsonl")]
    assert "line 4 is not a row" in lines[0] and "not UTF-8" in lines[1] and "line 1 is not a row" in lines[2]
    assert all(line.count("\n") == 1 for line in lines)


def test_incomparable_files_are_reported(report):
    from hidascan.runners.verify import change_of, read_rows

    rows = [json.loads(line) for line in report.read_text().splitlines()]
    (Path(rows[0]["path"])).unlink()
    os.mkfifo(rows[0]["path"])
    rows[1]["path"] = "s3://bucket/b.jpg"
    rows[3]["file"] = None
    report.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = {row.path: change for row in read_rows(report) if (change := change_of(row, Path()))}
    assert found == {
        rows[0]["path"]: "no longer a regular file",
        "s3://bucket/b.jpg": "not verified: only local files are hashed again",
        rows[3]["path"]: "the report contains no hash for this file",
    } or found.keys() == {rows[0]["path"], "s3://bucket/b.jpg"}


def test_a_time_that_no_calendar_has_is_unknown_and_ends_nothing(hidascan):
    if not os.path.isdir("/dev/shm"):
        pytest.skip("needs a file system that stores such a time")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        image = save_picture(Path(folder) / "a.png", 40, 40)
        os.utime(image, (1, 300_000_000_000))
        row = json.loads(hidascan(image, "--jsonl", "-").out)
    assert row["status"] == "ok" and row["file"]["modified"] == ""


def test_trusted_signers_are_not_needed_and_missing_weights_scan_nothing_again(hidascan, report, tiny_weights):
    rows = [json.loads(line) for line in report.read_text().splitlines()]
    for scan in ({"c2pa_trust": "gone.pem"}, {"weights_name": "gone"}):
        report.write_text("".join(json.dumps(row | {"scan": row["scan"] | scan}) + "\n" for row in rows))
        named = ["--weights", tiny_weights] if "c2pa_trust" in scan else ["--weights", "gone"]
        ran = hidascan("verify", report, *named)
        count = 4 if "c2pa_trust" in scan else 0
        assert f"4 files hashed, {count} scanned again" in ran.out and ran.code == (count == 0)


def test_an_unfinished_report_is_called_incomplete(hidascan, report, tiny_weights):
    assert "incomplete" not in hidascan("verify", report, "--weights", tiny_weights).err
    Path(f"{report}.unfinished").write_text("")
    ran = hidascan("verify", report, "--weights", tiny_weights)
    assert ran.code == 0 and f"{report} is incomplete: its scan was interrupted, or is still running" in ran.err
