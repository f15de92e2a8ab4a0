"""The scanner from outside: files -> rows, lines and exit codes."""

import csv
import errno
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hidascan import Scanner, ScanOptions
from hidascan.detectors.checkpoint import load_detector, save_trained
from hidascan.errors import UsageError
from hidascan.finding import COLUMNS
from hidascan.image.sources import expand
from tests.conftest import picture, save_picture
from tests.test_decode import broken_files


@pytest.fixture
def folder(tmp_path):
    """Five good images of several sizes, in a folder and one below it."""
    for number, size in enumerate([(224, 224), (300, 500), (1, 1), (450, 240)]):
        save_picture(tmp_path / "in" / f"{number}.png", *size, seed=number)
    save_picture(tmp_path / "in" / "sub" / "4.jpg", 240, 240, seed=4, quality=77)
    (tmp_path / "in" / "notes.txt").write_text("no image, and not named like one")
    return tmp_path / "in"


def rows(text: str) -> list[dict]:
    return list(csv.DictReader(io.StringIO(text)))


def test_a_pipe_gets_path_verdict_and_score(hidascan, folder):
    ran = hidascan(folder)
    lines = [line.split("\t") for line in ran.out.splitlines()]
    assert [os.path.relpath(line[0], folder) for line in lines] == ["0.png", "1.png", "2.png", "3.png", "sub/4.jpg"]
    assert all(line[1] in ("ai", "real", "inconclusive") and 0 <= float(line[2]) <= 1 for line in lines)
    assert ran.err == ""


def test_csv_has_the_columns_of_the_contract(hidascan, folder, tmp_path):
    ran = hidascan(folder, "--csv", tmp_path / "out.csv", "--quiet")
    text = (tmp_path / "out.csv").read_text()
    assert text.splitlines()[0] == ",".join(COLUMNS) and ran.out == ""
    found = {os.path.basename(row["path"]): row for row in rows(text)}
    assert (found["1.png"]["width"], found["1.png"]["height"], found["1.png"]["patches"]) == ("500", "300", "6")
    assert (found["4.jpg"]["format"], found["4.jpg"]["jpeg_quality"]) == ("JPEG", "77")
    assert found["0.png"]["jpeg_quality"] == "" and 0 <= float(found["0.png"]["jpeg_quality_estimated"] or 0) <= 100
    assert found.pop("2.png")["ai_area"] == ""  # without content
    assert all(row["status"] == "ok" and 0 <= float(row["ai_area"]) <= 1 for row in found.values())


def test_jsonl_has_the_same_names_and_the_notes(hidascan, folder):
    found = [json.loads(line) for line in hidascan(folder, "--jsonl", "-").out.splitlines()]
    assert list(found[0])[: len(COLUMNS)] == list(COLUMNS)
    small = next(f for f in found if f["width"] == 1)
    assert any("mirroring" in note for note in small["notes"]) and found[0]["notes"] == []


def test_the_header_is_there_even_without_rows(hidascan, tmp_path):
    (tmp_path / "empty").mkdir()
    ran = hidascan(tmp_path / "empty", "--csv", "-")
    assert ran.out == ",".join(COLUMNS) + "\n" and ran.code == 3


def test_bad_files_get_rows_of_their_own_and_cost_no_good_one(hidascan, folder):
    bad = [*broken_files(folder), folder / "locked.png"]
    save_picture(bad[-1]).chmod(0)
    if os.geteuid() == 0:  # nothing is unreadable to root
        bad.pop().unlink()
    ran = hidascan(folder, folder / "missing.png", "--csv", "-")
    found = rows(ran.out)
    errors = {row["path"]: row["error"] for row in found if row["status"] == "error"}
    assert set(errors) == {str(path) for path in [*bad, folder / "missing.png"]} and all(errors.values())
    assert sum(row["status"] == "ok" for row in found) == 6  # the five, and the sound JPEG that a broken one came from
    assert len(ran.err.splitlines()) == len(errors) and "Traceback" not in ran.err


