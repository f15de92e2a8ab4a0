"""Write the reference of both command lines, from the same text as their `--help`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

INTRODUCTION = """# Options

Written by `hidalab reference > docs/options.md`; `--help` says the same.
"""


def reference(
    man: Annotated[bool, typer.Option("--man", help="Print the man page of hidascan, as docs/hidascan.1 has it.")] = False,
) -> None:  # fmt: skip
    """Print the options of hidascan and hidalab in Markdown, as docs/options.md has them."""
    print(man_page() if man else options_in_markdown(), end="")


def man_page() -> str:
    """Write the man page of hidascan in troff, from the same text as its `--help`."""
    from hidascan import __version__, cli, commands
    from hidascan.config import HARMLESS
    from hidascan.report.lines import PLACEHOLDERS

    command: Any = typer.main.get_command(cli.app)
    first, *more = command.help.replace("\n\n", "\0").split("\0")
    lines = [f'.TH HIDASCAN 1 "" "hidascan {__version__.partition("+")[0]}"']
    lines += [".SH NAME", f"hidascan \\- {_troff(_uncapitalised(' '.join(first.split()).rstrip('.')))}"]
    lines += [".SH SYNOPSIS", ".B hidascan", "[OPTIONS] PATH..."]
    others: Any = typer.main.get_command(commands.app)
    for name, other in others.commands.items():
        lines += [".br", f".B hidascan {name}", f"[OPTIONS] {other.params[0].name.upper()}"]
    lines += [".SH DESCRIPTION", *(f"{_troff(' '.join(part.split()))}\n.PP" for part in more)]
    lines += [".SH OPTIONS", *_man_options(command)]
    for name, other in others.commands.items():
        lines += [f".SH HIDASCAN {name.upper()}", _troff(" ".join(other.help.split())), *_man_options(other)]
    lines += [".SH PLACEHOLDERS OF --FORMAT"]
    for letter, (meaning, _) in PLACEHOLDERS.items():
        lines += [".TP", f".B %{letter}", _troff(meaning)]
    lines += [".SH FILES", "Defaults come from the file of", ".B --config,", "then from", ".I hidascan.toml"]
    lines += ["in the configuration folder of the user", "(~/.config/hidascan on Linux); options win."]
    lines += ["The nearest", ".I hidascan.toml", "or table [tool.hidascan] of", ".I pyproject.toml"]
    lines += [f"in the working folder or above sets {', '.join(HARMLESS)} only."]
    lines += [".SH ENVIRONMENT", ".TP", ".B HIDASCAN_WEIGHTS", "The weights that are used without", ".B --weights"]
    return "\n".join(lines) + "\n"


def _man_options(command: Any) -> list[str]:
    lines = []
    for parameter in command.params:
        if parameter.name in ("help", "install_completion", "show_completion"):
            continue
        flag = getattr(parameter, "is_flag", False)
        metavar = "" if flag else parameter.metavar or parameter.name.upper()
        names = [name for name in parameter.opts if name.startswith("-")]
        what = ", ".join(_troff(name) for name in names) or _troff(metavar)
        lines += [".TP", f"\\fB{what}\\fR" + (f" \\fI{_troff(metavar)}\\fR" if names and metavar else "")]
        default = _default(parameter)
        text = (parameter.help or "").split("  [default")[0]
        lines.append(_troff(text) + (f" Default: {_troff(default)}." if default else ""))
    return lines


def _uncapitalised(text: str) -> str:
    return text[:1].lower() + text[1:]


def _troff(text: str) -> str:
    """Escape what troff would read: backslashes, hyphens that must stay, and a point or quote at the start of a line."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped


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
    rows = [_row(parameter) for parameter in command.params if parameter.name != "help"]
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
