"""Commands other than scanning: `hidascan verify` and `serve`. A file of such a name is scanned as `./verify`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from hidascan.errors import ExitCode

NAMES = ("verify", "serve")
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.callback()
def _hidascan() -> None:
    """Detect AI-generated images: other commands."""


@app.command()
def verify(
    report: Annotated[Path, typer.Argument(help="JSON Lines report written by hidascan.", show_default=False)],
    sample: Annotated[int, typer.Option(min=0, help="Number of files to scan again, spread evenly over the report.")] = 5,
    base: Annotated[Path, typer.Option(metavar="DIR", help="Folder that relative paths in the report start from.")] = Path(),
    weights: Annotated[Optional[str], typer.Option(metavar="NAME|PATH", help="Weights for scanning again.  [default: those named in the report]", show_default=False)] = None,
    device: Annotated[str, typer.Option(metavar="auto|cpu|cuda|cuda:N|mps", help="Device that runs the network.")] = "auto",
) -> None:  # fmt: skip
    """Verify a report: hash all its files again, scan a sample of them again, and list the differences.

    Exit codes: 0 no differences; 1 differences found; 2 wrong usage.
    """
    from tqdm import tqdm

    from hidascan.printable import printable
    from hidascan.runners.verify import changed_files, changed_scores, has_hash, read_rows

    rows = read_rows(report)
    found = 0
    with tqdm(total=len(rows), desc="hashing", disable=None) as bar:
        changed = list(changed_files(rows, base, bar.update))
    for path, change in changed:
        print(printable(f"{path}: {change}"))
    gone = {path for path, _ in changed}
    there = [row for row in rows if row.finding.path not in gone]
    count = min(sample, len(there))
    chosen = [there[number * len(there) // count] for number in range(count)]
    with tqdm(total=count, desc="scanning", disable=None) as bar:
        for line in changed_scores(chosen, base, weights, device, bar.update):
            print(printable(line))
            found += 1
    differing = len(changed) + found
    hashed = sum(map(has_hash, rows))
    unread = f" ({len(rows) - hashed} unreadable, without a hash)" if hashed < len(rows) else ""
    print(
        f"{hashed} files hashed{unread}, {count} scanned again: {differing or 'no'} difference{'s' * (differing != 1)}"
    )
    raise typer.Exit(int(ExitCode.AI_FOUND if differing else ExitCode.NOTHING_FOUND))


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to bind; any other than loopback requires --token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to bind; 0 selects a free one.")] = 8765,
    token: Annotated[str, typer.Option(envvar="HIDASCAN_TOKEN", show_envvar=False, help="Bearer token required of requests; HIDASCAN_TOKEN sets it without showing it in process lists.", show_default=False)] = "",
    allow_host: Annotated[Optional[list[str]], typer.Option(metavar="NAME", help="Additional host name to answer to. May be repeated.", show_default=False)] = None,
    keep: Annotated[Optional[Path], typer.Option(metavar="DIR", help="Save uploads to DIR.  [default: not saved]", show_default=False)] = None,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Do not open the page in the browser.")] = False,
    max_upload: Annotated[int, typer.Option(metavar="MB", min=1, help="Maximum size of a request body in MB.")] = 100,
    max_files: Annotated[int, typer.Option(metavar="N", min=1, help="Maximum number of files per request.")] = 20,
    max_waiting: Annotated[int, typer.Option(metavar="N", min=1, help="Maximum number of queued files; further requests are answered with 429.")] = 200,
    max_pixels: Annotated[int, typer.Option("--max-pixels", metavar="N", min=1, help="Reject images of more than N pixels.")] = 100_000_000,
    timeout: Annotated[float, typer.Option(metavar="SECONDS", min=1, help="Time limit of a request in seconds; scans on the page have none, as they show progress and can be cancelled.")] = 300.0,
    weights: Annotated[str, typer.Option(metavar="NAME|PATH", envvar="HIDASCAN_WEIGHTS", show_envvar=False, help="Name of shipped weights, or path of a file or folder.")] = "hidascan-b",
    device: Annotated[str, typer.Option(metavar="auto|cpu|cuda|cuda:N|mps", help="Device that runs the network.")] = "auto",
    precision: Annotated[str, typer.Option(metavar="auto|bf16|fp32", help="Precision of the network; auto is bf16 on hardware that supports it, else fp32.")] = "auto",
    profile: Annotated[str, typer.Option(metavar="low-fpr|balanced|high-recall", help="Errors to avoid; see hidascan --help.")] = "balanced",
    c2pa_trust: Annotated[Optional[str], typer.Option("--c2pa-trust", metavar="PEM", help="Trust the certificates in PEM as signers of C2PA manifests.", show_default=False)] = None,
) -> None:  # fmt: skip
    """Serve a web page for scanning pictures, and an HTTP API: POST /v1/scan."""
    from hidascan.errors import UsageError
    from hidascan.options import ScanOptions

    try:
        from hidascan.serve.guard import LOOPBACK, Limits
        from hidascan.serve.run import serve as run
    except ImportError as error:
        raise UsageError(f"hidascan serve needs {error.name}: pip install 'hidascan[serve]'") from None
    hosts = (*LOOPBACK, host, *(allow_host or ()))
    limits = Limits(hosts, token, max_upload << 20, max_files, max_waiting, timeout)
    run(
        ScanOptions(
            weights, device, precision, profile=profile, max_pixels=max_pixels, explain=True, c2pa_trust=c2pa_trust
        ),
        host,
        port,
        limits,
        keep,
        browser=not no_browser,
    )
    raise typer.Exit
