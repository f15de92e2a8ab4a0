"""Commands of hidascan besides scanning: `hidascan verify`, `hidascan serve`. A file of such a name is scanned as `./verify`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from hidascan.errors import ExitCode

NAMES = ("verify", "serve")
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.callback()
def _hidascan() -> None:
    """Tell AI-generated images from real ones, from every pixel: other commands."""


@app.command()
def verify(
    report: Annotated[Path, typer.Argument(help="JSON lines that hidascan wrote.", show_default=False)],
    sample: Annotated[int, typer.Option(min=0, help="Scan so many of the files again, spread over all.")] = 5,
    base: Annotated[Path, typer.Option(metavar="DIR", help="Where relative paths of the report start.")] = Path(),
    weights: Annotated[Optional[str], typer.Option(metavar="NAME|PATH", help="Scan with these.  [default: those that the report names]", show_default=False)] = None,
    device: Annotated[str, typer.Option(metavar="auto|cpu|cuda|cuda:N|mps", help="Where the network runs.")] = "auto",
) -> None:  # fmt: skip
    """Check a report: hash every file that it names again, scan a sample of them again, and say what differs.

    Exit codes: 0 nothing differs; 1 something does; 2 wrong usage.
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
    unread = f" ({len(rows) - hashed} could not be read then, so have no hash)" if hashed < len(rows) else ""
    print(
        f"{hashed} files hashed{unread}, {count} scanned again: {differing or 'no'} difference{'s' * (differing != 1)}"
    )
    raise typer.Exit(int(ExitCode.AI_FOUND if differing else ExitCode.NOTHING_FOUND))


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to bind; any but loopback demands a token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 is any that is free.")] = 8765,
    token: Annotated[str, typer.Option(envvar="HIDASCAN_TOKEN", show_envvar=False, help="Bearer token that requests must have; HIDASCAN_TOKEN sets it out of sight.", show_default=False)] = "",
    allow_host: Annotated[Optional[list[str]], typer.Option(metavar="NAME", help="Also answer under this host name. May be repeated.", show_default=False)] = None,
    keep: Annotated[Optional[Path], typer.Option(metavar="DIR", help="Keep what is uploaded in DIR.  [default: nothing is kept]", show_default=False)] = None,
    max_upload: Annotated[int, typer.Option(metavar="MB", min=1, help="Largest body of a request.")] = 100,
    max_files: Annotated[int, typer.Option(metavar="N", min=1, help="Files a request.")] = 20,
    max_waiting: Annotated[int, typer.Option(metavar="N", min=1, help="Files that may wait; more are answered with 429.")] = 200,
    max_pixels: Annotated[int, typer.Option("--max-pixels", metavar="N", min=1, help="Refuse larger images.")] = 100_000_000,
    timeout: Annotated[float, typer.Option(metavar="SECONDS", min=1, help="For a request.")] = 300.0,
    weights: Annotated[str, typer.Option(metavar="NAME|PATH", envvar="HIDASCAN_WEIGHTS", show_envvar=False, help="Shipped weights by name, or a file or folder.")] = "hidascan-b",
    device: Annotated[str, typer.Option(metavar="auto|cpu|cuda|cuda:N|mps", help="Where the network runs.")] = "auto",
    precision: Annotated[str, typer.Option(metavar="auto|bf16|fp32", help="auto is bf16 where the hardware has it.")] = "auto",
    profile: Annotated[str, typer.Option(metavar="low-fpr|balanced|high-recall", help="Which errors cost more.")] = "balanced",
    c2pa_trust: Annotated[Optional[str], typer.Option("--c2pa-trust", metavar="PEM", help="Trust these certificates as signers of C2PA manifests.", show_default=False)] = None,
) -> None:  # fmt: skip
    """Serve a page on this machine that scans what is dropped on it, and an HTTP interface: POST /v1/scan."""
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
    )
    raise typer.Exit
