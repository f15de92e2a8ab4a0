"""Commands of `hidascan`: a scan, unless the first word is `verify`, `serve` or `lab`; and their help by section.

Typer only parses: `scan` returns a Request, which is executed outside, so that we handle broken pipes and Ctrl-C,
not Typer. Heavy modules are imported only for a scan.
"""

from __future__ import annotations

import glob
import importlib
import importlib.util
import json
import os
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Optional

import typer
from typer.core import TyperGroup

from hidascan import __version__
from hidascan.arguments import SETTINGS, Device, Precision, read_settings, request_of, values_of
from hidascan.config import WEIGHTS_VARIABLE
from hidascan.errors import UsageError
from hidascan.options import MAX_PIXELS, PROFILES, ScanOptions
from hidascan.report import suffixes
from hidascan.runner_registry import RUNNERS

EXAMPLES = (
    ("hidascan photo.jpg", "a panel on a terminal, a line in a pipe"),
    ("hidascan photos/ --csv out.csv", "a table with one row per image"),
    ("hidascan --heatmap photo.jpg", "photo.jpg.heatmap.png: where AI-made pixels are"),
)
LAB_COMMAND, LAB_HELP = "lab", "train and measure detectors (hidalab)"
LAB_MODULE = "hidascan.lab.cli"  # imported only if called
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
        return command.make_context(f"{info_name} {args[0]}", args[1:], parent, **{**self.context_settings, **extra})

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments of a scan, and refuse an output given twice, as only one of them would be written."""
        rest = super().parse_args(ctx, [*args])
        given = self.make_parser(ctx).parse_args([*args])[2] if not ctx.resilient_parsing else []
        for name, number in Counter(one.opts[-1] for one in given if _is_one_output(one)).items():
            if number > 1:
                raise UsageError(f"{name} can be given only once")
        return rest

    def invoke(self, ctx: Any) -> Any:
        """Call the command of a context of `make_context`."""
        return super().invoke(ctx) if ctx.command is self else ctx.command.invoke(ctx)

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of the commands; one is that of the lab, if it is installed."""
        return [*self.commands, *([LAB_COMMAND] if lab_is_installed() else [])]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command by name; None for any other word."""
        if cmd_name == LAB_COMMAND and lab_is_installed():
            return typer.main.get_command(importlib.import_module(LAB_MODULE).app)
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
        return [*rows, (f"hidascan {LAB_COMMAND}", LAB_HELP)] if lab_is_installed() else rows

    def _help_as_option(self, args: list[str]) -> list[str]:
        """Turn `help` and `help verify` into `--help`, unless a file of that name exists."""
        if args[:1] != ["help"] or os.path.lexists("help"):
            return args
        if len(args) == 1 or (len(args) == 2 and args[1] in self.list_commands(None)):
            return [*args[1:], "--help"]
        return args


def lab_is_installed() -> bool:
    """Return whether the package of the lab is installed."""
    return importlib.util.find_spec(LAB_MODULE.rpartition(".")[0]) is not None


def complete_command(context: typer.Context, incomplete: str) -> list[str]:
    """Complete the first word to the names of commands, unless files begin with it, which the shell completes."""
    group = context.command
    if context.params.get("paths") or glob.glob(f"{glob.escape(incomplete)}*") or not isinstance(group, ScanOrCommand):
        return []
    return group.list_commands(context)


def _is_one_output(one: Any) -> bool:
    return one.metavar in ("FILE", "DIR") and not one.multiple


def _section_of(one: Any) -> str:
    if one.param_type_name == "argument":
        return "Arguments"
    names = {name.lstrip("-") for name in one.opts}
    return next((section for section, options in SECTIONS.items() if names & {*options}), REST)


app = typer.Typer(
    cls=ScanOrCommand,
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"hidascan {__version__}")
        raise typer.Exit


def _json_schema(wanted: bool) -> None:
    if wanted:
        from hidascan.report.jsonl_report import json_schema

        print(json.dumps(json_schema(), indent=1))
        raise typer.Exit


@app.callback()
def scan(
    context: typer.Context,
    config: Annotated[Optional[str], typer.Option("--config", metavar="FILE", callback=read_settings, help="Read defaults from FILE: a hidascan.toml, or a pyproject.toml with a [tool.hidascan] table. Its values take precedence over those of hidascan.toml in your configuration folder. A file in or above the working folder can set only batch-size, device, precision and verbose.", show_default=False)] = None,
    paths: Annotated[Optional[list[str]], typer.Argument(metavar="PATH...", autocompletion=complete_command, help="Images, folders (searched recursively), or - for a list of paths on stdin.", show_default=False)] = None,
    lists: Annotated[Optional[list[str]], typer.Option("--files-from", metavar="FILE", help="Also scan the paths listed in FILE: one per line, or in a column of a table; - is stdin. May be repeated.", show_default=False)] = None,
    column: Annotated[str, typer.Option("--column", metavar="NAME", help="Column that holds the paths, if FILE is a .csv, .tsv or .parquet table.")] = "path",
    null: Annotated[bool, typer.Option("-0", "--null", help="Paths in lists are separated by NUL, as written by find -print0.")] = False,
    include: Annotated[Optional[list[str]], typer.Option("--include", metavar="GLOB", help="In folders, scan only files whose name matches GLOB, regardless of suffix and of upper or lower case. A GLOB with a slash is matched against the path relative to the folder; **/ stands for any number of folders. May be repeated.", show_default=False)] = None,
    exclude: Annotated[Optional[list[str]], typer.Option("--exclude", metavar="GLOB", help="In folders, skip files and subfolders that match GLOB. May be repeated.", show_default=False)] = None,
    no_recurse: Annotated[bool, typer.Option("--no-recurse", help="Do not search subfolders.")] = False,
    follow_links: Annotated[bool, typer.Option("--follow-symlinks", help="Follow symbolic links to folders.")] = False,
    csv: Annotated[Optional[str], typer.Option(metavar="FILE", help="Write a CSV report to FILE; - is stdout.", show_default=False)] = None,
    jsonl: Annotated[Optional[str], typer.Option(metavar="FILE", help="Write a JSON Lines report to FILE; - is stdout.", show_default=False)] = None,
    parquet: Annotated[Optional[str], typer.Option(metavar="DIR", help="Write Parquet shards, and a manifest, to DIR.", show_default=False)] = None,
    html: Annotated[Optional[str], typer.Option(metavar="FILE", help="Write an HTML report to FILE, with its pictures embedded.", show_default=False)] = None,
    case: Annotated[Optional[str], typer.Option(metavar="TEXT", help="Name of the case, at the top of the HTML report.", show_default=False)] = None,
    output: Annotated[Optional[list[str]], typer.Option("-o", "--output", metavar="FILE", help=f"Write a report to FILE in the format given by its suffix: {suffixes()}. May be repeated.", show_default=False)] = None,
    line_format: Annotated[Optional[str], typer.Option("--format", metavar="TEXT", help="Format of each output line: %p path, %v verdict, %s score, %w width, %h height, %f format, %q JPEG quality, %a AI area, %e error, and more (docs/options.md); \\t, \\n and \\0 are escapes.", show_default=False)] = None,
    xmp: Annotated[Optional[str], typer.Option(metavar="DIR", help="Write an XMP sidecar for each image to DIR, with a keyword, verdict and score for photo managers.", show_default=False)] = None,
    heatmap: Annotated[bool, typer.Option("--heatmap", help="Write NAME.heatmap.png for each image to the current folder.")] = False,
    heatmap_raw: Annotated[bool, typer.Option("--heatmap-raw", help="Write NAME.heatmap-raw.png for each image: the heatmap value of each 16x16 cell, in 16 bits.")] = False,
    heatmap_dir: Annotated[Optional[str], typer.Option(metavar="DIR", help="Write heatmaps to DIR.", show_default=False)] = None,
    device: Device = "auto",
    precision: Precision = "auto",
    weights: Annotated[str, typer.Option(metavar="NAME|PATH", envvar=WEIGHTS_VARIABLE, show_envvar=False, help="Name of shipped weights, or path of a file or folder; HIDASCAN_WEIGHTS sets the default.")] = "hidascan-b",
    batch_size: Annotated[Optional[int], typer.Option(metavar="N", help="Views per batch.  [default: by device]", show_default=False)] = None,
    patches: Annotated[Optional[int], typer.Option(metavar="N", help="Examine at most N patches per image, spread over it: faster, but skips pixels.  [default: all]", show_default=False)] = None,
    fast: Annotated[bool, typer.Option("--fast", help="Stop as soon as the verdict is settled: several times as fast on large images, nearly always the same verdict, and no heatmap unless every patch was needed.")] = False,
    profile: Annotated[str, typer.Option(metavar="|".join(PROFILES), help="Errors to avoid. low-fpr: fewest false alarms on real photos; high-recall: fewest missed AI images.")] = "balanced",
    threshold: Annotated[Optional[float], typer.Option(metavar="T", help="Report ai for scores of at least T, and real below. Inconclusive is then reported only if the heatmap contradicts real, the picture has no content, or the copies of --stress conflict.  [default: the profile's]", show_default=False)] = None,
    max_pixels: Annotated[int, typer.Option("--max-pixels", metavar="N", help="Reject images of more than N pixels.")] = MAX_PIXELS,
    c2pa_trust: Annotated[Optional[str], typer.Option("--c2pa-trust", metavar="PEM", help="Trust the certificates in PEM as signers and time-stamp authorities of C2PA manifests.  [default: none]", show_default=False)] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Show how much each area of the image influenced the score.")] = False,
    stress: Annotated[bool, typer.Option("--stress", help="Repeat the scan on re-saved, resized and cropped copies, and report inconclusive if the verdicts conflict. Takes five times as long.")] = False,
    runner: Annotated[str, typer.Option(metavar="|".join(RUNNERS), help="local scans on this machine; ray distributes the work over a Ray cluster: paths may be s3://, gs://, https:// or file:// URIs, and --csv, --jsonl, --parquet or -o names a folder for shards (docs/fleet.md).")] = "local",
    ray_address: Annotated[Optional[str], typer.Option("--ray-address", metavar="ADDRESS", help="Address of the Ray cluster.  [default: RAY_ADDRESS, or a cluster on this machine]", show_default=False)] = None,
    actors: Annotated[Optional[int], typer.Option(metavar="N", min=1, help="Maximum number of networks in the cluster.  [default: one per GPU, or one per machine]", show_default=False)] = None,
    rows: Annotated[Optional[int], typer.Option("--shard-rows", metavar="N", min=1, help="Rows per shard.  [default: 1000]", show_default=False)] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Resume an interrupted scan and complete its CSV, JSONL or Parquet report.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 3, not 1, if both apply, such as an unreadable file beside AI images.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print errors only: no result lines and no progress bar.")] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="On a terminal, show a detailed panel for each image.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
    show_config: Annotated[bool, typer.Option("--show-config", help="Show each default with the file that sets it, and exit.")] = False,
    schema: Annotated[bool, typer.Option("--json-schema", callback=_json_schema, is_eager=True, help="Print the JSON Schema of a --jsonl line and exit.")] = False,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")] = False,
) -> object:  # fmt: skip
    """Detect AI-generated images, using every pixel.

    Only hidascan reports are overwritten. Write `hidascan OPTIONS -- *` if file names may begin with a dash.

    Exit codes: 0 no image is ai, though some may be inconclusive; 1 at least one image is ai; 2 wrong usage, no model, or a report could not be written;
    3 some files could not be read, a heatmap, sidecar or picture of a report could not be written, or nothing was scanned (1 takes precedence, unless --strict).
    """
    if show_config:
        print(*context.meta[SETTINGS].lines(), sep="\n")
        raise typer.Exit
    return request_of(context)


@app.command(short_help="check a JSON Lines report against its files")
def verify(
    report: Annotated[Path, typer.Argument(help="JSON Lines report written by hidascan.", show_default=False)],
    sample: Annotated[int, typer.Option(min=0, help="Number of files to scan again, spread evenly over the report.")] = 5,
    base: Annotated[Path, typer.Option(metavar="DIR", help="Base folder of relative paths in the report.")] = Path(),
    weights: Annotated[Optional[str], typer.Option(metavar="NAME|PATH", help="Weights for scanning again.  [default: those named in the report]", show_default=False)] = None,
    device: Device = "auto",
) -> None:  # fmt: skip
    """Verify a report: hash all its files again, scan a sample of them again, and list the differences.

    Exit codes: 0 no differences; 1 differences found; 2 wrong usage.
    """
    from hidascan.runners.verify import verify as run

    differences = run(report, sample, base, weights, device)
    raise typer.Exit(1 if differences else 0)


@app.command(short_help="start the web page on this computer")
def serve(
    context: typer.Context,
    host: Annotated[str, typer.Option(help="Address to bind; any other than loopback requires --token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to bind; 0 selects a free one.")] = 8765,
    token: Annotated[str, typer.Option(envvar="HIDASCAN_TOKEN", show_envvar=False, help="Bearer token required of requests; HIDASCAN_TOKEN sets it without showing it in process lists.", show_default=False)] = "",
    allow_host: Annotated[Optional[list[str]], typer.Option(metavar="NAME", help="Additional host name to answer to. May be repeated.", show_default=False)] = None,
    keep: Annotated[Optional[Path], typer.Option(metavar="DIR", help="Save uploads to DIR.  [default: not saved]", show_default=False)] = None,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Do not open the page in the browser.")] = False,
    max_upload: Annotated[int, typer.Option(metavar="MB", min=1, help="Maximum size of a request body in MB.")] = 100,
    max_files: Annotated[int, typer.Option(metavar="N", min=1, help="Maximum number of files per request; at most --max-waiting.")] = 20,
    max_waiting: Annotated[int, typer.Option(metavar="N", min=1, help="Maximum number of queued files; further requests are answered with 429.")] = 200,
    max_pixels: Annotated[int, typer.Option("--max-pixels", metavar="N", min=1, help="Reject images of more than N pixels.")] = 100_000_000,
    timeout: Annotated[float, typer.Option(metavar="SECONDS", min=1, help="Time limit of a request in seconds; event streams, as on the page, have none: they show progress and can be cancelled.")] = 300.0,
    weights: Annotated[str, typer.Option(metavar="NAME|PATH", envvar=WEIGHTS_VARIABLE, show_envvar=False, help="Name of shipped weights, or path of a file or folder.")] = "hidascan-b",
    device: Device = "auto",
    precision: Precision = "auto",
    profile: Annotated[str, typer.Option(metavar="|".join(PROFILES), help="Errors to avoid; see hidascan --help.")] = "balanced",
    c2pa_trust: Annotated[Optional[str], typer.Option("--c2pa-trust", metavar="PEM", help="Trust the certificates in PEM as signers and time-stamp authorities of C2PA manifests.", show_default=False)] = None,
) -> None:  # fmt: skip
    """Serve a web page for scanning pictures, and an HTTP API: POST /v1/scan."""
    try:
        from hidascan.serve.requests import LOOPBACK, Limits
        from hidascan.serve.run import serve as run
    except ImportError as error:
        raise UsageError(f"hidascan serve needs {error.name}: pip install 'hidascan[serve]'") from None
    sizes = {"body": max_upload << 20, "files": min(max_files, max_waiting), "waiting": max_waiting}
    if not (token.isascii() and token.isprintable() and token == token.strip()):  # as headers are sent
        raise UsageError("--token must consist of ASCII characters, without spaces at its ends")
    limits = Limits(hosts=(*LOOPBACK, host, *(allow_host or ())), token=token, seconds=timeout, **sizes)
    options = ScanOptions(explain=True, **values_of(ScanOptions, context.params))
    run(options, limits, host=host, port=port, keep=keep, browser=not no_browser)
    raise typer.Exit
