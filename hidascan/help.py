"""The group of commands (a scan, unless the first word is the name of a command), and its help by section."""

from __future__ import annotations

import glob
import importlib
import importlib.util
import os
from typing import Any

import typer
from typer.core import TyperGroup

EXAMPLES = (
    ("hidascan photo.jpg", "a panel on a terminal, a line in a pipe"),
    ("hidascan photos/ --csv out.csv", "a table with one row per image"),
    ("hidascan --heatmap photo.jpg", "photo.jpg.heatmap.png: where AI-made pixels are"),
)
LAB = ("lab", "hidascan.lab.cli", "train and measure detectors (hidalab)")  # loaded only if called
SECTIONS = {
    "Input": ("files-from", "column", "null", "include", "exclude", "no-recurse", "follow-symlinks", "max-pixels"),
    "Reports": ("csv", "jsonl", "html", "case", "parquet", "shard-rows", "output", "format", "xmp", "resume"),
    "Heatmap": ("heatmap", "heatmap-dir", "heatmap-raw", "explain"),
    "Decision": ("profile", "threshold", "stress", "c2pa-trust", "weights"),
    "Speed": ("fast", "patches", "device", "precision", "batch-size"),
    "Cluster": ("runner", "ray-address", "actors"),
}
REST = "Other"


class ScanOrCommand(TyperGroup):
    """Group of commands; without a command, its arguments are those of a scan."""

    allow_interspersed_args = True

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Parse the arguments of the command that the first word names, else those of a scan."""
        args = self._help_as_option(args)
        command = self.get_command(None, args[0]) if args else None
        if command is None:
            return super().make_context(info_name, args, parent, **extra)
        more = args[1:] or ["--help"] * isinstance(command, TyperGroup)
        return command.make_context(f"{info_name} {args[0]}", more, parent, **extra)

    def invoke(self, ctx: Any) -> Any:
        """Call the command of a context of `make_context`."""
        return super().invoke(ctx) if ctx.command is self else ctx.command.invoke(ctx)

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of the commands; one is that of the lab, if it is installed."""
        name, module, _ = LAB
        return [*self.commands, *([name] if importlib.util.find_spec(module.rpartition(".")[0]) else [])]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command by name; None for any other word."""
        name, module, _ = LAB
        if cmd_name == name and name in self.list_commands(ctx):
            return typer.main.get_command(importlib.import_module(module).app)
        return self.commands.get(cmd_name)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return the parts of the usage line, without commands, which have their own section."""
        return super().collect_usage_pieces(ctx)[:-1]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments, examples, commands, and each section of options; options of no section come last."""
        sections: dict[str, list[tuple[str, str]]] = {name: [] for name in ("Arguments", *SECTIONS, REST)}
        for one in self.get_params(ctx):
            record = one.get_help_record(ctx)
            if record is not None:
                is_option = one.param_type_name == "option"
                sections[_section_of(one)].append(record if is_option else (one.metavar or record[0], record[1]))
        for name, rows in (("Examples", EXAMPLES), ("Commands", self._command_rows()), *sections.items()):
            if rows:
                with formatter.section(name):
                    formatter.write_dl(list(rows))

    def _command_rows(self) -> list[tuple[str, str]]:
        rows = []
        for name, one in self.commands.items():
            arguments = [part.name.upper() for part in one.params if part.param_type_name == "argument"]
            rows.append((" ".join(["hidascan", name, *arguments]), one.get_short_help_str(80)))
        return rows + [(f"hidascan {LAB[0]}", LAB[2])] * (LAB[0] in self.list_commands(None))

    def _help_as_option(self, args: list[str]) -> list[str]:
        """Turn `help` and `help verify` into `--help`, unless a file of that name exists."""
        if args[:1] != ["help"] or os.path.lexists("help"):
            return args
        if len(args) == 1 or (len(args) == 2 and args[1] in self.list_commands(None)):
            return [*args[1:], "--help"]
        return args


def complete_command(context: typer.Context, incomplete: str) -> list[str]:
    """Complete the first word to the names of commands, unless files begin with it, which the shell completes."""
    group = context.command
    if context.params.get("paths") or glob.glob(f"{glob.escape(incomplete)}*") or not isinstance(group, ScanOrCommand):
        return []
    return group.list_commands(context)


def _section_of(one: Any) -> str:
    if one.param_type_name == "argument":
        return "Arguments"
    names = {name.lstrip("-") for name in one.opts}
    return next((section for section, options in SECTIONS.items() if names & {*options}), REST)
