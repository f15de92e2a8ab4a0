"""Documentation matches the code: options, columns, the module tree of ARCHITECTURE.md, examples of the README."""

import ast
import re
from pathlib import Path

import pytest
import typer

from hidascan import notes
from hidascan.detectors import DETECTORS, trained_parts
from hidascan.finding import COLUMNS
from hidascan.lab.cli import COMMANDS, app
from hidascan.lab.commands.reference import options_in_markdown

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
CARDS = {
    path.read_text().partition("\n")[0].removeprefix("# Model card: "): path.read_text()
    for path in (ROOT / "weights").glob("MODEL_CARD*.md")
}
GUIDES = ["docs/method.md", "docs/tutorial.md", "docs/errors.md", "docs/how-to-read-a-result.md"]
PAGES = [
    str(path.relative_to(ROOT))
    for folder in ("", "docs", "docs/experiments", "examples", "weights")
    for path in sorted((ROOT / folder).glob("*.md"))
]


@pytest.fixture(scope="module")
def options() -> str:
    return options_in_markdown(typer.main.get_command(app))


def test_the_options_are_written_as_the_command_lines_have_them(options):
    assert (ROOT / "docs/options.md").read_text() == options
    assert all(f"## hidalab {command.__name__}\n" in options for command in COMMANDS)


def test_the_columns_are_written_as_they_are():
    assert ", ".join(f"`{c}`" for c in COLUMNS) in README
    panel = re.findall(r"`(\w+)`", "".join(re.findall(r"(?m)^\| (`.*?) \|", (ROOT / "docs/output.md").read_text())))
    assert panel[: len(COLUMNS)] == list(COLUMNS)


def test_every_key_of_json_lines_is_written(hidascan, tmp_path):
    import json

    from tests.conftest import save_picture

    keys = json.loads(hidascan(save_picture(tmp_path / "a.png"), "--jsonl", "-").out).keys()
    text = (ROOT / "docs/output.md").read_text()
    assert all(f"`{key}`" in text for key in keys)


def test_the_tree_of_the_architecture_lists_each_module_in_its_folder():
    folders, listed = {}, set()  # depth -> folder, of the current line
    for line in (ROOT / "ARCHITECTURE.md").read_text().split("```")[1].splitlines():
        depth = len(line) - len(line.lstrip())
        folders = {above: folder for above, folder in folders.items() if above < depth}
        if opened := re.match(r" *(\w+/)", line):
            folders[depth] = opened[1]
            assert (ROOT / "".join(folders.values())).is_dir(), line
        listed |= {"".join(folders.values()) + name for name in re.findall(r"\b\w+\.py\b", line)}
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "hidascan").rglob("*.py")}
    assert {name for name in listed ^ modules if not name.endswith("__init__.py")} == set()


@pytest.mark.parametrize("page", PAGES)
def test_links_within_the_repository_lead_somewhere(page):
    text = (ROOT / page).read_text()
    links = [link for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text) if "://" not in link]
    assert all((ROOT / page).parent.joinpath(link).exists() for link in links), links


@pytest.mark.parametrize("page", GUIDES)
def test_every_guide_is_reached_from_the_readme(page):
    assert f"]({page})" in README


@pytest.mark.parametrize("page", [page for page in PAGES if page != "CHANGELOG.md"])  # which names former commands
def test_commands_in_examples_have_the_options_that_they_are_given(page, options):
    sections = dict(re.findall(r"(?ms)^## (hida\w+(?: \w+)?)\n(.*?)(?=^## |\Z)", options))
    text = (ROOT / page).read_text()
    lines = [line for block in re.findall(r"(?s)```\w*\n(.*?)```", text) for line in block.splitlines()]
    for line in [*lines, *re.findall(r"`(hida(?:scan|lab) [^`]+)`", text)]:
        called = re.search(r"(?<![-\w/.\[])(hidascan|hidalab) (.*)", line.partition("#")[0])
        if called is None or line.startswith("hidascan:"):
            continue
        command = f"{called[1]} {called[2].split(' ')[0]}"
        command = "hidascan" if called[1] == "hidascan" and command not in sections else command
        for option in re.findall(r"(?<!\S)--[a-z][a-z0-9-]+", called[2]):
            assert option == "--help" or f"`{option}" in sections[command], line
        assert command in sections, line


