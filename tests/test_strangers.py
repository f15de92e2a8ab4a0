"""Untrusted text cannot forge rows, and no stream causes a wrong exit code."""

import csv
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hidascan.finding import Finding, RunInfo
from hidascan.options import ScanOptions
from hidascan.printable import ANY_TEXT, one_line, printable
from hidascan.report.csv_report import CsvReport
from hidascan.report.terminal import FormattedLines
from tests.conftest import save_picture

EVIL = [
    "a\tai\t1.0000.png",
    "a\nb.png\tai\t1.png",
    "a\rb.png",
    "a\x1b[2Jb.png",
    "a\u2028b.png",
    "a\x85b.png",
    "gnp\u202eb.png",
]
RUN = RunInfo("0", "w", "d", "hidanet", "float32", 0.2, 0.9, True, ScanOptions())


def found(path: str) -> Finding:
    return Finding(path, "ok", "real", 0.1, error=None, provenance="exif:x\ty", domain="photo")


@pytest.mark.parametrize("path", EVIL)
def test_a_name_forges_no_line_and_no_field(capsys, path):
    FormattedLines().add(found(path))
    output = capsys.readouterr().out
    assert output.count("\n") == 1 and len(output.splitlines()) == 1 and output.count("\t") == 2
    assert output.split("\t")[1] == "real" and "\u202e" not in output


def test_a_list_for_xargs_has_names_as_they_are(capsys):
    FormattedLines(r"%p\0").add(found("a\tb\nc.png"))
    assert capsys.readouterr().out == "a\tb\nc.png\0"


def test_common_names_stay_readable():
    names = ["Screenshot 10.00\u202fAM.png", "\u6771\u4eac.png", "na\u00efve file.png", "C:\\b.png", "\udcff.png"]
    assert [one_line(name) for name in names] == names
    assert [printable(name) for name in names[:4]] == names[:4] and printable(names[4]) == "\\udcff.png"


@settings(max_examples=200)
@given(
    st.text(
        alphabet=st.one_of(st.sampled_from("\r\n\t\",;='\u2028 "), st.characters(exclude_categories=["Cs"])), min_size=1
    )
)
def test_a_csv_has_one_record_per_row_and_gives_each_path_back(tmp_path_factory, path):
    target = tmp_path_factory.mktemp("csv") / "a.csv"
    report = CsvReport(str(target), RUN)
    for name in (path, "last.png"):
        report.add(found(name))
    report.close()
    paths = [row["path"] for row, _ in CsvReport.complete_records(str(target))]
    assert paths == [path, "last.png"]
    with target.open(encoding="utf-8", newline="") as file:  # as any other reader
        assert len(list(csv.reader(file))) == 3


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
def test_any_name_can_be_written_in_any_encoding(encoding):
    out = io.BytesIO()
    stream = io.TextIOWrapper(out, encoding=encoding, errors=ANY_TEXT)
    stream.write("\u6771\u4eac caf\u00e9 \udcff.png")
    stream.flush()
    written = out.getvalue()
    assert written.endswith(b"\xff.png")  # a byte of a name is that byte, for xargs
    assert "\u6771" in written[:-5].decode(encoding) or b"\\u6771\\u4eac" in written


def ran(arguments: str, folder: Path, weights: Path) -> subprocess.CompletedProcess:
    command = f'"{sys.executable}" -m hidascan.cli --weights "{weights}" {arguments}'
    return subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)},
    )


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        ("a.png >&-", 2, "standard output is closed"),
        ("--json-schema >/dev/full", 2, "no space left on device"),
        ("a.png - no.png --threshold 1 --csv a.csv -q <&- >&- 2>&-", 3, ""),
    ],
)
def test_closed_and_full_streams_end_with_a_true_exit_code(tiny_weights, tmp_path, arguments, code, expected):
    save_picture(tmp_path / "a.png")
    done = ran(arguments, tmp_path, tiny_weights)
    assert done.returncode == code and expected in done.stderr and "Traceback" not in done.stderr
    if "a.csv" in arguments:
        assert len((tmp_path / "a.csv").read_text().splitlines()) == 3
