"""`hidascan`: options -> Scanner -> reporters -> exit code. Heavy imports wait until there is something to scan.

Typer only parses: the command puts its Request into the context's `obj`, and `run` carries it out afterwards, so
that a broken pipe or Ctrl-C meets our handling and not Typer's.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from hidascan import __version__
from hidascan.errors import ExitCode, HidascanError, UsageError
from hidascan.options import MAX_PIXELS, ScanOptions
from hidascan.printable import printable

if TYPE_CHECKING:
    from hidascan.finding import Finding
    from hidascan.report.reporter import Reporter
    from hidascan.scanner import Scanner


@dataclass(frozen=True)
class Request:
    """All that the command line asks for. csv, jsonl: file names, or "-" for stdout."""

    paths: list[str]
    options: ScanOptions
    null: bool
    csv: str | None
    jsonl: str | None
    html: str | None
    heatmap: bool
    heatmap_raw: bool
    heatmap_dir: str | None
    strict: bool
    quiet: bool
    verbose: bool
    resume: bool


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"hidascan {__version__}")
        raise typer.Exit


@app.command(context_settings={"help_option_names": ["-h", "--help"]})
def scan(
    context: typer.Context,
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help="Images, folders (recursively), or - for a list of paths on stdin.", show_default=False)],
    null: Annotated[bool, typer.Option("-0", "--null", help="The list on stdin is separated by NUL, as of find -print0.")] = False,
    csv: Annotated[Optional[str], typer.Option(metavar="FILE", help="Write a CSV; - is stdout.", show_default=False)] = None,
    jsonl: Annotated[Optional[str], typer.Option(metavar="FILE", help="Write JSON lines; - is stdout.", show_default=False)] = None,
    html: Annotated[Optional[str], typer.Option(metavar="FILE", help="Write a report to read in a browser: one file, pictures in it.", show_default=False)] = None,
    heatmap: Annotated[bool, typer.Option("--heatmap", help="Write NAME.heatmap.png beside each image.")] = False,
    heatmap_raw: Annotated[bool, typer.Option("--heatmap-raw", help="Write NAME.heatmap-raw.png: p(AI) of each 16x16 cell, 16 bits.")] = False,
    heatmap_dir: Annotated[Optional[str], typer.Option(metavar="DIR", help="Put heatmaps there, not beside the images.", show_default=False)] = None,
    device: Annotated[str, typer.Option(metavar="auto|cpu|cuda|cuda:N|mps", help="Where the network runs.")] = "auto",
    precision: Annotated[str, typer.Option(metavar="auto|bf16|fp32", help="auto is bf16 where the hardware has it.")] = "auto",
    backend: Annotated[str, typer.Option(metavar="torch|openvino", help="What runs the network on a CPU; openvino is faster, in int8.")] = "torch",
    weights: Annotated[str, typer.Option(metavar="NAME|PATH", help="Shipped weights by name, or a file.")] = "hidascan-b",
    batch_size: Annotated[Optional[int], typer.Option(metavar="N", help="Patches a pass of the network.  [default: by device]", show_default=False)] = None,
    patches: Annotated[Optional[int], typer.Option(metavar="N", help="Look at no more than N patches an image, spread over it: faster, but not every pixel.  [default: all]", show_default=False)] = None,
    profile: Annotated[str, typer.Option(metavar="low-fpr|balanced|high-recall", help="Which errors cost more: calls real photos ai least often, or misses least.")] = "balanced",
    threshold: Annotated[Optional[float], typer.Option(metavar="T", help="ai from this score on, else real; never inconclusive.  [default: the profile's]", show_default=False)] = None,
    max_pixels: Annotated[int, typer.Option("--max-pixels", metavar="N", help="Refuse larger images.")] = MAX_PIXELS,
    explain: Annotated[bool, typer.Option("--explain", help="In JSONL, how much each patch decides: the logit with all patches minus that without it.")] = False,
    stress: Annotated[bool, typer.Option("--stress", help="Also scan re-saved, shrunk and cropped copies; inconclusive where they disagree. Takes 5 times as long.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the CSV or JSONL of a scan that was killed.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Unreadable files (exit code 3) win over AI found (1).")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="No lines, no progress: only the files asked for, and errors.")] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="On a terminal, a panel for each image.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")] = False,
) -> None:  # fmt: skip
    """Tell AI-generated images from real ones, from every pixel.

    Exit codes: 0 nothing AI found; 1 at least one image is ai; 2 wrong usage or no model; 3 some files could not be
    read (1 wins, unless --strict).
    """
    if csv == "-" and jsonl == "-":
        raise UsageError("--csv - and --jsonl - cannot share stdout")
    if resume and (html or not {csv, jsonl} - {None, "-"}):
        raise UsageError("--resume needs --csv FILE or --jsonl FILE, and cannot go on with --html")
    if patches is not None and (heatmap or heatmap_raw or heatmap_dir):
        raise UsageError("--heatmap needs every patch: not with --patches")
    options = ScanOptions(
        weights, device, precision, batch_size, profile, threshold, max_pixels, stress, explain, backend, patches
    )
    context.obj.append(
        Request(
            paths, options, null, csv, jsonl, html, heatmap, heatmap_raw, heatmap_dir, strict, quiet, verbose, resume
        )
    )


def _scan(request: Request) -> ExitCode:
    from hidascan.progress import ScanProgress
    from hidascan.report import resume
    from hidascan.scanner import Scanner

    scanner = Scanner(request.options)
    outputs = [output for output in (request.csv, request.jsonl) if output]
    before = resume.begin(outputs, _made_by(request, scanner), request.resume)
    reporters = _reporters(request, before.anything, scanner)
    progress = ScanProgress(hidden=request.quiet)
    found, failed = before.found, before.failed
    try:
        for finding in scanner.scan(_paths(request), progress.on_batch, before.paths):
            with progress.reporting():
                found |= finding.verdict == "ai"
                failed |= not _report(reporters, finding)
    finally:
        progress.close()
        for reporter in reporters:
            reporter.close()
    resume.end(outputs)
    if found and not (failed and request.strict):
        return ExitCode.AI_FOUND
    return ExitCode.UNREADABLE_FILES if failed else ExitCode.NOTHING_FOUND


def _made_by(request: Request, scanner: Scanner) -> dict:
    """What must be the same for a scan to be gone on with; where it runs need not."""
    from hidascan.model.checkpoint import sha256_of
    from hidascan.scanner import find_weights

    options = asdict(replace(request.options, precision=str(scanner.dtype)))
    told = {"version": __version__, "weights": sha256_of(find_weights(request.options.weights))}
    return told | {name: value for name, value in options.items() if name not in ("weights", "device", "batch_size")}


def _paths(request: Request) -> Iterator[str]:
    from hidascan.image.sources import read_list

    for path in request.paths:
        if path == "-":
            yield from read_list(sys.stdin.buffer, b"\0" if request.null else b"\n")
        else:
            yield path


def _reporters(request: Request, append: bool, scanner: Scanner) -> list[Reporter]:
    from hidascan.report.csv_report import CsvReport
    from hidascan.report.heatmap import HeatmapReport
    from hidascan.report.jsonl_report import JsonlReport
    from hidascan.report.lines import PlainLines
    from hidascan.report.terminal import Terminal

    reporters: list[Reporter] = []
    if request.csv:
        reporters.append(CsvReport(request.csv, append))
    if request.jsonl:
        reporters.append(JsonlReport(request.jsonl, append))
    if not request.quiet and "-" not in (request.csv, request.jsonl):
        terminal = sys.stdout.isatty()
        reporters.append(Terminal(*scanner.thresholds, request.verbose) if terminal else PlainLines())
    if request.html:
        from hidascan.report.html_report import HtmlReport

        reporters.append(HtmlReport(request.html, scanner.header.name, *scanner.thresholds))
    if request.heatmap or request.heatmap_raw or request.heatmap_dir:
        overlay = request.heatmap or not request.heatmap_raw
        reporters.append(HeatmapReport(request.heatmap_dir, overlay, request.heatmap_raw))
    return reporters


def _report(reporters: list[Reporter], finding: Finding) -> bool:
    """Tell every reporter. False if the file could not be read or one of its reports not be written."""
    if finding.error:
        _complain(f"{finding.path}: {finding.error}")
    whole = finding.status == "ok"
    for reporter in reporters:
        try:
            reporter.add(finding)
        except HidascanError as error:
            whole = False
            _complain(f"{finding.path}: {error}")
    return whole


def _complain(message: str) -> None:
    print(f"hidascan: {printable(message)}", file=sys.stderr)


def run(arguments: list[str]) -> int:
    """Carry out a command line; every foreseeable failure becomes one line on stderr and an exit code."""
    requests: list[Request] = []
    debug = "--debug" in arguments
    try:
        try:
            app(arguments, prog_name="hidascan", obj=requests)
        except SystemExit as done:
            if not requests:
                return int(done.code or 0)
        return _scan(requests[0])
    except BrokenPipeError:  # the reader of our output has gone: end as cat does, without a word
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except KeyboardInterrupt:
        _complain("interrupted; what was done is written")
        return 128 + signal.SIGINT
    except HidascanError as error:
        if debug:
            raise
        _complain(str(error))
        return error.exit_code
    except OSError as error:  # an output that can no longer be written: the disk is full
        if debug:
            raise
        _complain(f"output: {(error.strerror or str(error)).lower()}; what was done until then is written")
        return ExitCode.USAGE_OR_MODEL
    except Exception as error:
        if debug:
            raise
        _complain(f"unexpected {type(error).__name__}: {error} (--debug shows where)")
        return ExitCode.USAGE_OR_MODEL


def main() -> None:
    """Entry point. Leaves at once: decoding threads still at work must not keep the shell waiting."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="surrogateescape")
    code = run(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
