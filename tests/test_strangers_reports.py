"""Untrusted names and metadata cannot forge rows, fields, mark-up or escape codes."""

import csv
import io
import json
import os
import unicodedata
from contextlib import redirect_stdout
from xml.etree import ElementTree

import pytest

from hidascan.finding import Finding, RunInfo
from hidascan.image.provenance.claim import Claim
from hidascan.options import ScanOptions
from hidascan.printable import printable
from hidascan.report.csv_report import CsvReport
from hidascan.report.html_report import render
from hidascan.report.shards import ShardWriter, shards_of
from hidascan.report.terminal import FormattedLines
from hidascan.report.xmp_report import XmpReport

TEXTS = {
    "tab": "a.png\treal\t0.0001",
    "line feed": "a.png\treal\t0.0001\nb.png",
    "carriage return": "ai.png\rreal.png",
    "carriage return and line feed": "a\r\nb.png",
    "escape code": "\x1b[2J\x1b]0;title\x07.png",
    "C1 control": "a\x9b2Jb\x85c.png",
    "delete": "a\x7fb.png",
    "direction": "photo\u202egnp.exe\u2066x\u2069\u200e\u061c",
    "zero width": "a\u200b\ufeff\u2060\u00adb.png",
    "line separator": "a\u2028b\u2029c\x0b\x0c\x1c\x1d\x1e.png",
    "not UTF-8": os.fsdecode(b"caf\xe9 \xff\x9b.png"),
    "quotes": 'a","ok",\'<b>&amp;</b>--%>.png',
    "formula": "=HYPERLINK(1)",
    "separator of spreadsheets": "a;=1+1.png",
    "guarded formula": "'=1+1.png",
    "formula in full width": "\uff1d1+1",
    "formula behind a line": "\n=1+1",
    "markup": "[bold]{{ 7*7 }}</script>]]>%s%p",
    "tag characters": "a\U000e0041\U000e0042.png",
    "noncharacter": "a\uffff\ufffe\ufdd0.png",
}
ALL = pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())


@pytest.fixture
def run_info():
    return RunInfo("1", "tiny", "0" * 64, "hidanet", "float32", 0.2, 0.9, True, ScanOptions())


class Stdout(io.StringIO):
    """A pipe, or a terminal, as text."""

    def __init__(self, terminal: bool = False):
        super().__init__(newline="")
        self.isatty = lambda: terminal


def written(make, *findings: Finding, terminal: bool = False) -> str:
    """Return the output of a report on stdout."""
    with redirect_stdout(Stdout(terminal)) as out:
        report = make()
        for finding in findings:
            report.add(finding)
    return out.getvalue()


def of(text: str, path: str | None = None) -> Finding:
    """A finding with a text in all text fields."""
    claims = (Claim("ai", "exif", text, detail=text),)
    return Finding(
        text if path is None else path, "ok", "real", 0.25, 3, 2, "PNG", 1, notes=(text,), claims=claims, provenance=text
    )  # fmt: skip


