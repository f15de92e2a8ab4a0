"""Defaults from files: files named by the user count; files among the evidence cannot change results."""

import pwd
from pathlib import Path

import pytest

from hidascan.config import SAFE_OPTIONS
from tests.conftest import save_picture
from tests.test_outputs import quick  # noqa: F401

HOSTILE = """csv = "precious.txt"
threshold = 1
quiet = true
weights = "nowhere.safetensors"
exclude = ["*"]
c2pa-trust = "theirs.pem"
max_pixels = 1
batch-size = 3
"""


@pytest.fixture
def hidascan(hidascan, quick):  # noqa: F811
    """Scan with a detector that takes no time."""
    return lambda *given: hidascan(*given, *([] if "--weights" in given else ["--weights", quick]))


@pytest.fixture(autouse=True)
def own(tmp_path, monkeypatch):
    """The user's own configuration folder, which is empty at first."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("HIDASCAN_WEIGHTS", raising=False)
    folder = tmp_path / "home/hidascan"
    folder.mkdir(parents=True)
    return folder / "hidascan.toml"


@pytest.fixture
def evidence(tmp_path, monkeypatch):
    """A foreign folder with a picture, as working folder."""
    save_picture(tmp_path / "evidence/in/a.png", 40, 40)
    monkeypatch.chdir(tmp_path / "evidence/in")
    return tmp_path / "evidence"


@pytest.mark.parametrize("name", ["hidascan.toml", "in/hidascan.toml", "pyproject.toml"])
def test_a_file_among_the_evidence_changes_nothing_that_is_found(hidascan, evidence, name):
    table = "[tool.hidascan]\n" if name == "pyproject.toml" else ""
    plain = hidascan("a.png")
    (evidence / name).write_text(table + HOSTILE)
    ran = hidascan("a.png")
    assert (ran.code, ran.out) == (plain.code, plain.out) and not list(evidence.rglob("precious.txt"))
    assert ran.err.count("\n") == 1 and str(evidence / name) in ran.err and f"--config {evidence / name}" in ran.err
    assert "ignored c2pa-trust, csv, exclude, max-pixels, quiet, threshold, weights" in ran.err
    assert "settings from" in ran.err and "batch-size" in ran.err


@pytest.mark.parametrize("text", ["not toml", "forma = 1\n", "batch-size = 'many'\n", "x = " + "[" * 5000, "\xff"])
def test_a_broken_file_among_the_evidence_ends_nothing(hidascan, evidence, text):
    (evidence / "hidascan.toml").write_bytes(text.encode("latin-1"))
    ran = hidascan("a.png")
    assert ran.out.startswith("a.png\t") and "ignored" in ran.err and ran.err.count("\n") == 1


def test_a_broken_pyproject_is_ignored(hidascan, evidence):
    (evidence / "pyproject.toml").write_text("[tool.other]\n")
    (evidence / "in/pyproject.toml").write_text("broken = [")
    assert "no hidascan.toml" in hidascan("--show-config").out and not hidascan("a.png").err


def test_a_file_that_is_named_counts(hidascan, evidence):
    (evidence / "mine.toml").write_text('format = "from file"\nno_recurse = true\nexclude = "b*"\n')
    assert hidascan("a.png", "--config", "../mine.toml").out == "from file\n"
    assert hidascan("a.png", "--config", "../mine.toml", "--format", "from %f").out == "from PNG\n"
    save_picture(evidence / "in/b.png", 40, 40)
    assert len(hidascan(".", "--config", "../mine.toml").out.splitlines()) == 1
    (evidence / "in/pyproject.toml").write_text('[tool.hidascan]\nformat = "project"\n')
    ran = hidascan("a.png", "--config", "pyproject.toml")
    assert ran.out == "project\n" and not ran.err


@pytest.mark.parametrize(
    ("text", "expected"),
    [("not toml", "mine.toml"), ("forma = 1\n", "unknown setting: forma"), ("[format]\n", "cannot be a table"),
     ('config = "x"\n', "unknown setting: config"), ("show_config = true\n", "unknown setting: show-config")],
)  # fmt: skip
@pytest.mark.parametrize("where", ["named", "own"])
def test_a_broken_file_of_the_user_is_one_line(hidascan, evidence, own, text, expected, where):
    path = own if where == "own" else evidence / "mine.toml"
    path.write_text(text)
    options = () if where == "own" else ("--config", path)
    ran = hidascan("a.png", *options)
    assert ran.code == 2 and expected.replace("mine.toml", path.name) in ran.err and ran.err.count("\n") == 1
    for harmless in ("--version", "--help"):
        assert hidascan(*options, harmless).code == 0


def test_a_missing_or_empty_settings_file_is_one_line(hidascan, evidence):
    (evidence / "in/pyproject.toml").write_text("[tool.other]\n")
    for value in ("none.toml", "", ".", "pyproject.toml", "--csv"):
        ran = hidascan("a.png", "--config", value)
        assert ran.code == 2 and ran.err.count("\n") == 1 and "Traceback" not in ran.err


@pytest.mark.parametrize(
    ("text", "complaint"), [('csv = ["out.csv"]', "csv takes one value"), ("debug = true", "unknown setting")]
)
def test_a_setting_of_a_wrong_kind_is_one_line(hidascan, evidence, text, complaint):
    (evidence / "named.toml").write_text(f"{text}\n")
    ran = hidascan("a.png", "--config", "../named.toml")
    assert ran.code == 2 and complaint in ran.err and ran.err.count("\n") == 1


def test_the_order_is_option_named_file_environment_own_file_found_file(hidascan, evidence, own, monkeypatch):
    (evidence / "hidascan.toml").write_text("batch-size = 1\nverbose = true\n")
    own.write_text('batch-size = 2\nformat = "own"\nthreshold = 0.5\n')
    (evidence / "named.toml").write_text('format = "named"\nweights = "named"\nprofile = "low-fpr"\n')
    monkeypatch.setenv("HIDASCAN_WEIGHTS", "environment")
    shown = hidascan("--show-config", "--config", "../named.toml").out
    assert shown.splitlines() == [
        "# ../named.toml", 'format = "named"', 'weights = "named"', 'profile = "low-fpr"',
        f"# {own}", "batch-size = 2", f"# {evidence / 'hidascan.toml'}", "verbose = true",
    ]  # fmt: skip
    from hidascan import cli

    assert cli.run(["a.png", "--config", "../named.toml"]) == 2  # weights of this name do not exist
    assert "HIDASCAN_WEIGHTS=environment overrides" in hidascan("--show-config").out
    assert hidascan("a.png").out == "own\n"


def test_a_profile_on_the_command_line_beats_a_threshold_in_a_file(hidascan, evidence, own):
    import json

    own.write_text("threshold = 0.5\n")
    scans = [
        json.loads(hidascan("a.png", "--jsonl", "-", *given).out)["scan"]
        for given in ((), ("--profile", "low-fpr"), ("--threshold", "0.25"))
    ]
    assert [(scan["threshold"], scan["profile"]) for scan in scans] == [
        (0.5, "balanced"), (None, "low-fpr"), (0.25, "balanced"),
    ]  # fmt: skip


def test_a_format_of_lines_that_quiet_does_not_print_is_refused(hidascan, evidence, own):
    ran = hidascan("a.png", "-q", "--format", "%p")
    assert ran.code == 2 and "--format cannot be combined with --quiet" in ran.err
    own.write_text('format = "%p"\n')
    assert hidascan("a.png", "-q").code == 0


def test_threshold_and_profile_exclude_each_other(hidascan, evidence):
    ran = hidascan("a.png", "--threshold", "0.5", "--profile", "balanced")
    assert ran.code == 2 and "--threshold cannot be combined with --profile" in ran.err
    (evidence / "both.toml").write_text('threshold = 0.5\nprofile = "low-fpr"\n')
    assert hidascan("a.png", "--config", "../both.toml").code == 2


def test_the_settings_that_a_stranger_can_make_are_few():
    assert set(SAFE_OPTIONS) <= {"batch-size", "device", "precision", "verbose"}


@pytest.mark.parametrize("setting", ["batch-size = 10000000000", "batch-size = 0", 'device = "tpu"', 'precision = "x"'])
def test_malformed_settings_of_a_stranger_end_no_scan(hidascan, evidence, setting):
    (evidence / "in/hidascan.toml").write_text(setting)
    assert hidascan("a.png").code == 0


def test_help_as_a_word(hidascan, evidence, capfd):
    from hidascan import cli

    assert [cli.run(["help"]), cli.run(["help", "verify"])] == [0, 0]
    assert capfd.readouterr().out.count("Usage: hidascan") == 2
    (evidence / "in/help").write_bytes(b"")
    assert "help" in hidascan("help").err


def test_a_column_needs_a_table(hidascan, evidence):
    (evidence / "in/list.txt").write_text("a.png\n")
    for options in (("a.png",), ("--files-from", "list.txt")):
        ran = hidascan(*options, "--column", "where")
        assert ran.code == 2 and "--column where needs --files-from" in ran.err


@pytest.mark.parametrize("text", ["csv = false", "html = true", "patches = true", "include = [true]", "output = false"])
def test_a_truth_value_for_an_option_that_is_no_flag_is_refused(hidascan, evidence, text):
    (evidence / "named.toml").write_text(f"{text}\n")
    ran = hidascan("a.png", "--config", "../named.toml")
    name = text.partition(" ")[0]
    assert ran.code == 2 and ran.err == f"hidascan: ../named.toml: {name} takes a value, not true or false\n"
    assert [path.name for path in Path().iterdir()] == ["a.png"]


def test_a_user_without_a_home_can_scan(hidascan, evidence, monkeypatch):
    def missing(uid):
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", missing)
    for name in ("HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert hidascan("a.png").out.startswith("a.png\t")
    ran = hidascan("a.png", "--show-config")
    assert ran.code == 0 and "there is no home folder" in ran.out
