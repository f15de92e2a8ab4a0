"""Resuming a killed scan: complete rows are kept, truncated ones are repeated, and settings are not mixed."""

import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from hidascan import Scanner, ScanOptions, cli
from hidascan.errors import HidascanError, UsageError
from hidascan.report import FORMATS
from hidascan.report.html_report import HtmlReport
from hidascan.report.reporter import close_text, lock, open_text
from hidascan.report.resume import is_resumable
from hidascan.report.shards import ShardReport, Shards, read_shard, shards_of
from tests.conftest import ctrl_c_at_row, save_picture


def save_folder(folder):
    for number in range(8):
        save_picture(folder / f"{number}.png", 224, 224, seed=number)
    (folder / "5.png").write_bytes(b"broken")
    return folder


@pytest.fixture
def folder(tmp_path):
    return save_folder(tmp_path / "in")


def without_time(text: str) -> list:
    if text.startswith("path"):
        return [{**row, "seconds": ""} for row in csv.DictReader(text.splitlines(), delimiter=text[len("path")])]
    rows = [json.loads(line) | {"seconds": 0} for line in text.splitlines()]
    return [
        row | {"logit": row["logit"] and round(row["logit"], 5)} for row in rows
    ]  # batches differ in how they round


KINDS = [*filter(is_resumable, FORMATS)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_complete_output_is_not_resumed(hidascan, folder, tmp_path, kind):
    out, options = tmp_path / f"out.{kind}", ("--precision", "fp32", "--resume")
    assert hidascan(folder, "-o", out, *options).code == 3
    assert not (tmp_path / f"out.{kind}.unfinished").exists()
    assert "is not an unfinished scan" in hidascan(folder, "-o", out, *options).err


@pytest.fixture(scope="module")
def marked(tmp_path_factory, tiny_weights):
    """Pictures, and outputs of their scan that still have their marks."""
    base = tmp_path_factory.mktemp("marked")
    save_folder(base / "in")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hidascan.report.resume.end", lambda outputs: None)
        for kind in KINDS:
            options = ["-o", base / f"out.{kind}", "--precision", "fp32", "-q", "--weights", tiny_weights]
            assert cli.run([str(part) for part in (base / "in", *options)]) == 3
    return base


@pytest.mark.parametrize("cut", [0.0, 0.03, 0.55, 0.999])
@pytest.mark.parametrize("kind", KINDS)
def test_a_torn_output_is_completed_to_what_an_unbroken_scan_gives(hidascan, marked, tmp_path, kind, cut):
    out, mark = tmp_path / f"out.{kind}", tmp_path / f"out.{kind}.unfinished"
    whole = (marked / out.name).read_bytes()
    shutil.copy(marked / mark.name, mark)
    out.write_bytes(whole[: int(len(whole) * cut)])
    ran = hidascan(marked / "in", "-o", out, "--precision", "fp32", "--resume")
    assert ran.code == 3 and not mark.exists()
    assert without_time(out.read_text()) == without_time(whole.decode())
    if cut > 0.5:
        assert len(ran.out.splitlines()) < 8  # those done were not scanned again


def mark_of(hidascan, folder, out, kind, mark):
    """Leave the mark of a scan that was broken off, with the options of the tests."""
    import hidascan.report.resume as resume

    kept = resume.end
    try:
        resume.end = lambda outputs: None
        hidascan(folder, f"--{kind}", out, "--precision", "fp32")
    finally:
        resume.end = kept
    assert mark.exists()


def test_csv_and_jsonl_are_cut_back_to_the_rows_that_both_have(hidascan, folder, tmp_path):
    one, two = tmp_path / "a.csv", tmp_path / "a.jsonl"
    mark_of(hidascan, folder, one, "csv", tmp_path / "a.csv.unfinished")
    mark_of(hidascan, folder, two, "jsonl", tmp_path / "a.jsonl.unfinished")
    wanted = without_time(one.read_text()), without_time(two.read_text())
    two.write_text("".join(two.read_text().splitlines(keepends=True)[:3]))
    hidascan(folder, "--csv", one, "--jsonl", two, "--precision", "fp32", "--resume")
    assert (without_time(one.read_text()), without_time(two.read_text())) == wanted


def test_a_folder_may_be_spelled_differently(hidascan, folder, tmp_path):
    out = tmp_path / "out.csv"
    mark_of(hidascan, folder, out, "csv", tmp_path / "out.csv.unfinished")
    whole = out.read_text()
    out.write_text("".join(whole.splitlines(keepends=True)[:4]))
    hidascan(f"{folder}/../{folder.name}", "--csv", out, "--precision", "fp32", "--resume")
    names = [row["path"].rpartition("/")[2] for row in csv.DictReader(out.read_text().splitlines())]
    assert names == [row["path"].rpartition("/")[2] for row in csv.DictReader(whole.splitlines())]


def test_a_path_through_a_link_is_another_file(hidascan, folder, tmp_path):
    save_picture(tmp_path / "other/9.png", 230, 230)
    (folder / "link").symlink_to(save_picture(tmp_path / "other/below/a.png").parent)
    out = tmp_path / "out.csv"
    mark_of(hidascan, folder, out, "csv", tmp_path / "out.csv.unfinished")
    save_picture(folder / "9.png", 230, 230)
    hidascan(folder, folder / "link/../9.png", "--csv", out, "--precision", "fp32", "--resume")
    assert out.read_text().count("9.png") == 2


def test_relative_paths_are_not_resumed_in_another_folder(hidascan, folder, tmp_path, monkeypatch):
    other, out = save_folder(tmp_path / "other"), tmp_path / "out.csv"
    monkeypatch.chdir(folder)
    mark_of(hidascan, ".", out, "csv", tmp_path / "out.csv.unfinished")
    monkeypatch.chdir(other)
    ran = hidascan(".", "--csv", out, "--precision", "fp32", "--resume")
    assert ran.code == 2 and "with a different working folder" in ran.err


@pytest.mark.parametrize(("option", "named"), [(("--threshold", "0.3"), "threshold"), (("--stress",), "stress")])
def test_other_options_are_refused(hidascan, folder, tmp_path, option, named):
    out = tmp_path / "out.csv"
    mark_of(hidascan, folder, out, "csv", tmp_path / "out.csv.unfinished")
    before = out.read_bytes()
    ran = hidascan(folder, "--csv", out, "--precision", "fp32", "--resume", *option)
    assert ran.code == 2 and f"with a different {named}" in ran.err and out.read_bytes() == before


def test_resume_needs_a_file_and_a_name_with_line_breaks_is_one_row(hidascan, tmp_path):
    assert hidascan(tmp_path, "--csv", "-", "--resume").code == 2
    for name in ("a\nb.png", "=c.png", "d.png"):
        save_picture(tmp_path / "odd" / name, 230, 230)
    out = tmp_path / "out.csv"
    mark_of(hidascan, tmp_path / "odd", out, "csv", tmp_path / "out.csv.unfinished")
    whole = out.read_text()
    out.write_text(whole[:-20])
    hidascan(tmp_path / "odd", "--csv", out, "--precision", "fp32", "--resume")
    assert without_time(out.read_text()) == without_time(whole)


def test_a_scan_killed_at_any_moment_can_be_resumed(tiny_weights, folder, tmp_path, hidascan):
    out = tmp_path / "killed.jsonl"
    hidascan(folder, "--jsonl", tmp_path / "whole.jsonl", "--precision", "fp32")
    command = [sys.executable, "-m", "hidascan.cli", folder, "--jsonl", out, "--precision", "fp32", "--batch-size", "1"]
    scan = subprocess.Popen([*command, "--weights", tiny_weights], stdout=subprocess.DEVNULL)
    until = time.monotonic() + 60
    while not (out.exists() and out.stat().st_size) and scan.poll() is None and time.monotonic() < until:
        time.sleep(random.uniform(0, 0.02))
    scan.send_signal(signal.SIGKILL)
    scan.wait(60)
    assert all(json.loads(line) for line in out.read_text().splitlines(keepends=True) if line.endswith("\n"))
    if (tmp_path / "killed.jsonl.unfinished").exists():  # else it was faster than the kill
        hidascan(folder, "--jsonl", out, "--precision", "fp32", "--resume")
    rounded = [
        [
            row | {"seconds": 0, "logit": round(row["logit"] or 0, 4), "score": round(row["score"] or 0, 4)}
            for row in map(json.loads, path.read_text().splitlines())
        ]
        for path in (out, tmp_path / "whole.jsonl")
    ]
    assert rounded[0] == rounded[1]


def test_a_folder_of_shards_is_resumed_without_a_cluster(hidascan, folder, tmp_path, monkeypatch):
    out, options = tmp_path / "out", ("--parquet", tmp_path / "out", "--precision", "fp32")
    with ctrl_c_at_row(4):
        assert hidascan(folder, *options, "--shard-rows", 2).code == 130
    assert len(shards_of(out)) == 2 and not (out / "manifest.json").exists()
    assert "already contains shards" in hidascan(folder, *options).err
    assert "with a different stress" in hidascan(folder, *options, "--resume", "--stress").err
    assert "not both" in hidascan(folder, *options, "--resume", "--csv", tmp_path / "out.csv").err
    monkeypatch.chdir(folder)
    assert "with a different working folder" in hidascan(".", *options, "--resume").err
    ran = hidascan(folder, *options, "--resume")
    assert len(ran.out.splitlines()) == 5 and ran.out.count("\t") == 10  # rows alone
    rows = [row for shard in shards_of(out) for row in read_shard(shard)]
    assert [row["key"] for row in rows] == [*range(8)]
    assert [row["path"] for row in rows] == [str(path) for path in sorted(folder.iterdir())]
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["files"] == 8 and sum(manifest["errors"].values()) == 1
    assert ran.code == (1 if manifest["verdicts"]["ai"] else 3)
    assert "is a finished scan" in hidascan(folder, *options, "--resume").err


@pytest.fixture
def unfinished(hidascan, folder, tmp_path):
    """The report of a scan that was killed."""
    out = tmp_path / "out.csv"
    mark_of(hidascan, folder, out, "csv", tmp_path / "out.csv.unfinished")
    out.write_text("".join(out.read_text().splitlines(keepends=True)[:4]))
    return out


def test_the_rows_of_a_killed_scan_are_never_dropped_silently(hidascan, folder, unfinished):
    before = unfinished.read_bytes()
    ran = hidascan(folder, "--csv", unfinished, "--precision", "fp32")
    assert ran.code == 2 and "out.csv is an unfinished scan (3 rows): continue with --resume, or delete it" in ran.err
    ran = hidascan(folder, "--csv", unfinished, "--jsonl", unfinished.with_suffix(".jsonl"), "--resume")
    assert ran.code == 2 and ran.err.count("\n") == 1 and unfinished.read_bytes() == before
    unfinished.unlink()
    assert hidascan(folder, "--csv", unfinished, "--precision", "fp32").code == 3
    assert len(unfinished.read_text().splitlines()) == 9


def test_a_scan_is_not_continued_with_other_trusted_certificates(hidascan, folder, tmp_path, monkeypatch):
    monkeypatch.setattr("hidascan.report.resume.end", lambda outputs: None)  # as if it had been killed
    signers, out = tmp_path / "signers.pem", tmp_path / "out.csv"
    signers.write_text("-----BEGIN CERTIFICATE-----\n")
    options = ["--csv", out, "--precision", "fp32", "--c2pa-trust", signers]
    hidascan(folder, *options)
    signers.write_text("-----BEGIN CERTIFICATE-----\nmore\n")
    ran = hidascan(folder, *options, "--resume")
    assert ran.code == 2 and "was written with a different content of --c2pa-trust" in ran.err


def test_rows_of_another_version_are_not_overwritten(hidascan, folder, unfinished):
    lines = [",".join(line.split(",")[:14]) + "\n" for line in unfinished.read_text().splitlines()]
    unfinished.write_text("".join(lines))
    ran = hidascan(folder, "--csv", unfinished, "--precision", "fp32")
    assert ran.code == 2 and "by another version of hidascan" in ran.err and unfinished.read_text() == "".join(lines)


def test_a_mark_beside_a_foreign_file_does_not_allow_truncation(hidascan, folder, unfinished):
    for text in ("path,remarks\na.png,mine\n", "a line of mine", '{"path": 1}\n'):
        unfinished.write_text(text)
        for options in (("--resume",), ()):
            assert hidascan(folder, "--csv", unfinished, "--precision", "fp32", *options).code == 2
            assert unfinished.read_text() == text


def test_a_mark_does_not_overwrite_a_foreign_file(hidascan, folder, tmp_path):
    mark = tmp_path / "out.csv.unfinished"
    for text in ("my notes", "{}", "[1]"):
        mark.write_text(text)
        ran = hidascan(folder, "--csv", tmp_path / "out.csv")
        assert ran.code == 2 and "was not written by hidascan" in ran.err and mark.read_text() == text
        assert not (tmp_path / "out.csv").exists()


def test_a_report_that_another_scan_writes_is_refused(hidascan, folder, tmp_path):
    out = tmp_path / "out.csv"
    with open_text(str(out)) as first:
        first.write("path\n")
        ran = hidascan(folder, "--csv", out)
        assert ran.code == 2 and "is being written by another scan" in ran.err
    assert out.read_text() == "path\n"


def test_a_report_on_stdout_may_accompany_a_resumed_one(marked, tmp_path, tiny_weights):
    for name in ("out.jsonl", "out.jsonl.unfinished"):
        shutil.copy(marked / name, tmp_path / name)
    options = [
        "--csv",
        "-",
        "--jsonl",
        tmp_path / "out.jsonl",
        "--resume",
        "--precision",
        "fp32",
        "--weights",
        tiny_weights,
    ]
    ran = subprocess.run([sys.executable, "-m", "hidascan.cli", marked / "in", *options], capture_output=True)
    assert ran.returncode in (0, 1, 3) and ran.stdout.startswith(b"path,"), ran.stderr


def test_no_report_is_emptied_if_another_cannot_be_written(hidascan, folder, tmp_path):
    old, other = tmp_path / "old.csv", tmp_path / "other.jsonl"
    hidascan(folder, "--csv", old)
    before = old.read_text()
    with open_text(str(other)) as running:
        running.flush()
        ran = hidascan(folder, "--csv", old, "--jsonl", other)
    assert ran.code == 2 and "is being written by another scan" in ran.err and old.read_text() == before
    assert not (tmp_path / "old.csv.unfinished").exists()


@pytest.mark.parametrize(("flags", "reason"), [(0, "permission denied"), (os.ST_RDONLY, "read-only file system")])
def test_a_folder_that_cannot_be_written_is_named_before_the_network_is_loaded(
    hidascan, folder, tmp_path, monkeypatch, flags, reason
):
    (tmp_path / "locked").mkdir(mode=0o500)
    monkeypatch.setattr(os, "access", lambda *_, **__: False)  # root may write everywhere
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_flag=flags))
    for option, place in (("--jsonl", "locked/new.jsonl"), ("--heatmap-dir", "locked")):
        ran = hidascan(folder, option, tmp_path / place, "--weights", tmp_path / "none")
        assert ran.code == 2 and f"{tmp_path / place}: {reason}" in ran.err