def harmful(text: str) -> list[str]:
    """Return the forbidden characters of a line; undecodable bytes are allowed in pipes."""
    return [c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp") and c not in "\t\n"]


@ALL
def test_on_a_pipe_a_name_is_one_field_of_one_line(text):
    plain = written(FormattedLines, of(text)).removesuffix("\n")
    assert plain.split("\t")[1:] == ["real", "0.2500"] and not harmful(plain) and "\n" not in plain
    formatted = written(lambda: FormattedLines(r"%c\t%v\t%p"), of(text)).removesuffix("\n")
    assert formatted.split("\t")[1] == "real" and not harmful(formatted) and "\n" not in formatted


@ALL
def test_a_path_that_a_nul_ends_is_the_path(text):
    out = written(lambda: FormattedLines(r"%c\t%p\0"), of(text))
    claim, path = out.removesuffix("\0").split("\t", 1)
    assert path == text and not harmful(claim)


def test_a_nul_within_a_path_ends_no_record():
    """A list may hold such a path."""
    assert written(lambda: FormattedLines(r"%p\0"), of("", "a\0b")) == "a\\x00b\0"


def test_any_reader_of_the_csv_gets_a_row_for_each_name_and_the_name_that_it_was(tmp_path, run_info):
    report = CsvReport(str(tmp_path / "a.csv"), run_info)
    for text in TEXTS.values():
        report.add(of(text))
    report.close()
    data = (tmp_path / "a.csv").read_bytes()
    assert b'\n"a;=1+1.png",ok' in data and b'\n"a.png\treal' in data  # one cell wherever ; or a tab ends one
    for newline in ("", None):
        text = io.TextIOWrapper(io.BytesIO(data), "utf-8", "surrogateescape", newline=newline)
        assert [row["verdict"] for row in csv.DictReader(text)] == ["real"] * len(TEXTS)
    assert [record["path"] for record, _ in CsvReport.complete_records(str(tmp_path / "a.csv"))] == [*TEXTS.values()]
    assert all(
        row[0] not in "=+-@\t\r\n\uff1d" for row in csv.reader(io.StringIO(data.decode("utf-8", "ignore"), "")) if row
    )
    whole = CsvReport.complete_records(str(tmp_path / "a.csv"))
    assert data[: [end for _, end in whole][-1]] == data


def test_shards_quote_what_ends_a_record(tmp_path):
    writer = ShardWriter(tmp_path, "csv", 999)
    for key, text in enumerate(TEXTS.values()):
        writer.add({"key": key, **of(text).record()})
    writer.flush()
    (shard,) = shards_of(tmp_path)
    with shard.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        assert [row["verdict"] for row in csv.DictReader(file)] == ["real"] * len(TEXTS)


def test_a_csv_cut_off_within_a_name_is_resumed_at_the_row_before(tmp_path, run_info):
    target = str(tmp_path / "a.csv")
    report = CsvReport(target, run_info)
    for name in ("a.png", "b\rc.png"):
        report.add(of("", name))
    report.close()
    data = (tmp_path / "a.csv").read_bytes()
    (tmp_path / "a.csv").write_bytes(data[: data.index(b"\r") + 1])
    ((record, end),) = CsvReport.complete_records(target)
    assert record["path"] == "a.png" and data[:end].endswith(b"\n") and data[end:].startswith(b'"b\r')


@ALL
def test_the_page_shows_a_text_and_holds_nothing_that_does_not_print(text):
    page = render("row.html", finding=of(text), number=1, layers={})
    page.encode()
    assert not harmful(page) and "<b>" not in page.replace("<bdi>", "") and "</script>" not in page
    article = ElementTree.fromstring(page)  # quotes in a name end no attribute
    assert article.attrib["data-path"] == printable(text) and article.find(".//bdi").text == printable(text)
    failed = render("row.html", finding=Finding(text, "error", error=text), number=1, layers={})
    assert not harmful(failed) and ElementTree.fromstring(failed).attrib["data-verdict"] == "error"


@ALL
def test_a_sidecar_is_sound_xml(text, tmp_path, run_info):
    path = text.replace("/", "")
    XmpReport(str(tmp_path), run_info).add(of("", path))
    (sidecar,) = tmp_path.iterdir()
    elements = {element.tag.rpartition("}")[2]: element.text for element in ElementTree.parse(sidecar).iter()}
    assert elements["file"] == printable(path)


def test_errors_are_one_line_each(hidascan, tmp_path):
    names = [text for text in TEXTS.values() if "/" not in text]
    for name in names:
        with open(os.path.join(os.fsencode(tmp_path), os.fsencode(name) + b".png"), "wb") as file:
            file.write(b"no picture")
    ran = hidascan(tmp_path, "--jsonl", tmp_path / "out.jsonl")
    assert ran.code == 3 and not harmful(ran.err + ran.out)
    assert len(ran.err.splitlines()) == len(ran.out.splitlines()) == len(names)
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text("ascii").splitlines()]
    assert {os.path.basename(row["path"]) for row in rows} == {f"{name}.png" for name in names}


def test_on_a_terminal_no_format_runs_escape_codes(run_info):
    name = "\x1b[2J\r\u202e\udc9b"
    for make in (lambda: CsvReport("-", run_info), lambda: FormattedLines(r"%p\0"), FormattedLines):
        shown = written(make, of(name), terminal=True)
        assert r"\x1b[2J\r\u202e\udc9b" in shown and not harmful(shown.replace("\0", ""))
