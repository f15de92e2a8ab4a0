"""Worked examples of extensions: each one touches only the places named in CONTRIBUTING.md."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hidascan.finding import COLUMNS, Finding, RunInfo
from hidascan.image import formats
from hidascan.image.decode import decode
from hidascan.image.sources import expand
from hidascan.lab.data import layouts
from hidascan.lab.data.layouts import read_images
from hidascan.lab.data.tables import LabelledImage
from hidascan.report import FORMATS as REPORTS
from hidascan.report.csv_report import CsvReport
from hidascan.report.reporter import close_text, open_text
from hidascan.report.shards import read_shard, shards_of
from hidascan.runner_registry import RUNNERS, Runner
from tests.conftest import picture, save_picture


class MarkdownReport:
    """A made-up format: a Markdown table."""

    def __init__(self, target, run, append=False):
        self._file = open_text(target, append)
        self._file.write(f"# By {run.weights} ({run.detector})\n\n| file | verdict | score |\n|---|---|---|\n")

    def add(self, finding):
        self._file.write(f"| {finding.path} | {finding.verdict or 'error'} | {finding.score} |\n")

    def close(self):
        close_text(self._file)


def test_an_output_format_is_one_file_and_one_line(hidascan, tmp_path, monkeypatch):
    monkeypatch.setitem(REPORTS, "md", f"{__name__}:MarkdownReport")
    save_picture(tmp_path / "in/a.png")
    (tmp_path / "in/b.png").write_bytes(b"broken")
    hidascan(tmp_path / "in", "-o", tmp_path / "out.md", "-q")
    lines = (tmp_path / "out.md").read_text().splitlines()
    assert lines[0] == "# By tiny (hidanet)" and len(lines) == 6 and lines[5].endswith("| error | None |")
    assert "suffix must be .csv, .jsonl, .html or .md" in hidascan(tmp_path / "in", "-o", tmp_path / "out.pdf").err
    assert "no report in another format" in hidascan(tmp_path / "in", "-o", tmp_path / "out.md", "--resume").err
    assert "needs exactly one of" in hidascan(tmp_path / "in", "-o", tmp_path / "shards.md", "--runner", "ray").err


class PipeReport(CsvReport):
    """A made-up format that can be resumed: fields between bars."""

    START = CsvReport.START.replace(b",", b"|")

    def __init__(self, target, run, append=False):
        self._file = open_text(target, append, self.recognises)
        if not append or not self._file.tell():
            self._file.write(self.START.decode())

    def add(self, finding):
        self._file.write("|".join("" if value is None else str(value) for value in finding.row().values()) + "\n")

    @classmethod
    def recognises(cls, head):
        return head.startswith(cls.START)

    @classmethod
    def complete_records(cls, path):
        end = 0
        for number, line in enumerate(Path(path).read_text().splitlines(keepends=True)):
            end += len(line)
            if number and line.endswith("\n"):
                yield dict(zip(COLUMNS, line.rstrip("\n").split("|"), strict=True)), end


@pytest.mark.parametrize("cut", [20, -5])
def test_a_format_that_knows_its_complete_records_is_resumed(hidascan, tmp_path, monkeypatch, cut):
    monkeypatch.setitem(REPORTS, "bar", f"{__name__}:PipeReport")
    out = tmp_path / "out.bar"
    for name in ("a.png", "b.png"):
        save_picture(tmp_path / "in" / name)
    with monkeypatch.context() as interrupted:
        interrupted.setattr("hidascan.report.resume.end", lambda outputs: None)
        hidascan(tmp_path / "in", "-o", out, "-q")
    whole = out.read_text()
    out.write_text(whole[:cut])
    assert hidascan(tmp_path / "in", "-o", out, "--resume", "-q").err == ""
    assert [line.split("|")[:4] for line in out.read_text().splitlines()] == [
        line.split("|")[:4] for line in whole.splitlines()
    ]
    assert "needs a csv or jsonl or bar report" in hidascan(tmp_path / "in", "--resume").err


def by_size(options, files, run):
    """A made-up place that scans without a network, and finishes the last file first."""
    run.begin(RunInfo("0", "none", "0" * 64, "size", "float32", 0.2, 0.9, False, options))
    for key, path in reversed(list(files)):
        size = Path(path).stat().st_size
        failed = {"status": "error", "error": "the file is empty"}
        yield Finding(path, key=key, **({"status": "ok", "verdict": "ai", "score": 0.95} if size else failed))


def test_a_place_to_run_is_one_function_and_one_line(hidascan, tmp_path, monkeypatch):
    monkeypatch.setitem(RUNNERS, "size", Runner(f"{__name__}:by_size"))
    for name, content in (("a", b"x"), ("b", b""), ("c", b"y")):
        (tmp_path / f"{name}.png").write_bytes(content)
    monkeypatch.chdir(tmp_path)
    ran = hidascan(".", "--runner", "size", "-o", "out.jsonl", "--parquet", "shards", "--strict")
    assert ran.code == 3 and ran.err == "hidascan: ./b.png: the file is empty\n"
    assert [line.split("\t")[:2] for line in ran.out.splitlines()] == [
        ["./c.png", "ai"], ["./b.png", "error"], ["./a.png", "ai"],
    ]  # fmt: skip
    assert [json.loads(line)["path"] for line in Path("out.jsonl").read_text().splitlines()] == [
        "./c.png",
        "./b.png",
        "./a.png",
    ]
    (shard,) = shards_of(Path("shards"))
    assert [(row["key"], row["path"]) for row in read_shard(shard)] == [(2, "./c.png"), (1, "./b.png"), (0, "./a.png")]
    assert hidascan(".", "--runner", "size", "-q").code == 1
    assert "produces no heatmap" in hidascan(".", "--runner", "size", "--heatmap").err
    assert "must be local or ray or size, not other" in hidascan(".", "--runner", "other").err
    monkeypatch.setitem(RUNNERS, "size", Runner("hidascan.no_such_module:findings"))
    assert "no_such_module" in (ran := hidascan(".", "--runner", "size")).err and "pip install" not in ran.err


def test_a_file_format_is_one_row(hidascan, tmp_path, monkeypatch):
    Image.fromarray(picture(240, 300)).save(tmp_path / "a.ppm")
    assert not hidascan(tmp_path).out
    monkeypatch.setattr(formats, "FORMATS", (*formats.FORMATS, formats.FileFormat("PPM", (".ppm",))))
    (path,) = expand([str(tmp_path)])
    assert decode(path).format == "PPM"


def test_rows_of_formats_are_in_order():
    suffixes = [suffix for row in formats.FORMATS for suffix in row.suffixes]
    assert len(suffixes) == len(set(suffixes)) and all(suffix == suffix.lower() for suffix in suffixes)


def read_captions(folder):
    """A made-up layout: `labels.json`, file -> whether it is AI."""
    if not (folder / "labels.json").exists():
        return None
    labels = json.loads((folder / "labels.json").read_text())
    return [LabelledImage(folder / name, int(ai), "made up", folder.name) for name, ai in labels.items()]


def test_a_benchmark_layout_is_one_reader_and_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(layouts.LAYOUTS, "captions", read_captions)
    for name in ("a.png", "b.png"):
        save_picture(tmp_path / name, 30, 30)
    (tmp_path / "labels.json").write_text(json.dumps({"a.png": True, "b.png": False}))
    assert [image.label for image in read_images(tmp_path)] == [1, 0]


def test_a_finding_survives_its_record(hidascan, tmp_path):
    save_picture(tmp_path / "in/a.jpg", 300, 500, quality=80)
    save_picture(tmp_path / "in/b.png", 100, 90)
    (tmp_path / "in/c.png").write_bytes(b"broken")
    hidascan(tmp_path / "in", "-o", tmp_path / "a.jsonl", "-o", tmp_path / "a.csv", "--explain", "--stress", "-q")
    records = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    findings = [Finding.from_record(record) for record in records]
    scans = [record.pop("scan") for record in records]
    assert all(record.pop("summary") for record in records)
    assert scans[0] == scans[2] and {"version", "weights", "detector", "precision"} <= scans[0].keys()
    assert [finding.record() for finding in findings] == records and findings[0].attributions and findings[0].stress
    rows = [Finding.from_record(row) for row, _ in CsvReport.complete_records(str(tmp_path / "a.csv"))]
    assert [row.row() for row in rows] == [finding.row() for finding in findings]
    assert not np.isnan(rows[0].score)