def test_exit_codes(hidascan, folder, tmp_path):
    good, missing = folder / "0.png", tmp_path / "missing.png"
    assert hidascan(good, "--threshold", 0).code == 1
    assert hidascan(good, "--threshold", 1).code == 0
    assert hidascan(good, missing, "--threshold", 1).code == 3
    assert hidascan(good, missing, "--threshold", 0).code == 1
    assert hidascan(good, missing, "--threshold", 0, "--strict").code == 3
    ran = hidascan(missing)
    assert ran.code == 3 and ran.err == f"hidascan: {missing}: no such file or directory\n"


def test_a_profile_chooses_between_calibrated_thresholds(tiny_weights, folder, tmp_path):
    network, header = load_detector(tiny_weights)
    thresholds = {"low-fpr": (0.0, 0.99999), "balanced": (0.99999, 1.0), "high-recall": (0.0, 0.00001)}
    calibration = replace(header.calibration, thresholds=thresholds)
    weights = shutil.copytree(tiny_weights.parent, tmp_path / "weights") / "profiles.safetensors"
    save_trained(weights, network, replace(header, calibration=calibration))
    verdicts = {
        profile: next(Scanner(ScanOptions(str(weights), profile=profile)).scan([str(folder / "0.png")])).verdict
        for profile in thresholds
    }
    assert verdicts == {"low-fpr": "inconclusive", "balanced": "real", "high-recall": "ai"}


def test_a_stress_test_is_inconclusive_if_copies_disagree(hidascan, tiny_weights, folder):
    """With a threshold between the lowest and the highest score of the copies the verdict flips; over all, it holds."""
    options = ScanOptions(str(tiny_weights), stress=True, precision="fp32")
    given = str(folder / "1.png")
    before = next(Scanner(replace(options, stress=False)).scan([given]))
    stressed, after = Scanner(options).scan([given, str(folder / "0.png")])
    assert stressed.score == pytest.approx(before.score, abs=1e-6) and after.path.endswith("0.png")
    assert set(stressed.stress) == {"JPEG 90", "JPEG 75", "WebP 80", "half size", "centre 60 %"}
    scores = sorted([stressed.score, *stressed.stress.values()])
    middle = (scores[0] + scores[-1]) / 2
    flipped = next(Scanner(replace(options, threshold=middle)).scan([given]))
    assert flipped.verdict == "inconclusive" and "conflict" in flipped.notes[-1]
    assert flipped.family is None and flipped.scope != "none"
    assert not any(note.startswith("conflict: ") for note in flipped.notes)
    held = next(Scanner(replace(options, threshold=scores[0] / 2)).scan([given]))
    assert held.verdict == "ai" and "conflict" not in held.notes[-1]
    ran = hidascan(given, folder / "notes.txt", "--stress", "--jsonl", "-", "--precision", "fp32")
    found = [json.loads(line) for line in ran.out.splitlines()]
    assert found[0]["stress"] == pytest.approx(stressed.stress, abs=1e-5) and found[1]["stress"] == {}


@pytest.mark.parametrize(
    "wrong",
    [["--threshold", "2"], ["--batch-size", "0"], ["--device", "abacus"], ["--device", "cuda:99"], ["--no-such-option"],
     ["--csv", "/no/such/folder/a.csv"], ["--csv", "-", "--jsonl", "-"], ["--precision", "int3"], ["--profile", "brave"]],
)  # fmt: skip
def test_wrong_usage_is_exit_code_2_and_no_traceback(hidascan, folder, wrong):
    ran = hidascan(folder / "0.png", *wrong)
    assert ran.code == 2 and ran.err and "Traceback" not in ran.err


def test_a_list_on_stdin_separated_by_zeros(hidascan, folder, monkeypatch):
    listed = "\0".join(str(folder / name) for name in ("3.png", "0.png")).encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(listed)))
    ran = hidascan("-", "-0")
    assert [line.split("\t")[0][-5:] for line in ran.out.splitlines()] == ["3.png", "0.png"], ran.err