def literals_of(package: Path) -> list[str]:
    """Every string in the source; an f-string with a NUL for each value, unless it is a part of a note."""
    found, parts = [], vars(notes)

    def part_of(value: ast.expr) -> str:
        if isinstance(value, ast.Constant):
            return value.value
        name = value.value if isinstance(value, ast.FormattedValue) else None
        return str(parts.get(name.id, "\0")) if isinstance(name, ast.Name) and name.id.isupper() else "\0"

    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                found.append("".join(map(part_of, node.values)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return found


def holds(literal: str, message: str) -> bool:
    """Whether a string of the source has the parts of a message between its <placeholders>, in order."""
    place = 0
    for part in filter(None, re.split(r"<[^<>]*>", message)):
        place = literal.find(part, place)
        if place < 0:
            return False
        place += len(part)
    return True


def test_every_message_on_the_page_of_errors_is_in_the_source():
    cells = re.findall(r"(?m)^\| (`.*?`) \|", (ROOT / "docs/errors.md").read_text())
    messages = [message for cell in cells for message in re.findall(r"`(.+?)`", cell)]
    literals = literals_of(ROOT / "hidascan")
    assert len(messages) > 150
    assert not any(holds(literal, "<file>: a message that <nobody> writes") for literal in literals)
    assert [message for message in messages if not any(holds(literal, message) for literal in literals)] == []


def test_every_experiment_is_linked_from_the_decisions():
    decisions = (ROOT / "docs/decisions.md").read_text()
    assert all(f"](experiments/{path.name})" in decisions for path in (ROOT / "docs/experiments").glob("*.md"))


def test_every_decision_has_its_five_cells():
    rows = re.findall(r"(?m)^\| [^|]*\?[^|]* \|.*$", (ROOT / "docs/decisions.md").read_text())
    assert len(rows) > 90
    assert [row for row in rows if row.count("|") != 6] == []


def test_every_detector_has_a_recipe():
    named = {re.search(r'(?m)^detector = "(\w+)"', path.read_text())[1] for path in (ROOT / "recipes").glob("*.toml")}
    assert named == {*DETECTORS}


def test_the_readme_is_short_and_its_figures_are_filled_in():
    assert len(README.split()) < 900
    for page in (README, *CARDS.values()):
        sections = re.findall(r"<!-- hidalab card: \w+ -->\n(.*?)<!-- end -->", page, re.DOTALL)
        assert sections and all(len(section) > 100 for section in sections)


def test_all_shipped_weights_have_a_model_card():
    assert CARDS.keys() == {path.stem for path in trained_parts(ROOT / "weights")}


def test_the_version_is_the_same_wherever_it_stands():
    from hidascan import __version__

    assert f"## [{__version__}]" in (ROOT / "CHANGELOG.md").read_text()
    assert f"version: {__version__}\n" in (ROOT / "CITATION.cff").read_text()


def test_the_python_example_runs_as_it_is_written(tiny_as_shipped, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    example = re.search(r"```python\n(.*?)```", README, re.S)[1]
    exec(compile(example, "README.md", "exec"), {"__name__": "__main__"})
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 5 and printed[0].startswith("examples/rocket.jpg")


def test_the_panel_in_the_readme_is_what_a_terminal_shows(monkeypatch, capsys):
    """But for digits, which another processor may round to the next."""
    from hidascan import Scanner
    from hidascan.lab.measure.card import SECTIONS, CardSpec

    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("COLUMNS", "80")
    shown = SECTIONS["panel"](Scanner(), CardSpec("", None, Path()))
    panel = re.search(r"<!-- hidalab card: panel -->\n(.*?)\n<!-- end -->", README, re.DOTALL)[1]
    assert re.sub(r"\d", "0", shown) == re.sub(r"\d", "0", panel)


def test_the_help_lists_each_option_once_and_in_its_section(hidascan):
    from hidascan.commands import REST, SECTIONS

    text = hidascan("--help").out
    headings = ["Examples", "Commands", "Arguments", *SECTIONS, REST]
    assert [line[:-1] for line in text.splitlines() if line[:-1] in headings] == headings
    assert re.search(r"^  PATH\.\.\.  Images", text, re.M)
    for section, options in SECTIONS.items():
        part = text.partition(f"\n{section}:\n")[2].partition("\n\n")[0]
        for option in options:
            assert len(re.findall(rf"^  (-. ?, ?)?--{option}\b(?!-)", text.replace("-0, ", ""), re.M)) == 1, option
            assert re.search(rf"--{option}\b(?!-)", part), option


def test_the_man_page_is_written_from_the_help():
    from hidascan.lab.commands.reference import man_page

    page = man_page()
    assert page == (ROOT / "docs/hidascan.1").read_text()
    assert page.startswith(".TH HIDASCAN 1") and "\\fB\\-\\-heatmap\\-dir\\fR \\fIDIR\\fR" in page
    assert ".SH HIDASCAN VERIFY" in page and "Exit codes: 0 no image is ai" in page
