"""Commands of hidascan besides scanning: `hidascan verify`. A file of such a name is scanned as `./verify`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from hidascan.errors import ExitCode

NAMES = ("verify",)
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
    from hidascan.runners.verify import changed_files, changed_scores, read_rows

    rows = read_rows(report)
    found = 0
    with tqdm(total=len(rows), desc="hashing", disable=None) as bar:
        changed = list(changed_files(rows, base, bar.update))
    for line in changed:
        print(printable(line))
    gone = {line.partition(": ")[0] for line in changed}
    there = [row for row in rows if row.finding.path not in gone]
    count = min(sample, len(there))
    chosen = [there[number * len(there) // count] for number in range(count)]
    with tqdm(total=count, desc="scanning", disable=None) as bar:
        for line in changed_scores(chosen, base, weights, device, bar.update):
            print(printable(line))
            found += 1
    differing = len(changed) + found
    print(f"{len(rows)} files hashed, {count} scanned again: {differing or 'no'} difference{'s' * (differing != 1)}")
    raise typer.Exit(int(ExitCode.AI_FOUND if differing else ExitCode.NOTHING_FOUND))
