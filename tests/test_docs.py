"""What is written is true: options, columns, figures of the architecture, and the example in the README."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from hidascan.finding import COLUMNS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def options_of(module: str, *command: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-m", module, *command, "--help"], capture_output=True, text=True, check=True
    )
    return set(re.findall(r"(?<!\w)--[a-z][a-z-]+", done.stdout))


def test_every_option_of_hidascan_is_in_the_readme_and_no_other():
    real = options_of("hidascan.cli")
    section = README.split("## Options")[1].split("\n## ")[0]
    assert set(re.findall(r"(?<!\w)--[a-z][a-z-]+", section)) == real


@pytest.mark.parametrize(
    "command",
    ["train", "calibrate", "evaluate", "quality", "localise", "robustness", "families", "ablate", "card", "forge"],
)
def test_every_command_of_hidalab_is_in_the_readme(command):
    assert f"hidalab {command}" in README
    assert options_of("hidascan.lab.cli", command)


def test_the_columns_in_the_readme_are_the_real_ones():
    assert ", ".join(f"`{c}`" for c in COLUMNS) in README


def test_every_module_has_its_line_in_the_architecture():
    text = (ROOT / "ARCHITECTURE.md").read_text()
    for path in (ROOT / "hidascan").rglob("*.py"):
        known = path.name in text or (f"{path.parent.name}/" in text and path.parent.name == "report")
        assert known or path.name == "__init__.py", path


def test_the_python_example_runs_as_it_is_written(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    example = re.search(r"```python\n(.*?)```", README, re.S)[1]
    exec(compile(example, "README.md", "exec"), {"__name__": "__main__"})
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 5 and printed[0].startswith("examples/rocket.jpg")
