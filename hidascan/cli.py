"""`hidascan`: parse the command line, scan, report, return an exit code.

Typer only parses: the command stores its Request in the context's `obj`, and `run` executes it afterwards, so that
we handle broken pipes and Ctrl-C, not Typer. Heavy modules are imported only for a scan.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from hidascan import __version__, commands
from hidascan.config import Defaults, own_file, read_defaults
from hidascan.errors import ExitCode, HidascanError, UsageError
from hidascan.help import SectionedCommand
from hidascan.options import MAX_PIXELS, ScanOptions
from hidascan.printable import complain
from hidascan.streams import CLOSED, ClosedOutput, prepare_streams

if TYPE_CHECKING:
    from hidascan.inputs import InputFiles
    from hidascan.report.reporter import Report
    from hidascan.run import RunInfo


WEIGHTS_VARIABLE = "HIDASCAN_WEIGHTS"
_SETTINGS = "hidascan.config"  # key of the settings files in the context
_STDOUT = ("/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")
_NOT_SETTINGS = {"config", "show-config", "version", "json-schema", "install-completion", "show-completion"}


@dataclass(frozen=True)
class Request:
    """The parsed command line.

    Attributes:
        inputs: Files to scan.
        options: Scan options.
        outputs: Reports to write, each with the name of its format; "-" is stdout.
        line_format: Format of the lines on stdout; None for the default.
        xmp: Folder for XMP sidecars; None for none.
        heatmap: Whether to draw heatmaps.
        heatmap_raw: Whether to write heatmaps as numbers.
        heatmap_dir: Folder for heatmaps; None for the current folder.
        strict: Whether unreadable files take precedence in the exit code.
        quiet: Whether to print errors only.
        verbose: Whether to show a panel for each image.
        resume: Whether to resume an interrupted scan.
        fleet: Options of the Ray cluster; None to scan on this machine.
        settings: Files that set defaults.
    """

    inputs: InputFiles
    options: ScanOptions
    outputs: list[tuple[str, str]]
    line_format: str | None
    xmp: str | None
    heatmap: bool
    heatmap_raw: bool
    heatmap_dir: str | None
    strict: bool
    quiet: bool
    verbose: bool
    resume: bool
    fleet: FleetRequest | None
    settings: list[str]


@dataclass(frozen=True)
class FleetRequest:
    """Options of `--runner ray`.

    Attributes:
        folder: Folder for shards and manifest.
        form: Format of the shards.
        address: Address of the cluster; None for RAY_ADDRESS or a cluster on this machine.
        actors: Maximum number of networks; None for as many as the cluster has room for.
        rows: Rows per shard; None for the default.
    """

    folder: str
    form: str
    address: str | None
    actors: int | None
    rows: int | None


app = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"hidascan {__version__}")
        raise typer.Exit


def _json_schema(wanted: bool) -> None:
    if wanted:
        from hidascan.report.json_schema import json_schema

        print(json.dumps(json_schema(), indent=1))
        raise typer.Exit


def _settings(context: typer.Context, named: str | None) -> str | None:
    """Read the defaults from files, before other options look up their defaults."""
    if context.resilient_parsing:
        return named
    if named == "":
        raise UsageError("--config: the value is empty")
    options = _options(context)
    defaults = read_defaults(named, options.__contains__)
    context.meta[_SETTINGS] = defaults
    if defaults.found is not None:  # printed before a wrong value ends the scan, even with --quiet
        complain(_about_found(defaults))
    values = {}
    for name, (value, path) in defaults.effective().items():
        if isinstance(value, dict):
            raise UsageError(f"{path}: {name} cannot be a table")
        several = getattr(options[name], "multiple", False)
        values[str(options[name].name)] = [value] if several and not isinstance(value, list) else value
    context.default_map = values
    return named


def _options(context: typer.Context) -> dict[str, Any]:
    """Return the options that a file can set, by name without leading dashes."""
    options = {name[2:]: one for one in context.command.params for name in one.opts if name.startswith("--")}
    return {name: one for name, one in options.items() if name not in _NOT_SETTINGS}


def _about_found(defaults: Defaults) -> str:
    found = defaults.found
    assert found is not None
    if found.problem:
        return f"ignored {found.path}: {found.problem}"
    parts = [f"settings from {found.path}: {', '.join(found.values)}"] if found.values else []
    if found.ignored:
        names = ", ".join(found.ignored)
        parts.append(f"ignored {names} in {found.path}; to apply them, use --config {found.path}")
    return "; ".join(parts) or f"no settings in {found.path}"


def _print_settings(defaults: Defaults) -> None:
    for settings in defaults.files():
        print(f"# {settings.path}")
        for name, (value, path) in defaults.effective().items():
            if path == settings.path:
                print(f"{name} = {json.dumps(value, default=str)}")
    if not defaults.files():
        print(f"# no --config, no {own_file()}, and no hidascan.toml or [tool.hidascan] here or above")
    if defaults.found is not None and (defaults.found.ignored or defaults.found.problem):
        print(f"# {_about_found(defaults)}")
    if WEIGHTS_VARIABLE in os.environ and not (defaults.named and "weights" in defaults.named.values):
        print(f"# {WEIGHTS_VARIABLE}={os.environ[WEIGHTS_VARIABLE]} overrides weights above")


@app.command(cls=SectionedCommand, context_settings={"help_option_names": ["-h", "--help"]})
def scan(
    context: typer.Context,
    config: Annotated[Optional[str], typer.Option("--config", metavar="FILE", callback=_settings, help="Read defaults from FILE: a hidascan.toml, or a pyproject.toml with a [tool.hidascan] table. Without this option, defaults come from hidascan.toml in your configuration folder. A file in or above the working folder can set only batch-size, device, precision and verbose.", show_default=False)] = None,
    paths: Annotated[Optional[list[str]], typer.Argument(metavar="PATH...", help="Images, folders (searched recursively), or - for a list of paths on stdin.", show_default=False)] = None,
    files_from: Annotated[Optional[list[str]], typer.Option("--files-from", metavar="FILE", help="Also scan the paths listed in FILE: one per line, or in a column of a table; - is stdin. May be repeated.", show_default=False)] = None,
    column: Annotated[str, typer.Option("--column", metavar="NAME", help="Column that holds the paths, if FILE is a .csv, .tsv or .parquet table.")] = "path",
    null: Annotated[bool, typer.Option("-0", "--null", help="Paths in lists are separated by NUL, as written by find -print0.")] = False,
    include: Annotated[Optional[list[str]], typer.Option("--include", metavar="GLOB", help="In folders, scan only files whose name matches GLOB, regardless of suffix. A GLOB with a slash is matched against the path relative to the folder. May be repeated.", show_default=False)] = None,
    exclude: Annotated[Optional[list[str]], typer.Option("--exclude", metavar="GLOB", help="In folders, skip files and subfolders that match GLOB. May be repeated.", show_default=False)] = None,
    no_recurse: Annotated[bool, typer.Option("--no-recurse", help="Do not search subfolders.")] = False,
    follow_symlinks: Annotated[bool, typer.Option("--follow-symlinks", help="Follow symbolic links to folders.")] = False,
    csv: Annotated[Optional[str], typer.Option(metavar="FILE", help="Write a CSV report to FILE; - is stdout.", show_default=False)] = None,
    jsonl: Annotated[Optional[str], typer.Option(metavar="FILE", help="Write a JSON Lines report to FILE; - is stdout.", show_default=False)] = None,
    parquet: Annotated[Optional[str], typer.Option(metavar="DIR", help="Write Parquet shards to DIR (requires --runner ray).", show_default=False)] = None,
    html: Annotated[Optional[str], typer.Option(metavar="FILE", help="Write an HTML report to FILE, with its pictures embedded.", show_default=False)] = None,
    output: Annotated[Optional[list[str]], typer.Option("-o", "--output", metavar="FILE", help="Write a report to FILE in the format given by its suffix: .csv, .jsonl or .html. May be repeated.", show_default=False)] = None,
    line_format: Annotated[Optional[str], typer.Option("--format", metavar="TEXT", help="Format of each output line: %p path, %v verdict, %s score, %w width, %h height, %f format, %q JPEG quality, %a AI area, %e error, and more (docs/options.md); \\t, \\n and \\0 are escapes.", show_default=False)] = None,
    xmp: Annotated[Optional[str], typer.Option(metavar="DIR", help="Write an XMP sidecar for each image to DIR, with a keyword, verdict and score for photo managers.", show_default=False)] = None,
    heatmap: Annotated[bool, typer.Option("--heatmap", help="Write NAME.heatmap.png for each image to the current folder.")] = False,
    heatmap_raw: Annotated[bool, typer.Option("--heatmap-raw", help="Write NAME.heatmap-raw.png for each image: p(AI) of each 16x16 cell as a 16-bit value.")] = False,
    heatmap_dir: Annotated[Optional[str], typer.Option(metavar="DIR", help="Write heatmaps to DIR.", show_default=False)] = None,
    device: Annotated[str, typer.Option(metavar="auto|cpu|cuda|cuda:N|mps", help="Device that runs the network.")] = "auto",
    precision: Annotated[str, typer.Option(metavar="auto|bf16|fp32", help="Precision of the network; auto is bf16 on hardware that supports it, else fp32.")] = "auto",
    weights: Annotated[str, typer.Option(metavar="NAME|PATH", envvar=WEIGHTS_VARIABLE, show_envvar=False, help="Name of shipped weights, or path of a file or folder; HIDASCAN_WEIGHTS sets the default.")] = "hidascan-b",
    batch_size: Annotated[Optional[int], typer.Option(metavar="N", help="Views per batch.  [default: by device]", show_default=False)] = None,
    patches: Annotated[Optional[int], typer.Option(metavar="N", help="Examine at most N patches per image, spread over it: faster, but skips pixels.  [default: all]", show_default=False)] = None,
    fast: Annotated[bool, typer.Option("--fast", help="Stop as soon as the verdict is settled: several times as fast on large images, nearly always the same verdict, and no heatmap unless every patch was needed.")] = False,
    profile: Annotated[str, typer.Option(metavar="low-fpr|balanced|high-recall", help="Errors to avoid. low-fpr: fewest false alarms on real photos; high-recall: fewest missed AI images.")] = "balanced",
    threshold: Annotated[Optional[float], typer.Option(metavar="T", help="Report ai for scores of at least T and real below. Inconclusive are only pictures that the heatmap contradicts or that have no content.  [default: the profile's]", show_default=False)] = None,
    max_pixels: Annotated[int, typer.Option("--max-pixels", metavar="N", help="Reject images of more than N pixels.")] = MAX_PIXELS,
    c2pa_trust: Annotated[Optional[str], typer.Option("--c2pa-trust", metavar="PEM", help="Trust the certificates in PEM as signers of C2PA manifests.  [default: none]", show_default=False)] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Show how much each area of the image influenced the score.")] = False,
    stress: Annotated[bool, typer.Option("--stress", help="Repeat the scan on re-saved, resized and cropped copies, and report inconclusive if the verdicts conflict. Takes five times as long.")] = False,
    runner: Annotated[str, typer.Option(metavar="local|ray", help="local scans on this machine; ray distributes the work over a Ray cluster: paths may be s3://, gs://, https:// or file:// URIs, and --csv, --jsonl or --parquet names a folder for shards (docs/fleet.md).")] = "local",
    ray_address: Annotated[Optional[str], typer.Option("--ray-address", metavar="ADDRESS", help="Address of the Ray cluster.  [default: RAY_ADDRESS, or a cluster on this machine]", show_default=False)] = None,
    actors: Annotated[Optional[int], typer.Option(metavar="N", min=1, help="Maximum number of networks in the cluster.  [default: one per GPU, or one per machine]", show_default=False)] = None,
    shard_rows: Annotated[Optional[int], typer.Option("--shard-rows", metavar="N", min=1, help="Rows per shard.  [default: 1000]", show_default=False)] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Resume an interrupted scan and complete its CSV or JSONL report.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 3 if a file is unreadable, even if AI images were found (1).")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print errors only: no result lines and no progress bar.")] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="On a terminal, show a detailed panel for each image.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
    show_config: Annotated[bool, typer.Option("--show-config", help="Show each default with the file that sets it, and exit.")] = False,
    schema: Annotated[bool, typer.Option("--json-schema", callback=_json_schema, is_eager=True, help="Print the JSON Schema of a --jsonl line and exit.")] = False,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")] = False,
) -> None:  # fmt: skip
    """Detect AI-generated images, using every pixel.

    Only hidascan reports are overwritten. Write `hidascan OPTIONS -- *` if file names may begin with a dash.

    Exit codes: 0 no AI found; 1 at least one image is ai; 2 wrong usage or no model; 3 some files could not be read
    (1 takes precedence, unless --strict).
    """
    from hidascan.report.formats import format_of

    defaults: Defaults = context.meta[_SETTINGS]
    if show_config:
        _print_settings(defaults)
        raise typer.Exit
    _check_texts(context)
    if not paths and not files_from:
        raise UsageError("Missing argument 'PATH...'")
    weights, profile, threshold = _chosen(context, defaults)
    _check_column(context, column, files_from or [])
    named = {"csv": csv, "jsonl": jsonl, "html": html, "parquet": parquet}
    outputs = [(file, name) for name, file in named.items() if file is not None]
    outputs += [(file, format_of(file)) for file in output or ()]
    outputs = [("-" if file in _STDOUT else file, name) for file, name in outputs]
    lines = line_format is not None or verbose
    drawings = heatmap or heatmap_raw or heatmap_dir is not None or xmp is not None
    fleet = _fleet(runner, outputs, lines or drawings, ray_address, actors, shard_rows)
    if sum(file == "-" for file, _ in outputs) > 1:
        raise UsageError("two reports cannot share stdout; write one of them to a file")
    if line_format is not None:
        from hidascan.report.lines import FormattedLines

        FormattedLines(line_format)  # fails before the network is loaded
    from hidascan.image.sources import Selection
    from hidascan.inputs import InputFiles

    selection = Selection(tuple(include or ()), tuple(exclude or ()), not no_recurse, follow_symlinks)
    inputs = InputFiles(list(paths or ()), list(files_from or ()), selection, column, null, uris=fleet is not None)
    if (patches is not None or fast) and (heatmap or heatmap_raw or heatmap_dir):
        raise UsageError("--heatmap cannot be combined with --patches or --fast: it needs every patch")
    chosen = {"weights": weights, "profile": profile, "threshold": threshold}
    options = ScanOptions(**{one.name: context.params[one.name] for one in fields(ScanOptions)} | chosen)
    drawn = heatmap or (heatmap_dir is not None and not heatmap_raw)
    context.obj.append(
        Request(
            inputs, options, outputs, line_format, xmp, drawn, heatmap_raw, heatmap_dir, strict, quiet, verbose, resume, fleet,
            [str(one.path) for one in defaults.files()],
        )
    )  # fmt: skip


def _check_texts(context: typer.Context) -> None:
    """Refuse empty values, and an option in place of a forgotten file name."""
    for option in context.command.params:
        value = context.params.get(str(option.name))
        name = option.opts[-1]
        if not name.startswith("-"):
            continue
        for text in value if isinstance(value, list | tuple) else [value]:
            if text == "":
                raise UsageError(f"{name}: the value is empty")
            if option.metavar in ("FILE", "DIR", "PEM") and isinstance(text, str) and text[:1] == "-" != text:
                raise UsageError(f"{name} {text}: missing value of {name}; write ./{text} for a file of that name")


def _chosen(context: typer.Context, defaults: Defaults) -> tuple[str, str, float | None]:
    """Return weights, profile and threshold, resolved over all sources of options.

    Raises:
        UsageError: If one source gives both a threshold and a profile.
    """
    weights, profile, threshold = (context.params[name] for name in ("weights", "profile", "threshold"))
    if _source(context, "weights") == "ENVIRONMENT" and defaults.named and "weights" in defaults.named.values:
        weights = str(defaults.named.values["weights"])
    sources = _source(context, "profile"), _source(context, "threshold")
    if threshold is not None and sources[0] == sources[1]:
        raise UsageError("--threshold cannot be combined with --profile, whose thresholds it replaces")
    if sources[0] == "COMMANDLINE":
        threshold = None
    return weights, profile if threshold is None else "balanced", threshold


def _check_column(context: typer.Context, column: str, lists: list[str]) -> None:
    from hidascan.image.manifests import is_manifest

    if _source(context, "column") == "COMMANDLINE" and not any(is_manifest(name) for name in lists):
        raise UsageError(f"--column {column} needs --files-from with a .csv, .tsv or .parquet file")


def _source(context: typer.Context, name: str) -> str:
    """Return the source of a value: COMMANDLINE, ENVIRONMENT, DEFAULT_MAP (a file) or DEFAULT."""
    return str(getattr(context.get_parameter_source(name), "name", ""))


def _fleet(
    runner: str, outputs: list[tuple[str, str]], others: bool, address: str | None, actors: int | None, rows: int | None
) -> FleetRequest | None:
    """Check the options of a cluster scan: one folder of shards, and no output per image."""
    if runner not in ("local", "ray"):
        raise UsageError(f"--runner must be local or ray, not {runner}")
    if runner == "local":
        if (address, actors, rows) != (None,) * 3 or any(name == "parquet" for _, name in outputs):
            raise UsageError("--ray-address, --actors, --shard-rows and --parquet need --runner ray")
        return None
    if len(outputs) != 1 or outputs[0][1] == "html" or outputs[0][0] == "-" or others:
        raise UsageError("--runner ray needs exactly one of --csv, --jsonl or --parquet DIR, and no other output")
    return FleetRequest(*outputs[0], address, actors, rows)


def _check_files(request: Request) -> None:
    """Check outputs against inputs and existing files; see `outputs`."""
    from hidascan.image.folders import Survey
    from hidascan.outputs import Inputs, Outputs, check_outputs

    named = request.inputs
    folders = [(request.xmp, "--xmp"), (request.heatmap_dir, "--heatmap-dir")]
    if request.fleet is not None:
        folders.append((request.fleet.folder, f"--{request.fleet.form}"))
    files = [] if request.fleet is not None else request.outputs
    others = [request.options.weights, request.options.c2pa_trust, *named.lists, *request.settings]
    stdin = [name for name in (*named.paths, *named.lists) if name == "-"]
    again = replace(  # without inputs that can be read only once
        named,
        paths=[path for path in named.paths if path != "-"],
        lists=[name for name in named.lists if os.path.isfile(name)],
    )
    check_outputs(
        Outputs(files, [(folder, option) for folder, option in folders if folder is not None], request.resume),
        Inputs(
            again.paths,
            [name for name in others if name is not None and name != "-"] + ["/dev/stdin"] * bool(stdin),
            named.selection,
            lambda: again.files(Survey()),
        ),
    )


def _scan(request: Request) -> ExitCode:
    _check_working_folder()
    if request.fleet is not None:
        _check_files(request)
        return _scan_with_ray(request, request.fleet)
    from hidascan.report import resume

    resumable = resume.resumable(request.outputs, request.resume)
    _check_files(request)
    from hidascan.image.isolation import decoders

    decoders()  # the first one starts while torch is imported
    from hidascan.image.folders import Survey
    from hidascan.runners.local import Task, run_scan
    from hidascan.scanner import Scanner

    scanner = Scanner(request.options)
    if (request.heatmap or request.heatmap_raw) and not scanner.run.has_heatmap:
        raise UsageError(f"--heatmap: the detector {scanner.run.detector} of these weights produces no heatmap")
    before = resume.begin(resumable, scanner.run.fingerprint(), request.resume)
    reports = _reports(request, scanner.run, before.resuming)
    survey = Survey()
    task = Task(request.inputs.files(survey), list(resumable), request.strict, request.quiet, survey)
    return run_scan(scanner, task, reports, before)


def _check_working_folder() -> None:
    """Check that relative paths can be resolved.

    Raises:
        UsageError: If the working folder no longer exists.
    """
    try:
        os.getcwd()
    except OSError as error:
        reason = "no longer exists" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
        raise UsageError(f"the current folder {reason}: change to another one with cd") from None


def _scan_with_ray(request: Request, fleet: FleetRequest) -> ExitCode:
    try:
        from hidascan.runners.fleet import ROWS_PER_SHARD, FleetTask, run_fleet
    except ImportError as error:
        raise UsageError(f"--runner ray needs {error.name}: pip install 'hidascan[ray]'") from None
    from hidascan.image.filesystems import list_uri
    from hidascan.image.folders import Survey
    from hidascan.image.sources import is_uri

    survey = Survey()

    def paths() -> Iterator[str]:
        for path in request.inputs.files(survey):
            if is_uri(path):
                yield from list_uri(path, request.inputs.selection, survey)
            else:
                yield path

    task = FleetTask(
        paths(), Path(fleet.folder), fleet.form, fleet.address, fleet.actors,
        rows=fleet.rows or ROWS_PER_SHARD, resume=request.resume, strict=request.strict, quiet=request.quiet, survey=survey,
    )  # fmt: skip
    return run_fleet(request.options, task)


def _reports(request: Request, run: RunInfo, append: bool) -> list[Report]:
    from hidascan.report.formats import open_report
    from hidascan.report.heatmap import HeatmapReport
    from hidascan.report.lines import FormattedLines, PlainLines
    from hidascan.report.terminal import Terminal
    from hidascan.report.xmp_report import XmpReport

    reports = [open_report(name, file, run, append) for file, name in request.outputs]
    if not request.quiet and all(file != "-" for file, _ in request.outputs):
        if request.line_format is not None:
            reports.append(FormattedLines(request.line_format))
        else:
            reports.append(Terminal(run, request.verbose) if sys.stdout.isatty() else PlainLines())
    if request.xmp is not None:
        reports.append(XmpReport(request.xmp, run))
    if request.heatmap or request.heatmap_raw:
        reports.append(HeatmapReport(request.heatmap_dir, request.heatmap, request.heatmap_raw))
    return reports


def run(arguments: list[str]) -> int:
    """Execute a command line; every expected failure becomes one line on stderr and an exit code."""
    debug = "--debug" in arguments
    try:
        code = _parsed_and_scanned(arguments)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # the reader has closed the pipe: end silently, like cat
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except KeyboardInterrupt:
        complain("interrupted; results so far are saved")
        return 128 + signal.SIGINT
    except HidascanError as error:
        if debug:
            raise
        complain(str(error))
        return error.exit_code
    except OSError as error:
        if debug:
            raise
        complain(_unwritten(error))
        return ExitCode.USAGE_OR_MODEL
    except Exception as error:
        if debug:
            raise
        complain(f"unexpected {type(error).__name__}: {error} (use --debug for a traceback)")
        return ExitCode.USAGE_OR_MODEL


def _unwritten(error: OSError) -> str:
    """Describe an output that could not be written; errors of writing name no file, those of opening do."""
    reason = error.strerror or str(error)
    if error.filename is not None:
        return f"{os.fsdecode(error.filename)}: {reason.lower()}"
    return reason if reason == CLOSED else f"cannot write output: {reason.lower()}; rows written so far are intact"


def _parsed_and_scanned(arguments: list[str]) -> int:
    arguments = _help_as_option(arguments)
    if arguments and arguments[0] in commands.NAMES:
        return _called(commands.app, arguments)
    requests: list[Request] = []
    code = _called(app, arguments, obj=requests)
    if not requests:
        return code
    _check_stdout(requests[0])
    return _scan(requests[0])


def _called(called: typer.Typer, arguments: list[str], **context: Any) -> int:
    """Let Typer parse and call; return the exit code. Its errors quote arguments, so we print them, escaped."""
    try:
        return int(called(arguments, prog_name="hidascan", standalone_mode=False, **context) or 0)
    except SystemExit as done:
        if isinstance(done.__context__, OSError):  # Typer exits with 1 if it cannot write
            raise done.__context__ from None
        return int(done.code or 0)
    except typer.Abort:
        raise KeyboardInterrupt from None
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        raise UsageError(f"{error.format_message()} (see hidascan --help)") from error


def _check_stdout(request: Request) -> None:
    """Refuse, before any output is opened, to write to a closed stdout."""
    shows_lines = request.fleet is None and not request.quiet
    if isinstance(sys.stdout, ClosedOutput) and (shows_lines or any(file == "-" for file, _ in request.outputs)):
        raise UsageError(f"{CLOSED}; write to a file with --csv or --jsonl and add -q")


def _help_as_option(arguments: list[str]) -> list[str]:
    """Turn `help` and `help verify` into `--help`, unless a file of that name exists."""
    if arguments[:1] != ["help"] or os.path.lexists("help"):
        return arguments
    if len(arguments) == 1 or (len(arguments) == 2 and arguments[1] in commands.NAMES):
        return [*arguments[1:], "--help"]
    return arguments


def main() -> None:
    """Run, and exit at once, without waiting for decoding threads."""
    prepare_streams()
    try:
        code = run(sys.argv[1:])
    except Exception as error:  # with --debug; Python itself would exit with 1, which means AI found
        code = error.exit_code if isinstance(error, HidascanError) else ExitCode.USAGE_OR_MODEL
        with suppress(OSError):
            traceback.print_exc()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):  # reported by `run`
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