def test_each_file_once_in_a_stable_order(folder):
    listed = list(expand([str(folder / "1.png"), str(folder), str(folder / "sub")]))
    assert [os.path.basename(path) for path in listed] == ["1.png", "0.png", "2.png", "3.png", "4.jpg"]


def test_odd_names_come_through_unchanged(hidascan, tmp_path):
    names = [b"caf\xc3\xa9.png", b"not utf-8 \xff.png", b'comma, "quote".png', "שלום.png".encode()]
    for name in names:
        save_picture(tmp_path / "picture.png", 30, 30).rename(
            os.path.join(os.fsencode(tmp_path), name).decode("utf-8", "surrogateescape")
        )
    hidascan(tmp_path, "--csv", tmp_path / "out.csv")
    with open(tmp_path / "out.csv", errors="surrogateescape", newline="") as file:
        found = {os.fsencode(os.path.basename(row["path"])) for row in csv.DictReader(file)}
    assert found == set(names)


def scores(scanner, paths) -> dict:
    return {f.path: f.score for f in scanner.scan(paths)}


def test_a_result_does_not_depend_on_the_batch(tiny_weights, folder):
    paths = sorted(str(p) for p in folder.rglob("*.png"))
    alone = {p: scores(Scanner(ScanOptions(str(tiny_weights), batch_size=16)), [p])[p] for p in paths}
    for batch_size in (1, 3, 64):
        together = scores(Scanner(ScanOptions(str(tiny_weights), precision="fp32", batch_size=batch_size)), paths)
        assert together == pytest.approx(alone, abs=5e-3)
    fp32 = Scanner(ScanOptions(str(tiny_weights), precision="fp32"))
    assert scores(fp32, paths[::-1]) == pytest.approx({p: scores(fp32, [p])[p] for p in paths}, abs=1e-5)


def test_an_array_gives_the_result_of_its_file(tiny_weights, folder):
    scanner = Scanner(ScanOptions(str(tiny_weights), precision="fp32"))
    from_file = next(scanner.scan([folder / "1.png"]))
    from_array = scanner.scan_array(picture(300, 500, seed=1))
    assert from_array.score == pytest.approx(from_file.score, abs=1e-6)
    assert np.allclose(from_array.heatmap, from_file.heatmap, atol=1e-6)


@pytest.mark.parametrize("wrong", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)])
def test_an_array_of_another_kind_is_refused(tiny_weights, wrong):
    with pytest.raises(UsageError):
        Scanner(ScanOptions(str(tiny_weights))).scan_array(wrong)


def test_an_array_over_the_limit_costs_one_finding(tiny_weights):
    scanner = Scanner(ScanOptions(str(tiny_weights), max_pixels=100_000))
    large, small = np.zeros((1000, 2000, 3), np.uint8), picture(240, 240)
    findings = list(scanner.scan_arrays([("large", large), ("small", small)]))
    assert [finding.status for finding in findings] == ["error", "ok"] and "exceeds the limit" in findings[0].error


def test_rows_come_in_the_order_of_the_input_while_small_and_large_mix(tiny_weights, tmp_path):
    sizes = [(900, 900), (1, 1), (230, 230), (700, 300), (50, 50)] * 2
    paths = [str(save_picture(tmp_path / f"{n:02}.png", *size, seed=n)) for n, size in enumerate(sizes)]
    assert [f.path for f in Scanner(ScanOptions(str(tiny_weights), batch_size=7)).scan(paths)] == paths


def test_a_finished_image_does_not_wait_for_the_large_one_after_it(tiny_weights, tmp_path):
    paths = [save_picture(tmp_path / "1.png", 224, 300), save_picture(tmp_path / "2.png", 1200, 1200)]
    batches: list[int] = []
    findings = Scanner(ScanOptions(str(tiny_weights), batch_size=4)).scan(paths, batches.append)
    assert next(findings).path == str(paths[0]) and batches == [4]
    assert next(findings).path == str(paths[1]) and sum(batches) == 3 + 37


