"""No output replaces an input, or a file that hidascan did not write. HIDASCAN_EXAMPLES=10000 tries more combinations."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hidascan.atomic import atomic_write
from hidascan.detectors import DETECTORS
from hidascan.detectors.base import Decision
from hidascan.finding import COLUMNS
from hidascan.geometry import ViewPlan
from hidascan.image.sources import Selection, expand
from tests.conftest import save_picture
from tests.test_detectors import Brightness, save_random

EXAMPLES = int(os.environ.get("HIDASCAN_EXAMPLES", "40"))
HEADER = f"{','.join(COLUMNS)}\n"
OLD_PAGE = '<!doctype html>\n<html lang="en">\n<head>\n<title>hidascan report</title>\n<style>\n'


class Quick(Brightness):
    """A detector that takes no time, with a map."""

    has_heatmap = True

    def __init__(self, config):
        super().__init__(config)
        self.plan = ViewPlan(config.side)

    def decide(self, encoded):
        return Decision(encoded["logit"].mean())

    def locate(self, encoded, grid):
        return torch.full((-(-grid.height // 16), -(-grid.width // 16)), 0.5)


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """Weights of the quick detector."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(DETECTORS, "brightness", f"{__name__}:Quick")
        yield save_random(tmp_path_factory.mktemp("quick"), "brightness")


@pytest.fixture(scope="module")
def model(quick, tmp_path_factory):
    """Files before a scan: name -> bytes; reports are made by a scan."""
    from hidascan import cli

    folder = tmp_path_factory.mktemp("model")
    for seed, name in enumerate(("in/a.png", "in/b.jpg", "in/deep/c.png")):
        save_picture(folder / name, 24, 30, seed)
    for name in ("report.csv", "report.jsonl", "page.html", "in/report.csv"):
        cli.run([str(folder / "in/a.png"), "-q", "-o", str(folder / name), "--weights", quick])
    cli.run([str(folder / "in"), "-q", "--xmp", str(folder / "xmp"), "--weights", quick])
    texts = {
        "list.txt": "in/a.png\nin/b.jpg\n", "list.csv": "path\nin/a.png\n", "empty.csv": "", "in/empty.png": "",
        "config.toml": "batch-size = 1\n", "empty.toml": "", "notes.csv": "path,status\n", "notes.jsonl": '{"path": "a"}\n',
        "notes.html": "<!doctype html>\n<title>mine</title>\n", "notes.txt": "mine", "trust.pem": "-----BEGIN",
        "remarks.csv": HEADER[:-1] + ",remarks\n", "new.csv.unfinished": "mine", "in/b.jpg.xmp": "<x/>",
        "a.png.heatmap.png": "mine",
    }  # fmt: skip
    for name, text in texts.items():
        (folder / name).write_text(text)
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def build(model, folder: Path) -> None:
    for name, data in model.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    os.link(folder / "in/a.png", folder / "hard.csv")
    os.link(folder / "report.jsonl", folder / "in/hard.png")
    for link, target in {
        "soft.csv": "in/b.jpg",
        "in/soft.png": "../report.csv",
        "gone.csv": "new.csv",
        "link": "in",
        "loop": "loop",
    }.items():
        (folder / link).symlink_to(target)