@pytest.fixture(scope="module")
def run_info(tiny_weights):
    return Scanner(ScanOptions(str(tiny_weights))).info


def finished(hidascan, folder, file, *options):
    """A finished report, and its text."""
    assert hidascan(folder, "-o", file, "--precision", "fp32", *options).code in (0, 1, 3)
    return file.read_text()


def test_a_start_that_fails_leaves_no_mark_beside_a_finished_report(hidascan, folder, tmp_path):
    old, blocked = tmp_path / "old.csv", tmp_path / "file/below"
    before = finished(hidascan, folder, old)
    blocked.parent.write_bytes(b"")
    ran = hidascan(folder, "--profile", "low-fpr", "--csv", old, "--xmp", blocked)
    assert ran.code == 2 and old.read_text() == before and not (tmp_path / "old.csv.unfinished").exists()


def test_an_unreadable_list_does_not_empty_a_report(hidascan, folder, tmp_path, tiny_weights):
    before = finished(hidascan, folder, tmp_path / "old.csv")
    ran = hidascan("--files-from", tmp_path / "lsit.txt", "--csv", tmp_path / "old.csv")
    assert ran.code == 2 and "lsit.txt: no such file or directory" in ran.err
    (tmp_path / "list.txt").write_bytes(b"a\0b\0")
    ran = hidascan("--files-from", tmp_path / "list.txt", "--csv", tmp_path / "old.csv")
    assert ran.code == 2 and "looks NUL-separated" in ran.err and (tmp_path / "old.csv").read_text() == before
    given = [sys.executable, "-m", "hidascan.cli", "-", "--csv", tmp_path / "old.csv", "--weights", tiny_weights]
    ran = subprocess.run(given, input=save_picture(tmp_path / "a.jpg").read_bytes(), capture_output=True)
    assert ran.returncode == 2 and b"is not a list of paths" in ran.stderr
    assert (tmp_path / "old.csv").read_text() == before