def test_overlapping_batches_give_the_same_results(tiny_weights, tmp_path):
    sizes = [(500, 700), (224, 224), (30, 30), (900, 300), (700, 700)]
    paths = [save_picture(tmp_path / f"{number}.png", *size) for number, size in enumerate(sizes)]
    paths.insert(2, tmp_path / "missing.png")
    scanner = Scanner(ScanOptions(str(tiny_weights), precision="fp32", batch_size=5))
    alone = list(scanner.scan(paths))
    filled_by = []
    run = scanner.engine.runner.encode
    scanner.engine.runner.overlaps = True
    scanner.engine.runner.encode = lambda *given: filled_by.append(threading.current_thread().name) or run(*given)
    overlapping = list(scanner.scan(paths))
    assert all(name.startswith("batches") for name in filled_by) and len(filled_by) > 5
    assert [(f.path, f.status, f.error, f.patches) for f in overlapping] == [
        (f.path, f.status, f.error, f.patches) for f in alone
    ]
    for one, other in zip(overlapping, alone, strict=True):
        assert one.logit == pytest.approx(other.logit, abs=1e-5)
        assert one.heatmap is other.heatmap is None or np.allclose(one.heatmap, other.heatmap, atol=1e-5)


def test_uniform_margins_are_encoded_once_with_the_same_results(tiny_weights, tmp_path, monkeypatch):
    page = np.full((1100, 900, 3), 255, np.uint8)
    page[:150] = (20, 30, 40)
    page[500:800, 300:700] = picture(300, 400)
    Image.fromarray(page).save(tmp_path / "page.png")
    scanner, seen = Scanner(ScanOptions(str(tiny_weights), precision="fp32")), []
    (once,) = scanner.scan([tmp_path], seen.append)
    views = sum(seen)
    monkeypatch.setattr("hidascan.engine.repeats_of", lambda *given: {})
    (each,) = scanner.scan([tmp_path], seen.append)
    assert sum(seen) - views == 1 + each.patches == 26 and views < 20
    assert once.logit == pytest.approx(each.logit, abs=1e-4)
    assert np.allclose(once.heatmap, each.heatmap, atol=1e-5)


def test_a_very_narrow_image_is_refused_before_padding(hidascan, tmp_path):
    Image.fromarray(np.zeros((1, 3_000_000, 3), np.uint8)).save(tmp_path / "thin.png")
    ran = hidascan(tmp_path / "thin.png")
    assert ran.code == 3 and "too narrow" in ran.err