@pytest.fixture
def world(model, tmp_path, monkeypatch):
    build(model, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    """Return the content of every file and link, by name."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


REFUSED = [
    "--csv in/a.png in/b.jpg", "--jsonl in/a.png in/b.jpg", "--html in/a.png in/b.jpg", "--csv new.jpg in/b.jpg",
    "--csv NEW.JPG in", "--xmp in/a.png in/b.jpg", "--xmp new.png in", "--heatmap-dir in/a.png in/b.jpg",
    "--csv notes.txt in", "--csv notes.csv in", "--jsonl notes.jsonl in", "--html notes.html in", "-o notes.csv in",
    "--csv remarks.csv in", "--csv report.jsonl in", "--jsonl report.csv in", "--html report.csv in",
    "--csv hard.csv in", "--csv soft.csv in", "--csv link/a.png in", "--csv in in", "--csv none/new.csv in",
    "--files-from list.csv --csv list.csv", "--files-from list.csv --csv ./list.csv", "--files-from list.txt --csv list.txt",
    "--files-from report.csv --csv report.csv", "--files-from empty.csv --csv empty.csv in",
    "--config empty.toml --csv empty.toml in", "--config config.toml --csv config.toml in",
    "--c2pa-trust trust.pem --csv trust.pem in", "--csv report.csv in report.csv", "--csv new.txt in new.txt",
    "in --include * --csv in/report.csv", "in --include * --csv in/new.csv", "link --include * --csv in/new.csv",
    "in --include *.csv --csv link/report.csv", "in --include deep/* --csv in/deep/new.csv", "in --csv report.csv",
    "in/a.png --jsonl in/hard.png", "in --jsonl report.jsonl", "--csv report.csv --jsonl report.csv in/a.png",
    "--csv new.txt --jsonl new.txt in", "--csv new.txt --jsonl ./new.txt in", "--csv new.csv -o gone.csv in",
    "-o x.csv -o x.csv in", "-o x.csv -o X.csv in", "--csv x --jsonl x.unfinished in", "--csv - -o /dev/stdout in",
    "--csv new.csv in/a.png", "--csv x --xmp x in", "--csv none/ in", "--csv loop in", "--parquet xmp --csv xmp/manifest.json in", "--csv --jsonl x.jsonl in", "--xmp --csv in",
]  # fmt: skip


@pytest.mark.parametrize("line", REFUSED)
def test_a_scan_that_would_destroy_a_file_is_refused_before_opening_any(hidascan, quick, world, line):
    before = contents(world)
    options = line.replace("-o /dev/stdout", "--html /dev/stdout").split()
    ran = hidascan(*options, "--weights", quick)
    assert ran.code == 2 and ran.err.count("\n") == 1 and not ran.out, ran.err
    assert contents(world) == before


@pytest.mark.parametrize(
    "name",
    ["csv", "jsonl", "html", "output", "xmp", "format", "heatmap-dir", "files-from", "column", "parquet"],
)
def test_an_empty_value_is_one_line(hidascan, quick, world, name):
    ran = hidascan("in/a.png", f"--{name}", "", "--weights", quick)
    assert ran.code == 2 and ran.err == f"hidascan: --{name}: the value is empty\n"


def test_new_files_and_own_reports_are_written(hidascan, quick, world):
    for name in ("report.csv", "report.jsonl", "page.html", "in/report.csv", "empty.csv", "in/new.csv", "gone.html"):
        (world / "in/soft.png").unlink(missing_ok=True)
        (world / "in/hard.png").unlink(missing_ok=True)
        if name == "gone.html":
            (world / name).symlink_to("target.html")
        before = (world / name).stat().st_size if name != "in/new.csv" and name != "gone.html" else 0
        ran = hidascan("in/a.png", "in/b.jpg", "-q", "-o", name, "--weights", quick)
        assert ran.code in (0, 1) and not ran.err and (world / name).stat().st_size > before
    (world / "page.html").write_text(OLD_PAGE)
    (world / "report.csv").write_text(",".join(COLUMNS[:14]) + "\n")
    assert hidascan("in/a.png", "-o", "page.html", "-o", "report.csv", "--weights", quick).code in (0, 1)
    assert (world / "target.html").exists() and (world / "report.csv").read_text().startswith(HEADER)


def test_devices_and_pipes_stay_allowed(hidascan, quick, world):
    reading, writing = os.pipe()
    outputs = ("--csv", "/dev/stdout", "--jsonl", f"/dev/fd/{writing}", "--html", "/dev/null")
    ran = hidascan("in/a.png", *outputs, "--weights", quick)
    os.close(writing)
    with open(reading) as pipe:
        assert pipe.read().count("\n") == 1
    assert ran.out.startswith(HEADER) and len(ran.out.splitlines()) == 2 and not ran.err
    assert not list(Path("/dev").glob("**/*.unfinished"))


def test_stdout_is_not_a_list_that_is_read(quick, world):
    command = [sys.executable, "-m", "hidascan.cli", "--weights", quick]
    before = Path("list.txt").read_bytes()
    with open("list.txt", "ab") as file:
        ran = subprocess.run([*command, "--files-from", "list.txt"], stdout=file, stderr=subprocess.PIPE, text=True)
    assert ran.returncode == 2 and ran.stderr.count("\n") == 1 and Path("list.txt").read_bytes() == before


def test_a_file_that_came_after_the_check_is_not_replaced(world):
    from hidascan.errors import UsageError
    from hidascan.report.csv_report import CsvReport
    from hidascan.report.reporter import open_text

    for recognises in ((), (CsvReport.recognises,)):
        with pytest.raises(UsageError, match="is not a hidascan report"):
            open_text("notes.txt", False, *recognises)
    assert Path("notes.txt").read_text() == "mine"


def test_a_file_written_atomically_takes_no_name_that_is_there(tmp_path):
    theirs = tmp_path / f".x.png.{os.getpid()}.partial"
    theirs.write_text("theirs")
    with atomic_write(tmp_path / "x.png", replace=False) as partial:
        partial.write_text("ours")
    with pytest.raises(FileExistsError), atomic_write(tmp_path / "x.png", replace=False) as partial:
        partial.write_text("second")
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {"x.png": "ours", theirs.name: "theirs"}
    with atomic_write(tmp_path / f"{'a' * 239}.xmp", replace=False) as partial:  # a name of nearly the longest length
        partial.write_text("ours")


def test_a_name_that_is_an_option_to_the_shell_harms_nothing(hidascan, quick, world):
    save_picture(world / "in/b.png", 24, 30)
    for name in ("--csv=a.png", "--xmp=a.png", "-oa.png"):
        shutil.copy("in/b.png", f"in/{name}")
    os.chdir("in")
    before = contents(world)
    assert hidascan(*sorted(os.listdir()), "--weights", quick).code == 2
    assert hidascan("--weights", quick, "-q", "--", *(n for n in os.listdir() if n.endswith("png"))).code in (1, 3)
    assert contents(world) == before


NAMES = [
    "in", "in/a.png", "in/b.jpg", "in/report.csv", "in/empty.png", "in/hard.png", "in/soft.png", "in/new.csv", "link",
    "link/a.png", "link/report.csv", "list.txt", "list.csv", "empty.csv", "config.toml", "empty.toml", "notes.csv",
    "notes.jsonl", "notes.html", "notes.txt", "remarks.csv", "report.csv", "report.jsonl", "page.html", "hard.csv",
    "soft.csv", "gone.csv", "new.csv", "new.jsonl", "new.html", "NEW.csv", "xmp", "trust.pem", "new.csv.unfinished", "x",
    "x.unfinished", "a.png.heatmap.png", "/dev/null", "-", ".", "in/deep",
]  # fmt: skip
OWN = {"report.csv", "report.jsonl", "page.html", "in/report.csv", "in/hard.png", "in/soft.png"}
EMPTY = {"empty.csv", "empty.toml", "in/empty.png"}
FLAGS = ["--heatmap", "--heatmap-raw", "--no-recurse", "--resume", "-q", "-q", "--follow-symlinks", "--strict", "--"]


USUAL = {  # so that not nearly every combination is refused
    "--csv": ["report.csv", "in/report.csv", "new.csv", "empty.csv", "x", "-", "gone.csv"],
    "--jsonl": ["report.jsonl", "new.jsonl", "in/new.jsonl", "empty.csv"],
    "--html": ["page.html", "new.html", "in/new.html"],
    "-o": ["report.csv", "report.jsonl", "page.html", "new.csv"],
    "--xmp": ["xmp", "in", "new", "."],
    "--heatmap-dir": ["xmp", "in", "new", "."],
    "--files-from": ["list.txt", "list.csv", "empty.csv"],
    "--config": ["config.toml", "empty.toml"],
    "path": ["in", "in/a.png", "in/b.jpg", "link", "in/deep", ".", "in/hard.png"],
}


@st.composite
def spelled(draw, kind):
    """A spelling of a name."""
    name = draw(st.sampled_from(draw(st.sampled_from([USUAL[kind], USUAL[kind], USUAL[kind], NAMES]))))
    if name in ("-", "/dev/null"):
        return name
    return draw(st.sampled_from(["{}", "{}", "./{}", "in/../{}", "{here}/{}"])).replace("{}", name)


@st.composite
def command_lines(draw):
    """Arguments, and whether each option has its value."""
    names = draw(
        st.lists(st.sampled_from([name for name in USUAL if name != "path"]), min_size=1, max_size=4, unique=True)
    )
    parts = [(name, draw(spelled(name))) for name in names]
    others = st.one_of(
        st.tuples(st.sampled_from(FLAGS)),
        st.tuples(st.sampled_from(["--include", "--exclude"]), st.sampled_from(["*", "*.csv", "*.png", "deep/*"])),
    )
    parts += draw(st.lists(others, max_size=2))
    parts += [(path,) for path in draw(st.lists(spelled("path"), min_size=1, max_size=3))]
    parts = draw(st.permutations(parts))
    forgotten = draw(st.sampled_from([*[None] * 30, *range(len(parts))]))
    if forgotten is not None and len(parts[forgotten]) == 2:
        parts[forgotten] = parts[forgotten][:1]
    else:
        forgotten = None
    return parts, forgotten is None


def inputs_of(parts) -> set[str]:
    """Files that a command line reads, by where they really are."""
    given = [part for part in parts if len(part) == 1 and part[0] not in FLAGS]
    values = {name: [p[1] for p in parts if p[0] == name and len(p) == 2] for name in ("--include", "--exclude")}
    selection = Selection(tuple(values["--include"]), tuple(values["--exclude"]), ("--no-recurse",) not in parts)
    read = [*expand([path for (path,) in given], selection)]
    read += [part[1] for part in parts if part[0] in ("--files-from", "--config") and len(part) == 2]
    return {os.path.realpath(path) for path in read}


def test_no_byte_of_any_input_ever_changes(hidascan, quick, model, monkeypatch, tmp_path):
    ran = {"refused": 0, "done": 0}

    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(command_lines())
    def check(drawn):
        parts, complete = drawn
        with tempfile.TemporaryDirectory(dir=tmp_path) as made:
            folder = Path(made)
            build(model, folder)
            monkeypatch.chdir(folder)
            parts = [tuple(text.replace("{here}", made) for text in part) for part in parts]
            before = contents(folder)
            inputs = inputs_of(parts) if complete and ("--",) not in parts else set()
            monkeypatch.setattr("sys.stdin", open(os.devnull))  # noqa: SIM115
            code = hidascan("--weights", quick, *(text for part in parts for text in part)).code
            ran["refused" if code == 2 else "done"] += 1
            after = contents(folder)
            own = {name for name in OWN | EMPTY if os.path.realpath(name) not in inputs}
            changed = {name for name in before if after.get(name) != before[name]}
            assert not {name for name in changed if not _may_change(name, own)}, (parts, code)
            monkeypatch.chdir(tmp_path)

    check()
    print(ran)
    assert min(ran.values()) > 0 or EXAMPLES < 20


def _may_change(name: str, own: set[str]) -> bool:
    """Return whether a file may have changed: an output report, also under its other names, or our own sidecar."""
    return name in own or name.startswith("xmp/") or name.replace("link/", "in/") in own