def test_a_running_scan_is_not_called_an_interrupted_one(hidascan, marked, tmp_path):
    for name in ("out.csv", "out.csv.unfinished"):
        shutil.copy(marked / name, tmp_path / name)
    with open(tmp_path / "out.csv", "rb") as running:
        lock(running)
        ran = hidascan(marked / "in", "--csv", tmp_path / "out.csv")
    assert ran.code == 2 and "is being written by another scan" in ran.err


def test_a_report_that_was_replaced_during_the_scan_is_lost_with_a_message(tmp_path):
    file = open_text(str(tmp_path / "a.csv"))
    (tmp_path / "a.csv").unlink()
    (tmp_path / "a.csv").write_text("another scan")
    with pytest.raises(HidascanError, match="deleted while being written"):
        close_text(file)


def test_two_scans_cannot_share_a_folder_of_shards(hidascan, folder, run_info, tmp_path):
    running = ShardReport(Shards(folder=str(tmp_path / "out"), form="jsonl", rows=10), run_info, run_info.fingerprint())
    with pytest.raises(UsageError, match="is being written by another scan"):
        ShardReport(
            Shards(folder=str(tmp_path / "out"), form="jsonl", rows=10), run_info, run_info.fingerprint(), resume=True
        )
    running.close()


def test_reports_of_different_files_are_not_resumed_together(hidascan, marked, tmp_path):
    for name in ("out.csv", "out.csv.unfinished", "out.jsonl.unfinished"):
        shutil.copy(marked / name, tmp_path / name)
    rows = (marked / "out.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "out.jsonl").write_text("".join(rows[1:]))
    options = ("--csv", tmp_path / "out.csv", "--jsonl", tmp_path / "out.jsonl", "--precision", "fp32", "--resume")
    ran = hidascan(marked / "in", *options)
    assert ran.code == 2 and "have rows of different files" in ran.err


def test_a_scan_that_cannot_be_marked_says_so(hidascan, folder, tmp_path):
    ran = hidascan(folder, "--csv", tmp_path / f"{'a' * 246}.csv")
    assert ran.code in (0, 1, 3) and "if this scan is interrupted, it cannot be resumed" in ran.err


def test_a_row_that_a_spreadsheet_changed_is_named(hidascan, marked, tmp_path):
    shutil.copy(marked / "out.csv.unfinished", tmp_path)
    rows = list(csv.DictReader((marked / "out.csv").read_text().splitlines()))
    with open(tmp_path / "out.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows([row | {"score": "0,1"} for row in rows])
    ran = hidascan(marked / "in", "--csv", tmp_path / "out.csv", "--precision", "fp32", "--resume")
    assert ran.code == 2 and "has a row that hidascan did not write" in ran.err


def test_an_interrupted_page_says_so(run_info, tmp_path):
    page = HtmlReport(str(tmp_path / "a.html"), run_info)
    page.interrupted = True
    page.close()
    assert "The scan was interrupted" in (tmp_path / "a.html").read_text()


def test_the_rows_of_a_killed_scan_are_kept_under_every_name_of_the_report(hidascan, folder, unfinished, tmp_path):
    before, link = unfinished.read_bytes(), tmp_path / "latest.csv"
    link.symlink_to(unfinished.name)
    for name in (link, unfinished):
        ran = hidascan(folder, "--csv", name, "--precision", "fp32")
        assert ran.code == 2 and f"{name} is an unfinished scan (3 rows)" in ran.err
        assert unfinished.read_bytes() == before
    assert hidascan(folder, "--csv", link, "--precision", "fp32", "--resume").code in (1, 3)
    assert len(unfinished.read_text().splitlines()) == 9
    assert not [*tmp_path.glob("*.unfinished")]


def test_the_mark_of_a_scan_to_a_link_is_beside_the_file(hidascan, folder, tmp_path):
    (tmp_path / "latest.csv").symlink_to("real.csv")
    mark_of(hidascan, folder, tmp_path / "latest.csv", "csv", tmp_path / "real.csv.unfinished")
    assert "unfinished scan (8 rows)" in hidascan(folder, "--csv", tmp_path / "real.csv", "--precision", "fp32").err
