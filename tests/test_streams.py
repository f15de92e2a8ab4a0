"""Standard streams that are closed or full, or lack a character: no file is lost, and no exit code says "AI found"."""

import io
import os
import shlex
import signal
import subprocess
import sys
import time
from array import array
from contextlib import redirect_stdout
from functools import partial

import pytest

from hidascan import cli
from hidascan.finding import Finding, RunInfo
from hidascan.options import ScanOptions
from hidascan.printable import ANY_TEXT, ClosedOutput
from hidascan.report.csv_report import CsvReport
from hidascan.report.html_report import HtmlReport
from hidascan.report.jsonl_report import JsonlReport
from hidascan.report.terminal import FormattedLines
from tests.conftest import save_picture

FULL = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
NAMES = ("日本語.png", "café.png", "a\x1b[2J\u202e.png", os.fsdecode(b"\xff.png"))


@pytest.fixture
def run_info():
    return RunInfo("1", "tiny", "0" * 64, "hidanet", "float32", 0.2, 0.9, True, ScanOptions())


@pytest.fixture
def folder(tmp_path):
    """Two files that are not pictures, so that no network is needed."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.png").write_bytes(b"no picture")
    (tmp_path / "in/b.png").write_bytes(b"no picture")
    return tmp_path / "in"


@pytest.fixture
def without(hidascan, monkeypatch):
    """Run hidascan with the given streams."""

    def run(*arguments: object, **streams):
        with monkeypatch.context() as patched:
            for name, stream in streams.items():
                patched.setattr(sys, name, stream)
            return hidascan(*arguments)

    return run


def full():
    return open("/dev/full", "w")


@pytest.mark.parametrize("options", [[], ["--csv", "-", "-q"], ["--jsonl", "-"], ["--format", "%p"], ["--html", "-"]])
def test_a_closed_stdout_is_refused_before_anything_is_written(without, folder, tmp_path, options):
    (tmp_path / "old.csv").write_text("path,status,verdict,score\n")
    ran = without(folder, *options, "-o", tmp_path / "old.csv", stdout=ClosedOutput())
    assert ran.code == 2 and ran.err.count("\n") == 1 and "output is closed" in ran.err
    assert (tmp_path / "old.csv").read_text() == "path,status,verdict,score\n"


def test_a_closed_stdout_is_harmless_if_not_used(without, folder, tmp_path):
    assert without(folder, "-q", "--jsonl", tmp_path / "out.jsonl", stdout=ClosedOutput()).code == 3
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 2


@FULL
def test_a_full_stderr_changes_no_exit_code(without, folder, tmp_path):
    ran = without(folder, save_picture(tmp_path / "c.png"), "--threshold", "0", stderr=full())
    assert ran.code == 1 and len(ran.out.splitlines()) == 3
    assert without("--nonsense", stderr=full()).code == 2


@FULL
@pytest.mark.parametrize("options", [[], ["--html", "-"], ["--json-schema"], ["--help"]])
def test_a_full_stdout_is_one_line_and_never_ai_found(without, folder, options):
    ran = without(folder, *options, stdout=full())
    lines = [line for line in ran.err.splitlines() if str(folder) not in line]
    assert ran.code == 2 and len(lines) == 1 and "no space left" in lines[0]


@FULL
def test_a_full_stdout_leaves_the_other_reports_whole(without, folder, tmp_path):
    without(folder, "--jsonl", "-", "--html", tmp_path / "out.html", stdout=full())
    assert (tmp_path / "out.html").read_text().rstrip().endswith("</html>")


def test_a_removed_report_is_reported(hidascan, folder, tmp_path, monkeypatch):
    add = CsvReport.add
    monkeypatch.setattr(CsvReport, "add", lambda *given: (add(*given), (tmp_path / "a.csv").unlink(missing_ok=True)))
    ran = hidascan(folder, "-o", tmp_path / "a.csv", "-o", tmp_path / "b.jsonl", "-q")
    assert (
        ran.code == 2
        and "a.csv: deleted while" in ran.err
        and len((tmp_path / "b.jsonl").read_text().splitlines()) == 2
    )


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "latin-1", "shift_jis", "utf-16", "utf-8"])
def test_no_name_ends_a_scan_in_any_encoding_of_stdout(run_info, encoding):
    for make in (FormattedLines, *(partial(kind, "-", run_info) for kind in (CsvReport, JsonlReport, HtmlReport))):
        raw = io.BytesIO()
        with redirect_stdout(io.TextIOWrapper(raw, encoding, errors=ANY_TEXT, newline="")) as stdout:
            report = make()
            for name in NAMES:
                report.add(Finding(name, "error", error=name))
            report.close()
            written = raw.getvalue()
            text = written.decode(encoding, "surrogateescape")
        if make is FormattedLines:
            assert text.count("\terror\t") == text.count("\n") == len(NAMES)
            for name in NAMES[:2]:
                assert name in text or name.encode("ascii", "backslashreplace").decode() in text
            assert r"a\x1b[2J\u202e.png" in text and (b"\xff.png" if encoding == "utf-8" else b"") in written
        elif make.func is HtmlReport and encoding != "utf-16":  # the page declares UTF-8
            assert NAMES[0] in written.decode() or "&#26085;&#26412;&#35486;.png" in written.decode()
        del stdout


@pytest.mark.skipif(os.name == "nt", reason="needs a shell")
def test_the_command_handles_any_streams_of_the_shell():
    def shell(line: str) -> subprocess.CompletedProcess:
        command = shlex.join([sys.executable, "-m", "hidascan.cli"])
        return subprocess.run(["sh", "-c", line.replace("hidascan", command)], capture_output=True, text=True)

    cases = {
        "hidascan --version >&-": (2, 1),
        "hidascan --version <&- 2>&-": (0, 0),
        "hidascan --nonsense >&- 2>&- <&-": (2, 0),
        "hidascan a.png >&- <&-": (2, 1),
        "hidascan --debug --threshold high a.png": (2, None),
    }
    for line, (code, lines) in cases.items():
        ran = shell(line)
        assert ran.returncode == code and lines in (None, ran.stderr.count("\n")), (line, ran)


def test_what_typer_repeats_of_arguments_is_escaped_and_a_reader_gone_is_no_finding(monkeypatch, capfd):
    assert cli.run(["--a\x1b[2J\u202e\nhidascan: b.png: fine"]) == 2
    err = capfd.readouterr().err
    assert err.count("\n") == 1 and r"--a\x1b[2J\u202e" in err and "--help" in err
    reads, writes = os.pipe()
    os.close(reads)
    monkeypatch.setattr(sys, "stdout", open(writes, "w"))  # noqa: SIM115
    assert cli.run(["--help"]) == 128 + signal.SIGPIPE


@pytest.mark.skipif(not hasattr(os, "set_blocking") or sys.platform != "linux", reason="needs Linux pipes")
def test_streams_that_another_program_left_non_blocking_lose_nothing(hidascan):
    import fcntl
    import termios

    reads, writes = os.pipe()
    fcntl.fcntl(writes, fcntl.F_SETPIPE_SZ, 4096)
    os.set_blocking(writes, False)
    with subprocess.Popen([sys.executable, "-m", "hidascan.cli", "--help"], stdout=writes) as process:
        os.close(writes)
        waiting = array("i", [0])
        while waiting[0] < 4096 and process.poll() is None:
            time.sleep(0.2)
            fcntl.ioctl(reads, termios.FIONREAD, waiting)
        with open(reads) as stream:
            assert stream.read() == hidascan("--help").out
    assert process.returncode == 0
