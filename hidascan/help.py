"""Lay out `hidascan --help`: examples and commands first, then options by what they are for."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand

EXAMPLES = (
    ("hidascan photo.jpg", "a panel on a terminal, a line in a pipe"),
    ("hidascan photos/ --csv out.csv", "a table with a row per image"),
    ("hidascan --heatmap photo.jpg", "photo.jpg.heatmap.png: where AI-made pixels are"),
)
COMMANDS = (
    ("hidascan verify REPORT", "check a JSON Lines report against its files"),
    ("hidascan serve", "start the web page on this computer"),
)
SECTIONS = {
    "Input": ("files-from", "column", "null", "include", "exclude", "no-recurse", "follow-symlinks", "max-pixels"),
    "Reports": ("csv", "jsonl", "html", "output", "format", "xmp", "resume"),
    "Heatmap": ("heatmap", "heatmap-dir", "heatmap-raw", "explain"),
    "Decision": ("profile", "threshold", "stress", "c2pa-trust", "weights"),
    "Speed": ("fast", "patches", "device", "precision", "batch-size"),
    "Cluster": ("runner", "ray-address", "parquet", "actors", "shard-rows"),
}
REST = "Other"


class SectionedCommand(TyperCommand):
    """A command whose help lists its options by section."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments, examples, commands, and each section of options; options of no section come last."""
        sections: dict[str, list[tuple[str, str]]] = {name: [] for name in ("Arguments", *SECTIONS, REST)}
        for one in self.get_params(ctx):
            record = one.get_help_record(ctx)
            if record is not None:
                sections[_section_of(one)].append(record)
        for name, rows in (("Examples", EXAMPLES), ("Commands", COMMANDS), *sections.items()):
            if rows:
                with formatter.section(name):
                    formatter.write_dl(list(rows))


def _section_of(one: Any) -> str:
    if one.param_type_name == "argument":
        return "Arguments"
    names = {name.lstrip("-") for name in one.opts}
    return next((section for section, options in SECTIONS.items() if names & {*options}), REST)