def test_an_image_that_does_not_fit_into_memory_costs_its_own_row_only(hidascan, folder, monkeypatch):
    import hidascan.prepare as prepare

    cut = prepare.cut_views

    def short_of_memory(pixels, *plan):
        if pixels.shape[:2] == (300, 500):
            raise MemoryError
        return cut(pixels, *plan)

    monkeypatch.setattr(prepare, "cut_views", short_of_memory)
    found = rows(hidascan(folder, "--csv", "-").out)
    assert [row["status"] for row in found] == ["ok", "error", "ok", "ok", "ok"] and "memory" in found[1]["error"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_one_line_and_exit_code_2(hidascan, folder):
    ran = hidascan(folder, "--csv", "/dev/full")
    assert ran.code == 2 and ran.err.count("\n") == 1 and "no space left" in ran.err


def test_a_disk_that_is_full_of_heatmaps_ends_the_scan_before_the_row(hidascan, folder, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    options = "--heatmap-dir", tmp_path / "maps", "--xmp", tmp_path / "xmp", "--csv", tmp_path / "out.csv"
    monkeypatch.setattr("hidascan.report.heatmap.atomic_write", full)
    ran = hidascan(folder, *options)
    assert ran.code == 2 and "no space left on device; rows written so far are intact" in ran.err
    assert rows((tmp_path / "out.csv").read_text()) == [] and (tmp_path / "out.csv.unfinished").exists()
    monkeypatch.undo()
    hidascan(folder, *options, "--resume")
    assert len(rows((tmp_path / "out.csv").read_text())) == 5 and len([*(tmp_path / "maps").iterdir()]) >= 4


def test_help_and_version_load_no_torch():
    script = (
        "import sys; from hidascan import cli; codes = [cli.run([option]) for option in ('--version', '--help')]; "
        "sys.exit(any(codes) or 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("hidascan ") and "Usage: " in done.stdout, done.stderr


def test_a_reader_that_goes_away_ends_the_scan_quietly(tiny_weights, folder):
    command = [
        sys.executable,
        "-m",
        "hidascan.cli",
        folder,
        "--csv",
        "-",
        "--batch-size",
        "1",
        "--weights",
        tiny_weights,
    ]
    scan = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert scan.stdout.readline().startswith(b"path,")
    scan.stdout.close()
    assert scan.stderr.read() == b"" and scan.wait(60) == 141


def test_ctrl_c_leaves_a_valid_csv(tiny_weights, tmp_path):
    paths = [str(save_picture(tmp_path / f"{n:03}.png", 700, 700, seed=n)) for n in range(12)]
    listed = "\n".join(paths * 1 + [str(tmp_path / f"later{n}.png") for n in range(3)]).encode()
    out = tmp_path / "out.csv"
    command = [sys.executable, "-m", "hidascan.cli", "-", "--csv", out, "--batch-size", "1", "--weights", tiny_weights]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    # A shell starts what runs in the background deaf to Ctrl-C, and tests may run there
    scan = subprocess.Popen(command, **pipes, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    scan.stdin.write(listed + b"\n")
    scan.stdin.flush()  # the list stays open: the scan cannot end by itself
    until = time.monotonic() + 60
    while not (out.exists() and out.read_text().count("\n") > 2) and time.monotonic() < until:
        time.sleep(0.02)
    scan.send_signal(signal.SIGINT)
    assert scan.wait(60) == 130
    assert scan.stderr.read() == b"hidascan: interrupted; any report already started contains the results so far\n"
    text = out.read_text()
    assert text.endswith("\n")
    assert [row["path"] for row in rows(text)] == paths[: text.count("\n") - 1] and text.count("\n") > 2


def test_ctrl_c_leaves_no_copy_of_a_picture_from_a_pipe(tiny_weights, tmp_path):
    command = [
        sys.executable,
        "-m",
        "hidascan.cli",
        "/dev/stdin",
        "--csv",
        tmp_path / "out.csv",
        "--weights",
        tiny_weights,
    ]
    scan = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        env=os.environ | {"TMPDIR": str(tmp_path)},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    scan.stdin.write(b"\x89PNG\r\n\x1a\n")
    scan.stdin.flush()  # the pipe stays open: the copy cannot be complete
    until = time.monotonic() + 60
    while not [*tmp_path.glob("hidascan-*/stream")] and time.monotonic() < until:
        time.sleep(0.02)
    assert [*tmp_path.glob("hidascan-*")]
    scan.send_signal(signal.SIGINT)
    assert scan.wait(60) == 130 and not [*tmp_path.glob("hidascan-*")]


def test_patches_limits_the_examined_patches_with_a_note(hidascan, tmp_path):
    save_picture(tmp_path / "large.png", 700, 900)
    save_picture(tmp_path / "small.png", 224, 300)
    ran = hidascan(tmp_path, "--patches", 4, "--jsonl", "-", "--explain")
    large, small = (json.loads(line) for line in ran.out.splitlines())
    assert (large["patches"], small["patches"]) == (4, 2) and len(large["effects"]) == 4
    assert any("only 4 of 20 patches" in note for note in large["notes"]) and not small["notes"]
    assert large["ai_area"] is None and large["regions"] == [] and small["ai_area"] is not None
    assert hidascan(tmp_path, "--patches", 4, "--jsonl", "-").out.count("patches examined") == 1


def test_patches_and_heatmaps_exclude_each_other(hidascan, folder):
    ran = hidascan(folder, "--patches", 4, "--heatmap")
    assert ran.code == 2 and "needs every patch" in ran.err
    assert hidascan(folder, "--patches", 0).code == 2


def test_a_report_of_few_patches_has_no_map(hidascan, tmp_path):
    save_picture(tmp_path / "large.png", 700, 900)
    hidascan(tmp_path, "--patches", 4, "--html", tmp_path / "out.html", "-q")
    page = (tmp_path / "out.html").read_text()
    assert "data:image/webp" in page and "data:image/png" not in page and "AI area" not in page


LEFT_EARLY = """
import sys
import hidascan.scanner
from hidascan import Scanner, ScanOptions
hidascan.scanner._PIXELS_AHEAD = hidascan.scanner._PIXELS_PER_DECODER = 1  # the second picture waits for the first
findings = Scanner(ScanOptions(sys.argv[1], batch_size=1)).scan([sys.argv[2]])
print(next(findings).status)
"""


@pytest.mark.slow
def test_a_program_that_leaves_a_scan_early_ends(tiny_weights, tmp_path):
    for number in range(20):
        save_picture(tmp_path / f"{number}.png", 60, 60)
    command = [sys.executable, "-c", LEFT_EARLY, str(tiny_weights), str(tmp_path)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stdout) == (0, "ok\n")


LEFT_AT_WORK = """
import cv2, numpy
from hidascan.prefetch import prefetch
pixels = numpy.zeros((200, 200, 3), numpy.uint8)
def work(number, admit):
    for _ in range(number):
        cv2.GaussianBlur(pixels, (0, 0), 5)  # returns to Python again and again
results = prefetch(work, [0, 1000, 1000, 1000], 2, 1)
next(results)
"""


def test_threads_at_work_do_not_abort_a_program_that_ends():
    ran = subprocess.run([sys.executable, "-c", LEFT_AT_WORK], capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stderr) == (0, "")


@pytest.mark.parametrize("kind", [str, os.fsencode, Path])
def test_a_single_path_is_not_a_list_of_letters(tiny_weights, tmp_path, monkeypatch, kind):
    for name in ("a.png", "secret.png"):
        save_picture(tmp_path / name, 40, 40)
    monkeypatch.chdir(tmp_path)
    scanner = Scanner(ScanOptions(str(tiny_weights)))
    assert [(one.path, one.status) for one in scanner.scan(kind("a.png"))] == [("a.png", "ok")]
    assert [(one.path, one.status) for one in scanner.scan_files(kind("a.png"))] == [("a.png", "ok")]


def test_findings_before_a_wrong_array_are_kept(tiny_weights):
    scanner = Scanner(ScanOptions(str(tiny_weights)))
    for wrong in ([[0]], None, Image.new("RGB", (4, 4)), np.zeros((4, 4, 3))):
        findings = scanner.scan_arrays([("a", picture(40, 40)), ("b", picture(50, 50)), ("c", wrong), ("d", wrong)])
        assert [next(findings).path, next(findings).path] == ["a", "b"]
        with pytest.raises(UsageError, match=r"takes \(H, W, 3\) uint8 RGB"):
            next(findings)


def test_options_from_python_are_checked_and_paths_are_paths(tiny_weights):
    assert Scanner(ScanOptions(tiny_weights)).scan_array(picture(40, 40)).status == "ok"
    for wrong in ({"patches": 1.5}, {"batch_size": 2.5}, {"patches": True}):
        with pytest.raises(UsageError, match="must be an integer"):
            ScanOptions(**wrong)
    assert ScanOptions(patches=np.int64(5)).patches == 5


def test_the_progress_bar_counts_images_in_words(hidascan, tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr("hidascan.runners.loop.tqdm.set_postfix_str", lambda bar, text, refresh: shown.append(text))
    hidascan(save_picture(tmp_path / "a.png", 40, 40), save_picture(tmp_path / "b.png", 40, 40))
    assert shown == ["1 image", "2 images"]
