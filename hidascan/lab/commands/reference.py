"""Write the reference of both command lines, from the same text as their `--help`."""

from __future__ import annotations

from typing import Any

import typer

INTRODUCTION = """# Options

Written by `hidalab reference > docs/options.md`; `--help` says the same.
"""


def reference() -> None:
    """Print the options of hidascan and hidalab in Markdown, as docs/options.md has them."""
    print(options_in_markdown(), end="")


def options_in_markdown() -> str:
    """Write a table of options for each command."""
    from hidascan import cli, commands
    from hidascan.lab import cli as lab

    parts = [INTRODUCTION, _section("hidascan", typer.main.get_command(cli.app)), _placeholders()]
    more: Any = typer.main.get_command(commands.app)
    parts += [_section(f"hidascan {name}", command) for name, command in more.commands.items()]
    group: Any = typer.main.get_command(lab.app)
    parts += [_section(f"hidalab {name}", command) for name, command in group.commands.items()]
    return "\n".join(parts)


def _section(title: str, command: Any) -> str:
    description = " ".join(command.help.split())
    rows = [_row(parameter) for parameter in command.params if parameter.name not in ("help",)]
    lines = [f"## {title}", "", description, "", "| option | meaning | default |", "|---|---|---|", *filter(None, rows)]
    return "\n".join(lines) + "\n"


def _placeholders() -> str:
    from hidascan.report.lines import PLACEHOLDERS

    rows = [f"| `%{letter}` | {meaning} |" for letter, (meaning, _) in PLACEHOLDERS.items()]
    return "\n".join(["Placeholders of `--format`:", "", "| | |", "|---|---|", *rows, "| `%%` | % |"]) + "\n"


def _row(parameter: Any) -> str:
    metavar = parameter.metavar or ("" if getattr(parameter, "is_flag", False) else parameter.name.upper())
    names = [name for name in parameter.opts if name.startswith("-")] or [""]
    what = ", ".join([*(f"`{name}`" for name in names[:-1]), f"`{f'{names[-1]} {metavar}'.strip()}`"])
    text = (parameter.help or "").split("  [default")[0]
    return f"| {_cell(what)} | {_cell(text)} | {_default(parameter)} |"


def _default(parameter: Any) -> str:
    value = parameter.default() if callable(parameter.default) else parameter.default
    if value is None or value is False or value == [] or str(value).startswith("Sentinel"):
        return ""
    return _cell(" ".join(map(str, value)) if isinstance(value, list | tuple) else str(value))


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
