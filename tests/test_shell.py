"""Shell conventions: selection of files, format of lines, settings from files, completion, schema."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from hidascan import cli
from hidascan.errors import UsageError
from hidascan.finding import Finding
from hidascan.image.sources import Selection, expand
from hidascan.report.jsonl_report import json_schema
from hidascan.report.terminal import PLACEHOLDERS, FormattedLines
from hidascan.summary import FAILED, HEADLINES
from tests.conftest import save_picture

TREE = ("a.png", "b.JPG", "notes.txt", "raw/c.png", "raw/deep/d.jpeg", "trash/e.png", "odd.dat")


@pytest.fixture
def tree(tmp_path):
    for name in TREE:
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return tmp_path / "in"


def taken(tree: Path, **selection) -> list[str]:
    return [Path(path).relative_to(tree).as_posix() for path in expand([str(tree)], Selection(**selection))]


def test_files_of_a_folder_are_selected(tree):
    every = ["a.png", "b.JPG", "raw/c.png", "raw/deep/d.jpeg", "trash/e.png"]
    assert taken(tree) == every
    assert taken(tree, recurse=False) == ["a.png", "b.JPG"]
    assert taken(tree, include=("*.dat", "a.*")) == ["a.png", "odd.dat"]
    assert taken(tree, include=("raw/*",)) == ["raw/c.png", "raw/deep/d.jpeg"]
    assert taken(tree, exclude=("trash",)) == every[:4]
    assert taken(tree, exclude=("raw/deep", "b*")) == ["a.png", "raw/c.png", "trash/e.png"]
    assert taken(tree, include=("*.png",), exclude=("c.*",)) == ["a.png", "trash/e.png"]
    assert [*expand([str(tree / "notes.txt")], Selection(exclude=("*",)))] == [str(tree / "notes.txt")]


def test_links_to_folders_are_followed_on_request_and_never_in_cycles(tree):
    (tree.parent / "elsewhere").mkdir()
    (tree.parent / "elsewhere/f.png").write_bytes(b"")
    (tree / "link").symlink_to(tree.parent / "elsewhere")
    (tree / "raw/round").symlink_to(tree)
    assert "link/f.png" not in taken(tree)
    followed = taken(tree, follow_links=True)
    assert "link/f.png" in followed and len(followed) == 6


def test_lists_of_files_are_read(hidascan, tiny_weights, tmp_path):
    one, two, three = (save_picture(tmp_path / f"{name}.png", 40, 40) for name in "abc")
    (tmp_path / "list.txt").write_text(f"{one}\n{two}\n")
    (tmp_path / "list0").write_bytes(f"{three}\0".encode())
    lines = hidascan("--files-from", tmp_path / "list.txt", "--weights", tiny_weights).out.splitlines()
    assert [line.split("\t")[0] for line in lines] == [str(one), str(two)]
    ran = hidascan(three, "--files-from", tmp_path / "list0", "-0", "--weights", tiny_weights)
    assert len(ran.out.splitlines()) == 1
    missing = hidascan("--files-from", tmp_path / "none", "--weights", tiny_weights)
    assert missing.code == 2 and "--files-from" in missing.err and missing.err.count("\n") == 1
    assert "Missing argument" in hidascan().err


def test_lines_are_written_by_a_format(hidascan, tiny_weights, tmp_path):
    picture = save_picture(tmp_path / "a.jpg", 40, 60, quality=80)
    (tmp_path / "b.png").write_bytes(b"broken")
    form = r"%v|%w x %h|%f|%q|100 %%|%p"
    ran = hidascan(picture, tmp_path / "b.png", "--format", form, "--weights", tiny_weights)
    first, second = ran.out.splitlines()
    assert first.split("|")[1:] == ["60 x 40", "JPEG", "80", "100 %", str(picture)]
    assert second.startswith("error| x |") and second.endswith("b.png")
    nul = hidascan(picture, "--format", r"%s\t%p\0", "--weights", tiny_weights).out
    assert nul.endswith(f"\t{picture}\0") and "\n" not in nul
    wrong = hidascan(picture, "--format", "%z", "--weights", tiny_weights)
    assert wrong.code == 2 and "unknown placeholder '%z'" in wrong.err
    with pytest.raises(UsageError):
        FormattedLines("%")


def test_every_placeholder_is_filled_and_copes_with_nothing(capsys):
    lines = FormattedLines("".join(f"[%{letter}]" for letter in PLACEHOLDERS))
    lines.add(Finding("a.png", "error", error="broken"))
    full = Finding(
        "a.png", "ok", "ai", 0.5, 3, 2, "PNG", 1, 90, 88.0, 0.25, "c2pa", uncertainty=0.1, domain="photo", family="sd"
    )
    lines.add(full)
    empty, filled = capsys.readouterr().out.splitlines()
    assert empty == "[a.png][error]" + "[]" * (len(PLACEHOLDERS) - 3) + "[broken]"
    assert filled == "[a.png][ai][0.5000][0.1000][3][2][PNG][1][90][88][0.2500][c2pa][photo][sd][]"


def test_the_environment_names_the_weights(hidascan, capfd, monkeypatch, tmp_path):
    picture = save_picture(tmp_path / "a.png", 40, 40)
    monkeypatch.setenv("HIDASCAN_WEIGHTS", str(tmp_path / "none.safetensors"))
    assert cli.run([str(picture)]) == 2 and "none.safetensors: no such weights" in capfd.readouterr().err
    given = hidascan(picture)
    assert given.code in (0, 1) and given.out.startswith(str(picture))


def test_rows_match_the_schema(hidascan, tiny_weights, tmp_path):
    printed = json.loads(hidascan("--json-schema").out)
    assert printed == json.loads(json.dumps(json_schema()))
    jsonschema.Draft202012Validator.check_schema(printed)
    save_picture(tmp_path / "in/a.jpg", 300, 500, quality=80)
    (tmp_path / "in/b.png").write_bytes(b"broken")
    hidascan(tmp_path / "in", "--jsonl", tmp_path / "out.jsonl", "--explain", "--stress", "--weights", tiny_weights)
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert len(rows) == 2 and rows[0].keys() == printed["properties"].keys()
    for row in rows:
        jsonschema.validate(row, printed)
    texts = [row["summary"] for row in rows]
    assert texts[0]["headline"] in HEADLINES.values() and f"{rows[0]['score']:.3f}" in texts[0]["sentence"]
    assert all(texts[0][name] for name in ("reliability", "weaknesses", "next_steps"))
    assert texts[1]["headline"] == FAILED and texts[1]["sentence"].lower() == f"{rows[1]['error']}.".lower()
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(rows[0] | {"verdict": "fake"}, printed)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_generated_without_torch(shell):
    code = "import sys; from hidascan.cli import run; code = run([]); assert 'torch' not in sys.modules; sys.exit(code)"
    environment = os.environ | {"_HIDASCAN_COMPLETE": f"source_{shell}"}
    ran = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert ran.returncode == 0 and "_HIDASCAN_COMPLETE" in ran.stdout


@pytest.fixture
def completed(monkeypatch, capsys):
    """Return the words that bash offers for the last one."""

    def complete(words: str) -> list[str]:
        monkeypatch.setenv("_HIDASCAN_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", words)
        monkeypatch.setenv("COMP_CWORD", str(len(words.split(" ")) - 1))
        assert cli.run([]) == 0
        return capsys.readouterr().out.split()

    return complete


def test_commands_and_options_are_completed_and_files_are_left_to_the_shell(completed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert completed("hidascan ") == ["verify", "serve", "lab"]
    assert completed("hidascan ver") == ["verify"]
    assert completed("hidascan a.png ver") == []
    assert completed("hidascan --heatmap-d") == ["--heatmap-dir"]
    assert completed("hidascan verify --sam") == ["--sample"]
    assert completed("hidascan lab loc") == ["localise"]
    (tmp_path / "verlaine.png").touch()
    assert completed("hidascan ver") == []


def test_only_the_first_word_is_a_command(hidascan, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("verify", "serve", "lab"):
        save_picture(tmp_path / "a.png", 40, 40).rename(tmp_path / name)
        assert hidascan(f"./{name}").out.startswith(f"./{name}\t")
        assert hidascan("-q", name).code in (0, 1)
    assert "Missing argument" in hidascan("verify").err
    listed = hidascan("--help").out.partition("\nCommands:\n")[2].partition("\n\n")[0]
    assert [line.split()[1] for line in listed.splitlines()] == ["verify", "serve", "lab"]
    assert hidascan("lab", "tde", "--help").out.startswith("Usage: hidascan lab tde")


def test_a_row_does_not_wait_for_the_next_line(tiny_weights, tmp_path):
    one, two = (save_picture(tmp_path / f"{name}.png", 40, 40) for name in "ab")
    command = [sys.executable, "-m", "hidascan.cli", "-", "--weights", str(tiny_weights), "--batch-size", "64"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as running:
        for path in (one, two):
            running.stdin.write(f"{path}\n")
            running.stdin.flush()
            assert running.stdout.readline().startswith(f"{path}\t")  # would wait for ever if it waited for a batch
        running.stdin.close()
        assert running.wait(30) in (0, 1)


def test_a_batch_is_still_filled_by_images_that_are_there(tiny_weights, tmp_path):
    from hidascan import Scanner, ScanOptions

    paths = [str(save_picture(tmp_path / f"{number:02d}.png", 40, 40, number)) for number in range(12)]
    batches = []
    found = list(Scanner(ScanOptions(str(tiny_weights), batch_size=8)).scan(paths, batches.append))
    assert [finding.path for finding in found] == paths and sum(batches) == 24 and max(batches) == 8


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("**/*.png", ["a.png", "raw/c.png", "trash/e.png"]),
        ("./a.png", ["a.png"]),
        ("/a.png", ["a.png"]),
        ("./raw/**/*", ["raw/c.png", "raw/deep/d.jpeg"]),
        ("raw/**/d.jpeg", ["raw/deep/d.jpeg"]),
        ("**/raw/**/c.png", ["raw/c.png"]),
        ("/c.png", []),
        ("**/**/a.png", ["a.png"]),
        ("ra**/*.png", ["raw/c.png"]),  # not "ra*.png"
    ],
)
def test_patterns_with_slashes_mean_what_they_mean_elsewhere(tree, pattern, expected):
    assert taken(tree, include=(pattern,)) == expected
    every = taken(tree, include=("*",))
    assert taken(tree, include=("*",), exclude=(pattern,)) == [name for name in every if name not in expected]


@pytest.mark.parametrize("pattern", ["**/raw", "/raw", "./raw", "/raw/", "**/raw/"])
def test_a_folder_at_the_top_is_excluded_by_any_spelling(tree, pattern):
    assert taken(tree, exclude=(pattern,)) == ["a.png", "b.JPG", "trash/e.png"]


@pytest.mark.parametrize("option", ["--csv", "--jsonl", "--html", "--xmp", "--heatmap-dir"])
def test_an_output_given_twice_is_refused(hidascan, tmp_path, option):
    ran = hidascan(save_picture(tmp_path / "a.png", 40, 40), option, tmp_path / "x", option, tmp_path / "y")
    assert ran.code == 2 and ran.err == f"hidascan: {option} can be given only once\n"
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--include a.jpg b.jpg", "--include a.jpg: this is a file, not a pattern; quote patterns, such as '*.jpg'"),
        ("--exclude a.jpg b.jpg .", "--exclude a.jpg: this is a file, not a pattern; quote patterns, such as '*.jpg'"),
        ("--format a.jpg b.jpg", "--format a.jpg: no placeholder, such as %p; give the format after"),
        ("--format 100%% b.jpg", "--format 100%%: no placeholder"),
        ("--html r.html --case a.jpg b.jpg", "--case a.jpg: this is an image; give the name of the case after --case"),
    ],
)
def test_a_picture_in_place_of_a_forgotten_value_or_a_pattern_is_not_left_out(
    hidascan, tmp_path, monkeypatch, arguments, message
):
    for name in "ab":
        save_picture(tmp_path / f"{name}.jpg", 40, 40)
    monkeypatch.chdir(tmp_path)
    ran = hidascan(*arguments.split())
    assert (ran.code, ran.out) == (2, "") and ran.err.startswith(f"hidascan: {message}") and ran.err.count("\n") == 1
    assert sorted(os.listdir()) == ["a.jpg", "b.jpg"]


@pytest.mark.parametrize(
    ("arguments", "scanned"),
    [
        ("--include *.jpg .", ["./a.jpg", "./b.jpg"]),
        ("--include a.jpg .", ["./a.jpg"]),
        ("--exclude a.jpg .", ["./b.jpg"]),
        ("--exclude c.jpg b.jpg .", ["b.jpg", "./a.jpg"]),
        ("--include a* b.jpg", ["b.jpg"]),
        ("--include a.jpg --files-from list.txt", ["b.jpg"]),
        ("b.jpg --config settings.toml", ["b.jpg"]),
        ("b.jpg --html r.html --case b", ["b.jpg"]),
        ("b.jpg --html r.html --case c.jpg", ["b.jpg"]),
    ],
)
def test_patterns_and_names_of_cases_that_may_be_meant_are_accepted(
    hidascan, tiny_weights, tmp_path, monkeypatch, arguments, scanned
):
    for name in "ab":
        save_picture(tmp_path / f"{name}.jpg", 40, 40)
    (tmp_path / "list.txt").write_text("b.jpg\n")
    (tmp_path / "settings.toml").write_text('exclude = "a.jpg"\n')
    monkeypatch.chdir(tmp_path)
    lines = hidascan(*arguments.split(), "--weights", tiny_weights).out.splitlines()
    assert [line.split("\t")[0] for line in lines] == scanned


@pytest.mark.parametrize("command", ["verify", "serve"])
def test_the_short_option_for_help_works_for_every_command(capfd, command):
    assert cli.run([command, "--help"]) == 0
    expected = capfd.readouterr().out
    assert cli.run([command, "-h"]) == 0 and capfd.readouterr().out == expected
